"""The trainer: starts a run, warm-starts its networks, goes through its stages, distributes them."""
