"""The stages of a run: what one iteration does and which losses it has."""
