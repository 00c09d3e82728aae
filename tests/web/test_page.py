"""The page in headless Chromium: a clip becomes a face; keyboard, phone, microphone, no other host.

Chromium is Debian's (`apt-get install chromium`) or the one that $V2F_CHROMIUM names; without one these tests
are skipped.
"""

import contextlib
import io
import json
import os
import re
import shutil
import socket
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = os.environ.get("V2F_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium on this machine")
SECONDS = 60_000  # of a step, in milliseconds; the machine may be busy


@pytest.fixture(scope="module")
def driver():
    with playwright.sync_playwright() as found:
        yield found


def launched(driver, *arguments: str):
    """A browser that resolves no name: offline but for this machine."""
    rules = ["MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1", f"EXCLUDE {own_address() or 'localhost'}"]
    offline = "--host-resolver-rules=" + ", ".join(rules)
    flags = ["--no-sandbox", "--disable-gpu", offline, *arguments]
    return driver.chromium.launch(executable_path=CHROMIUM, args=flags)


@pytest.fixture(scope="module")
def browser(driver):
    browser = launched(driver)
    yield browser
    browser.close()


@contextlib.contextmanager
def opened(browser, url: str, path: str = "", **options):
    """Context with a page; a request to another host, an error of a script and a refused resource fail it."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    context.set_default_timeout(SECONDS)
    page, wrong = context.new_page(), []

    def check(route):
        address = route.request.url
        if address.startswith((url, "blob:", "data:")):
            route.continue_()
        else:
            wrong.append(address)
            route.abort()

    context.route("**/*", check)
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("console", lambda m: wrong.append(f"console: {m.text}") if "Content Security" in m.text else None)
    page.goto(url + path)
    yield page
    context.close()
    assert not wrong, wrong


@pytest.fixture
def page(browser, studio):
    """The studio's page, ready."""
    with opened(browser, studio.url) as page:
        page.locator(".examples button").first.wait_for()
        yield page


def choose(page, *files: Path, panel: int = 0) -> None:
    page.locator(".panel").nth(panel).locator("input.files").set_input_files([str(file) for file in files])


def show(page, images: int = 1) -> None:
    page.click("#go")
    page.locator(".face img").nth(images - 1).wait_for()
    page.locator("#status", has_text="Done").wait_for()


@pytest.fixture
def clip(tmp_path, sample) -> Path:
    (tmp_path / "my voice.wav").write_bytes(sample)
    return tmp_path / "my voice.wav"


def test_a_clip_becomes_a_face(page, clip, model, tmp_path):
    assert page.locator("#go").is_disabled()
    choose(page, clip)
    show(page)
    assert page.locator(".face img").count() == 1
    assert page.locator(".face img").evaluate("image => image.naturalWidth") == 256
    assert page.inner_text(".found").startswith("5.0 s, ") and "s of speech" in page.inner_text(".found")
    assert page.locator(".mel").is_visible() and page.locator(".wave").is_visible()
    assert "Not the speaker's face." in page.inner_text(".face figcaption")
    assert "identifies nobody" in page.inner_text(".result .isnot")
    with page.expect_download() as download:
        page.click(".face a")
    assert download.value.suggested_filename == "my voice-1.png"
    image = Image.open(download.value.path())
    image.load()
    (wanted,) = model.generate(clip, size=256)
    assert np.array_equal(np.asarray(image), np.asarray(wanted)) and image.text == wanted.info


def test_what_was_kept_is_drawn_in_colour(page, tmp_path, sample, write_wav):
    """Speech with two seconds of silence before it: the left of the waveform stays grey."""
    from voice2face_gan.audio.decode import load_audio

    silence = np.random.default_rng(0).normal(0, 1e-3, 32000)
    samples = np.concatenate([silence, load_audio(sample)[:32000]])
    choose(page, write_wav(tmp_path / "a.wav", samples.astype(np.float32)))
    show(page)
    count = """canvas => { const c = canvas.getContext('2d'), {width: w, height: h} = canvas, n = [0, 0];
      const accent = getComputedStyle(document.documentElement).getPropertyValue('--accent').trim();
      const [r, g, b] = [1, 3, 5].map((i) => parseInt(accent.slice(i, i + 2), 16));
      const { data } = c.getImageData(0, 0, w, h);
      for (let i = 0; i < data.length; i += 4) if (data[i] === r && data[i + 1] === g && data[i + 2] === b)
        n[(i / 4) % w < 0.45 * w ? 0 : 1] += 1;
      return n; }"""
    left, right = page.locator(".wave").evaluate(count)
    assert left == 0 and right > 500


def test_variants_options_and_errors(page, clip, tmp_path):
    page.locator("#options summary").click()
    page.locator("#variants").fill("3")
    page.locator("#seed").fill("7")
    page.locator("input[name=gender][value=female]").check(force=True)
    choose(page, clip)
    show(page, 3)
    assert page.locator(".face").count() == 3
    assert page.locator(".face img").nth(2).get_attribute("alt") == "Synthetic face, variant 3, seed 7"
    (tmp_path / "letter.wav").write_text("Dear Sir or Madam,")
    choose(page, tmp_path / "letter.wav")
    page.click("#go")
    page.locator(".problem", has_text="not a recording").wait_for()
    assert page.locator(".face").count() == 0
    (tmp_path / "empty.wav").write_bytes(b"")
    choose(page, tmp_path / "empty.wav")
    page.locator(".problem", has_text="empty.wav: it is empty").wait_for()


def test_the_keyboard_alone(page):
    """Tab to an example, Enter, Tab to the button, Enter."""
    for key, target in (("Tab", ".examples button"), ("Enter", None), ("Tab", "#go"), ("Enter", None)):
        for _ in range(30):
            page.keyboard.press(key)
            if target is None or page.locator(f"{target}:focus").count():
                break
        else:
            pytest.fail(f"{target} cannot be reached")
        if key == "Enter" and page.locator(".examples button[aria-pressed=true]").count() == 0:
            page.locator(".examples button[aria-pressed=true]").wait_for()
    page.locator(".face img").wait_for()


def test_every_control_has_a_name(page):
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, input, select, a, canvas, img')]
      .filter((node) => node.offsetParent && !node.closest('[hidden]'))
      .filter((node) => !(node.labels && node.labels.length)
        && !node.getAttribute('aria-label') && !node.textContent.trim() && node.getAttribute('alt') === null)
      .map((node) => node.outerHTML)""")
    assert nameless == []
    assert page.locator("[aria-live=polite]").count() >= 2 and page.locator("html[lang=en]").count() == 1


def test_several_files_become_one_zip(page, tmp_path, sample):
    files = []
    contents = {"one.wav": sample, "two.wav": sample, "bad.wav": b"no sound", "none.wav": b""}
    for name, content in contents.items():
        files.append(tmp_path / name)
        files[-1].write_bytes(content)
    choose(page, *files)
    assert page.inner_text("#go") == "Show 4 faces"
    page.click("#go")
    page.locator("#batch-zip").wait_for()
    assert page.inner_text("#batch-text") == "2 of 4 recordings became faces."
    failed = page.inner_text("#batch-failed")
    assert (
        "bad.wav: " in failed
        and "none.wav: it is empty." in failed
        and page.locator("#batch-faces img").count() == 2
    )
    with page.expect_download() as download:
        page.click("#batch-zip")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["one.png", "results.json", "two.png"]
        results = json.loads(archive.read("results.json"))
        assert [row.get("images") for row in results] == [["one.png"], ["two.png"], None, None]
        image = Image.open(io.BytesIO(archive.read("one.png")))
        image.load()
        assert image.text["Synthetic"].startswith("yes")


def test_two_voices_and_the_way_between(page):
    page.click("#second")
    for panel, name in enumerate(("Low voice", "High voice")):
        page.locator(".panel").nth(panel).get_by_role("button", name=name).click()
        page.locator(".panel").nth(panel).locator(".examples button[aria-pressed=true]").wait_for()
    show(page, 2)
    boxes = [page.locator(".panel").nth(i).bounding_box() for i in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"], "side by side"
    page.click("#morph")
    page.locator("#strip img").nth(6).wait_for()
    assert page.locator("#strip img").count() == 7
    with page.expect_download() as download:
        page.click("#strip-link")
    assert Image.open(download.value.path()).size == (7 * 256 + 6 * 2, 256)
    page.locator(".panel .remove").nth(1).click()
    assert page.locator(".panel").count() == 1 and page.locator("#morphed").is_hidden()


@pytest.mark.parametrize("path", ["", "api", "runs"])
def test_a_phone(browser, studio, path):
    with opened(browser, studio.url, path, viewport={"width": 390, "height": 800}) as page:
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        if path == "api":
            assert page.locator("#paths section").count() >= 7


@contextlib.contextmanager
def microphone(driver, url: str, sound: Path):
    """Context with a page whose microphone plays a WAV file."""
    flags = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    browser = launched(driver, *flags, f"--use-file-for-fake-audio-capture={sound}")
    try:
        with opened(browser, url, permissions=["microphone"]) as page:
            page.locator(".examples button").first.wait_for()
            yield page
    finally:
        browser.close()


def at_48_khz(path: Path, samples: np.ndarray) -> Path:
    """A WAV as Chromium's fake device wants one: 48 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes((np.repeat(samples, 3) * 32767).astype("<i2").tobytes())
    return path


def test_the_microphone(driver, studio, tmp_path, sample, monkeypatch):
    """What the fake device plays comes to the server as a PCM WAV, and becomes a face."""
    from voice2face_gan.audio.decode import load_audio

    decoders, sent = studio.app.state.engine.decoders, []
    decode = decoders.decode
    monkeypatch.setattr(decoders, "decode", lambda data, **part: sent.append(data) or decode(data, **part))
    sound = at_48_khz(tmp_path / "speech.wav", load_audio(sample))
    with microphone(driver, studio.url, sound) as page:
        page.click(".record")
        page.locator(".record .label", has_text=re.compile(r"Stop, ([3-9]|\d\d)\.")).wait_for()
        page.click(".record")
        page.locator(".record .label", has_text="Record again").wait_for()
        show(page)
        assert "s of speech" in page.inner_text(".found")
    (content,) = sent
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
    waveform = load_audio(content)
    assert 2.5 < len(waveform) / 16000 < 60 and np.abs(waveform).max() > 0.05


def test_a_silent_recording_is_refused_in_the_page(driver, studio, tmp_path):
    sound = at_48_khz(tmp_path / "silence.wav", np.zeros(48000))
    with microphone(driver, studio.url, sound) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
        page.click(".record")
        page.locator(".record .label", has_text="Stop, ").wait_for()
        page.wait_for_timeout(1000)
        page.click(".record")
        page.locator(".problem", has_text="The recording is silent").wait_for()
        assert page.locator("#go").is_disabled() and not asked


def test_without_a_secure_context_the_page_says_so(browser, serving, clip):
    """Opened by an address that is not this machine's own name: no microphone, but files."""
    from voice2face_gan.web.app import Settings
    from voice2face_gan.web.limits import Limits

    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but 127.0.0.1")
    settings = Settings(("synthetic",), limits=Limits(workers=1))
    with (
        serving(settings, "0.0.0.0") as client,
        opened(browser, f"http://{address}:{client.port}/") as page,
    ):
        note = page.inner_text(".microphone-note")
        assert "https://" in note and f"ssh -L {client.port}:127.0.0.1:{client.port} {address}" in note
        assert page.locator(".record").is_disabled()
        choose(page, clip)
        show(page)


def own_address() -> str | None:
    """An address of this machine that others may use; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = sock.getsockname()[0]
    return None if found.startswith("127.") else found
