"""Names are found behind a prefix, and last layers within a Sequential."""

import jax
import numpy as np
import pytest

from bdjax.interop import layouts, naming

ARCH = "resnet18"


def under(prefix, state):
  return {prefix + name: value for name, value in state.items()}


def renamed(state, old, new):
  return {name.replace(old, new): value for name, value in state.items()}


def same(one, other):
  _, ours = layouts.to_flax(one, ARCH)
  _, theirs = layouts.to_flax(other, ARCH)
  pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
  return all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize(
  "prefix", ["model.", "net.", "encoder.", "0.", "attacker.model.", "module.1."]
)
def test_one_prefix_of_all_names_is_left_out(draw, prefix):
  plain = draw("kuangliu")
  assert same(under(prefix, plain), plain)
  assert naming.seen(under(prefix, plain), ARCH).prefix == prefix
  assert naming.seen(plain, ARCH).prefix == ""


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_last_layer_in_a_sequential_keeps_its_name(draw, place):
  plain = draw("torchvision")
  state = renamed(plain, "fc.", f"fc.{place}.")
  assert same(under("model.", state), plain)
  names = naming.seen(state, ARCH).names
  assert names["fc.bias"] == f"fc.{place}.bias"
  assert names["conv1.weight"] == "conv1.weight"


def test_a_head_of_two_layers_is_refused(draw):
  state = renamed(draw("torchvision"), "fc.", "fc.0.")
  two = state | {"fc.2.weight": np.zeros((5, 5)), "fc.2.bias": np.zeros(5)}
  with pytest.raises(layouts.Mismatch, match="2 missing.*4 unknown"):
    layouts.to_flax(two, ARCH)


@pytest.mark.parametrize(
  ("names", "shape"),
  [
    (("0.mean", "0.std"), (3,)),
    (("normalizer.new_mean", "normalizer.new_std"), (3, 1, 1)),
    (("1.norm.mean", "1.norm.std"), (1, 3, 1, 1)),
  ],
)
def test_a_layer_that_normalizes_is_seen(draw, names, shape):
  levels = dict.fromkeys(names, np.full(shape, 0.5, np.float32))
  place = naming.seen(under("1.", draw("kuangliu")) | levels, ARCH)
  assert place.levels == dict(zip(("mean", "std"), names, strict=True))
  assert place.rest == ()


@pytest.mark.parametrize(
  ("prefix", "levels", "layout", "place"),
  [
    ("1.", "0.", "torchvision", "1."),  # Sequential(Normalize, ViT)
    ("1.", "", "backdoorbench", ""),  # Sequential(Resize, ViT)
    ("1.", "norm.", "backdoorbench", ""),
    ("1.1.", "0.", "backdoorbench", "1."),  # Normalize, then both
    ("1.1.", "1.0.", "torchvision", "1.1."),
    ("", "norm.", "torchvision", ""),
  ],
)
def test_what_normalizes_is_not_taken_for_what_resizes(
  prefix, levels, layout, place
):
  (plain, *_) = naming.architecture("vit_b_16").layouts
  names = (naming.called(p, plain) for p in naming.plain("vit_b_16", plain))
  state = {prefix + name: np.zeros(1) for name in names}
  if levels:
    state |= {levels + name: np.ones(3) for name in ("mean", "std")}
  found = naming.seen(state, "vit_b_16")
  assert (found.layout.name, found.prefix) == (layout, place)
  assert bool(found.levels) == bool(levels)


def test_what_no_inference_needs_is_left_out_and_named(draw):
  state = under("model.", draw("kuangliu"))
  state |= {"loss.weight": np.ones(5), "accuracy.total": np.array(3.0)}
  assert naming.seen(state, ARCH).rest == ("accuracy.total", "loss.weight")


def test_weights_that_have_no_place_are_refused(draw):
  state = under("model.", draw("kuangliu"))
  with pytest.raises(layouts.Mismatch, match="1 unknown .head.weight"):
    layouts.to_flax(state | {"head.weight": np.ones((5, 5))}, ARCH)
  with pytest.raises(layouts.Mismatch, match=r"1 unknown .scale"):
    layouts.to_flax(state | {"model.scale": np.ones(5)}, ARCH)


def test_the_same_weights_twice_are_one_model_and_others_are_two(draw):
  state = under("model.", draw("kuangliu"))
  again = under("attacker.model.", draw("kuangliu"))
  assert naming.seen(state | again, ARCH).prefix == "model."
  again["attacker.model.linear.bias"] = np.zeros(5, np.float32)
  with pytest.raises(layouts.Mismatch, match="two sets of tensors"):
    layouts.to_flax(state | again, ARCH)


def test_a_first_layer_is_told_by_its_name(draw):
  state = under("model.", draw("torchvision"))
  assert naming.begun(state, ARCH)
  assert not naming.begun(state, "vgg19")
  assert not naming.begun(state, "convnext_tiny")
  assert naming.begun({"0.features.0.0.weight": np.zeros(1)}, "convnext_tiny")


def test_names_with_a_prefix_and_without_are_refused(draw):
  state = under("model.", draw("kuangliu"))
  state["conv1.weight"] = state["model.conv1.weight"]
  with pytest.raises(layouts.Mismatch, match="are there twice"):
    layouts.to_flax(state, ARCH)
