"""Inverted residual blocks with squeeze-and-excitation.

Of MobileNetV3 and EfficientNet: widen, convolve each channel by itself, scale
channels by what all places of an image say together, narrow; plus the input
where it has that shape. Sandler et al. 2018 (arXiv:1801.04381), Hu et al. 2017
(arXiv:1709.01507), laid out as in torchvision.

Parameter tree of a block:
  wide, wide_bn        unless it widens nothing
  depth, depth_bn
  squeeze, excite      unless it has none
  narrow, narrow_bn
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from bdjax.models.parts import layers
from bdjax.types import Array

Function = Callable[[Array], Array]


class Form(NamedTuple):
  """What the blocks of a network share.

  Attributes:
    squeezed: what follows the squeeze.
    gate: what follows the excitation.
    momentum: how much of its statistics a batch norm keeps.
    epsilon: that it adds to the variance.
    dtype: what convolutions compute in.
  """

  squeezed: Function
  gate: Function
  momentum: float
  epsilon: float
  dtype: str


class Plan(NamedTuple):
  """A block.

  Attributes:
    size: of the kernel that convolves each channel by itself.
    before: channels of its input.
    wide: channels inside.
    after: channels of its output.
    squeeze: channels of the squeeze; 0 without one.
    activation: inside.
    stride: its own.
  """

  size: int
  before: int
  wide: int
  after: int
  squeeze: int
  activation: Function
  stride: int

  @property
  def widens(self) -> bool:
    """Whether it has a convolution that does."""
    return self.wide != self.before

  @property
  def residual(self) -> bool:
    """Whether the input is added."""
    return self.stride == 1 and self.before == self.after


Stages = Sequence[Sequence[Plan]]


def scaled(channels: int, width: int, full: int) -> int:
  """Returns as many channels as a network has that is not of full width.

  Args:
    channels: at full width.
    width: of its first convolution.
    full: the same at full width.
  """
  return max(1, channels * width // full)


class Block(nn.Module):
  """An inverted residual block.

  Attributes:
    plan: at full width.
    scale: (width, full width), of the first convolution.
    form: of the network.
    drop: how often its branch is left out in training.
  """

  plan: Plan
  scale: tuple[int, int]
  form: Form
  drop: float = 0.0

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps [B, h, w, c] to [B, h/stride, w/stride, after]."""
    plan, form = self.plan, self.form
    wide, squeeze, after = (
      scaled(n, *self.scale) for n in (plan.wide, plan.squeeze, plan.after)
    )
    y = x
    if plan.widens:
      y = convolved(y, train, form, name="wide", channels=wide)
      y = plan.activation(y)
    else:
      wide = x.shape[-1]
    how = {"size": plan.size, "stride": plan.stride, "groups": wide}
    y = convolved(y, train, form, name="depth", channels=wide, **how)
    y = plan.activation(y)
    if plan.squeeze:
      y = y * self._gates(y, squeeze)
    y = convolved(y, train, form, name="narrow", channels=after)
    if not plan.residual:
      return y
    return x + layers.dropped(self, y, self.drop, train, whole=True)

  def _gates(self, x: Array, channels: int) -> Array:
    """Returns what to scale each channel by, [B, 1, 1, c]."""
    kind = {"init": layers.he_fan_out, "bias": True, "dtype": self.form.dtype}
    y = jnp.mean(x, axis=(1, 2), keepdims=True)
    y = layers.conv(channels, 1, name="squeeze", **kind)(y)
    y = self.form.squeezed(y)
    return self.form.gate(layers.conv(x.shape[-1], 1, name="excite", **kind)(y))


def convolved(
  x: Array,
  train: bool,
  form: Form,
  *,
  name: str,
  channels: int,
  size: int = 1,
  stride: int = 1,
  groups: int = 1,
) -> Array:
  """Returns what convolution and batch norm make of x, in the caller's scope.

  Args:
    x: [B, h, w, c].
    train: whether batch statistics are used and kept.
    form: of the network.
    name: of the convolution; the norm's is NAME_bn.
  """
  kind = {"stride": stride, "groups": groups, "dtype": form.dtype}
  init = layers.he_fan_out
  x = layers.conv(channels, size, name=name, init=init, **kind)(x)
  return layers.batch_norm(
    train,
    name=f"{name}_bn",
    dtype=form.dtype,
    momentum=form.momentum,
    epsilon=form.epsilon,
  )(x)


def staged(
  x: Array,
  train: bool,
  form: Form,
  stages: Stages,
  *,
  scale: tuple[int, int],
  drop: float = 0.0,
) -> dict[str, Array]:
  """Returns what each stage makes of x, {layer1..: [B, h, w, c]}.

  Called in a module's compact method, whose layerL_B the blocks become.

  Args:
    x: [B, h, w, c].
    train: whether batch statistics are used and kept.
    form: of the network.
    stages: their blocks.
    scale: of its width, as a block has it.
    drop: how often a block after the last would be left out in training; from
      0 it rises evenly from block to block.
  """
  total, place, outputs = sum(map(len, stages)), 0, {}
  for stage, plans in enumerate(stages, 1):
    for i, plan in enumerate(plans):
      rate = drop * place / total
      block = Block(plan, scale, form, rate, name=f"layer{stage}_{i}")
      x, place = block(x, train), place + 1
    outputs[f"layer{stage}"] = x
  return outputs
