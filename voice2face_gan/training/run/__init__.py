"""The run folder: what is in it, its metrics, the list of runs, TensorBoard."""
