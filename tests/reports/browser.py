"""A page in a real headless browser: its picture, its DOM, and what it measures of itself at a given width."""

from __future__ import annotations

import base64
import json
import pathlib
import re
import shutil
import subprocess
import tempfile

PROGRAM = shutil.which("chromium")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=5000",
)  # fmt: skip
_MEASURE = """
<iframe id="page" src="{address}" style="width:{width}px;height:{height}px;border:0"></iframe><p id="out">none</p>
<script>page.onload = () => {{
  const inner = page.contentDocument, root = inner.documentElement;
  out.textContent = btoa(unescape(encodeURIComponent(JSON.stringify({{
    width: root.scrollWidth, height: root.scrollHeight, text: inner.body.innerText,
    images: [...inner.images].map(image => [image.complete, image.naturalWidth, image.naturalHeight]),
    requests: page.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name.slice(0, 80)),
    scripts: inner.scripts.length, hacked: page.contentWindow.hacked === true,
  }}))));
}}</script>
"""


def screenshot(page: pathlib.Path, png: pathlib.Path, width: int, height: int, *, dark: bool = False) -> pathlib.Path:
    """A picture of the page's top `height` pixels."""
    look = ["--blink-settings=preferredColorScheme=0"] if dark else []
    _run([*look, f"--screenshot={png}", f"--window-size={width},{height}", page.absolute().as_uri()])
    return png


def dump_dom(page: pathlib.Path) -> str:
    """The page's DOM as the browser has it after loading."""
    return _run(["--dump-dom", page.absolute().as_uri()])


def measure(page: pathlib.Path, width: int, height: int = 900) -> dict:
    """Laid out so wide: its scroll width and height, its text, [complete, width, height] of images, its requests."""
    with tempfile.TemporaryDirectory() as folder:
        frame = pathlib.Path(folder) / "frame.html"
        frame.write_text(_MEASURE.format(address=page.absolute().as_uri(), width=width, height=height), "utf-8")
        found = _run(["--allow-file-access-from-files", "--dump-dom", frame.as_uri()])
    return json.loads(base64.b64decode(re.search(r'<p id="out">(.*?)</p>', found)[1]))


def _run(arguments: list[str]) -> str:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [PROGRAM, *_FLAGS, f"--user-data-dir={profile}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{PROGRAM} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout
