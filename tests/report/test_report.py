"""The console table and the page of a fabricated work directory."""
# ruff: noqa: D103

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from rich.console import Console

from bdjax import report
from bdjax.report import figures, images, plots, results

HOSTILE = "<script>alert('$x$')</script>"


def printed(workdir, width=100):
  """Return what `show` prints."""
  console = Console(file=io.StringIO(), width=width)
  report.show(workdir, console)
  return console.file.getvalue()


def write_records(workdir, records):
  """Write records alone: no curves, pictures or config."""
  results.append(workdir / "results.jsonl", records)


@pytest.fixture(scope="module")
def page(tmp_path_factory, fake):
  """Return the page of one run with a hostile attack name."""
  workdir = tmp_path_factory.mktemp("run")
  fake.fabricate(workdir, attacks=("badnets", HOSTILE), seeds=(0, 1))
  path = report.write(workdir)
  assert path == workdir / "report.html"
  assert not list(workdir.glob("*.tmp"))
  return path.read_text(encoding="utf-8")


def test_console_shows_every_cell_within_its_width(workdir, fake):
  text = printed(workdir)
  assert max(map(len, text.splitlines())) <= 100
  for name in ("badnets", "blended(alpha=0.1)", "wanet", *fake.defenses):
    assert name in text
  # badnets under ft: ASR 0.02, 0.03, 0.04 and CA 0.918, 0.916, 0.914.
  assert "91.6 ± 0.2 / 3.0 ± 1.0" in text
  assert "[0.5, 5.5]" in text  # 3 ± 4.302653 * 1 / sqrt(3)
  assert "3 seeds (0, 1, 2)" in " ".join(text.split())


def test_console_splits_when_narrow_and_not_when_wide(workdir):
  counts = [printed(workdir, w).count("  attack ") for w in (60, 100, 200)]
  assert counts == [5, 2, 1]


def test_console_marks_cells_that_were_not_run(tmp_path, fake):
  kept = [("badnets", "none"), ("badnets", "ft"), ("sig", "none")]
  records = [fake.record(a, "fmn", d, 0) for a, d in kept]
  write_records(tmp_path, records)
  assert printed(tmp_path).count("not run") == 1


def test_page_names_every_attack_and_defense(page, fake):
  text = page.replace("<wbr>", "")
  for name in ("badnets", *fake.defenses, *fake.regimes):
    assert f"{name}<" in text
  assert "invented accelerator" in page
  assert "jax 0.0" in page


def test_page_holds_figures_and_pictures(page):
  # Two attacks x two regimes: planting, scatter and curves; costs as bars and
  # boxes; schedules of two regimes and of ft, super_ft and nad.
  assert page.count('<svg role="img"') == 4 + 4 + 4 + 2 + 5
  assert page.count("<img ") == 2 * 3 * 4
  assert "image-rendering: pixelated" in page
  assert "missing" not in re.sub("<style>.*?</style>", "", page, flags=re.S)


def test_figures_say_what_is_under_a_pointer(page):
  # Seeds 0 and 1 of badnets after ft: CA 91.8 and 91.6, ASR 2 and 3.
  assert page.count("<g><title>ft(lr=0.05): CA 91.7, ASR 2.5</title>") == 2
  assert "<g><title>super_ft, ASR</title>" in page
  assert not re.search("<g id=", page)


def test_page_is_self_contained(page):
  links = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')\s>]+)", page)
  assert len(links) > 20
  assert all(link.startswith(("#", "data:image/png")) for link in links)
  assert "<link" not in page
  assert "@import" not in page


def test_page_escapes_hostile_names(page):
  assert page.lower().count("<script") == 1  # the page's own
  assert HOSTILE not in page
  assert "&lt;script&gt;alert(" in page.replace("<wbr>", "")


def test_page_without_curves_and_pictures_says_so(tmp_path, fake):
  write_records(tmp_path, [fake.record("badnets", "fmn", "none", 0)])
  text = report.write(tmp_path).read_text(encoding="utf-8")
  for word in ("No curves", "No pictures", "No learning rates", "No costs"):
    assert word in text


def test_pictures_that_are_damaged_are_left_out_and_named(workdir, caplog):
  some = sorted((workdir / "pictures").iterdir())
  content, names = some[0].read_bytes(), []
  damage = (
    content[:-30],
    b"",
    content[:300] + b"\0" + content[301:],
    b"\x93NUMPY no archive",
  )
  for path, bad in zip(some, damage, strict=False):
    path.write_bytes(bad)
    names.append(path)
  np.savez(some[4], clean=np.zeros(3), triggered=np.zeros(3))
  (workdir / "findings").mkdir()
  found = workdir / "findings" / f"{report.load(workdir).cells[0]['cell']}.npz"
  np.savez(found, trigger=np.zeros((2, 3, 3, 3)))  # not bytes
  run = report.load(workdir)
  assert set(run.pictures) == {path.stem for path in some[5:]}
  assert not run.findings
  assert sorted(caplog.messages) == sorted(
    f"{path} is damaged and not shown; you may delete it."
    for path in (*names, some[4], found)
  )


def test_page_of_an_empty_directory_is_refused(tmp_path):
  with pytest.raises(ValueError, match="holds no results"):
    report.write(tmp_path)
  assert not (tmp_path / "report.html").exists()


def test_png_keeps_every_pixel_of_colour_and_grey():
  image = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
  for picture in (image, image[..., :1]):
    data = base64.b64decode(images.png(picture).split(",")[1])
    pixels = np.round(255 * imread(io.BytesIO(data))[..., :3])
    np.testing.assert_array_equal(pixels, np.broadcast_to(picture, (5, 4, 3)))


def test_difference_is_amplified_about_grey_and_clipped():
  clean = np.array([[[10, 10, 10]]], np.uint8)
  triggered = np.array([[[12, 9, 255]]], np.uint8)
  changed = images.difference(clean, triggered, 10)
  np.testing.assert_array_equal(changed, [[[148, 118, 255]]])


def test_styles_tell_many_defenses_apart_and_stay_the_same():
  names = ["none", *(f"d{i}" for i in range(40))]
  looks = figures.styles(names)
  assert len({(s.color, s.marker) for s in looks.values()}) == len(names)
  assert figures.styles(names[:5])["d3"] == looks["d3"]


def test_few_cells_are_points_and_no_box():
  axes = Figure().subplots()
  seconds = {"ft": [10.0, 12.0], "nad": [3.0], "clp": [1.0, 2, 3, 4, 5]}
  plots.draw_boxes(axes, seconds, [("ft", 20.0)])
  assert len(axes.patches) == 1
  points = [line.get_xdata().tolist() for line in axes.lines[-4:]]
  assert [3.0] in points and [10.0, 12.0] in points
  assert [t.get_text() for t in axes.get_yticklabels()] == ["clp", "nad", "ft"]
