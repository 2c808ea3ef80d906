import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry
from bdjax.training import engine
from bdjax.types import Batch, Dataset

abl = registry.module("defenses", "abl")
# Cross-entropies -log .8, -log .4 and -log .5; their mean is .6107.
P = np.array([0.8, 0.4, 0.5])
LOGITS = jnp.log(jnp.asarray(np.stack([P, 1 - P], axis=1)))
BATCH = Batch(None, jnp.zeros(3, jnp.int32), jnp.arange(3))


def bounded(bound, gamma, per_example=False):
  loss = abl.bounded(bound, gamma=gamma, per_example=per_example)
  return float(loss(LOGITS, {}, BATCH))


def test_bound_of_the_batch():
  mean = -np.log(P).mean()
  np.testing.assert_allclose(bounded("lga", 0.6), mean, rtol=1e-6)
  np.testing.assert_allclose(bounded("lga", 0.7), -mean, rtol=1e-6)
  np.testing.assert_allclose(bounded("flooding", 0.6), mean, rtol=1e-6)
  np.testing.assert_allclose(bounded("flooding", 0.7), 1.4 - mean, rtol=1e-6)


def test_bound_of_each_example():
  low, high, middle = -np.log(P)
  found = bounded("lga", 0.5, per_example=True)
  np.testing.assert_allclose(found, (-low + high + middle) / 3, rtol=1e-6)
  found = bounded("flooding", 0.5, per_example=True)
  np.testing.assert_allclose(found, (1 - low + high + middle) / 3, rtol=1e-6)


@pytest.mark.parametrize("bound", ["lga", "flooding"])
def test_below_gamma_it_climbs(bound):
  def slope(gamma):
    loss = abl.bounded(bound, gamma=gamma, per_example=False)
    return jax.grad(loss)(LOGITS, {}, BATCH)

  np.testing.assert_allclose(slope(0.7), -slope(0.6), rtol=1e-6)
  plain = jax.grad(abl.ascent)(LOGITS, {}, BATCH)
  np.testing.assert_allclose(slope(0.7), plain, rtol=1e-6)


def test_rate_falls_after_two_thirds():
  rate = abl.falling(0.5, steps=6)
  found = [float(rate(step)) for step in range(6)]
  np.testing.assert_allclose(found, [0.5] * 4 + [0.05] * 2, rtol=1e-6)


class Level:
  """A model that is as sure of class 0 as an image is bright."""

  def apply(self, variables, images, train):
    assert not train
    bright = images.mean((1, 2, 3))
    return jnp.stack([bright, jnp.zeros_like(bright)], -1), {}


def test_isolates_the_kept_examples_of_lowest_loss():
  level = jnp.asarray([0, 255, 100, 200, 50], jnp.uint8)
  keep = jnp.asarray([True, False, True, True, True])
  label = jnp.asarray([0, 0, 0, 0, 1], jnp.int32)
  data = Dataset(level[:, None, None, None], label, keep)
  index, left, memo = abl.easiest({}, data, model=Level(), count=2)
  assert index.tolist() == [3, 2]
  assert left.tolist() == [True, False, False, False, True]
  wanted = np.log1p(np.exp(-100 / 255))
  np.testing.assert_allclose(memo["threshold"], wanted, rtol=1e-5)
  assert memo["isolated"] == 2
  index, left, _ = abl.easiest(
    {}, data.replace(keep=None), model=Level(), count=1
  )
  assert index.tolist() == [1] and left.tolist() == [1, 0, 1, 1, 1]


class Stages:
  """A fit that adds one to every variable, and notes what it was asked."""

  def __init__(self):
    self.seen, self.augmented = [], []

  def view(self, key, batch):
    self.augmented.append(len(self.seen))
    return batch

  def __call__(self, key, step, state, data, **how):
    batch = engine.take(data, jnp.arange(4))
    self.seen.append((how["name"], how["epochs"], how["batch_size"], data))
    shown = jax.eval_shape(step, key, state, batch)[1]
    assert {"loss", "lr"} <= shown.keys()
    more = jax.tree.map(lambda x: x + 1, state.variables)
    return state.replace(variables=more), {}


@pytest.fixture(scope="module")
def staged(suspect, toy):
  keep = jnp.arange(64) != 5
  fit = Stages()
  access = suspect.replace(train=toy.replace(keep=keep), view=fit.view)
  defense = abl.make(
    isolate=0.25,
    isolation_epochs=2,
    epochs=3,
    unlearning_epochs=4,
    batch_size=32,
  )
  return defense.defend(jax.random.key(1), access, fit), fit


def test_stages_follow_one_another(staged, suspect):
  found, fit = staged
  assert [seen[:3] for seen in fit.seen] == [
    ("isolation", 2, 32),
    ("tuning", 3, 32),
    ("unlearning", 4, 16),
  ]
  scale = found.variables["params"]["bn1"]["scale"]
  np.testing.assert_allclose(scale, 4)  # a fresh one, and thrice one more
  kernel = found.variables["params"]["conv1"]["kernel"]
  assert (kernel - 3 != suspect.variables["params"]["conv1"]["kernel"]).all()
  chex.assert_trees_all_equal_structs(found.variables, suspect.variables)


def test_stages_divide_the_data(staged, toy):
  found, fit = staged
  whole, rest, isolated = (seen[3] for seen in fit.seen)
  assert whole.keep.sum() == 63
  assert rest.keep.tolist() == found.keep.tolist()
  assert found.keep.sum() == 47 and not found.keep[5]
  assert isolated.size == 16 and isolated.keep is None
  out = np.flatnonzero(np.asarray(whole.keep & ~found.keep))
  wanted = sorted(np.asarray(toy.image[out]).reshape(16, -1).tolist())
  assert sorted(isolated.image.reshape(16, -1).tolist()) == wanted


def test_only_tuning_augments(staged):
  assert set(staged[1].augmented) == {2}


@pytest.mark.parametrize(
  ("preset", "stages", "views"),
  [
    ("official", [(10, 128, 0.1), (60, 128, 0.1), (5, 16, 5e-4)], [0, 1, 0]),
    ("bb", [(20, 256, 0.01), (60, 256, 0.01), (20, 16, 1e-4)], [0, 1, 1]),
  ],
)
def test_presets_are_the_codes_own(
  suspect, toy, monkeypatch, preset, stages, views
):
  seen = []

  def note(key, access, fit, recipe, **how):
    seen.append((access.view, recipe))
    return access.variables

  monkeypatch.setattr(abl.tuning, "fine_tune", note)
  access = suspect.replace(train=toy, view=Stages().view)
  defense = abl.make(isolate=0.25, **abl.PRESETS[preset])
  defense.defend(jax.random.key(1), access, None)
  assert [view == access.view for view, _ in seen] == views
  assert [(r.epochs, r.batch_size, r.lr) for _, r in seen] == stages


def test_impossible_isolations_are_named(suspect, toy):
  def defend(access, **args):
    return abl.make(**args).defend(jax.random.key(0), access, Stages())

  for share in (0.001, 0.999):
    with pytest.raises(ValueError, match=rf"abl.isolate is {share}"):
      defend(suspect.replace(train=toy), isolate=share)
