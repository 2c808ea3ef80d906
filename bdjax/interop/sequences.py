"""How torchvision numbers modules that it puts into sequences, as data.

A rule is a pattern and a replacement of `re.sub`, from our dotted path of a
module to theirs; all rules of a layout are applied one after the other.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from bdjax.models.parts import inverted

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]


def vgg(stages: Sequence[int], *, norm: bool) -> Rules:
  """Returns a VGG's: convolution, norm, ReLU; a max pool after each stage.

  Args:
    stages: how many convolutions each has.
    norm: whether they have norms.
  """
  position, table = 0, {}
  for stage, count in enumerate(stages, 1):
    for i in range(1, count + 1):
      table[f"conv{stage}_{i}"] = f"features.{position}"
      if norm:
        table[f"bn{stage}_{i}"] = f"features.{position + 1}"
      position += 3 if norm else 2
    position += 1
  return _exactly(table)


def mobilenet(stages: inverted.Stages) -> Rules:
  """Returns a MobileNetV3's: convolution, all blocks, convolution."""
  plans = {
    f"layer{stage}_{i}": plan
    for stage, blocks in enumerate(stages, 1)
    for i, plan in enumerate(blocks)
  }
  table = _normed("conv1", "features.0")
  for position, (name, plan) in enumerate(plans.items(), 1):
    table |= _block(name, f"features.{position}.block", plan)
  table |= _normed("conv2", f"features.{len(plans) + 1}")
  table |= {"linear1": "classifier.0", "linear": "classifier.3"}
  return _exactly(table)


def efficientnet(stages: inverted.Stages) -> Rules:
  """Returns an EfficientNet's: convolution, stages of blocks, convolution."""
  table = _normed("conv1", "features.0")
  for stage, plans in enumerate(stages, 1):
    for i, plan in enumerate(plans):
      place = f"features.{stage}.{i}.block"
      table |= _block(f"layer{stage}_{i}", place, plan)
  table |= _normed("conv2", f"features.{len(stages) + 1}")
  return _exactly(table | {"linear": "classifier.1"})


def convnext(blocks: Sequence[int]) -> Rules:
  """Returns a ConvNeXt's: stages in turns with what makes images smaller.

  Args:
    blocks: how many each stage has.
  """
  parts = {"conv": 0, "ln": 2, "linear1": 3, "linear2": 5}
  table = {"conv1": "features.0.0", "conv1_ln": "features.0.1"}
  for stage, count in enumerate(blocks, 1):
    place = 2 * stage - 1
    table[f"down{stage}_ln"] = f"features.{place - 1}.0"
    table[f"down{stage}"] = f"features.{place - 1}.1"
    for i in range(count):
      ours, theirs = f"layer{stage}_{i}", f"features.{place}.{i}"
      table[ours] = theirs  # which has the scale
      table |= {f"{ours}.{k}": f"{theirs}.block.{n}" for k, n in parts.items()}
  return _exactly(table | {"ln": "classifier.0", "linear": "classifier.2"})


def _block(ours: str, theirs: str, plan: inverted.Plan) -> dict[str, str]:
  """Returns an inverted residual block's."""
  parts = ["wide"] if plan.widens else []
  parts += ["depth", *(["squeeze"] if plan.squeeze else []), "narrow"]
  table = {}
  for i, part in enumerate(parts):
    if part == "squeeze":
      table[f"{ours}.squeeze"] = f"{theirs}.{i}.fc1"
      table[f"{ours}.excite"] = f"{theirs}.{i}.fc2"
    else:
      table |= _normed(f"{ours}.{part}", f"{theirs}.{i}")
  return table


def _normed(ours: str, theirs: str) -> dict[str, str]:
  """Returns a convolution's and its norm's."""
  return {ours: f"{theirs}.0", f"{ours}_bn": f"{theirs}.1"}


def _exactly(table: Mapping[str, str]) -> Rules:
  """Returns the rule that replaces whole names."""
  return ((r"^.+$", lambda match: table.get(match[0], match[0])),)
