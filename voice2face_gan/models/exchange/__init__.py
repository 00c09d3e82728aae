"""Checkpoints from and to formats of others."""
