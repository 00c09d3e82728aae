"""Augmentations made while training: of images, of features and of speakers."""
