"""From a store to a run folder. Imports without PyAV, webrtcvad or dlib."""
