"""The studio: a page and an HTTP API around `VoiceToFace`, for this machine unless told otherwise.

    server.py      the address, the socket, the process          app.py        routes, made once
    security.py    Host, Origin, token, headers of each answer   protocol.py   slow and endless clients
    upload.py      a multipart body in memory, within limits     options.py    form fields -> options
    decoder.py     a recording -> waveform in a child process    decode_child.py   that process
    pool.py        a bounded number of jobs, 429 beyond it       checkpoints.py    models, loaded once
    api.py         answers                                       run_pages.py  run folders, read-only
    pages/         HTML, CSS and JavaScript, without a build step and without another host

Only `cli` imports this folder; it imports the pipeline.
"""
