"""Augmentation while training: of images, clips and speakers, and data echoing."""
