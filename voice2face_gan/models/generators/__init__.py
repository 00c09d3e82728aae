"""Face decoders: from the feature of a face to an image."""
