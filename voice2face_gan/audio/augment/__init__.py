"""Augmentations of speech: of the waveform, of the log-mel, of the formants; `policy` draws them."""
