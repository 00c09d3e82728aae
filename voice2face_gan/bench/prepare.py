"""Benchmark of `prepare`: in all, step by step, and beside its own decoding and VAD alone."""

import resource
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from voice2face_gan.audio.decode import stream_audio
from voice2face_gan.audio.vad import SpeechCollector
from voice2face_gan.data.layouts import RawRecord, find_layout
from voice2face_gan.data.parquet_cells import open_media
from voice2face_gan.data.prepare.prepare import Outcome, prepare
from voice2face_gan.data.prepare.settings import PrepareSettings
from voice2face_gan.errors import DataError

STEPS = ("decode", "vad", "log-mel", "faces", "write")
_PASSES = 5  # over the recordings; the fastest counts, since other work on the machine only slows


def measure(
    layout: str | None,
    sources: tuple[str, ...],
    limit: int,
    workers: int,
    settings: PrepareSettings,
    format: str = "wav",
    say: Callable[[str], None] = lambda text: None,
) -> dict:
    """Prepare the first records of a data set, or of a synthetic world as recordings and images.

    Args:
        layout, sources: as for `prepare`; None makes a synthetic world in the `folders` layout.
        limit: number of records.
        workers: processes of the last measurement.
        settings: settings of the preparation.
        format: format of the synthetic world's recordings, see `bench.generate.FORMATS`.
        say: called with a progress message.
    Returns:
        records; hours of audio; `audio` (processor seconds of decode + VAD alone and of the whole preparation
        of the voices, in one process, and the ratio of the two); `runs`, for 1 and for `workers` processes:
        records/s and hours of audio per minute per process without start-up, processor time a record, seconds
        with start-up, share of time by step, peak memory in MiB; `speedup` by the clock; and
        `speedup_on_free_processors` by the processor time, as on a machine without other work.
    Raises:
        DataError: there are no records.
    """
    with TemporaryDirectory() as scratch:
        if layout is None:
            say(f"Making {limit} recordings ({format}) and images of the synthetic world ...")
            layout, sources = "folders", (str(make_world(Path(scratch) / "world", limit, format)),)
        records = [r for r, _ in zip(find_layout(layout).records(sources), range(limit), strict=False)]
        if not records:
            raise DataError("no records were found there; check the folder and the layout.")
        result = {"layout": layout, "records": len(records), "workers": workers, "runs": {}}
        voices = [record for record in records if record.voice and not record.voice.endswith(".npy")]
        if voices:
            say(f"Reading {len(voices)} recordings in one process, {_PASSES} times each way ...")
            result["audio"] = _audio(voices, settings)
        for count in dict.fromkeys((1, workers)):
            say(f"Preparing {len(records)} records with {count} process{'es' if count > 1 else ''} ...")
            store = Path(scratch) / f"store-{count}"
            rate = _Rate()
            outcome = prepare(layout, sources, store, settings, limit=limit, workers=count, progress=rate)
            result["hours"] = round(outcome.audio_seconds / 3600, 4)
            result["runs"][count] = _figures(outcome, rate, count, len(records))
        one, many = result["runs"][1], result["runs"][workers]
        result["speedup"] = round(many["records_per_second"] / one["records_per_second"], 2)
        costs = one["processor_ms_per_record"], many["processor_ms_per_record"]
        result["speedup_on_free_processors"] = round(workers * costs[0] / costs[1], 2)
    return result


class _Rate:
    """Records a second from the first shard to the last, without the start-up of processes."""

    def __init__(self) -> None:
        self.points: list[tuple[float, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.points.append((time.perf_counter(), done))

    def per_second(self, workers: int) -> float:
        begun = self.points if workers == 1 else self.points[workers:]  # each process has done its first
        (start, first), (end, last) = begun[0], begun[-1]
        return (last - first) / max(end - start, 1e-9)


def _figures(outcome: Outcome, rate: _Rate, workers: int, records: int) -> dict:
    per_second = rate.per_second(workers)
    busy = sum(outcome.steps.values())
    hours = outcome.audio_seconds / 3600
    return {
        "records_per_second": round(per_second, 2),
        "audio_hours_per_minute_per_process": round(hours / records * per_second * 60 / workers, 3),
        "processor_ms_per_record": round(1000 * outcome.processor_seconds / records, 3),
        "seconds": round(outcome.seconds, 2),
        "share": {step: round(outcome.steps[step] / max(busy, 1e-9), 4) for step in STEPS},
        "peak_mib": {
            "this process": round(_peak(resource.RUSAGE_SELF)),
            **({"a worker": round(_peak(resource.RUSAGE_CHILDREN))} if workers > 1 else {}),
        },
    }


def _peak(who: int) -> float:
    """Greatest resident memory in MiB; Linux counts in KiB, macOS in bytes."""
    return resource.getrusage(who).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _audio(voices: list[RawRecord], settings: PrepareSettings) -> dict:
    """Processor seconds of decode + VAD alone, and of the whole preparation of a voice.

    The least of each file counts, files in turn, so that neither waiting nor other work does."""
    from voice2face_gan.data.prepare.record import Clock, prepare_item

    alone, whole = [float("inf")] * len(voices), [float("inf")] * len(voices)
    with _one_thread():
        for _ in range(_PASSES):
            for i, record in enumerate(voices):
                start = time.process_time()
                collector = SpeechCollector(settings.vad)
                for block in stream_audio(open_media(record.voice), settings.features.sample_rate, 10.0):
                    collector.feed(block)
                collector.flush()
                middle = time.process_time()
                item = RawRecord(record.source, record.identity, voice=record.voice)
                prepare_item(item, settings, "raw", Clock())
                alone[i] = min(alone[i], middle - start)
                whole[i] = min(whole[i], time.process_time() - middle)
    return {
        "decode_vad_seconds": round(sum(alone), 3),
        "prepare_seconds": round(sum(whole), 3),
        "share": round(sum(alone) / sum(whole), 4),
    }


@contextmanager
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def make_world(folder: Path, records: int, format: str) -> Path:
    """A `folders` tree of the synthetic world: speakers with four clips of 6 s and four images each."""
    from PIL import Image

    from voice2face_gan.bench.generate import encode
    from voice2face_gan.synthetic import face, speakers, voice

    people = speakers.sample_speakers(max(3, -(-records // 8)), seed=0)
    for k in range(4):
        voices, faces = voice.synthesise(people, 6.0, clip=k), face.render(people, view=k, side=128)
        for name, waveform, image in zip(people.name, voices, faces, strict=True):
            for part in ("voices", "faces"):
                (folder / name / part).mkdir(parents=True, exist_ok=True)
            (folder / name / "voices" / f"{k}.{format}").write_bytes(encode(waveform, format))
            Image.fromarray(image).save(folder / name / "faces" / f"{k}.jpg", quality=92)
    return folder
