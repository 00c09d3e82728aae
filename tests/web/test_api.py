"""The HTTP API gives what the pipeline gives, by Accept, and refuses the rest in one sentence."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from voice2face_gan.web.api import NOTICE, _wants_json
from voice2face_gan.web.examples import example_wav


def pixels(image) -> np.ndarray:
    return np.asarray(image)


def opened(png: bytes | str) -> Image.Image:
    content = base64.b64decode(png) if isinstance(png, str) else png
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def test_an_image_is_the_pipelines(studio, sample, model):
    answer = studio.post("/api/v1/faces", sample, accept="*/*")
    assert answer.status == 200 and answer.headers["content-type"] == "image/png"
    image = opened(answer.body)
    (wanted,) = model.generate(io.BytesIO(sample))
    assert np.array_equal(pixels(image), pixels(wanted))
    assert image.text == wanted.info and image.text["Synthetic"].startswith("yes")


def test_json_has_the_images_and_what_was_found(studio, sample, model):
    options = {"variants": 3, "seed": 5, "gender": "female", "size": 80}
    answer = studio.post("/api/v1/faces", sample, **options).json
    wanted = model.generate_detailed(io.BytesIO(sample), **options)
    assert len(answer["faces"]) == 3 and answer["notice"] == NOTICE and answer["checkpoint"] == "synthetic"
    for entry, image in zip(answer["faces"], wanted.faces, strict=True):
        assert np.array_equal(pixels(opened(entry["png"])), pixels(image))
    assert [entry["variant"] for entry in answer["faces"]] == [1, 2, 3]
    assert {key: answer[key] for key in wanted.to_dict()} == wanted.to_dict()
    assert "details" not in answer


def test_several_variants_as_one_png(studio, sample, model):
    image = opened(studio.post("/api/v1/faces", sample, accept="image/png", variants=2).body)
    side = model.generate(io.BytesIO(sample))[0].width
    assert image.size == (2 * side + 2, side) and image.text["Variant"] == "1 to 2"


def test_details_are_of_the_recording(studio, sample):
    answer = studio.post("/api/v1/faces", sample, details="true").json
    details = answer["details"]
    assert details["seconds"] == answer["seconds"] == 5
    spoken = sum(end - start for start, end in details["speech"])
    assert spoken == pytest.approx(answer["speech_seconds"], abs=0.01)
    assert all(-1 <= low <= high <= 1 for low, high in details["envelope"])
    mel = details["log_mel"]
    data = base64.b64decode(mel["data"])
    assert mel["bins"] == 64 and len(data) == 64 * mel["columns"] and max(data) == 255


def test_an_embedding_is_the_pipelines(studio, sample, model):
    answer = studio.post("/api/v1/embeddings", sample).json
    wanted = model.embed_clip(io.BytesIO(sample))
    assert answer["dimensions"] == len(wanted) and np.allclose(answer["embedding"], wanted, atol=1e-7)
    assert answer["seconds"] == 5 and answer["warning"] == ""


def test_a_part_of_a_recording(studio, sample, model):
    answer = studio.post("/api/v1/embeddings", sample, start=1, end=3.5).json
    wanted = model.embed_clip(io.BytesIO(sample), start=1, end=3.5)
    assert answer["seconds"] == 2.5 and np.allclose(answer["embedding"], wanted, atol=1e-7)


def test_a_morph_goes_from_one_face_to_the_other(studio, sample, model):
    other = example_wav("high")
    answer = studio.post("/api/v1/morph", sample, other, steps=4).json
    faces = [pixels(opened(entry["png"])) for entry in answer["faces"]]
    wanted = [pixels(image) for image in model.interpolate(io.BytesIO(sample), io.BytesIO(other), 4)]
    assert len(faces) == 4 and all(np.array_equal(a, b) for a, b in zip(faces, wanted, strict=True))
    refused = studio.post("/api/v1/morph", sample, b"A letter.")
    assert refused.status == 400 and refused.json["error"].startswith("The second recording is text")
    strip = opened(studio.post("/api/v1/morph", sample, other, steps=4, accept="image/png").body)
    assert np.array_equal(pixels(strip), pixels(opened(answer["strip"]))) and strip.text["Morph"] == "1 to 4"


class Asked:
    def __init__(self, accept):
        self.headers = {} if accept is None else {"accept": accept}


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", True),
        ("image/png", False),
        ("image/png, application/json", False),
        ("application/json, image/png;q=0.5", True),
        ("application/json;q=0.2, */*;q=0.8", False),
        ("text/html, application/json;q=0.9, */*;q=0.8", True),
        ("application/json;q=nonsense", False),
    ],
)
def test_accept_chooses(accept, wanted):
    assert _wants_json(Asked(accept)) is wanted


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"variants": 17}, "variants is '17'; give a whole number from 1 to 16."),
        ({"variants": "two"}, "variants is 'two'"),
        ({"seed": -1}, "seed is '-1'"),
        ({"strength": "nan"}, "strength is 'nan'; give a number from 0 to 10."),
        ({"strength": "1_0"}, "strength is '1_0'"),
        ({"seed": "\u0663"}, "give a whole number from 0 to"),
        ({"end": "1e7"}, "give a number from 0 to 1000000."),
        ({"gender": "robot"}, "give one of auto, female, male."),
        ({"size": 100000}, "size is '100000'"),
        ({"checkpoint": "../../etc"}, "There is no such checkpoint here; this server has synthetic."),
        ({"checkpoint": "default"}, "There is no such checkpoint here"),
        ({"path": "/etc/passwd"}, "There is no field 'path' here"),
        ({"start": 4, "end": 2}, "is not before the end"),
        ({"start": 60}, "lies beyond its end"),
        ({"track": 3}, "track"),
    ],
)
def test_wrong_options_are_refused(studio, sample, fields, sentence):
    answer = studio.post("/api/v1/faces", sample, **fields)
    assert answer.status == 400 and sentence in answer.json["error"]
    assert answer.json["error"].endswith(".") and "Traceback" not in answer.json["error"]


def test_wrong_forms_are_refused(studio, sample, form):
    def post(body, kind=f"multipart/form-data; boundary={'b0undary'}"):
        answer = studio("POST", "/api/v1/faces", body, content_type=kind)
        return answer.status, answer.json["error"]

    assert post(sample, "audio/wav") == (
        415, "Send multipart/form-data with the recording as the file field 'audio'."
    )  # fmt: skip
    assert post(form()) == (400, "Send one recording as the file field 'audio', not 0.")
    assert post(form(audio="text"))[1].startswith("The field 'audio' must be a file")
    assert post(form([("file", "a.wav", sample)]))[1] == "The file field is called 'audio', not 'file'."
    two = "Send one recording as the file field 'audio', and everything else as text."
    assert post(form([("audio", "a.wav", sample)] * 2)) == (400, two)
    assert post(form([("audio", "a.wav", sample), ("seed", "b", b"1")])) == (400, two)
    answer = studio("POST", "/api/v1/faces?variants=4", form([("audio", "a.wav", sample)]))
    assert "'variants' stands in the address" in answer.json["error"]
    assert post(form([("audio", "a.wav", sample)])[:-1000])[0] == 400
    assert post(b"nonsense")[0] == 400 and post(b"", "multipart/form-data")[0] == 400
    assert post(form(variants="1" * 5000))[0] == 400


def test_speech_is_needed(studio, write_wav, tmp_path):
    silence = write_wav(tmp_path / "s.wav", np.zeros(32000, np.float32)).read_bytes()
    answer = studio.post("/api/v1/faces", silence)
    assert answer.status == 422
    assert answer.json["error"].startswith("0.00 s of speech found, 0.30 s needed; give a longer")
    answer = studio.post("/api/v1/faces", b"<html>no sound</html>")
    assert answer.status == 400 and answer.json["error"].startswith("The recording is a web page")


def test_what_is_served(studio):
    health = studio.get("/health").json
    assert health["status"] == "ok" and health["checkpoints"] == {"synthetic": "ready"}
    (entry,) = studio.get("/api/v1/checkpoints").json["checkpoints"]
    assert (entry["id"], entry["side"], entry["strength"]) == ("synthetic", 64, 1.0)
    examples = studio.get("/api/v1/examples").json["examples"]
    assert len(examples) >= 3 and all(example["label"] for example in examples)
    for example in examples:
        answer = studio.get(f"/api/v1/examples/{example['id']}")
        assert answer.status == 200 and answer.body.startswith(b"RIFF")
    assert studio.get("/api/v1/examples/..%2F..%2Fsetup.cfg").status == 404
    assert studio.get("/nothing").status == 404 and studio.get("/api/v1/faces").status == 405
    assert set(studio.get("/nothing").json) == {"error"}


def test_examples_give_faces_without_a_warning(studio):
    for key in ("sample", "low", "high", "older"):
        assert studio.post("/api/v1/faces", example_wav(key)).json["warning"] == "", key


def test_metrics_count(studio, sample):
    def value(name: str) -> float:
        text = studio.get("/metrics").body.decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    done = 'v2f_requests_total{route="/api/v1/faces",status="200"}'
    before = value(done), value("v2f_images_total")
    studio.post("/api/v1/faces", sample, variants=2)
    assert (value(done), value("v2f_images_total")) == (before[0] + 1, before[1] + 2)
    assert value('v2f_request_seconds_count{route="/api/v1/faces"}') >= value(done)
    assert value("process_resident_memory_bytes") > 1e7


def test_the_description_is_of_these_routes(studio):
    document = studio.get("/openapi.json").json
    assert document["openapi"].startswith("3.1") and json.dumps(document)
    described = {(path, m.upper()) for path, methods in document["paths"].items() for m in methods}
    served = {(route.path, m) for route in studio.app.routes for m in route.methods - {"HEAD"}}
    pages = {path for path, _ in served if "." in path or path in ("/", "/api", "/runs")}
    assert described == {(p, m) for p, m in served if p not in pages and not p.startswith("/api/v1/runs")}
    form = document["paths"]["/api/v1/faces"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert {"audio", "variants", "seed", "strength", "gender"} <= set(form["schema"]["properties"])
