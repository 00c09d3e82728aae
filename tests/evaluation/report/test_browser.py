"""The page in a browser, at the width of a desk and of a phone."""

import html
import json
import re
import shutil
import subprocess

import pytest

from voice2face_gan.evaluation.report import build

CHECK = """<script>addEventListener("load", () => {
const images = [...document.images];
const deep = e => { for (let p = e.parentElement; p; p = p.parentElement)
  if (getComputedStyle(p).overflowX === "auto") return true; return false; };
const wide = [...document.querySelectorAll("body *")].filter(
  e => e.getBoundingClientRect().right > innerWidth + 1 && !deep(e)).map(e => e.tagName);
parent.postMessage(JSON.stringify({images: images.length, broken: images.filter(i => !i.naturalWidth).length,
  width: document.documentElement.scrollWidth, inner: innerWidth, wide}), "*"); });</script></body>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_nothing_is_broken_or_sticks_out(report, with_plots, tmp_path, width):
    made = build(
        [report("a-very-long-name-of-a-run" * 6), report("b"), report("c")], "v2f-gan report " + "x" * 300
    )
    text = made.html.decode().replace("script-src", "").replace("</body>", CHECK)
    text = text.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    (tmp_path / "copy.html").write_text(text, encoding="utf-8")
    # A window is never narrower than 500 pixels; a frame is.
    (tmp_path / "frame.html").write_text(
        "<!DOCTYPE html><title></title><script>onmessage = e => { document.title = e.data; }</script>"
        f'<iframe src="copy.html" width="{width}" height="3000" style="border: 0"></iframe>'
    )
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,3200",
         "--virtual-time-budget=5000", "--dump-dom", f"file://{tmp_path / 'frame.html'}"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    title = re.search(r"<title>(.+?)</title>", done.stdout, re.S)
    assert title, done.stderr[-2000:]
    seen = json.loads(html.unescape(title[1]))
    assert seen["images"] == len(made.images) and seen["broken"] == 0
    assert seen["width"] <= seen["inner"] == width and seen["wide"] == []
