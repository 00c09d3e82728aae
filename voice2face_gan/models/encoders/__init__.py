"""Voice encoders: from a log-mel to an embedding."""
