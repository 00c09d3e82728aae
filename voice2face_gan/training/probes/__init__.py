"""Linear probes on embeddings: the speaker's gender and the quality of the input."""
