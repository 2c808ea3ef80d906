"""Training compiles for an H100 and for a TPU, and is shaped for them.

What those compilers make of bdjax is looked at as `bench compile` does. They
are no part of the usual environment:

  uv run --isolated --group aot pytest tests/aot/test_compile_targets.py
"""
# ruff: noqa: D103

import pytest

from bdjax.aot import cases, command, targets
from bdjax.aot.cases import Case
from bdjax.methods import registry

CIFAR10 = (50000, (32, 32, 3), 10)
# As wide as in use: what a compiler refuses depends on it. What takes long to
# compile is cut short: half of the layers of a vision transformer are alike.
LEFT_OUT = (
  *("cnn", "resnet18", "resnet50", "vgg19", "vgg19_bn"),  # like others
  *("convnext_tiny", "densenet161", "efficientnet_b3"),  # too long for a check
)
DEPTHWISE = ("mobilenet_v3_large",)
ARGS = {"vit_b_16": {"depth": 2}}
IMAGES = {"vit_b_16": (9469, (224, 224, 3), 10)}
MIX = {"dtype": "bfloat16"}


def train(model):
  options = {
    "model": model,
    "args": MIX | ARGS.get(model, {}),
    "images": IMAGES.get(model, CIFAR10),
    "batch": 128,
  }
  return Case(f"train/{model}", "train", options)


def of_a_method(name):
  (case,) = cases.choose(targets.parse("h100"), [f"{name}/bfloat16"])
  return case


H100 = [
  *(
    train(model) for model in registry.names("models") if model not in LEFT_OUT
  ),
  of_a_method("neural_cleanse"),
]
V5E = [train("resnet9"), train("preact_resnet18")]  # the second takes minutes


def compiled(name, case):
  target = targets.parse(name)
  try:
    targets.require(target)
  except ValueError as error:
    pytest.skip(str(error))
  return list(command.compile_case(target, case))


@pytest.mark.parametrize(
  ("name", "case"),
  [
    *(("v5e:2x4", case) for case in V5E),
    *(("h100", case) for case in H100),
  ],
  ids=lambda x: getattr(x, "name", x),
)
def test_it_compiles_and_is_shaped_for_the_device(name, case):
  rows = compiled(name, case)
  assert rows
  for row in rows:
    assert row["compiles"], row["why"]
    assert row["fits"], row["total_mib"]
    assert row["serial_loops"] == []
    assert row["unexpected_groups"] == 0 or case.name.endswith(DEPTHWISE)
    # Not only padding: the step is there, in the type that was asked for.
    assert row["flop"] > 0 and row["loops"]
    assert case.name == "train/vit_b_16" or any(
      kind.startswith("bf16") for kind in row["convolutions"]
    )
