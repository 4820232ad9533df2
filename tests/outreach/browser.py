"""Looks at mails in a real browser: what it laid out, which colours are on which, and what it asked the network for."""

import html
import json
import shutil
import struct
import subprocess
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars",
)  # fmt: skip
_PROBE = """
function channels(text) { return text.match(/[\\d.]+/g).map(Number); }
function light(c) {
  const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function ground(element, view) {
  for (let one = element; one; one = one.parentElement) {
    const c = channels(view.getComputedStyle(one).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return [255, 255, 255];
}
function look(frame) {
  const doc = frame.contentDocument, view = frame.contentWindow, texts = [];
  const walk = doc.createTreeWalker(doc.body, 4);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement, style = view.getComputedStyle(element);
    if (!walk.currentNode.textContent.trim() || !element.getClientRects().length) continue;
    const [dark, bright] = [light(channels(style.color)), light(ground(element, view))].sort((a, b) => a - b);
    texts.push({text: walk.currentNode.textContent.trim().slice(0, 40), ratio: (bright + 0.05) / (dark + 0.05),
      size: parseFloat(style.fontSize)});
  }
  const edges = [...doc.querySelectorAll("body *")].map(e => e.getBoundingClientRect().right);
  return {name: frame.title, width: view.innerWidth, scroll: doc.documentElement.scrollWidth, right: Math.max(...edges),
    texts, asked: view.performance.getEntriesByType("resource").map(e => e.name),
    ground: ground(doc.body, view).slice(0, 3)};
}
addEventListener("load", () => {
  const out = document.createElement("script");
  out.type = "application/json"; out.id = "seen";
  out.textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(look)).replaceAll("<", "\\\\u003c");
  document.body.replaceChildren(out);
});
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One page as it was laid out: how far it reaches, its texts, its ground, and what it asked for."""

    name: str
    width: int
    scroll: int
    right: float
    texts: list[dict[str, Any]]
    asked: list[str]
    ground: list[int]


def look(pages: Mapping[str, tuple[str, int]], folder: Path) -> dict[str, Seen]:
    """Lay out pages by name, each in a frame of its width, in one browser."""
    frames = "".join(
        f'<iframe title="{html.escape(name)}" width="{width}" height="800" style="border:0" srcdoc="{html.escape(page)}"></iframe>'
        for name, (page, width) in pages.items()
    )
    probe = folder / "probe.html"
    probe.write_text(f"<!doctype html><meta charset=utf-8><body>{frames}<script>{_PROBE}</script>", "utf-8")
    dumped = _run(
        folder, "--dump-dom", "--window-size=1400,1000", "--virtual-time-budget=20000", probe.as_uri()
    )
    found = dumped.partition('id="seen">')[2].partition("</script>")[0]
    return {one["name"]: Seen(**one) for one in json.loads(found)}


def picture(page: Path, width: int, height: int, target: Path) -> None:
    """Take a picture of a page."""
    _run(target.parent, f"--screenshot={target}", f"--window-size={width},{height}", page.as_uri())


def corner(picture: Path) -> tuple[int, int, int]:
    """The colour of a PNG's first pixel, which no filter changes."""
    data = picture.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, packed = 8, b""
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if data[place + 4 : place + 8] == b"IDAT":
            packed += data[place + 8 : place + 8 + length]
        place += length + 12
    first = zlib.decompress(packed)[1:4]
    return first[0], first[1], first[2]


def _run(folder: Path, *arguments: str) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={folder / 'profile'}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
