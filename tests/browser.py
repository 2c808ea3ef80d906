"""Pages as a browser shows them: headless Chromium, and the rules of axe.

Chromium runs a script in the page at a given width and writes the document that
is then; what the script found is read from it. Nothing is fetched.
"""

import html
import importlib.resources
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PHONE, DESKTOP = 390, 1280  # pixels
SECONDS = 240  # for a browser to start and answer on a busy machine
_FRAME = """<!doctype html><meta charset="utf-8">
<body style="margin:0"><pre id="found"></pre>
<iframe id="page" style="width:{width}px;height:900px;border:0"
 srcdoc="{page}"></iframe></body>"""
_TELL = """<script>
addEventListener("load", async () => {
  const tell = found => parent.document.getElementById("found").textContent =
    JSON.stringify(found);
  try { tell(await (async () => { %s })()); }
  catch (error) { tell({error: String(error)}); }
});
</script>"""
OVERFLOW = """
  const page = document.documentElement, wide = [];
  for (const one of document.body.querySelectorAll("*")) {
    const flow = getComputedStyle(one).overflowX;
    if (one.scrollWidth > one.clientWidth + 1 && /auto|scroll/.test(flow))
      wide.push(one.className || one.tagName);
  }
  return {page: page.scrollWidth - page.clientWidth, wide};
"""
AXE = """
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  const found = await axe.run(document);
  return found.violations.map(one => [one.id, one.nodes.length,
    one.nodes[0].html.slice(0, 200), one.nodes[0].failureSummary]);
"""


def chromium() -> str:
  """Returns the browser, or skips the test and says why."""
  known = filter(None, map(shutil.which, NAMES))
  program = next(known, None)
  if program is None:
    pytest.skip(f"there is no browser here, by the names {', '.join(NAMES)}")
  return program


def ask(
  page: Path, script: str, *, width: int = DESKTOP, dark: bool = False
) -> Any:
  """Returns what a script returns, as JSON, in a page of a width in pixels."""
  program = chromium()
  folder = importlib.resources.files("axe_playwright_python")
  axe = (folder / "axe.min.js").read_text(encoding="utf-8")
  text = page.read_text(encoding="utf-8")
  text += f"<script>{axe}</script>" if "axe." in script else ""
  text += _TELL % script
  frame = page.with_name(f"framed-{page.name}")
  escaped = html.escape(text)
  frame.write_text(_FRAME.format(width=width, page=escaped), encoding="utf-8")
  command = [
    *(program, "--headless", "--no-sandbox", "--disable-gpu"),
    *("--virtual-time-budget=60000", "--window-size=1400,1000"),
    f"--user-data-dir={page.parent / 'browser'}",
    f"--blink-settings=preferredColorScheme={0 if dark else 1}",
    *("--dump-dom", frame.as_uri()),
  ]
  shown = subprocess.run(
    command, capture_output=True, text=True, timeout=SECONDS, check=True
  ).stdout
  found = re.search(r'<pre id="found">(.*?)</pre>', shown, re.S)
  assert found and found[1], shown[:2000]
  return json.loads(html.unescape(found[1]))


def check(page: Path, *, width: int, dark: bool) -> None:
  """Asserts that a page obeys axe's rules and is no wider than the window."""
  script = f"""
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const seen = [innerWidth, dark];
    const over = (() => {{ {OVERFLOW} }})();
    return {{seen, over, broken: await (async () => {{ {AXE} }})()}};
  """
  found = ask(page, script, width=width, dark=dark)
  assert found.get("seen") == [width, dark], found
  assert found["broken"] == []
  assert found["over"]["page"] <= 0
  if width == PHONE:  # nothing within it scrolls sideways either
    assert found["over"]["wide"] == []
