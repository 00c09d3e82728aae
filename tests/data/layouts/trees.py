"""Small data sets in the layouts of real ones, made of the synthetic world: nobody's voice, nobody's face.

Every builder writes a tree below a folder and returns a `Tree`: the SRC arguments of its layout, and what a
faithful reading of it must find. Names are invented, and spelt differently from set to set, as in life.
"""

import csv
import functools
import tempfile
import wave
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from voice2face_gan.synthetic import SAMPLE_RATE, render, sample_speakers, synthesise

# As the metadata spell them -> as VGGFace spells the folder. First letters: three A-B, three C-E, six F-Z.
NAMES = {
    "A.J._Öst": "AJ_Ost",
    "Alva_Þorn": "alva_thorn",
    "Bo_O'Neil": "Bo_ONeil",
    "Carla_De_La_Vía": "Carla_de_la_Via",
    "Dag_Moe-Lund": "Dag_Moe_Lund",
    "\u00c9lin_Ros": "E\u0301lin_Ros",  # é composed in the metadata, taken apart in the folder's name
    "Frida_Łuk": "Frida_Luk",
    "Gro_Haug": "Gro_Haug",
    "Hal_Yates_Jr.": "Hal_Yates_Jr",
    "Ines_Straße": "Ines_Strasse",
    "Noor_Bakker": "Noor_Bakker",
    "Zed_Quill": "Zed_Quill",
}
SECONDS = 1.0


@dataclass
class Tree:
    """What was built.

    Attributes:
        sources: the SRC arguments.
        genders: identity -> "female", "male" or "" of everyone the layout must yield by default.
        voices, faces: how many records have a voice, a face.
        splits: identity -> the official side, where there is one.
    """

    sources: list[str]
    genders: dict[str, str]
    voices: int = 0
    faces: int = 0
    splits: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class People:
    """The people of all trees: `waves[k]` is (12, samples), `images[k]` (12, 64, 64, 3)."""

    names: tuple[str, ...]
    genders: tuple[str, ...]
    waves: list[np.ndarray]
    images: list[np.ndarray]

    def letter(self, i: int) -> str:
        return self.genders[i][0]


def video_id(i: int, k: int) -> str:
    """Person i's k-th video: eleven signs, as YouTube's."""
    return ("dQw4w9WgX", "_Ab-3xYz0", "-00000000")[k] + f"{i:02d}"


@functools.cache
def people() -> People:
    speakers = sample_speakers(len(NAMES), seed=11)
    return People(
        names=tuple(NAMES),
        genders=tuple("female" if f else "male" for f in speakers.female),
        waves=[synthesise(speakers, SECONDS, seed=11, clip=k) for k in range(3)],
        images=[render(speakers, seed=11, view=k) for k in range(3)],
    )


def write_wav(path: Path, sound: np.ndarray, rate: int = SAMPLE_RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())


def write_image(path: Path, image: np.ndarray, side: int = 64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC).save(path)


def write_table(path: Path, rows: list[list], delimiter: str = ",", encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)


def write_film(
    path: Path,
    sound: np.ndarray | None,
    images: np.ndarray | None = None,
    fps: int = 10,
    video: str = "libx264",
    audio: str = "aac",
    rate: int = SAMPLE_RATE,
    **options: str,
) -> None:
    """A recording or film by PyAV: sound (samples,) at `rate`, images (n, h, w, 3) at `fps`; either
    None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as out:
        seen = heard = None
        if images is not None:
            seen = out.add_stream(video, rate=fps, width=images.shape[2], height=images.shape[1])
            seen.pix_fmt = "yuv420p"
            seen.options = {"preset": "ultrafast", "g": str(fps)} if video == "libx264" else {}
        if sound is not None:
            heard = out.add_stream(audio, rate=rate, layout="mono", format="fltp")
            heard.options = {"aac_coder": "fast"} if audio == "aac" else {}
        if seen is not None:
            for image in images:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                out.mux(seen.encode(frame.reformat(format="yuv420p")))
            out.mux(seen.encode(None))
        if heard is not None:
            size = heard.codec_context.frame_size or 1024
            for start in range(0, len(sound), size):
                piece = np.ascontiguousarray(sound[None, start : start + size], dtype=np.float32)
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                out.mux(heard.encode(frame))
            out.mux(heard.encode(None))


def _clips(root: Path, ids: list[str], ending: str, who: list[int], videos: int = 2) -> int:
    """ID/VIDEO/00001.ending, one clip a video; returns how many."""
    count = 0
    for i in who:
        for k in range(videos):
            path = root / ids[i] / video_id(i, k) / f"{k + 1:05d}{ending}"
            if ending == ".wav":
                write_wav(path, people().waves[k][i])
            elif ending == ".mp4":
                write_film(path, people().waves[k][i], np.stack([p[i] for p in people().images]), fps=3)
            else:
                write_film(path, people().waves[k][i])
            count += 1
    return count


def _faces(root: Path, folders: list[str], who: list[int], views: int = 3, side: int = 64) -> int:
    count = 0
    for i in who:
        for k in range(views):
            write_image(root / folders[i] / f"{k:08d}.jpg", people().images[k][i], side)
            count += 1
    return count


def ids1() -> list[str]:
    return [f"id{10001 + i}" for i in range(len(NAMES))]


def ids2() -> list[str]:
    return [f"id{12 + i:05d}" for i in range(len(NAMES))]


def write_vox1_meta(path: Path) -> None:
    rows = [["VoxCeleb1 ID", "VGGFace1 ID", "Gender", "Nationality", "Set"]]
    for i, name in enumerate(NAMES):
        rows.append([ids1()[i], name, people().letter(i), "New Zealand", "test" if i in (3, 4) else "dev"])
    write_table(path, rows, "\t")


def write_vox2_meta(path: Path) -> None:
    """With a space before each comma, as in the real file."""
    lines = ["VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set "]
    for i in range(len(NAMES)):
        side = "test" if i in (2, 7) else "dev"
        lines.append(f"{ids2()[i]} ,n{12 + i:06d} ,{people().letter(i)} ,{side} ")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def voxceleb1(folder: Path, faces: bool = True, below: str = "wav") -> Tree:
    """Voices of all but the last; faces of all but the first, and of a stranger nearly called as the
    first."""
    everyone = list(range(len(NAMES)))
    voices = _clips(folder / "vox1" / below, ids1(), ".wav", everyone[:-1])
    write_vox1_meta(folder / "vox1" / "vox1_meta.csv")
    sources = [str(folder / "vox1")]
    genders = {people().names[i]: people().genders[i] for i in everyone[:-1]}
    count = 0
    if faces:
        _faces(folder / "vggface", list(NAMES.values()), everyone[1:])
        write_image(folder / "vggface" / "AJ_Oest" / "1.jpg", people().images[0][0])
        sources += [str(folder / "vox1" / "vox1_meta.csv"), str(folder / "vggface")]
        genders.pop(people().names[0])
        voices, count = voices - 2, 3 * len(genders)
    return Tree(sources, genders, voices, count)


def voxceleb2(folder: Path, faces: bool = True, ending: str = ".m4a", below: str = "dev/aac") -> Tree:
    who = list(range(10))
    voices = _clips(folder / "vox2" / below, ids2(), ending, who)
    write_vox2_meta(folder / "vox2_meta.csv")
    count = voices if ending == ".mp4" else 0
    sources = [str(folder / "vox2")]
    if faces:
        ids = [f"n{12 + i:06d}" for i in range(len(NAMES))]
        count += _faces(folder / "vggface2" / "train", ids, who[:7])
        count += _faces(folder / "vggface2" / "test", ids, who[7:])
        sources += [str(folder / "vox2_meta.csv"), str(folder / "vggface2")]
    splits = {ids2()[i]: "test" if i in (2, 7) else "train" for i in who}
    return Tree(sources, {ids2()[i]: people().genders[i] for i in who}, voices, count, splits)


def wen2019(folder: Path) -> Tree:
    """Log-mels (frames, 64) of 120 frames, but (64, frames) for the second person."""
    who = list(range(len(NAMES)))
    rng = np.random.default_rng(0)
    for i in who:
        for k in range(2):
            path = folder / "data" / "fbank" / ids1()[i] / video_id(i, k) / f"{k + 1:05d}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            mel = rng.standard_normal((120, 64)).astype(np.float32)
            np.save(path, mel.T if i == 1 else mel)
    _faces(folder / "data" / "VGG_ALL_FRONTAL", list(NAMES.values()), who, views=2)
    write_vox1_meta(folder / "data" / "vox1_meta.csv")
    return Tree([str(folder)], dict(zip(people().names, people().genders, strict=True)), 24, 24)


def hq_voxceleb(folder: Path) -> Tree:
    """Six people of VoxCeleb1 (wav), six of VoxCeleb2 (m4a), named by SF2F's own metadata."""
    root, names = folder / "hq", list(NAMES)
    first, second = list(range(6)), list(range(6, 12))
    voices = _clips(root / "raw_wav" / "vox1" / "dev", ids1(), ".wav", first)
    voices += _clips(root / "raw_wav" / "vox2" / "test", ids2(), ".m4a", second)
    faces = _faces(root / "vox1" / "masked_faces", names, first)
    faces += _faces(root / "vox2" / "masked_faces", names, second)
    _faces(root / "vox1" / "origin_faces", names, first, views=1)
    write_vox1_meta(root / "vox1" / "vox1_meta.csv")
    rows = [["Name", "VoxCeleb2ID", "VGGFace2ID", "Gender", "Set"]]
    rows += [[names[i], ids2()[i], f"n{i:06d}", people().letter(i), "dev"] for i in second]
    write_table(root / "vox2" / "full_vox2_meta.csv", rows)
    (root / "vox1" / "mel_spectrograms" / "x").mkdir(parents=True)
    (root / "vox1" / "mel_spectrograms" / "x" / "a.pickle").write_bytes(b"never opened")
    return Tree([str(root)], dict(zip(people().names, people().genders, strict=True)), voices, faces)


def vggface(folder: Path) -> Tree:
    faces = _faces(folder / "vggface", list(NAMES.values()), list(range(12)))
    return Tree([str(folder / "vggface")], dict.fromkeys(NAMES.values(), ""), 0, faces)


def vggface2(folder: Path) -> Tree:
    root, ids = folder / "vggface2", [f"n{i:06d}" for i in range(12)]
    faces = _faces(root / "train", ids, list(range(9)), side=96) + _faces(
        root / "test", ids, [9, 10, 11], side=96
    )
    rows = [["Class_ID", " Name", " Sample_Num", " Flag", " Gender"]]
    rows += [[ids[i], f' "{name}"', " 3", " 1", f" {people().letter(i)}"] for i, name in enumerate(NAMES)]
    root.joinpath("identity_meta.csv").write_text("\n".join(",".join(r) for r in rows), encoding="utf-8")
    splits = {name: "test" if i >= 9 else "train" for i, name in enumerate(ids)}
    return Tree([str(root)], dict(zip(ids, people().genders, strict=True)), 0, faces, splits)


def avspeech(folder: Path) -> Tree:
    """What the fetcher leaves: five videos, two clips of each, sound and images in one file."""
    rows = [["file", "youtube_id", "start", "end", "x", "y"]]
    genders = {}
    for i in range(5):
        video = f"{'-_aZ9'[i]}video{i}xxxx"
        genders[f"yt_{video}"] = ""
        for k in range(2):
            name = f"clips/{video[:2]}/{video}_{k * 10:.6f}-{k * 10 + 1:.6f}.mp4"
            images = np.stack([p[i] for p in people().images])
            write_film(folder / "avspeech" / name, people().waves[k][i], images, fps=3)
            rows.append([name, video, k * 10.0, k * 10 + 1.0, 0.25 + 0.1 * i, 0.5])
    write_table(folder / "avspeech" / "clips.csv", rows)
    return Tree([str(folder / "avspeech")], genders, 10, 10)


def paired(folder: Path) -> Tree:
    rows = [["clip", "identity", "gender", "nationality", "voice", "face", "face_normalised"]]
    root, voices = folder / "paired", 0
    for i, name in enumerate(NAMES):
        for k in range(2):
            clip = f"{i:04d}{name}_{video_id(i, k)}_{k:07d}"
            write_wav(root / "voice" / f"{clip}.wav", people().waves[k][i])
            write_image(root / "face" / f"{clip}.webp", people().images[k][i], 128)
            write_image(root / "face_normalised" / f"{clip}.webp", people().images[2][i], 128)
            files = [f"voice/{clip}.wav", f"face/{clip}.webp", f"face_normalised/{clip}.webp"]
            rows.append([clip, name, people().letter(i), "Norway", *files])
            voices += 1
    write_table(root / "labels.csv", rows)
    return Tree([str(root)], dict(zip(people().names, people().genders, strict=True)), voices, voices)


def voices(folder: Path) -> Tree:
    rows = [["file", "speaker", "gender", "age", "corpus", "seconds"]]
    genders = {}
    for i in range(12):
        genders[f"sp{i}"] = people().genders[i] if i else ""
        for k in range(2):
            file = f"corpus{i % 2}/sp{i}/{k}.wav"
            write_wav(folder / "voices" / file, people().waves[k][i])
            rows.append(
                [
                    file,
                    f"sp{i}",
                    people().letter(i) if i else "",
                    30 + i if i % 3 else "",
                    f"corpus{i % 2}",
                    1,
                ]
            )
    write_table(folder / "voices" / "labels.csv", rows)
    return Tree([str(folder / "voices")], genders, 24, 0)


def faces(folder: Path) -> Tree:
    rows = [["file", "gender", "age", "ethnicity"]]
    genders = {}
    for i in range(12):
        for k in range(2):
            write_image(folder / "faces" / f"{i:03d}{k}.webp", people().images[k][i], 72)
            rows.append([f"{i:03d}{k}.webp", people().letter(i), 20 + i, "asian"])
            genders[f"faces/{i:03d}{k}"] = people().genders[i]
    write_table(folder / "faces" / "labels.csv", rows)
    return Tree([str(folder / "faces")], genders, 0, 24)


def videos(folder: Path, in_folders: bool = False) -> Tree:
    genders, count = {}, 0
    for i in range(4):
        for k in range(2 if in_folders else 1):
            name = f"speaker {i}/{k}.webm" if in_folders else f"speaker {i}.mp4"
            codecs = {"video": "libvpx", "audio": "libopus", "rate": 48_000} if in_folders else {}
            sound = np.repeat(people().waves[k][i], 3) if in_folders else people().waves[k][i]
            write_film(
                folder / "videos" / name, sound, np.stack([p[i] for p in people().images]), 3, **codecs
            )
            count += 1
        genders[f"speaker {i}"] = people().genders[i] if i else ""
    rows = [["identity", "gender", "age"]] + [[f"Speaker_{i}", people().letter(i), 40] for i in range(1, 4)]
    write_table(folder / "videos" / "labels.csv", rows)
    return Tree([str(folder / "videos")], genders, count, count)


def folders(folder: Path, by_gender: bool = True) -> Tree:
    root = folder / "people"
    for i, name in enumerate(NAMES):
        person = root / people().genders[i] / name if by_gender else root / name
        for k in range(2):
            write_wav(person / "voices" / f"{k}.WAV", people().waves[k][i])
            write_image(person / "faces" / f"{k}.JPG", people().images[k][i])
    if not by_gender:
        rows = [["identity", "gender"]] + [[name, people().letter(i)] for i, name in enumerate(NAMES)]
        write_table(root / "labels.csv", rows)
    return Tree([str(root)], dict(zip(people().names, people().genders, strict=True)), 24, 24)


def film(sound: np.ndarray | None, images: np.ndarray | None, ending: str = ".mp4") -> bytes:
    """The content of a film: with sound alone, or images alone, as rows of parquet files hold them."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"film{ending}"
        write_film(path, sound, images, fps=3)
        return path.read_bytes()


@functools.cache
def streams(i: int, k: int) -> tuple[bytes, bytes]:
    """Person i's k-th clip as (images alone, sound alone)."""
    return film(None, np.stack([p[i] for p in people().images])), film(people().waves[k][i], None, ".m4a")


def write_parquet(path: Path, columns: dict[str, list], structs: tuple[str, ...] = (), **options) -> None:
    """A parquet file. Columns named in `structs` become {bytes, path}, as Hugging Face's datasets write them;
    others that hold bytes stay so."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    inside = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays = {
        title: pa.array([{"bytes": v, "path": f"{i}.m4a"} for i, v in enumerate(values)], inside)
        if title in structs
        else pa.array(values)
        for title, values in columns.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays), path, **options)


def avspeech_parquet(folder: Path, ids: str = "") -> Tree:
    """Two files to train on, one to test, of four rows each; two clips of everybody where a column names
    videos."""
    root, splits = folder / "avspeech-hub", {}
    for n, name in enumerate(("test/test-rows-0", "train/train-rows-0", "train/train-rows-4")):
        clips = [(2 * n + j // 2, j % 2) for j in range(4)]
        videos, sounds = zip(*(streams(i, k) for i, k in clips), strict=True)
        columns = {"video": list(videos), "audio": list(sounds)}
        if ids:
            columns |= {ids: [f"{video_id(i, 0)}_{k}.0-{k + 1}.5" for i, k in clips]}
        write_parquet(root / f"{name}.parquet", columns, row_group_size=3)
        for row, (i, _) in enumerate(clips):
            who = f"yt_{video_id(i, 0)}" if ids else f"{name}/{row:06d}"
            splits[who] = name.split("/")[0]
    return Tree([str(root)], dict.fromkeys(splits, ""), 12, 12, splits)


def voxceleb2_parquet(folder: Path, metadata: bool = True) -> Tree:
    """Two clips of each of six people; the third and the sixth are in the test files."""
    root, splits = folder / "vox2-hub", {}
    for name, who in (("dev-00000-of-00002", (0, 1)), ("dev-00001-of-00002", (3, 4)), ("test", (5, 2))):
        clips = [(i, k) for i in sorted(who) for k in range(2)]
        columns = {
            "spk_id": [ids2()[i] for i, _ in clips],
            "video_id": [video_id(i, k) for i, k in clips],
            "part_id": [f"{k + 1:05d}" for _, k in clips],
            "lip_video": [b"lips are no face"] * len(clips),
            "audio": [streams(i, k)[1] for i, k in clips],
            "en_dataset": [True] * len(clips),
        }
        write_parquet(root / "data" / f"{name}.parquet", columns, structs=("audio",))
        splits |= {ids2()[i]: "test" if name == "test" else "train" for i in who}
    if metadata:
        write_vox2_meta(root / "vox2_meta.csv")
    genders = {ids2()[i]: people().genders[i] if metadata else "" for i in range(6)}
    return Tree([str(root)], genders, 12, 0, splits)


BUILDERS = {
    "voxceleb1": voxceleb1,
    "voxceleb2": voxceleb2,
    "wen2019": wen2019,
    "hq-voxceleb": hq_voxceleb,
    "vggface": vggface,
    "vggface2": vggface2,
    "avspeech": avspeech,
    "paired": paired,
    "voices": voices,
    "faces": faces,
    "videos": videos,
    "folders": folders,
    "avspeech-parquet": avspeech_parquet,
    "voxceleb2-parquet": voxceleb2_parquet,
}
"""Layout name -> builder(folder)."""
