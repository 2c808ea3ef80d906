"""Pairs of a convolution and the batch norm that alone reads its output.

Such a pair is one linear map: channel k of the convolution, times scale over
standard deviation of channel k of the norm. Found from the parameter tree of
the architectures of this package. In a pre-activation network only the inner
convolution of a block has such a norm: what the stem and the blocks write is
read by a shortcut as well, and by further blocks' norms.
"""

import re
from typing import NamedTuple

from bdjax.types import Params


class Pair(NamedTuple):
  """Paths in the parameter tree, as "layer1_0/conv1"."""

  conv: str
  norm: str


_RESNET9 = (
  *(Pair(f"conv{i}", f"bn{i}") for i in range(1, 5)),
  *(Pair(f"res{i}", f"res{i}_bn") for i in (1, 2)),
  Pair("conv5", "bn5"),
)


def find(params: Params, *, adjacent: bool = False) -> tuple[Pair, ...]:
  """Returns the pairs of a model, inputs first.

  Args:
    params: of a cnn, a ResNet-9, a ResNet or a VGG with batch norm of this
      package, whatever their width; by themselves or as the backbone under a
      head.
    adjacent: pair every batch norm with the convolution defined just before it,
      right or wrong. That differs in pre-activation networks, where it pairs a
      block's first norm with the last convolution before the block, be it a
      shortcut.

  Raises:
    ValueError: the tree is of no known architecture.
  """
  if set(params) == {"backbone", "head"}:
    inside = find(params["backbone"], adjacent=adjacent)
    return tuple(Pair(*(f"backbone/{name}" for name in p)) for p in inside)
  tops = set(params)
  blocks = sorted(name for name in tops if re.fullmatch(r"layer\d+_\d+", name))
  # Layers of heads; an encoder may have none.
  rest = tops - set(blocks) - {"linear", "linear1", "linear2"}
  if blocks and rest == {"conv1"}:
    return _pre_activation(params, blocks, adjacent)
  chain = {f"{kind}{i}" for kind in ("conv", "bn") for i in (1, 2, 3)}
  stages = {name for name in rest if re.fullmatch(r"(conv|bn)\d_\d", name)}
  if {"conv5", "res1", "res2_bn"} < tops:
    return _RESNET9
  normed = any(name.startswith("bn") for name in rest)
  if normed and rest in ({"conv1", "bn1"}, chain, stages):
    scopes = [("", params), *((f"{name}/", params[name]) for name in blocks)]
    return tuple(pair for scope in scopes for pair in _followed(*scope))
  raise ValueError(
    f"no pairs are known in a model with the layers {sorted(tops)}: use cnn, "
    "a ResNet or a VGG with batch norm, or add its pairs to "
    "models/parts/pairs.py."
  )


def _followed(scope: str, layers: Params) -> list[Pair]:
  """Returns each convolution of a scope with the norm right after it."""
  convs = sorted(name for name in layers if re.fullmatch(r"conv\d(_\d)?", name))
  pairs = [(name, name.replace("conv", "bn")) for name in convs]
  if "shortcut" in layers:
    pairs.append(("shortcut", "shortcut_bn"))
  return [Pair(scope + conv, scope + norm) for conv, norm in pairs]


def _pre_activation(
  params: Params, blocks: list[str], adjacent: bool
) -> tuple[Pair, ...]:
  pairs, last = [], "conv1"
  for name in blocks:
    outer = [Pair(last, f"{name}/bn1")] if adjacent else []
    pairs += [*outer, Pair(f"{name}/conv1", f"{name}/bn2")]
    ending = "shortcut" if "shortcut" in params[name] else "conv2"
    last = f"{name}/{ending}"
  return tuple(pairs)
