"""What the tests share: a cache of their own, a small synthetic world, a small trained run, clips.

The nets are narrow, so that an iteration takes milliseconds; nothing here needs the shipped weights.
"""

import json
import os
import subprocess
import sys
import wave
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

Result = namedtuple("Result", "code stdout stderr")

TINY = {
    "model.generator.channels": [32, 16, 16, 8, 8],
    "model.encoder.channels": [16, 16, 16, 16],
    "model.generator.trunk_channels": [8, 8, 16, 16, 16],
    "encoder.batch": 16,
    "gan.batch": 8,
    "data.crop_frames": [100, 200],
    "encoder.crop_frames": [100, 200],
    "run.precision": "fp32",
    "run.tensorboard": False,
    "run.evaluate_every": 0,
}


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """The synthetic world of the tests is not that of whoever runs them, nor are their Inception weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("V2F_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        patch.setenv("V2F_OFFLINE", "1")  # nor do they download any
        yield


@pytest.fixture(scope="session", autouse=True)
def few_examples():
    """The probes of the warnings are fitted on few examples where a test trains: hundreds take a minute."""
    from voice2face_gan.training.probes import input_quality

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(input_quality, "CLIPS", 24)
        patch.setattr(input_quality, "SOUND_CLIPS", 12)
        yield


@pytest.fixture(scope="session")
def store(own_cache):
    """The synthetic world of 20 speakers: 14 to train on, 2 to validate, 4 to test."""
    from voice2face_gan.data.synthetic import synthetic_store

    return synthetic_store("synthetic:20")


@pytest.fixture(scope="session")
def tiny_settings():
    """Function: overrides of a recipe that make its nets small, for `load_recipe`; more may be given."""

    def settings(**more) -> tuple[str, ...]:
        more = {key.replace("__", "."): value for key, value in more.items()}
        # A network of another type has other settings.
        others = [key.removesuffix("type") for key in more if key.endswith(".type")]
        changed = {key: v for key, v in TINY.items() if not key.startswith(tuple(others))} | more
        return tuple(f"{key}={json.dumps(value)}" for key, value in changed.items())

    return settings


@pytest.fixture(scope="session")
def encoder_settings(tiny_settings):
    """Function: those of `tiny_settings` that a voice encoder alone takes. It is measured by default."""

    def settings(**more) -> tuple[str, ...]:
        own = tiny_settings(**more)
        if "run__evaluate_every" not in more:
            own = (text for text in own if not text.startswith("run.evaluate_every="))
        taken = ("encoder.", "model.encoder.", "run.")
        return tuple(text for text in own if text.startswith(taken))

    return settings


@pytest.fixture(scope="session")
def tiny(tiny_settings):
    """Function: the same as arguments of `v2f-gan train`, with --data and --recipe."""

    def arguments(**more) -> list[str]:
        settings = (x for text in tiny_settings(**more) for x in ("--set", text))
        return ["--data", "synthetic:20", "--recipe", "wen2019-small", *settings]

    return arguments


@pytest.fixture(scope="session")
def new_run(tiny_settings):
    """Function (root, iterations, more overrides) -> a run of small nets that is not trained yet."""
    from voice2face_gan.training.recipe.recipe import load_recipe
    from voice2face_gan.training.run.folder import Run

    def make(root, iterations: int = 10, encoder=None, seed: int = 0, init=None, **more):
        more.setdefault("encoder__iterations", iterations)
        more.setdefault("gan__iterations", iterations)
        recipe = load_recipe("wen2019", tiny_settings(**more))
        settings = {"data": "synthetic:20", "gender": recipe.data.gender, "seed": seed, "iterations": None}
        given = {"encoder": encoder, "init": init}
        settings |= {k: None if v is None else str(v) for k, v in given.items()}
        return Run.create(root, recipe, settings)

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory, store, new_run):
    """The folder of a run that was trained for a moment. Do not write there: `run_copy` is yours."""
    import torch

    from voice2face_gan.training.engine.train import train

    run = new_run(tmp_path_factory.mktemp("trained"), 30, run__checkpoint_every=10, encoder__lr=0.01)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    train(run, store, torch.device("cpu"))
    torch.set_num_threads(threads)
    return run.folder


@pytest.fixture
def run_copy(trained, tmp_path):
    """A copy of the trained run that a test may change."""
    import shutil

    return Path(shutil.copytree(trained, tmp_path / "runs" / trained.name))


@pytest.fixture(scope="session")
def model_folder(trained, tmp_path_factory):
    """A checkpoint whose faces differ from voice to voice and fill the value range.

    Its encoder and its gender probe are trained; its generator has random weights of such a size that
    signals keep theirs, for a few iterations leave a generator that paints one grey whatever it hears.
    """
    import torch
    from torch import nn

    from voice2face_gan.models.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(trained)
    torch.manual_seed(3)
    layers = [layer for layer in checkpoint.generator.modules() if isinstance(layer, nn.ConvTranspose2d)]
    for layer in layers:
        # What is added up for one output: channels x kernel positions that reach it. The first sees |e| = 1.
        products = layer.in_channels * (layer.kernel_size[0] / layer.stride[0]) ** 2
        nn.init.normal_(layer.weight, std=1.0 if layer is layers[0] else (2 / products) ** 0.5)
        nn.init.zeros_(layer.bias)
    layers[-1].weight.data.mul_(0.5)
    return checkpoint.save(tmp_path_factory.mktemp("model") / "painter")


@pytest.fixture(scope="session")
def model(model_folder):
    from voice2face_gan.pipeline import VoiceToFace

    return VoiceToFace.from_pretrained(model_folder)


@pytest.fixture(scope="session")
def judge_folder(tmp_path_factory):
    """A judge with random weights: what it says means nothing, but it always says the same."""
    import torch

    from voice2face_gan.models.face_readers.classifier import ClassifierTrunk, save_classifier

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("judge") / "judge-random"
    save_classifier(
        folder, ClassifierTrunk(), {"trained_on": "nothing", "held_out": {"gender_accuracy": 0.5}}
    )
    return folder


@pytest.fixture(scope="session")
def write_wav():
    """Function (path, samples in [-1, 1], rate): a 16-bit mono WAV file."""

    def write(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        return path

    return write


@pytest.fixture(scope="session")
def voices():
    """Six synthetic speakers, float32 (6, 3 s of samples)."""
    from voice2face_gan.synthetic.speakers import sample_speakers
    from voice2face_gan.synthetic.voice import synthesise

    return synthesise(sample_speakers(6, seed=9), 3.0, seed=9)


@pytest.fixture(scope="session")
def clips(tmp_path_factory, voices, write_wav):
    """Their recordings: spk0.wav to spk5.wav. Do not write there."""
    folder = tmp_path_factory.mktemp("clips")
    return [write_wav(folder / f"spk{i}.wav", voice) for i, voice in enumerate(voices)]


@pytest.fixture
def cli(monkeypatch, tmp_path):
    """Function (*arguments, input=b"") -> Result of `v2f-gan` in this process, in an empty folder, where an
    exception that is no clean end fails the test. `.stdout` holds results alone, `.stderr` what people
    read."""
    from click.testing import CliRunner

    from voice2face_gan.cli import main

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def call(*arguments, input: bytes = b"") -> Result:
        result = CliRunner().invoke(main, [str(a) for a in arguments], input, catch_exceptions=False)
        assert "Traceback" not in result.output
        return Result(result.exit_code, result.stdout, result.stderr)

    call.here = here
    return call


@pytest.fixture(scope="session")
def python():
    """Function (*arguments) -> Result of a Python process of its own."""

    def call(*arguments, timeout: float = 120, **options) -> Result:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, **options
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def start(tmp_path):
    """Function (*arguments) -> a running `v2f-gan`; killed at the end of the test whatever happens."""
    started = []

    def call(*arguments, **options) -> subprocess.Popen:
        command = [sys.executable, "-m", "voice2face_gan", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(
            subprocess.Popen(command, **pipes, env=os.environ | {"OMP_NUM_THREADS": "1"}, **options)
        )
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def one_thread():
    """Sums are the same from run to run only with the same number of threads; and one is fastest for nets as
    small as these."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory):
    """Weights of the teacher's shapes, drawn by chance, in a file such as Resemblyzer's."""
    import torch
    from torch import nn

    torch.manual_seed(4)
    nets = {"lstm": nn.LSTM(40, 256, 3, batch_first=True), "linear": nn.Linear(256, 256)}
    nn.init.normal_(nets["linear"].weight)
    state = {f"{name}.{k}": v for name, net in nets.items() for k, v in net.state_dict().items()}
    path = tmp_path_factory.mktemp("teacher") / "pretrained.pt"
    torch.save({"step": 1, "model_state": {**state, "similarity_weight": torch.ones(1)}}, path)
    return path


@pytest.fixture
def full_disk():
    """Context manager (bytes): no file can grow beyond so many, as if the disk were full there."""
    import contextlib
    import resource

    @contextlib.contextmanager
    def limit(size: int):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.fixture
def fake_hub(monkeypatch, tmp_path):
    """A Hugging Face hub in this process (tests/fake_hub.py), empty, the one that huggingface_hub asks; its
    cache is the test's own, nobody is logged in."""
    import importlib.util

    constants = pytest.importorskip("huggingface_hub.constants")
    place = importlib.util.spec_from_file_location("fake_hub", Path(__file__).with_name("fake_hub.py"))
    module = importlib.util.module_from_spec(place)
    sys.modules["fake_hub"] = module  # dataclasses look their module up
    place.loader.exec_module(module)
    hub = module.FakeHub()
    hub.token, hub.cache = module.TOKEN, tmp_path / "hub"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub.cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    yield hub
    hub.close()


@pytest.fixture
def file_server(monkeypatch):
    """A web server on 127.0.0.1, and the network allowed. `answers[path]` is bytes to send, or a function
    (handler) that answers; anything else is 404. `asked` are the paths of all requests, of a proxy whole
    addresses; `url(path)` is an address."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from types import SimpleNamespace

    for name in ("V2F_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = SimpleNamespace(answers={}, asked=[])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            made.asked.append(self.path)
            answer = made.answers.get(self.path)
            if answer is None:
                return self.send_error(404)
            if callable(answer):
                return answer(self)
            self.begin(len(answer))
            return self.wfile.write(answer)

        def do_CONNECT(self):
            made.asked.append(f"CONNECT {self.path}")
            self.send_error(502)

        def begin(self, length=None):
            self.send_response(200)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that has gone
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    made.host = f"127.0.0.1:{server.server_port}"
    made.url = lambda path: f"http://{made.host}{path}"
    yield made
    server.shutdown()
    server.socket.close()
    thread.join()
