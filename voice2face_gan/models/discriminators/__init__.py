"""Discriminators and identity classifiers: what generators are trained against."""
