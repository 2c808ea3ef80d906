"""The report of a cleansing: one HTML page that needs nothing beside itself."""

from typing import Any

import numpy as np

from bdjax.cleanse.result import Result
from bdjax.cleanse.verdict import Verdict
from bdjax.report import images
from bdjax.report.page import template

_PICTURES = 24  # patches that are shown, flagged ones first
_WORST = 60  # classes that are listed
_HEADINGS = {
  "findings": "What was found",
  "done": "What was done",
  "unproved": "What this does not prove",
}


def render(result: Result, verdict: Verdict) -> str:
  """Returns the page of a result and of the verdict on it."""
  document, css = template("page.html.j2", room="bdjax.cleanse")
  return document.render(
    css=css,
    headline=verdict.headline,
    sections=[(title, getattr(verdict, k)) for k, title in _HEADINGS.items()],
    rows=_rows(result),
    patches=_patches(result),
    audit=result.audit,
    tried=result.audit is not None and bool(result.audit.before),
    chance=result.chance,
    noise=int(result.before.noise.sum()),
    even=f"{result.before.noise.sum() / len(result.names):.0f}",
    classes=_classes(result),
    omitted=max(0, len(result.names) - _WORST),
    layers=result.changes,
    widest=max((layer.relative for layer in result.changes), default=0) or 1.0,
    moved=result.moved,
    moved_by=_moved_by,
    facts=result.facts | {"Defense": result.defense, "Took": _took(result)},
  )


def _moved_by(change: float | None) -> str:
  """Returns a relative change in percent, or as a factor where it is large."""
  if change is None:
    return ""
  return f"{100 * change:.1f} %" if change < 10 else f"× {change:,.0f}"


def _took(result: Result) -> str:
  took = f"{result.seconds:.0f} seconds"
  if result.budget is None:
    return took
  return f"{took}, of a budget of {result.budget:.0f}"


def _rows(result: Result) -> list[tuple[str, Any, Any, str]]:
  """Returns what was measured before and after, and without any backdoor."""
  guessed = f"guessing: {result.chance}"
  rows = [("Accuracy on held-out images", *result.accuracy, guessed)]
  taken = result.taken
  if taken is not None:
    name = (
      f"Attack success: suspected images answered {result.called(taken.target)}"
    )
    usual = f"clean images: {result.usual}; chance: {result.chance}"
    rows.append((name, taken.before, taken.after, usual))
    if taken.right is not None:
      rows.append(("Suspected images answered right", *taken.right, guessed))
  if result.audit is not None and result.audit.before:
    for c in np.flatnonzero(result.audit.flagged):
      name = f"Images that the patch found for {result.called(c)} sends there"
      pair = result.audit.before[c], result.audit.after[c]
      rows.append((name, *pair, f"without it: {result.before.drawn(c)}"))
  return rows


def _order(result: Result) -> list[int]:
  """Returns the classes, flagged ones first, then by their index."""
  audit = result.audit
  if audit is None:
    return list(range(len(result.names)))
  small = audit.norm <= np.median(audit.norm)
  key = np.lexsort((-audit.index, ~small, ~audit.flagged))
  return [int(c) for c in key]


def _patches(result: Result) -> list[tuple[str, str]]:
  """Returns (caption, picture) of the patches."""
  audit = result.audit
  if audit is None:
    return []
  return [
    (
      result.called(c) + (", flagged" if audit.flagged[c] else ""),
      images.png(audit.pictures[c]),
    )
    for c in _order(result)[:_PICTURES]
  ]


def _classes(result: Result) -> list[dict[str, Any]]:
  """Returns what was measured of every class."""
  audit, rows = result.audit, []
  for c in _order(result)[:_WORST]:
    row = {
      "name": result.called(c),
      "images": result.before.of_class(c).count,
      "right": _pair(result.before.of_class(c), result.after.of_class(c)),
      "drawn": _pair(result.before.drawn(c), result.after.drawn(c)),
      "noise": f"{result.before.noise[c]} → {result.after.noise[c]}",
    }
    if audit is not None:
      row |= {
        "norm": f"{audit.norm[c]:.1f}" + ("" if audit.reached[c] else " *"),
        "index": f"{audit.index[c]:.1f}",
      }
      if audit.before:
        row["stamped"] = _pair(audit.before[c], audit.after[c])
    rows.append(row)
  return rows


def _pair(before, after) -> str:
  return f"{100 * before.rate:.1f} → {100 * after.rate:.1f}"
