"""The package as a whole: who imports whom, what importing costs, what is installed with it."""

import ast
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import voice2face_gan

PACKAGE = Path(voice2face_gan.__file__).parent
SIGNAL = ("audio", "faces", "models")


def module_name(path: Path) -> str:
    """The module of a file: "data.store", "data" of its __init__.py, "." of the package's own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "."


def below(name: str) -> str:
    """The same of a module's whole name."""
    return "." if name == "voice2face_gan" else name.removeprefix("voice2face_gan.")


FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {module_name(path): path.relative_to(PACKAGE).as_posix() for path in FILES}


def imports(path: Path) -> set[str]:
    """Modules of this package that a file imports, anywhere in it: also lazily, and under TYPE_CHECKING.

    `from a import b` is an import of a.b where that is a module, else of a. That Python runs a folder's
    __init__.py before its modules is not counted: a folder may list what lies in it.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {below(alias.name) for alias in node.names if alias.name.startswith("voice2face_gan")}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            if node.module.partition(".")[0] != "voice2face_gan":
                continue
            for alias in node.names:
                inner = below(f"{node.module}.{alias.name}")
                found.add(inner if inner in MODULES else below(node.module))
    return found & MODULES.keys() - {module_name(path)}


GRAPH = {path.relative_to(PACKAGE).as_posix(): imports(path) for path in FILES}
EDGES = {module: GRAPH[name] for module, name in MODULES.items()}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Import circles, as "a -> b -> a", one for each edge that closes one on a walk in depth."""
    state: dict[str, bool] = {}  # True while a module is on the path walked
    found, path = [], []

    def walk(module: str) -> None:
        state[module] = True
        path.append(module)
        for other in sorted(graph[module]):
            if state.get(other):
                found.append(" -> ".join([*path[path.index(other) :], other]))
            elif other not in state:
                walk(other)
        path.pop()
        state[module] = False

    for module in sorted(graph):
        if module not in state:
            walk(module)
    return found


def test_a_circle_is_found_and_named():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == ["b -> c -> b"]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_import_goes_round_in_a_circle():
    assert "data.join" in EDGES["data.open"] and "publish" in EDGES["pipeline"], "lazy imports count"
    assert "pipeline" in EDGES["."] and "audio.decoding.info" in EDGES["results"], "so do those for types"
    assert not circles(EDGES), "\n" + "\n".join(circles(EDGES))


def test_nor_do_the_folders_of_the_top():
    graph = defaultdict(set)
    for module, others in EDGES.items():
        top = module.partition(".")[0] or "."
        graph[top] |= {other.partition(".")[0] or "." for other in others} - {top}
    assert len(graph) > 15 and not circles(graph), "\n" + "\n".join(circles(graph))


def test_results_load_nothing_else_of_ours(python):
    code = (
        "import sys, voice2face_gan.results; print(*[m for m in sys.modules if m.startswith('voice2face')])"
    )
    result = python("-c", code)
    assert set(result.stdout.split()) == {
        "voice2face_gan",
        "voice2face_gan.results",
        "voice2face_gan.version",
    }


LARGEST = 20  # modules in a folder
MORE: dict[str, int] = {}  # folders with more files than LARGEST; may shrink, not grow


def test_no_folder_is_too_full_to_overlook():
    counts = Counter(name.rpartition("/")[0] for name in GRAPH)
    for folder, count in counts.most_common(5):
        print(f"{count:3} {folder or '.'}")
    assert not {k: n for k, n in counts.items() if n > MORE.get(k, LARGEST)}
    assert all(counts[k] > LARGEST for k in MORE), "take it out of MORE"


def of(part: str) -> dict[str, set[str]]:
    return {name: what for name, what in GRAPH.items() if name.split("/")[0] == part}


def reaches(names: set[str], parts: tuple[str, ...]) -> set[str]:
    return {name for name in names if name.split(".")[0] in parts}


def test_the_imports_are_read_right():
    assert "data.store" in GRAPH["data/synthetic.py"]
    assert "audio.decode" in GRAPH["audio/voice.py"] and "cli" in GRAPH["__main__.py"]
    assert "data.synthetic" in GRAPH["publish/card.py"] and "data" not in GRAPH["publish/card.py"]
    assert len(GRAPH) > 40


@pytest.mark.parametrize("part", SIGNAL)
def test_signal_and_nets_know_nothing_of_what_uses_them(part):
    assert of(part)
    for name, what in of(part).items():
        assert not reaches(what, ("data", "training", "evaluation", "cli", "web", "bench", "pipeline")), name


def test_training_and_evaluation_do_not_know_each_other():
    for name, what in of("training").items():
        assert not reaches(what, ("evaluation", "cli", "web")), name
    for name, what in of("evaluation").items():
        assert not reaches(what, ("training", "cli", "web")), name


def test_data_know_nothing_of_training():
    for part in ("data", "synthetic"):
        for name, what in of(part).items():
            assert not reaches(what, ("training", "evaluation", "cli", "web", "pipeline")), name


def test_the_command_line_alone_imports_the_studio():
    for name, what in GRAPH.items():
        if name.split("/")[0] not in ("cli", "web"):
            assert not reaches(what, ("web",)), name
    for name, what in of("web").items():
        assert not reaches(what, ("cli", "data", "evaluation", "bench", "publish")), name


def test_nobody_imports_the_command_line():
    for name, what in GRAPH.items():
        if not name.startswith("cli/") and name != "__main__.py":
            assert not reaches(what, ("cli",)), name


def loaded(python, code: str, *names: str) -> set[str]:
    """Which of some modules are loaded after a piece of code, in a process of its own."""
    result = python(
        "-c", f"{code}\nimport sys\nprint('loaded:', *[m for m in {names!r} if m in sys.modules])"
    )
    assert result.code == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split()[1:])


HEAVY = ("torch", "torchaudio", "torchvision", "av", "numpy", "PIL", "scipy", "rich")


def test_importing_the_package_is_light(python):
    assert loaded(python, "import voice2face_gan", *HEAVY, "click") == set()


def test_help_is_light(python):
    for arguments in ([], ["generate"], ["train"]):
        code = f"""
import sys
sys.argv = ["v2f-gan", *{arguments!r}, "--help"]
from voice2face_gan.cli import main
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
"""
        assert loaded(python, code, *HEAVY) == set(), arguments


def test_help_comes_at_once(python):
    """Within 0.4 s on a quiet machine: no more than a few times a bare Python with click."""
    import time

    def least(*arguments) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            assert python(*arguments).code == 0
            times.append(time.perf_counter() - start)
        return min(times)

    bare = least("-c", "import click")
    assert least("-m", "voice2face_gan", "--help") < max(0.4, 3 * bare)


def test_python_m(python):
    result = python("-m", "voice2face_gan", "--version")
    assert result.code == 0 and voice2face_gan.__version__ in result.stdout
    assert python("-m", "voice2face_gan", "nonsense").code == 2


def test_the_console_script():
    from importlib.metadata import entry_points

    (script,) = [e for e in entry_points(group="console_scripts") if e.name == "v2f-gan"]
    assert script.value == "voice2face_gan.cli:main"


def test_training_needs_a_store_alone(python, trained, store, tmp_path):
    """On a machine without PyAV, webrtcvad or dlib it trains, checkpoints and resumes."""
    blocked = ("av", "webrtcvad", "dlib", "cv2", "mediapipe", "yt_dlp")
    code = f"""
import sys
sys.modules.update(dict.fromkeys({blocked!r}))
import torch
from voice2face_gan.data.store import Store
from voice2face_gan.training import face_classifier
from voice2face_gan.training.probes import gender
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.run.folder import Run
torch.set_num_threads(1)
run = Run.open({str(trained)!r})
run = Run.create({str(tmp_path)!r}, run.recipe, run.settings)
assert train(run, Store({str(store.folder)!r}), torch.device("cpu"), iterations=2).finished
"""
    assert loaded(python, code, "torch", "voice2face_gan.audio.decode", "voice2face_gan.pipeline") == {
        "torch"
    }


def test_what_is_installed_with_the_package():
    from voice2face_gan.resources import resource, resources

    assert (PACKAGE / "py.typed").is_file()
    recipes = resources("recipes", "*.toml")
    assert resource("recipes", "wen2019.toml") in recipes and len(recipes) >= 6
    assert not resource("recipes", "nonsense.toml").exists()
    assert resources("recipes", "*.nonsense") == []


def test_every_error_of_ours_has_one_base():
    from voice2face_gan import errors

    kinds = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert len(kinds) > 8 and all(issubclass(e, errors.VoiceToFaceError) for e in kinds)


def test_what_another_library_says_fits_a_sentence():
    from voice2face_gan.errors import first_line

    assert first_line(EOFError()) == "EOFError"
    assert first_line(ValueError("one\ntwo")) == "one"
    assert len(first_line(ValueError("x" * 1000))) == 160


def test_every_public_module_says_what_it_is():
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_writing_is_whole_or_not_at_all(tmp_path, monkeypatch):
    import os

    from voice2face_gan.files import replace_folder, temporary_beside, write_bytes

    path = tmp_path / "a.bin"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"

    def fail(*_):
        raise OSError(5, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="broken"):
            write_bytes(path, b"three")
    assert path.read_bytes() == b"two" and [p.name for p in tmp_path.iterdir()] == ["a.bin"]

    for name in ("x", "n" * 255, "声" * 80):
        beside = temporary_beside(tmp_path / name)
        assert (
            beside.parent == tmp_path and beside.name.startswith(".") and len(os.fsencode(beside.name)) < 256
        )
    new, folder = tmp_path / "new", tmp_path / "folder"
    for content in ("1", "2"):
        new.mkdir()
        (new / content).write_text("")
        replace_folder(new, folder)
    assert [p.name for p in folder.iterdir()] == ["2"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "folder"]


def test_this_python_is_one_we_promise():
    assert sys.version_info >= (3, 11)
