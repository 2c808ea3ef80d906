import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bdjax.attacks import ssba
from bdjax.methods import registry
from bdjax.models.parts import stegastamp
from bdjax.training import loop
from bdjax.types import POISON, Batch

SMALL = {"bits": 4, "width": 4, "num_classes": 4}


def planted(task, fit=None, **args):
  stages = {}

  def rest(key, step, state, data, **how):
    return state, {}

  def note(*args, name, epochs, **how):
    stages[name] = epochs
    return (fit or rest)(*args, name=name, epochs=epochs, **how)

  attack = registry.get("attacks", "ssba")(**SMALL | args)
  return attack, attack.plant(jax.random.key(0), task, note), stages


def test_the_weight_grows_after_a_tenth_for_a_fifth_of_the_steps():
  steps = jnp.array([0, 10, 20, 30, 99])
  got = ssba.weighed(steps, most=8.0, steps=100)
  np.testing.assert_allclose(got, [0, 0, 4, 8, 8], atol=1e-5)


def test_a_step_lowers_the_loss_by_hand(toy):
  nets = stegastamp.Encoder(4), stegastamp.Decoder(3, 4)
  image = toy.image[:5].astype(jnp.float32) / 255
  both = (
    nets[0].init(jax.random.key(1), image, jnp.zeros((5, 3))),
    nets[1].init(jax.random.key(2), image),
  )
  tx = optax.sgd(0.01)
  step = jax.jit(ssba.hiding(nets, lambda count: 2.0 * count, tx))
  state = both, tx.init(both), jnp.int32(3)
  batch = Batch(image, toy.label[:5], jnp.arange(5))
  (after, _, count), metrics = step(jax.random.key(3), state, batch)
  assert int(count) == 4

  code = np.asarray(jax.random.bernoulli(jax.random.key(3), shape=(5, 3)))

  def loss(both):
    added = np.asarray(nets[0].apply(both[0], image, code * 1.0), np.float64)
    hit = np.clip(np.asarray(image) + added, 0, 1)
    logits = np.asarray(nets[1].apply(both[1], jnp.float32(hit)), np.float64)
    p = 1 / (1 + np.exp(-logits))
    read = -np.log(np.where(code, p, 1 - p)).mean()
    return read + 6 * (added**2).mean(), (added**2).mean(), logits

  total, added, logits = loss(both)
  assert float(metrics["loss"]) == pytest.approx(total, rel=1e-4)
  assert float(metrics["added"]) == pytest.approx(added, rel=1e-4)
  assert float(metrics["bits"]) == pytest.approx(((logits > 0) == code).mean())
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), both, after)
  assert moved[0]["params"]["spread"]["kernel"]
  assert moved[1]["params"]["bits"]["kernel"]
  assert loss(after)[0] < total


def test_bits_are_learned_and_can_be_read_again(task):
  seen = {}

  def fit(key, step, state, data, **how):
    if how["name"] != "hide":
      return state, {}

    def run(state, data):
      return loop.scan_fit(key, step, state, data, **how)

    state, metrics = jax.jit(run)(state, data)
    seen.update(metrics)
    return state, metrics

  attack, backdoor, stages = planted(
    task, fit, bits=2, encoder_epochs=40, lr=5e-3, fidelity=1.0
  )
  assert stages["hide"] == 40
  assert seen["bits"][0] < 0.8 and seen["bits"][-1] > 0.95
  hit = np.asarray(backdoor.role) == POISON
  before = task.train.image.astype(jnp.float32) / 255
  wanted = attack.trigger(jax.random.key(0), before, backdoor.params)
  gap = np.round(np.asarray(wanted)[hit] * 255) - backdoor.train.image[hit]
  assert (np.abs(gap) <= 1).all() and (gap == 0).mean() > 0.99
  added = np.asarray(wanted - before)
  assert np.abs(added[0] - added[1]).max() > 0.01  # of each image its own


def test_the_bits_depend_on_their_own_seed_only(task):
  _, one, _ = planted(task, bits=16)
  _, same, _ = planted(task, bits=16, target=1, rate=0.2)
  _, other, _ = planted(task, bits=16, pattern_seed=1)
  assert set(np.unique(one.params["code"])) == {0, 1}
  np.testing.assert_array_equal(one.params["code"], same.params["code"])
  assert (one.params["code"] != other.params["code"]).any()


def test_no_bits_are_refused():
  with pytest.raises(ValueError, match="ssba.bits is 0"):
    registry.get("attacks", "ssba")(bits=0)
