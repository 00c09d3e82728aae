"""Records, prepared stores and batches."""
