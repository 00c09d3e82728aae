"""Face readers: frozen networks that read identity, sex and age from an image."""
