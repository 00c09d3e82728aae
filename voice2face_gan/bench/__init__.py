"""Measurements of our own speed, each beside the plain way of doing the same thing, in one run."""
