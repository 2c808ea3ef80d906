"""Pages in a browser: contrast, names, keyboard, width; and what scripts do.

Where the machine has no Chromium, these are skipped.
"""

import pytest

from bdjax import report
from bdjax.report import results

RUIN = {"ca": 0.1, "asr": 0.0, "der": 0.69}
ORDER = """
  const table = document.querySelector("table.grid");
  const names = () => [...table.tBodies[0].rows].filter(row => !row.hidden)
    .map(row => row.cells[0].textContent.trim().split(/\\s/)[0]);
  const before = names(), button = table.querySelectorAll("th button")[1];
  button.focus();
  const focused = document.activeElement === button;
  button.click();
  const up = names(), state = button.parentElement.getAttribute("aria-sort");
  button.click();
  const down = names(), box = document.querySelector("input[type=search]");
  box.value = "BAD";
  box.dispatchEvent(new Event("input"));
  const left = names();
  return {before, focused, up, state, down, left};
"""


@pytest.fixture(scope="module")
def browser(beside):
  made = beside("browser")
  made.chromium()
  return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory, fake):
  """Return a run of two seeds with a ruined model, its pages written."""
  path = tmp_path_factory.mktemp("run")
  fake.fabricate(path, attacks=("badnets",), seeds=(0, 1))
  ruined = [fake.record("badnets", "fmn", "nap", s, **RUIN) for s in (0, 1)]
  axes = [
    fake.record("badnets", "fmn", f"ft(lr={lr})", 0, **{"axis.lr": lr})
    for lr in (1.0, 2.0)
  ]
  results.append(path / "results.jsonl", [*ruined, *axes])
  report.write(path)
  report.write_gallery(path)
  report.write_comparison([report.load(path)] * 2)
  return path


@pytest.mark.parametrize(
  ("name", "width", "dark"),
  [
    ("report", "PHONE", False),
    ("report", "DESKTOP", True),
    ("gallery", "PHONE", True),
    ("comparison", "PHONE", True),
  ],
)
def test_a_page_obeys_the_rules_of_axe(browser, folder, name, width, dark):
  width = getattr(browser, width)
  browser.check(folder / f"{name}.html", width=width, dark=dark)


def test_axe_is_asked(browser, tmp_path):
  page = tmp_path / "bad.html"
  page.write_text(
    "<!doctype html><html lang=en><title>x</title><main><h1>x</h1>"
    "<p style='color:#999;width:2000px'>faint<img src='data:,'></p>"
  )
  rules = {one[0] for one in browser.ask(page, browser.AXE)}
  assert rules == {"color-contrast", "image-alt"}
  wide = browser.ask(page, browser.OVERFLOW, width=browser.PHONE)
  assert wide["page"] > 1000


def test_a_table_is_sorted_and_filtered(browser, tmp_path, fake):
  made = [
    fake.record(attack, "fmn", "ft", 0, asr=asr)
    for attack, asr in (("sig", 0.3), ("badnets", 0.1), ("lf", 0.95))
  ]
  made.append(fake.record("nothing", "fmn", "ft", 0, **RUIN))
  results.append(tmp_path / "results.jsonl", made)
  found = browser.ask(report.write(tmp_path), ORDER.replace("[1]", "[2]"))
  assert found["before"] == ["sig", "badnets", "lf", "nothing"]
  assert found["focused"] and found["state"] == "ascending"
  # A ruined model comes last either way.
  assert found["up"] == ["badnets", "sig", "lf", "nothing"]
  assert found["down"] == ["lf", "sig", "badnets", "nothing"]
  assert found["left"] == ["badnets"]
