"""Parts of `audio.decode`: from any file, bytes or array to a mono waveform at 16 kHz."""
