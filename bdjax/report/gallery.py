"""A page to look at triggers: pictures, what they change, their spectrum."""

import os
from typing import Any

import numpy as np
from scipy import fft

from bdjax.machine import storage
from bdjax.machine.storage import Place
from bdjax.methods import registry
from bdjax.report import images, page, results, sections, tables
from bdjax.report.judging import NONE
from bdjax.report.load import Picture, Run, load

_DECADES = 4  # of the spectrum's colours, below its peak


def write(workdir: str | os.PathLike[str]) -> Place:
  """Writes `gallery.html` into a work directory.

  Returns:
    Path of the page.

  Raises:
    ValueError: the directory holds no results, or no pictures.
  """
  run = load(workdir)
  cards = _cards(run)
  if not cards:
    raise ValueError(f"{workdir} holds no pictures: run `gallery` into it.")
  document, css = page.template("gallery.html.j2")
  names = {record["dataset"] for record in run.records}
  text = document.render(
    css=css,
    cards=cards,
    data=tables.several(sorted(names)),
    models=tables.several(sorted({r["model"] for r in run.records})),
    decades=_DECADES,
  )
  return storage.write(run.workdir / "gallery.html", text)


def spectrum(picture: Picture) -> np.ndarray:
  """Returns where in frequency the trigger's energy lies, [H, W].

  Log10 of the mean square of the 2-D discrete cosine transform (orthonormal,
  type II) of triggered minus clean, over pictures and colours, in [0, 1]
  units; its peak is 0, what is below `_DECADES` decades is cut off. The lowest
  frequency is at [0, 0].
  """
  change = (picture.triggered.astype(float) - picture.clean) / 255
  power = (fft.dctn(change, axes=(1, 2), norm="ortho") ** 2).mean((0, 3))
  peak = power.max() or 1.0
  return np.log10(np.maximum(power / peak, 10.0**-_DECADES))


def _cards(run: Run) -> list[dict[str, Any]]:
  shown: dict[tuple[str, str], results.Record] = {}
  for record in run.records:
    if record["defense"] == NONE and record["planted"] in run.pictures:
      shown.setdefault((record["dataset"], record["attack"]), record)
  return [_card(run, record) for record in shown.values()]


def _card(run: Run, record: results.Record) -> dict[str, Any]:
  picture = run.pictures[record["planted"]]
  change = picture.triggered.astype(float) - picture.clean
  norms = np.sqrt(((change / 255) ** 2).sum((1, 2, 3)))
  return {
    "attack": record["attack"],
    "data": record["dataset"],
    "words": _described(record["attack"]),
    "rates": [
      (r["regime"], r["seed"], r["ca"], r["asr"])
      for r in run.records
      if (r["dataset"], r["attack"], r["defense"])
      == (record["dataset"], record["attack"], NONE)
    ],
    "norm": f"{norms.mean():.2f}",
    "spectrum": images.png(images.heat(spectrum(picture))),
    **sections.strip(picture),
  }


def _described(attack: str) -> str:
  name = attack.partition("(")[0].partition(".")[0]
  return registry.describe("attacks").get(name, "")
