"""Metrics, one file each. Importing `voice2face_gan.evaluation` registers them."""
