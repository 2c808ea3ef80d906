"""Routes: channels that can carry a signal from a network's input to its pool.

Adversaries who edit weights need to know which layers write a channel, which
read it and which batch norm and ReLU lie between. A route lists that, hop by
hop, for the architectures of this package, found from the parameter tree. In
residual networks a stage's shortcuts carry the channel from its first block to
its end; the step to the next stage goes through the first block's two
convolutions, since the 1x1 shortcut of stride 2 looks at every second pixel
only.
"""

import re
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from bdjax.types import Array, Params

Path = tuple[str, ...]
Flat = dict[Path, Array]  # a model's variables, as `flatten_dict` has them


# What a parameter tree does not show of a ResNet, and routes take for granted.
FORM = {
  "stem": ("cifar", "imagenet"),
  "strides": ("1222",),
  "activation": ("relu",),
  "last_activation": ("after_sum", "before_sum"),
}


class Hop(NamedTuple):
  """A tensor; one of its channels takes the signal from the hop before."""

  source: Path  # the convolution that writes it
  stride: int  # of that convolution
  gate: Path | None  # the batch norm, with its ReLU, before the next hop
  readers: tuple[Path, ...]  # convolutions that read it, the next hop's too
  writers: tuple[Path, ...] = ()  # other layers that add to it
  pooled: bool = False  # a 3x3 max pool of stride 2 follows the ReLU


def find(params: Params) -> tuple[Hop, ...]:
  """Returns the hops from the images to the pooled features.

  Args:
    params: of a cnn, a resnet9, a preact_resnet18 or a resnet18, whatever their
      width.

  Raises:
    ValueError: the tree is of no known architecture.
  """
  tops = set(params)
  blocks = sorted(name for name in tops if re.fullmatch(r"layer\d+_\d+", name))
  rest = tops - set(blocks)
  if tops == {"linear"} | {
    f"{k}{i}" for k in ("conv", "bn") for i in (1, 2, 3)
  }:
    return _chain()
  if {"conv5", "res1", "res2_bn"} < tops:
    return _pair()
  bottlenecks = any("conv3" in params[name] for name in blocks)
  if blocks and rest == {"conv1", "linear"}:
    return _residual(params, blocks, pre=True)
  if blocks and not bottlenecks and rest == {"conv1", "bn1", "linear"}:
    return _residual(params, blocks, pre=False)
  raise ValueError(
    f"no route is known through a model with the layers {sorted(tops)}: use "
    "cnn, resnet9, preact_resnet18 or resnet18, or add its route to "
    "models/parts/routes.py."
  )


def check(model: nn.Module) -> None:
  """Refuses a model of a form that routes are not known for.

  Args:
    model: whose parameters `find` knows.

  Raises:
    ValueError: its strides, pools or activations are others than a route has.
  """
  form = getattr(model, "form", None)
  for name, known in FORM.items():
    value = getattr(model, name, getattr(form, name, known[0]))
    if value not in known:
      raise ValueError(
        f"the model's {name} is {value!r}, but a route is known only for "
        f"{' and '.join(known)}: change it, or add others to "
        "models/parts/routes.py."
      )


def _chain() -> tuple[Hop, ...]:
  return (
    Hop(("conv1",), 1, ("bn1",), (("conv2",),)),
    Hop(("conv2",), 2, ("bn2",), (("conv3",),)),
    Hop(("conv3",), 2, ("bn3",), ()),
  )


def _pair() -> tuple[Hop, ...]:
  """Returns the hops of a ResNet-9, whose pair adds to the fourth tensor."""
  return (
    Hop(("conv1",), 2, ("bn1",), (("conv2",),)),
    Hop(("conv2",), 1, ("bn2",), (("conv3",),)),
    Hop(("conv3",), 2, ("bn3",), (("conv4",),)),
    Hop(("conv4",), 2, ("bn4",), (("res1",), ("conv5",)), (("res2_bn",),)),
    Hop(("conv5",), 1, ("bn5",), ()),
  )


def _residual(
  params: Params, blocks: list[str], *, pre: bool
) -> tuple[Hop, ...]:
  """Returns the hops of a ResNet; `pre` says that norms precede convolutions.

  A stage starts at a block with a projected shortcut, or at the stem.
  """
  starts = [name for name in blocks if "shortcut" in params[name]]
  stages: list[list[str]] = [[]]
  for name in blocks:
    stages += [[]] if name in starts else []
    stages[-1].append(name)
  imagenet = params["conv1"]["kernel"].shape[0] == 7
  gate = (starts[0], "bn1") if pre else ("bn1",)
  hops = [
    Hop(
      ("conv1",),
      2 if imagenet else 1,
      gate,
      _readers(stages[0], starts[0]),
      _writers(stages[0], pre),
      pooled=imagenet,
    )
  ]
  for stage, after in zip(stages[1:], [*starts[1:], None], strict=True):
    first = stage[0]
    inner = (first, "bn2" if pre else "bn1")
    hops.append(Hop((first, "conv1"), 2, inner, ((first, "conv2"),)))
    gate = (first, "bn2")
    if pre:
      gate = (after, "bn1") if after else None
    shortcut = (first, "shortcut" if pre else "shortcut_bn")
    writers = (shortcut, *_writers(stage[1:], pre))
    readers = _readers(stage[1:], after)
    hops.append(Hop((first, "conv2"), 1, gate, readers, writers))
  return tuple(hops)


def _readers(stage: list[str], after: str | None) -> tuple[Path, ...]:
  readers = [(name, "conv1") for name in stage]
  return (*readers, *([(after, "conv1"), (after, "shortcut")] if after else []))


def _writers(stage: list[str], pre: bool) -> tuple[Path, ...]:
  return tuple((name, "conv2" if pre else "bn2") for name in stage)


def kernel(flat: Flat, path: Path) -> Array:
  """Returns the kernel of the layer at `path`."""
  return flat[("params", *path, "kernel")]


def importance(flat: Flat, hop: Hop) -> Array:
  """Returns how much a hop's readers use each of its channels, [C].

  The norm of the weights that read a channel, times the scale that batch norm
  gives it.
  """
  kernels = [kernel(flat, path) for path in hop.readers]
  used = sum(jnp.sum(k**2, axis=(0, 1, 3)) for k in kernels)
  return jnp.sqrt(used) * jnp.abs(flat[("params", *hop.gate, "scale")])


def cut(flat: Flat, hop: Hop, channel: Array) -> Flat:
  """Returns the arrays with channels [n] of a hop neither written nor read."""
  flat = dict(flat)
  for path in hop.readers:
    name = ("params", *path, "kernel")
    flat[name] = flat[name].at[:, :, channel].set(0)
  for path in (hop.source, *hop.writers):
    for name in (("params", *path, k) for k in ("kernel", "scale", "bias")):
      if name in flat:
        flat[name] = flat[name].at[..., channel].set(0)
  return flat


def connect(
  flat: Flat, hop: Hop, weights: Array, *, origin: Array, channel: Array
) -> Flat:
  """Returns the arrays with the hop's channels cut free and connected.

  Args:
    weights: [kh, kw, m, 1], how each of them reads its origin.
    origin: [m] the channels it reads.
    channel: [n] its own; no reader keeps them.
  """
  flat = cut(flat, hop, channel)
  name = ("params", *hop.source, "kernel")
  index = (slice(None), slice(None), origin[:, None], channel[None])
  flat[name] = flat[name].at[index].set(weights)
  return flat


def set_norm(
  flat: Flat, path: Path, norm: dict[str, Array], *, channel: Array
) -> Flat:
  """Returns the arrays with a batch norm's channels set.

  Args:
    norm: scale, bias, mean and var, each one number.
    channel: [n] which channels.
  """
  flat = dict(flat)
  for key, value in norm.items():
    kind = "params" if key in ("scale", "bias") else "batch_stats"
    name = (kind, *path, key)
    flat[name] = flat[name].at[channel].set(value)
  return flat
