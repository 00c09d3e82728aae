"""From a recording to what the networks hear.

    decode.py     any file, bytes or array -> waveform, float32 (samples,), 16 kHz mono in [-1, 1]; its parts
                  are source, content, container, ogg, raw_formats, arrays, downmix and info
    vad.py        waveform -> speech, float32 (samples,), what the WebRTC detector kept
    features.py   speech -> log-mel, float32 (64, frames), 100 frames a second
    voice.py      the three in a row, streamed: a clip or a recording of hours -> VoiceFeatures

Importing this package imports none of them: training needs `features` alone, on machines that have
neither PyAV nor webrtcvad.
"""
