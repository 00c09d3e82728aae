"""Recordings to log-mels, the input of the networks.

    decode.py     any file, bytes or array -> waveform, float32 (samples,), 16 kHz mono in [-1, 1]; its parts
                  are in decoding/
    vad.py        waveform -> speech, float32 (samples,), what the WebRTC detector kept
    log_mel.py    speech -> log-mel, float32 (64, frames), 100 frames a second
    voice.py      the three in a row, streamed: a clip or a recording of hours -> VoiceFeatures
    level.py      soft recordings, raised for the detector; steady.py: sound that varies too little for speech
    augment/      random distortions of speech and of log-mels

Importing this package imports none of them: training needs `log_mel` alone, on machines that have
neither PyAV nor webrtcvad.
"""
