import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry, signature
from bdjax.sequela import Remains, Sequel, Shadow, membership
from bdjax.training import loop
from bdjax.types import CLEAN, COVER, POISON, Dataset

NAMES = registry.names("sequela")
TRAIN, TEST = 12, 6


class Show(nn.Module):
  """Answers with an image's first pixel, so that answers tell images."""

  @nn.compact
  def __call__(self, x, train=False):
    return x[:, 0, 0], {}


def dataset(size, first, label):
  image = np.arange(first, first + size)[:, None, None, None]
  image = np.broadcast_to(image, (size, 1, 1, 3)).astype(np.uint8)
  return Dataset(jnp.asarray(image), jnp.asarray(label, jnp.int32))


@pytest.fixture
def remains():
  role = np.full(TRAIN, CLEAN, np.int8)
  role[:3], role[3:5] = POISON, COVER
  label = np.arange(TRAIN) % 3
  label[:3] = [1, 1, 2]  # the classes that poisons are made of
  wanted = np.where(role == POISON, 0, label)
  hit = dataset(TEST, 200, np.zeros(TEST))
  return Remains(
    {},
    dataset(TRAIN, 0, label),
    dataset(TEST, 100, np.arange(TEST) % 3),
    jnp.arange(TRAIN) >= 10,
    poisoned=dataset(TRAIN, 50, wanted),
    role=jnp.asarray(role),
    hit=hit,
    model=Show(),
  )


def places(examples, mask):
  """Returns the pixels of those used examples that a mask holds."""
  pixel = np.asarray(examples.logits[:, 0] * 255).round().astype(int)
  return pixel[np.asarray(mask & examples.use)].tolist()


def test_who_is_who_about_a_planted_model(remains):
  found = membership.examples_of(remains)
  member, poison = found.member, found.poison
  assert places(found, member & poison) == [50, 51, 52]
  assert places(found, member & ~poison) == list(range(55, 62))  # no covers
  assert places(found, ~member & ~poison) == list(range(100, 106))
  # Class 0 was never poisoned: tests 0 and 3 are no would-be poisons.
  assert places(found, ~member & poison) == [201, 202, 204, 205]
  assert places(found, found.tuned) == [60, 61]
  assert (found.label[found.poison] == 0).all()


def test_who_is_who_about_a_clean_model(remains):
  found = membership.examples_of(
    remains.replace(
      poisoned=remains.clean,
      role=jnp.zeros_like(remains.role),
      tuned=jnp.zeros_like(remains.tuned),
    )
  )
  assert places(found, found.member) == list(range(TRAIN))
  assert places(found, ~found.member) == list(range(100, 106))
  assert places(found, found.poison | found.tuned) == []


def test_no_more_are_compared_than_may_be(remains):
  found = membership.examples_of(remains)
  size = found.member.size
  assert membership.some(jax.random.key(0), found, size) is found
  drawn = [membership.some(jax.random.key(s), found, 7) for s in (0, 0, 1)]
  assert all(len(set(d.logits[:, 0].tolist())) == 7 for d in drawn)
  one, same, other = (d.logits.tolist() for d in drawn)
  assert one == same != other


def test_it_learns_from_the_shadow_and_says_numbers_by_name():
  rng = np.random.default_rng(0)
  member = np.arange(400) % 2 == 0
  label = np.arange(400) % 3
  image = rng.integers(0, 60, (400, 1, 1, 3))
  image[np.arange(400), 0, 0, label] += 90 + 90 * member  # members are surer

  def data(rows):
    return Dataset(
      jnp.asarray(image[rows], jnp.uint8), jnp.asarray(label[rows], jnp.int32)
    )

  sequel = registry.get("sequela", "membership")(epochs=2, images=300)
  everyone = np.arange(400)
  shadow = Shadow({}, data(everyone), jnp.asarray(member), model=Show())
  learned = sequel.prepare(jax.random.key(0), shadow, loop.host_fit())
  remains = Remains(
    {},
    data(member),
    data(~member),
    jnp.arange(200) < 50,
    data(member),
    jnp.zeros(200, jnp.int8),
    hit=data(~member),
    learned=learned,
    model=Show(),
  )
  found = sequel.examine(jax.random.key(1), remains, loop.host_fit()).numbers
  assert len(found) == 6 * 4 * 6
  assert found["loss.members.auroc"] > 0.95
  assert found["mentropy_by_class.members.balanced_accuracy"] > 0.9
  counts = [found[f"network.members.{k}"] for k in ("members", "others")]
  assert sum(counts) < 300 and min(counts) > 60  # some drawn are no poisons
  assert 20 < found["network.tuned.members"] < 50
  assert found["network.poisons.members"] == 0
  assert all(isinstance(value, int | float) for value in found.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_explained_keyword_only_and_typed(name):
  make = registry.get("sequela", name)
  for argument in inspect.signature(inspect.unwrap(make)).parameters.values():
    assert argument.kind is argument.KEYWORD_ONLY
    assert argument.annotation is not argument.empty
    assert f"    {argument.name}: " in make.__doc__, argument.name
  assert "arXiv" in registry.module("sequela", name).__doc__
  for args in ({}, *registry.presets("sequela", name).values()):
    assert isinstance(make(**args), Sequel)


def test_what_decides_shapes_is_not_swept():
  makes = {name: registry.get("sequela", name) for name in NAMES}
  numbers = {
    name: [k for k, a in signature.arguments(make).items() if a.sweepable]
    for name, make in makes.items()
  }
  assert numbers == {
    "membership": ["lr"],
    "qra": ["bound", "alpha", "lr", "momentum"],
    "reactivation": ["bound", "lr"],
    "reinjection": ["lr", "momentum", "weight_decay"],
    "retuning": ["lr", "momentum", "weight_decay"],
  }
  with pytest.raises(ValueError, match="retuning.rate is 1.5, but must be"):
    makes["retuning"](rate=1.5)
  with pytest.raises(ValueError, match="membership.images is 92682, but must"):
    makes["membership"](images=92_682)
