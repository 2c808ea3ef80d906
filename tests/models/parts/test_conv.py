"""The convolution with hand-written gradients is the one JAX derives."""
# ruff: noqa: D103

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from bdjax.models.parts import conv as module
from bdjax.models.parts.conv import conv_general_dilated
from bdjax.runs import work

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
CASES = {  # height, kernel, stride, padding, input dilation, kernel dilation
  "plain": (6, 3, 1, ((1, 1), (1, 1)), 1, 1),
  "stride, even": (8, 3, 2, ((1, 1), (1, 1)), 1, 1),
  "stride, odd": (9, 3, 2, ((1, 1), (1, 1)), 1, 1),
  "imagenet stem": (14, 7, 2, ((3, 3), (3, 3)), 1, 1),
  "shortcut": (8, 1, 2, ((0, 0), (0, 0)), 1, 1),
  "kernel smaller than stride": (8, 2, 3, ((0, 0), (0, 0)), 1, 1),
  "upsampling": (5, 3, 1, ((2, 1), (0, 2)), 2, 1),
  "dilated": (9, 3, 2, ((2, 2), (2, 2)), 1, 2),
}


def arrays(height, size):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, height, height + 1, 3))
  kernel = rng.normal(size=(size, size, 3, 4))
  return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)


def bind(conv, stride, padding, dilation, spread):
  def loss(x, kernel):
    y = conv(
      x,
      kernel,
      (stride, stride),
      padding,
      lhs_dilation=(dilation, dilation),
      rhs_dilation=(spread, spread),
      dimension_numbers=DIMENSIONS,
    )
    return jnp.sin(y).sum()

  return loss


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_gradients_agree_with_jax(case):
  args = arrays(*case[:2])

  @jax.jit
  def both(*args):
    return [
      jax.value_and_grad(bind(conv, *case[2:]), (0, 1))(*args)
      for conv in (conv_general_dilated, lax.conv_general_dilated)
    ]

  ours, theirs = both(*args)
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_second_order_agrees_with_jax():
  args = arrays(8, 3)

  def curvature(conv):
    gradient = jax.grad(bind(conv, *CASES["stride, even"][2:]), (0, 1))
    return jax.grad(lambda *a: sum((g**2).sum() for g in gradient(*a)), (0, 1))

  @jax.jit
  def both(*args):
    convs = conv_general_dilated, lax.conv_general_dilated
    return [curvature(conv)(*args) for conv in convs]

  for ours, theirs in zip(*both(*args), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_second_order_slides_no_image_over_another():
  conv = bind(conv_general_dilated, *CASES["plain"][2:])
  gradient = jax.grad(conv, (0, 1))

  def curvature(*args):
    return sum((g**2).sum() for g in gradient(*args))

  def cost(function):
    args = arrays(16, 3)
    return work.flop(work.needed(jax.make_jaxpr(function)(*args).jaxpr))

  one = cost(conv)
  assert cost(gradient) == pytest.approx(3 * one, rel=0.2)
  # y; by dy and what the gradient holds, two of each; through dy to y
  assert cost(jax.grad(curvature, (0, 1))) <= 9.5 * one


def layouts(function, platform, args=None):
  """Returns which convolutions of a function have the canonical layout."""
  traced = jax.jit(function).trace(*(args or arrays(8, 3)))
  text = traced.lower(lowering_platforms=(platform,)).as_text()
  convs = [c for c in text.splitlines() if "stablehlo.convolution" in c]
  return ["[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in c for c in convs]


def test_cpu_gradients_are_canonical_and_gpu_gradients_are_jaxs():
  gradient = jax.grad(
    bind(conv_general_dilated, *CASES["stride, even"][2:]), (0, 1)
  )
  assert layouts(gradient, "cpu") == [True, True, True]
  assert layouts(gradient, "cuda").count(True) == 1


def test_cpu_gradients_of_a_reverse_rule_are_canonical_too():
  loss = bind(conv_general_dilated, *CASES["stride, even"][2:])

  def implicit(x, kernel):
    _, pull = jax.vjp(loss, x, kernel)
    return sum((g**2).sum() for g in pull(1.0))

  found = layouts(jax.grad(implicit, (0, 1)), "cpu")
  assert len(found) > 3 and all(found)


def test_gradients_of_layers_that_are_alike_are_traced_once(monkeypatch):
  """As in nets of a hundred layers, whose tracing takes seconds."""
  seen, written = [], module._canonical_by_x
  monkeypatch.setattr(
    module, "_canonical_by_x", lambda *args: seen.append(1) or written(*args)
  )
  shapes = jnp.zeros((2, 11, 13, 5)), jnp.zeros((3, 3, 5, 5))
  one = {"window_strides": (1, 1), "padding": "SAME"}

  def loss(x, kernel):
    for _ in range(3):
      x = jnp.sin(conv_general_dilated(x, kernel, **one))
    return x.sum()

  jax.make_jaxpr(jax.grad(loss, (0, 1)))(*shapes)
  assert len(seen) == 1


def test_vmap_over_kernels_equals_one_by_one():
  x, kernel = arrays(6, 3)
  kernels = jnp.stack([kernel, -2 * kernel])
  gradient = jax.grad(bind(conv_general_dilated, *CASES["plain"][2:]), (0, 1))
  together = jax.jit(jax.vmap(gradient, (None, 0)))(x, kernels)
  alone = jax.jit(gradient)(x, kernels[1])
  for a, b in zip(together, alone, strict=True):
    np.testing.assert_allclose(a[1], b, rtol=1e-4, atol=1e-4)


def test_same_padding_through_flax():
  x, _ = arrays(9, 3)
  kind = {"features": 4, "kernel_size": (3, 3), "strides": 2, "use_bias": False}
  ours = nn.Conv(**kind, conv_general_dilated=conv_general_dilated)
  theirs = nn.Conv(**kind)
  variables = jax.jit(theirs.init)(jax.random.key(0), x)
  np.testing.assert_allclose(
    ours.apply(variables, x), theirs.apply(variables, x), rtol=1e-6
  )


GROUPED = {  # groups, channels of the input, channels of the output
  "depthwise": (6, 6, 6),
  "depthwise, two each": (3, 3, 6),
  "groups": (2, 4, 6),
}


def grouped(groups, channels, out, *, height=9, size=3):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, height, height + 1, channels))
  kernel = rng.normal(size=(size, size, channels // groups, out))
  return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)


TRIED = [("depthwise", name) for name in CASES]
TRIED += [(name, "stride, odd") for name in GROUPED if name != "depthwise"]


@pytest.mark.parametrize(("groups", "case"), TRIED)
def test_groups_agree_with_jax(groups, case):
  height, size, *window = CASES[case]
  args = grouped(*GROUPED[groups], height=height, size=size)

  @jax.jit
  def both(*args):
    return [
      jax.value_and_grad(bind(conv, *window), (0, 1))(*args)
      for conv in (
        functools.partial(c, feature_group_count=GROUPED[groups][0])
        for c in (conv_general_dilated, lax.conv_general_dilated)
      )
    ]

  ours, theirs = both(*args)
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_groups_are_taps_on_a_cpu_and_a_convolution_elsewhere():
  args = grouped(*GROUPED["depthwise"])
  conv = functools.partial(conv_general_dilated, feature_group_count=6)
  gradient = jax.grad(bind(conv, *CASES["stride, even"][2:]), (0, 1))
  assert layouts(gradient, "cpu", args) == []
  assert len(layouts(gradient, "cuda", args)) == 3


def test_a_precision_is_refused():
  x, kernel = arrays(6, 3)
  with pytest.raises(ValueError, match="precision=highest"):
    conv_general_dilated(x, kernel, (1, 1), "SAME", precision="highest")
