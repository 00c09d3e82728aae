"""Batches of a store: which records, and which speech of them."""
