"""Generators: from a voice embedding, and noise, to a face."""
