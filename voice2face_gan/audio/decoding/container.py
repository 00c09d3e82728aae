"""FFmpeg, by way of PyAV: a recording's container, its sound tracks, their samples.

The content alone decides the container: FFmpeg gets no name (source.py) and may only take a format that
holds recordings, so that neither a playlist nor a text becomes sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import av
import numpy as np
from av.audio.plane import AudioPlane

from voice2face_gan.audio.decoding.content import fault, foreign
from voice2face_gan.audio.decoding.downmix import MIN_SWING, Piece, swing
from voice2face_gan.audio.decoding.info import AudioInfo
from voice2face_gan.audio.decoding.ogg import ogg_links
from voice2face_gan.audio.decoding.raw_formats import conversion, headerless_format
from voice2face_gan.audio.decoding.source import RecordingFile
from voice2face_gan.errors import AudioError

MIN_RATE = 2000
MAX_RATE = 1_000_000
"""Samples per second of a file's sound; others are damage, and a second at 1 Hz would become 16,000."""

MAX_CHANNELS = 64

# Containers that people's recordings come in, by FFmpeg's names. Each is recognised by its content.
_FORMATS = (
    "3gp,aa,aac,aax,ac3,act,aea,aiff,amr,ape,asf,ast,au,avi,avr,caf,dsf,dss,dts,dtshd,dv,eac3,epaf,flac,flv,"
    "gxf,hcom,iff,ircam,kux,live_flv,loas,lvf,matroska,mlp,mmf,mov,mp3,mpc,mpc8,mpeg,mpegts,mtv,mxf,"
    "nistsphere,nut,ogg,oma,paf,pvf,qcp,rm,rso,sds,shn,sox,tak,truehd,tta,voc,w64,wav,webm,wtv,wv,wve,xa,xwma"
)
# A playlist may name no other file or address, whatever protocol it asks for.
_OPTIONS = {"protocol_whitelist": "none", "format_whitelist": _FORMATS}
# A WAV header describes the whole stream. Without a small probe size FFmpeg would read 5 MB ahead to learn
# more (4 ms); larger packets than its default mean fewer Python steps (0.8 ms of a 10 s clip).
_WAV_OPTIONS = {"probesize": "2048", "max_size": "8192"}
# Formats whose tracks may begin anywhere: read on for a sound that begins late (bytes; microseconds).
_LATE_FORMATS = {"mpegts", "mpeg", "flv", "live_flv"}
_LATE_OPTIONS = {"probesize": str(64 * 2**20), "analyzeduration": str(600 * 10**6)}

_DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
_DTYPES = {name: np.dtype(code) for name, code in _DTYPES.items()}
_NOT_PLACES = ("NONE", "UNK", "USR", "AMBI")


def file_pieces(
    file: RecordingFile,
    name: str,
    info: AudioInfo,
    track: int | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> Iterator[Piece]:
    """Decode one sound track, about a second at a time.

    Args:
        file: the recording.
        name: what messages call it.
        info: gets the number of tracks, the one chosen and the header's length.
        track: which one, counted from 1. None for the one that FFmpeg thinks best among those that can be
            decoded, or, where that is silent (below -60 dBFS), the first that is not.
        start, end: the seconds in which a track must not be silent.

    Raises:
        AudioError: no recording, none that can be decoded, or no such track.
    """
    unlike = foreign(file)
    if unlike is not None:
        raise AudioError(f"{name}: {unlike}.")
    first, *more = ogg_links(file)
    yield from _link_pieces(first, name, info, track, start, end)
    for link in more:
        try:
            yield from _link_pieces(link, name, AudioInfo(), track, 0.0, None)
        except AudioError:  # what comes before the damage is kept
            return


def _link_pieces(
    file: RecordingFile, name: str, info: AudioInfo, track: int | None, start: float, end: float | None
) -> Iterator[Piece]:
    """The pieces of one container."""
    with _opened(file, name) as container:
        order = _order(container, name, info, track)
        if len(order) == 1:
            _note_choice(info, order[0], order, track)
            yield from _pieces(container, order[0], name)
            return
    chosen = _first_with_sound(file, name, order, start, end)
    _note_choice(info, chosen, order, track)
    with _opened(file, name) as container:
        yield from _pieces(container, chosen, name)


def no_sound(file: RecordingFile, name: str) -> AudioError:
    """The error of a recording that was opened and gave no sample."""
    what = fault(file) or "no sound could be decoded, it is empty or damaged; give another file"
    return AudioError(f"{name}: {what}.")


def _order(
    container: av.container.InputContainer, name: str, info: AudioInfo, track: int | None
) -> list[int]:
    """Indices, from 0, of the tracks to try, the best first: one alone where it was asked for."""
    streams = container.streams.audio
    usable = [index for index, stream in enumerate(streams) if stream.codec_context is not None]
    info.tracks = len(streams)
    info.container_seconds = container.duration / av.time_base if container.duration else None
    if not streams:
        what = "holds images but no sound" if container.streams.video else "holds no sound"
        raise AudioError(f"{name}: {what}; give a recording of a voice.")
    if track is not None:
        count = f"{len(streams)} sound tracks" if len(streams) > 1 else "one sound track"
        if not 1 <= track <= len(streams):
            raise AudioError(f"{name}: has {count}, no track {track}; ask for one from 1 to {len(streams)}.")
        if track - 1 not in usable:
            others = " or ".join(str(index + 1) for index in usable)
            advice = f"ask for track {others}" if others else "convert it to WAV first"
            raise AudioError(
                f"{name}: its sound track {track} is in a format that cannot be decoded; {advice}."
            )
        return [track - 1]
    if not usable:
        raise AudioError(f"{name}: its sound is in a format that cannot be decoded; convert it to WAV first.")
    best = container.streams.best("audio")  # may be one without a decoder
    first = next((index for index in usable if streams[index] is best), usable[0])
    return [first, *(index for index in usable if index != first)]


def _note_choice(info: AudioInfo, chosen: int, order: list[int], asked: int | None) -> None:
    info.track = chosen + 1
    if info.tracks < 2:
        return
    if asked is not None:
        reason = "as asked"
    elif len(order) == 1:
        reason = "the only one that can be decoded"
    elif chosen != order[0]:
        reason = f"for track {order[0] + 1} is silent"
    else:
        reason = "the first choice among those with sound"
    info.add_note(f"sound track {chosen + 1} of {info.tracks} is heard, {reason}")


def _pieces(container: av.container.InputContainer, index: int, name: str) -> Iterator[Piece]:
    """The pieces of one sound track."""
    stream = container.streams.audio[index]
    for other in container.streams:
        if other is not stream:
            other.discard = av.stream.Discard.all  # the images of a film are not even read
    yield from _joined(_frames(container, stream), name)


@contextmanager
def _opened(file: RecordingFile, name: str) -> Iterator[av.container.InputContainer]:
    """The container, opened once more with patience where its sound begins late."""
    container = _open(file, name, {})
    try:
        if not container.streams.audio and container.format.name in _LATE_FORMATS:
            container.close()
            container = _open(file, name, _LATE_OPTIONS)
        yield container
    finally:
        container.close()


def _open(file: RecordingFile, name: str, more: dict[str, str]) -> av.container.InputContainer:
    head = file.head(12)
    options, container_format = _OPTIONS | more, None
    if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:] == b"WAVE":
        options, container_format = options | _WAV_OPTIONS, "wav"
    elif (headerless := headerless_format(file)) is not None:
        options, container_format = options | {"format_whitelist": headerless}, headerless
    try:
        return av.open(file, format=container_format, options=options, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        what = fault(file) or conversion(name) or (
            "is not a recording that can be read, or is damaged; "
            "give a WAV, MP3, M4A, FLAC, Ogg, MP4 or WebM file"
        )  # fmt: skip
        raise AudioError(f"{name}: {what}.") from error


def _first_with_sound(
    file: RecordingFile, name: str, order: list[int], start: float, end: float | None
) -> int:
    """The first track of `order` that is not silent between start and end, in one pass over the file that
    ends as soon as this is known; the first of all where none has sound."""
    with _opened(file, name) as container:
        streams = [container.streams.audio[index] for index in order]
        for other in container.streams:
            if other not in streams:
                other.discard = av.stream.Discard.all
        seconds, sounding = dict.fromkeys(order, 0.0), set()
        for stream, frame in _frames_of_all(container, streams):
            index = order[streams.index(stream)]
            before = seconds[index]
            seconds[index] += frame.samples / frame.sample_rate
            if seconds[index] <= start or (end is not None and before >= end) or index in sounding:
                if end is not None and min(seconds.values()) >= end:
                    break
                continue
            if swing(_samples(frame)) >= MIN_SWING:
                sounding.add(index)
                if index == order[0]:
                    break
    return next((index for index in order if index in sounding), order[0])


def _joined(frames: Iterator[av.AudioFrame], name: str) -> Iterator[Piece]:
    """Frames as pieces of about a second; a change of rate, type or layout begins a new one."""
    kind: tuple = ()
    layout: tuple[str, ...] = ()
    arrays: list[np.ndarray] = []
    held = 0
    for frame in frames:
        channels = frame.layout.nb_channels
        new_kind = (frame.sample_rate, frame.format.name, channels, channels > 2 and frame.layout.name)
        if arrays and (new_kind != kind or held >= frame.sample_rate):
            yield Piece(np.concatenate(arrays, axis=1), kind[0], layout)
            arrays, held = [], 0
        if new_kind != kind:
            if not MIN_RATE <= frame.sample_rate <= MAX_RATE or channels > MAX_CHANNELS:
                raise AudioError(
                    f"{name}: claims {frame.sample_rate} samples per second in {channels} channels, it is "
                    "damaged; export it anew."
                )
            kind, layout = new_kind, _layout(frame)
        arrays.append(_samples(frame))
        held += frame.samples
    if arrays:
        yield Piece(np.concatenate(arrays, axis=1), kind[0], layout)


def _layout(frame: av.AudioFrame) -> tuple[str, ...]:
    if frame.layout.nb_channels < 3:
        return ()
    names = tuple(channel.name for channel in frame.layout.channels)
    return () if any(name.startswith(_NOT_PLACES) for name in names) else names


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """(channels, n) of one frame, which may be a view of its memory and keeps it.

    PyAV's `to_ndarray` and `planes` read beyond the last plane where there are eight or more channels (PyAV
    18.1.0: 7.1 in AAC ends the process), so each plane is asked for by its number.
    """
    kind, channels, count = frame.format.name, frame.layout.nb_channels, frame.samples
    dtype = _DTYPES[kind.removesuffix("p")]
    if channels == 1:
        return np.frombuffer(AudioPlane(frame, 0), dtype, count)[None]
    if kind.endswith("p"):
        return np.stack([np.frombuffer(AudioPlane(frame, i), dtype, count) for i in range(channels)])
    return np.frombuffer(AudioPlane(frame, 0), dtype, count * channels).reshape(count, channels).T


def _frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    return (frame for _, frame in _frames_of_all(container, [stream]))


def _frames_of_all(
    container: av.container.InputContainer, streams: list[av.AudioStream]
) -> Iterator[tuple[av.AudioStream, av.AudioFrame]]:
    """Decoded frames. Damaged packets are left out; damage to the container ends the recording."""
    packets = container.demux(streams)
    ended: set[int] = set()
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError, ValueError, MemoryError):
            packet = None
        if packet is None:  # broken off: without the packets that tell codecs of the end
            for stream in streams:
                if stream.index not in ended:
                    yield from _decoded(stream, None)
            return
        stream = packet.stream
        if packet.size == 0 and packet.dts is None:
            ended.add(stream.index)
            yield from _decoded(stream, None)
        else:
            yield from _decoded(stream, packet)


def _decoded(stream: av.AudioStream, packet: av.Packet | None) -> Iterator[tuple]:
    """A packet's frames; for None those that the codec holds back until it is told that no more will come."""
    try:
        frames = stream.codec_context.decode(packet)
    except (av.error.FFmpegError, ValueError, MemoryError):
        return
    for frame in frames:
        if frame.samples and frame.sample_rate and frame.format.name.removesuffix("p") in _DTYPES:
            yield stream, frame
