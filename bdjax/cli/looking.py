"""The arguments of `analysis`, which looks into a finished run's models."""

import argparse
from collections.abc import Sequence
from typing import Any

from bdjax.cli import parser as parsers
from bdjax.cli.parser import Parser

PARTS = ("tac", "line", "surface", "features")
STATISTICS = ("stored", "recomputed")
EMBEDDINGS = ("tsne", "pca")
TEXT = """Shows why defenses removed a finished run's backdoors, or left them.

  {program} analysis runs/quickstart --embedding=pca
  {program} analysis runs/mine --cells='blended/fmn*/super_ft*'
  {program} analysis runs/mine --parts=line --points=21 \\
      --statistics=recomputed

Of each planted model and of what each defense made of it:

  tac       what the trigger changes in every channel of the last layers, before
            and after the defense (trigger-activated change, arXiv 2208.03111)
  line      losses, CA and ASR along the straight line from the planted model to
            the repaired one (linear mode connectivity, arXiv 1912.05671)
  surface   clean and backdoor loss around the planted model, on a plane of
            filter-normalized random directions (arXiv 1712.09913)
  features  where triggered images lie among clean ones, by t-SNE or PCA

Pictures (SVG, PNG) and their numbers (JSON) go into WORKDIR/analysis, where
`report WORKDIR` finds them. What is there already is kept; numbers that are
asked for otherwise replace it. Repaired models that the run has not kept (it
does for sequela) are trained once more, from the same planted model, and kept
from then on."""


def add(parser: Parser) -> None:
  """Adds an analysis's."""
  parser.add_argument("workdir", metavar="WORKDIR", help="a finished run's")
  _which(parser)
  _how(parser)


def _which(parser: Parser) -> None:
  group = parser.add_argument_group("what is looked at")
  group.add_argument(
    "--cells",
    action="append",
    default=[],
    metavar="A/R/D/S",
    help="cells of such an attack, regime, defense and seed, with * for any "
    "text; what is left out at the end is any; or a cell's name in "
    "results.jsonl; once for each of several (default: all that are finished)",
  )
  group.add_argument(
    "--parts",
    type=_parts,
    default=PARTS,
    metavar="NAMES",
    help=f"some of {','.join(PARTS)} (default: all)",
  )
  group.add_argument(
    "--out", metavar="DIR", help="where it goes (default: WORKDIR/analysis)"
  )
  group.add_argument(
    "--store",
    metavar="DIR",
    help="where the run kept its models (default: WORKDIR/models)",
  )


def _how(parser: Parser) -> None:
  group = parser.add_argument_group("how closely")

  def number(name: str, least: int, default: Any, words: str) -> None:
    shown = "chosen by the device" if default is None else default
    group.add_argument(
      f"--{name}",
      type=parsers.at_least(least, int),
      default=default,
      metavar="N",
      help=f"{words} (default: {shown})",
    )

  def choice(name: str, choices: Sequence[str], words: str) -> None:
    group.add_argument(
      f"--{name}",
      choices=choices,
      default=choices[0],
      help=f"{words} (default: {choices[0]})",
    )

  number("images", 1, 500, "test images, drawn at random, of tac and line")
  number("layers", 1, 2, "tac: of how many of the last layers")
  number("points", 2, 11, "line: points, both ends among them")
  choice("statistics", STATISTICS, _STATISTICS)
  group.add_argument(
    "--grid",
    type=_odd,
    default=15,
    metavar="N",
    help="surface: points along a side, an odd number (default: 15)",
  )
  group.add_argument(
    "--span",
    type=_positive,
    default=0.5,
    metavar="X",
    help="surface: how far it reaches each way, in lengths of the model's own "
    "filters (default: 0.5)",
  )
  number("surface_images", 1, 200, "test images of surface")
  number("chunk", 1, None, "surface: points that are computed at once")
  choice("embedding", EMBEDDINGS, "features: t-SNE needs scikit-learn")
  number("embedding_images", 2, 400, "test images of features")
  number("seed", 0, 0, "of the surface's directions and of t-SNE")


_STATISTICS = (
  "line, surface: batch norm's, which are the models' own, interpolated along "
  "the line, or taken anew from clean training images at each point"
)


def _parts(text: str) -> tuple[str, ...]:
  named = tuple(dict.fromkeys(text.split(",")))
  for name in named:
    if name not in PARTS:
      raise argparse.ArgumentTypeError(
        f"{name!r} is none of {', '.join(PARTS)}"
      )
  return named


def _odd(text: str) -> int:
  value = parsers.at_least(3, int)(text)
  if value % 2 == 0:
    raise argparse.ArgumentTypeError(
      f"{text!r} is even, and none of its points were the model itself: give "
      f"{value + 1}"
    )
  return value


def _positive(text: str) -> float:
  try:
    value = float(text)
  except ValueError:
    value = 0.0
  if not 0 < value < float("inf"):
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
  return value
