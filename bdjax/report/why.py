"""Section "Why": what `analysis` saw of a run's models, if it was asked to.

It says with a number what each picture shows; the pictures are drawn by
`why_figures`.
"""

import functools
from typing import Any

import numpy as np

from bdjax.report import why_figures
from bdjax.report.judging import NONE
from bdjax.report.load import Run
from bdjax.report.why_figures import HALF, Panel, array

KINDS = ("surface", "features", "line", "tac")  # in the order of the page
NEAR = 0.05  # CA that a point of the plane may lose and count as good (chosen)
FLAT = 0.005  # rise of the clean loss that counts as none (chosen)
TOP = 0.1  # share of the channels that change most (chosen)
Part = dict[str, Any]  # what a file of an analysis holds


def summary(part: Part) -> dict[str, Any]:
  """Returns the few numbers that stand for a part's many.

  tac: of the last layer, the mean TAC and that of the `TOP` share of channels
    that change most in the planted model, before and after the defense; and
    the mean TAC over the mean norm of the clean maps.
  line: `barrier`, how far the clean loss rises above the straight line between
    the ends' (Entezari et al., arXiv 2110.06296, definition 1); `half`, how far
    along the ASR first is below a half, None if nowhere.
  surface: `alive`, share of the plane with an ASR of a half and more, and
    `alive_near`, the same of points whose CA is at most `NEAR` below the
    model's; `near`, how much of the plane they are.
  features: `drawn_in`, see `analysis.features`.
  """
  read = {
    "tac": _tac,
    "line": _line,
    "surface": _surface,
    "features": lambda numbers: {"drawn_in": numbers["drawn_in"]},
  }
  return read[part["kind"]](part["numbers"])


def _tac(numbers: dict[str, Any]) -> dict[str, Any]:
  layer = numbers["layers"][-1]
  before, after = (array(layer[k]["tac"]) for k in ("before", "after"))
  count = max(1, round(TOP * len(before)))
  top = np.argsort(-before)[:count]
  scale = [array(layer[k]["clean"]).mean() for k in ("before", "after")]
  return {
    "layer": layer["layer"],
    "channels": len(before),
    "mean": [before.mean(), after.mean()],
    "top": [before[top].mean(), after[top].mean()],
    "relative": [
      float(tac.mean() / clean) if clean else None
      for tac, clean in zip((before, after), scale, strict=True)
    ],
  }


def _line(numbers: dict[str, Any]) -> dict[str, Any]:
  share = array(numbers["share"])
  loss, asr = array(numbers["clean_loss"]), array(numbers["asr"])
  straight = loss[0] + share * (loss[-1] - loss[0])
  below = share[asr < HALF]
  return {
    "barrier": float((loss - straight).max()),
    "half": float(below[0]) if below.size else None,
  }


def _surface(numbers: dict[str, Any]) -> dict[str, Any]:
  ca, asr = array(numbers["ca"]), array(numbers["asr"])
  middle = len(ca) // 2
  near = ca >= ca[middle, middle] - NEAR
  return {
    "alive": float((asr >= HALF).mean()),
    "near": float(near.mean()),
    "alive_near": float((asr >= HALF)[near].mean()),
  }


def words(part: Part) -> str:
  """Returns what a part shows, in a sentence without its full stop."""
  found = summary(part)
  if part["kind"] == "tac":
    return (
      f"TAC of {found['layer']}: mean {_way(found['mean'])}, of the tenth of "
      f"its {found['channels']} channels that changes most "
      f"{_way(found['top'])}; over the clean maps' norm "
      f"{_way(found['relative'])}"
    )
  if part["kind"] == "line":
    half = found["half"]
    falls = (
      "the ASR nowhere falls below 50 %"
      if half is None
      else f"the ASR is first below 50 % at {half:.2g} of the way"
    )
    hill = f"rises {found['barrier']:.2g} above its ends' line"
    if found["barrier"] < FLAT:
      hill = "has no hill on the way"
    return f"{falls}; the clean loss {hill}"
  if part["kind"] == "surface":
    return (
      f"an ASR of 50 % and more on {_percent(found['alive'])} of the plane, "
      f"and on {_percent(found['alive_near'])} of where the CA is at most 5 "
      f"points lower ({_percent(found['near'])} of the plane)"
    )
  if found["drawn_in"] is None:
    return (
      "too few images are of the class that the adversary wants to tell who "
      "lies among it: analysis takes more by --embedding_images"
    )
  return (
    f"{_percent(found['drawn_in'])} of the triggered images lie among the "
    "class that the adversary wants"
  )


def _way(pair: list[float | None]) -> str:
  return " → ".join("–" if x is None else f"{x:.3g}" for x in pair)


def _percent(share: float) -> str:
  return f"{100 * share:.0f} %"


def panels(part: Part) -> list[Panel]:
  """Returns a part's pictures."""
  make = {
    "tac": _tac_panels,
    "line": _line_panels,
    "surface": _surface_panels,
    "features": _features_panels,
  }
  return make[part["kind"]](part, words(part))


def _tac_panels(part: Part, said: str) -> list[Panel]:
  made = []
  for layer in part["numbers"]["layers"]:
    pair = [array(layer[k]["tac"]) for k in ("before", "after")]
    name = layer["layer"]
    alt = (
      f"TAC of each channel of {name}: mean {_way([x.mean() for x in pair])}"
    )
    draw = functools.partial(
      why_figures.draw_tac, before=pair[0], after=pair[1]
    )
    made.append(Panel(name, f"TAC, {name}", alt, draw))
  return made


def _line_panels(part: Part, said: str) -> list[Panel]:
  numbers = part["numbers"]
  return [
    Panel(
      name,
      f"Planted to repaired: {name}",
      f"{name} along the line: {said}",
      functools.partial(why_figures.draw_line, numbers=numbers, which=i),
    )
    for i, name in enumerate(("rates", "losses"))
  ]


def _surface_panels(part: Part, said: str) -> list[Panel]:
  return [
    Panel(
      name,
      f"{name.capitalize()} loss around the planted model",
      f"{name} loss on a plane: {said}",
      functools.partial(
        why_figures.draw_surface,
        numbers=part["numbers"],
        name=f"{name}_loss",
      ),
      height=2.5,
    )
    for name in ("clean", "backdoor")
  ]


def _features_panels(part: Part, said: str) -> list[Panel]:
  method = {"tsne": "t-SNE", "pca": "PCA"}[part["settings"]["embedding"]]
  when = "planted" if part["about"]["defense"] == NONE else "repaired"
  draw = functools.partial(why_figures.draw_features, numbers=part["numbers"])
  caption = f"Features, {when} ({method})"
  return [Panel(method, caption, f"{caption}: {said}", draw, height=2.6)]


def section(run: Run) -> list[dict[str, Any]]:
  """Returns a group for each planted model and each of its repairs."""
  groups: dict[tuple[str, str], list[Part]] = {}
  known = [part for part in run.why if part["kind"] in KINDS]
  for part in sorted(known, key=lambda one: KINDS.index(one["kind"])):
    about = part["about"]
    groups.setdefault((about["planted"], about["defense"]), []).append(part)
  planted = dict.fromkeys(name for name, _ in groups)
  order = [(p, d) for p in planted for d in _defenses(groups, p)]
  return [_group(groups[key], first=key[1] == NONE) for key in order]


def _defenses(groups: dict[tuple[str, str], Any], planted: str) -> list[str]:
  names = [defense for name, defense in groups if name == planted]
  return sorted(names, key=lambda name: (name != NONE, name))


def _group(parts: list[Part], *, first: bool) -> dict[str, Any]:
  about = parts[0]["about"]
  rates = " → ".join(
    f"ASR {100 * about[f'asr{end}']:.1f}, CA {100 * about[f'ca{end}']:.1f}"
    for end in (("_before",) if first else ("_before", ""))
  )
  model = f"{about['attack']}, {about['regime']}, seed {about['seed']}"
  return {
    "planted": first,
    "title": model if first else about["defense"],
    "rates": rates,
    "model": f"{about['dataset']}, {about['model']}, {model}",
    "said": [words(part) for part in parts],
    "settings": [
      ", ".join(f"{k} {v}" for k, v in part["settings"].items()).replace(
        "_", " "
      )
      for part in parts
    ],
    "panels": [panel for part in parts for panel in panels(part)],
  }
