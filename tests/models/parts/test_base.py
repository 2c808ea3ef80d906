# ruff: noqa: D103
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import errors

from bdjax.models.parts import base, conv, layers

IMAGE = jnp.linspace(0, 1, 6).reshape(2, 3)


def counting(base):
  """Returns a network of any base class, and the calls that Python made."""
  calls = []

  class Counting(base):
    size: int
    more: tuple = ()

    @nn.compact
    def __call__(self, x, train=False):
      calls.append(x.shape)
      x = nn.Dense(self.size)(x)
      x = nn.BatchNorm(use_running_average=not train)(x)
      x = nn.Dropout(0.5, deterministic=not train)(x)
      return x, {"pooled": x}

  return Counting, calls


def began(model):
  return jax.jit(model.init)(jax.random.key(0), IMAGE)


def trained(model, variables, image):
  return model.apply(
    variables,
    image,
    train=True,
    mutable=["batch_stats"],
    rngs={"dropout": jax.random.key(1)},
  )


def test_python_goes_through_it_once_for_each_kind_of_call():
  make, calls = counting(base.Network)
  variables = began(make(4))
  assert len(calls) == 1
  for _ in range(2):  # each a program of its own, of a model of its own
    jax.jit(lambda x: make(4).apply(variables, x))(IMAGE)
    jax.grad(lambda x: make(4).apply(variables, x)[0].sum())(IMAGE)
    jax.vmap(lambda x: make(4).apply(variables, x)[0])(IMAGE[None])
  assert len(calls) == 2
  for _ in range(2):
    jax.jit(functools.partial(trained, make(4), variables))(IMAGE)
  assert len(calls) == 3
  make(4).apply(variables, IMAGE[:1])
  make(4, more=(1,)).apply(variables, IMAGE)
  assert len(calls) == 5


@pytest.mark.parametrize("way", ["apply", "train", "grad", "init"])
def test_its_programs_are_those_of_flax(way):
  def program(base):
    make, _ = counting(base)
    model = make(4)
    variables = began(model)

    def loss(variables):
      return (trained(model, variables, IMAGE)[0][0] ** 2).sum()

    work = {
      "apply": lambda v: model.apply(v, IMAGE),
      "train": lambda v: trained(model, v, IMAGE),
      "grad": jax.grad(loss),
      "init": lambda v: model.init(jax.random.key(2), IMAGE),
    }
    done = jax.jit(work[way])
    return done.lower(variables).as_text(), done(variables)

  (ours, we_get), (flaxs, they_get) = map(program, (base.Network, nn.Module))
  assert ours == flaxs
  jax.tree.map(np.testing.assert_array_equal, we_get, they_get)


def test_what_cannot_be_compared_is_done_as_flax_does():
  make, calls = counting(base.Network)
  variables = began(make(4))
  for _ in range(2):
    make(4, more=([],)).apply(variables, IMAGE)
  assert len(calls) == 3
  bound = make(4).bind(variables)
  ours, flaxs = bound.apply(variables, IMAGE), bound(IMAGE)
  np.testing.assert_array_equal(ours[0], flaxs[0])
  _, kept = make(4).apply(variables, IMAGE, mutable=nn.DenyList("params"))
  assert set(kept) == {"batch_stats"}
  width = make(4).apply(variables, method=lambda self: self.size)
  assert width == 4
  before = len(calls)
  for _ in range(2):
    make(4).apply(variables, IMAGE, 0)
  assert len(calls) == before + 2


def test_who_looks_on_sees_every_call():
  make, calls = counting(base.Network)
  variables, seen = began(make(4)), []

  def note(call, args, kwargs, context):
    seen.append(type(context.module).__name__)
    return call(*args, **kwargs)

  for _ in range(2):
    make(4).apply(variables, IMAGE)
    with nn.intercept_methods(note):
      make(4).apply(variables, IMAGE)
  assert seen == ["Counting", "Dense", "BatchNorm", "Dropout"] * 2
  assert len(calls) == 4
  wide = {"console_kwargs": {"width": 200}}
  table = make(4).tabulate(jax.random.key(0), IMAGE, **wide)
  assert "Dense_0" in table and "BatchNorm_0" in table


def test_settings_may_be_given_by_place():
  make, calls = counting(base.Network)
  model = make(4)
  variables = model.init(jax.random.key(0), IMAGE, False)
  still = model.apply(variables, IMAGE, False)[0]
  np.testing.assert_array_equal(still, model.apply(variables, IMAGE)[0])
  moved = model.apply(
    variables,
    IMAGE,
    True,
    mutable=["batch_stats"],
    rngs={"dropout": jax.random.key(1)},
  )
  np.testing.assert_array_equal(
    moved[0][0], trained(model, variables, IMAGE)[0][0]
  )


def test_wrong_calls_fail_as_flaxs():
  make, _ = counting(base.Network)
  variables = began(make(4))
  with pytest.raises(TypeError, match="unexpected keyword argument 'trian'"):
    make(4).apply(variables, IMAGE, trian=True)
  with pytest.raises(errors.ScopeCollectionNotFound, match="kernel"):
    make(4).apply({}, IMAGE)


def test_variables_are_made_without_what_is_quick_to_run(monkeypatch):
  class Grouped(base.Network):
    @nn.compact
    def __call__(self, x):
      kind = {"init": nn.initializers.lecun_normal(), "dtype": "float32"}
      x = layers.conv(4, 3, groups=2, name="grouped", **kind)(x)
      return layers.conv(3, 1, name="point", **kind)(x), {}

  def refused(*args):
    raise RuntimeError("gone through")

  images = jnp.ones((1, 4, 4, 2))
  with monkeypatch.context() as patch:
    for name in ("_grouped", "_pointwise", "_conv"):
      patch.setattr(conv, name, refused)
    variables = Grouped().init(jax.random.key(0), images)
    with pytest.raises(RuntimeError, match="gone through"):
      Grouped().apply(variables, images)
  shapes = jax.tree.map(jnp.shape, variables["params"])
  assert shapes["grouped"]["kernel"] == (3, 3, 1, 4)
  plain = nn.Module.init(Grouped(), jax.random.key(0), images)
  jax.tree.map(np.testing.assert_array_equal, variables, plain)
  logits, _ = Grouped().apply(variables, images)
  with conv.plainly():
    found, _ = nn.Module.apply(Grouped(), variables, images)
  np.testing.assert_allclose(logits, found, rtol=1e-5)
