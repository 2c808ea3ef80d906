"""Every name and shape finds its place, or is named where it does not."""

import jax
import numpy as np
import pytest

from bdjax.interop import layouts, naming, tables
from bdjax.methods import registry

CASES = {
  "backdoorbench": "preact_resnet18",
  "kuangliu": "resnet18",
  "torchvision": "resnet18",
}


@pytest.mark.parametrize("layout", CASES)
def test_back_and_forth_changes_nothing(layout, draw):
  arch = CASES[layout]
  wanted = draw(layout)
  _, variables = layouts.to_flax(wanted, arch)
  back = layouts.to_torch(variables, arch, layout=layout)
  kept = {k for k in wanted if not k.endswith("num_batches_tracked")}
  assert back.keys() == kept
  for name in kept:
    np.testing.assert_array_equal(back[name], wanted[name])
    assert back[name].dtype == np.float32 and back[name].flags.c_contiguous


def test_the_published_benchmarks_file_has_102_tensors(draw):
  state = draw("backdoorbench", width=64, classes=10)
  assert len(state) == 102
  arguments, variables = layouts.to_flax(state, "preact_resnet18")
  assert arguments == {"width": 64, "num_classes": 10}
  sizes = [leaf.size for leaf in jax.tree.leaves(variables["params"])]
  assert sum(sizes) == 11_171_146


def test_one_layout_is_read_and_another_written(draw):
  _, variables = layouts.to_flax(draw("kuangliu"), "resnet18")
  found = layouts.to_torch(variables, "resnet18", layout="torchvision")
  kuangliu = draw("kuangliu")
  np.testing.assert_array_equal(found["fc.bias"], kuangliu["linear.bias"])
  np.testing.assert_array_equal(
    found["layer2.0.downsample.1.running_var"],
    kuangliu["layer2.0.shortcut.1.running_var"],
  )
  first = layouts.to_torch(variables, "resnet18")
  assert "linear.bias" in first


def without(state, *names):
  return {k: v for k, v in state.items() if k not in names}


MISMATCHES = {
  "missing": (
    lambda draw: without(draw("kuangliu"), "linear.bias"),
    "resnet18",
    r"not those of resnet18 \(kuangliu\): 1 missing \(linear.bias\)",
  ),
  "unknown": (
    lambda draw: draw("kuangliu") | {f"x{i}": np.zeros(1) for i in range(9)},
    "resnet18",
    r"9 unknown \(x0, x1, x2, x3 and 5 more\); no known one is near",
  ),
  "another architecture": (
    lambda draw: draw("torchvision"),
    "preact_resnet18",
    r"the nearest is resnet18 \(torchvision\): ask for that",
  ),
  "no known architecture": (
    lambda draw: {"features.0.weight": np.zeros((8, 3, 3, 3), np.float32)},
    "resnet18",
    "like none of the known ones: .*preact_resnet18, resnet9, ",
  ),
  "a shape": (
    lambda draw: (
      draw("kuangliu")
      | {"layer2.0.conv1.weight": np.zeros((8, 5, 3, 3), np.float32)}
    ),
    "resnet18",
    r"layer2.0.conv1.weight has shape \(8, 5, 3, 3\), but resnet18 with "
    r"width=4, num_classes=5, stem=cifar needs \(8, 4, 3, 3\)",
  ),
  "dimensions": (
    lambda draw: (
      draw("kuangliu") | {"conv1.weight": np.zeros((4, 27), np.float32)}
    ),
    "resnet18",
    "should be floating point of 4 dimensions",
  ),
  "integers": (
    lambda draw: draw("kuangliu") | {"linear.bias": np.zeros(5, np.int8)},
    "resnet18",
    "linear.bias is int8",
  ),
  "a stem we have no form for": (
    lambda draw: (
      draw("backdoorbench")
      | {"conv1.weight": np.zeros((4, 3, 7, 7), np.float32)}
    ),
    "preact_resnet18",
    "convolution is 7 x 7, but preact_resnet18 here has one of 3 x 3 only",
  ),
  "nothing": (
    lambda draw: (
      draw("kuangliu") | {"conv1.weight": np.zeros((0, 3, 3, 3), np.float32)}
    ),
    "resnet18",
    "width=0, num_classes=5 and 3 input channels make no model",
  ),
  "numbers beyond float32": (
    lambda draw: draw("kuangliu") | {"linear.bias": np.full(5, 1e300)},
    "resnet18",
    "linear.bias holds numbers above 3.40282e[+]38",
  ),
}


@pytest.mark.parametrize(
  ("make", "arch", "words"), MISMATCHES.values(), ids=MISMATCHES
)
def test_what_does_not_fit_is_named(draw, make, arch, words):
  with pytest.raises(layouts.Mismatch, match=words) as caught:
    layouts.to_flax(make(draw), arch)
  assert str(caught.value).endswith(".") and len(str(caught.value)) < 600


def test_unknown_architectures_and_layouts(draw):
  with pytest.raises(ValueError, match="did you mean preact_resnet18"):
    layouts.to_flax({}, "preactresnet18")
  _, variables = layouts.to_flax(draw("kuangliu"), "resnet18")
  with pytest.raises(ValueError, match="did you mean torchvision"):
    layouts.to_torch(variables, "resnet18", layout="torchvison")
  with pytest.raises(layouts.Mismatch, match="not those of preact_resnet18"):
    layouts.to_torch(variables, "preact_resnet18")


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions_become_single(draw, dtype):
  state = {k: v.astype(dtype) for k, v in draw("kuangliu").items()}
  _, variables = layouts.to_flax(state, "resnet18")
  assert {x.dtype.name for x in jax.tree.leaves(variables)} == {"float32"}
  kernel = variables["params"]["linear"]["kernel"]
  np.testing.assert_array_equal(kernel, state["linear.weight"].T.astype("f4"))


def test_gray_images(draw):
  state = draw("kuangliu")
  state["conv1.weight"] = state["conv1.weight"][:, :1]
  _, variables = layouts.to_flax(state, "resnet18")
  assert variables["params"]["conv1"]["kernel"].shape == (3, 3, 1, 4)


@pytest.mark.parametrize(
  ("name", "arch"),
  [
    ("preactresnet18", "preact_resnet18"),
    ("PreActResNet18", "preact_resnet18"),
    ("vgg19_bn", "vgg19_bn"),
    ("ViT-B/16", "vit_b_16"),
    ("resnet50", "resnet50"),
    ("vgg19", "vgg19"),
    ("vgg11", None),
    ("convnext_tiny", "convnext_tiny"),
    ("densenet161", "densenet161"),
    ("mobilenet_v3_large", "mobilenet_v3_large"),
    ("efficientnet_b3", "efficientnet_b3"),
    ("EfficientNet-B3", "efficientnet_b3"),
    ("vit_b_32", None),
    ("", None),
  ],
)
def test_other_spellings_of_an_architecture(name, arch):
  assert tables.known(name) == arch


def test_every_table_is_of_a_model_and_no_two_names_collide():
  assert tables.ARCHITECTURES.keys() <= set(registry.names("models"))
  for arch, table in tables.ARCHITECTURES.items():
    for layout in table.layouts:
      paths = naming.plain(arch, layout)
      names = {naming.called(path, layout) for path in paths}
      assert len(names) == len(paths)
