"""Benchmarks of our own speed, each beside a plain implementation of the same work, in one run."""
