import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks.parts import poison, roles
from bdjax.attacks.parts.goals import Goal
from bdjax.methods import registry
from bdjax.sequela import Remains
from bdjax.sequela.parts import retraining
from bdjax.training import engine, inference, learn, loop
from bdjax.types import CLEAN, COVER, POISON, Recipe


class Tiny(nn.Module):
  """A linear classifier."""

  @nn.compact
  def __call__(self, x, train=False):
    return nn.Dense(4)(x.reshape(x.shape[0], -1)), {}


@pytest.fixture(scope="module")
def model():
  return Tiny()


@pytest.fixture(scope="module")
def variables(toy, model):
  return learn.init_variables(jax.random.key(0), toy, model=model)


@pytest.fixture(scope="module")
def role(toy):
  return roles.choose(jax.random.key(1), toy.label, 0.25)


@pytest.fixture(scope="module")
def poisoned(toy, role):
  return poison.freeze(
    jax.random.key(2),
    toy,
    role,
    trigger=lambda key, x: x.at[:, :3, :3].set(1.0),
    target=Goal(0),
  )


@pytest.fixture(scope="module")
def remains(toy, model, variables, poisoned, role):
  return Remains(
    variables,
    toy,
    toy,
    jnp.zeros(64, bool),
    poisoned,
    role,
    model=model,
  )


def examined(name, remains, fit, **args):
  sequel = registry.get("sequela", name)(**args)
  assert sequel.retrains and sequel.prepare is None
  found = sequel.examine(jax.random.key(0), remains, fit)
  assert found.numbers == ()
  return found.variables


def test_scalars_of_a_curve_by_hand():
  assert retraining.area([0.0, 1.0]) == 0.5
  assert retraining.area([0.0, 0.5, 1.0, 1.0]) == pytest.approx(2 / 3)
  assert retraining.area([1.0, 1.0, 1.0]) == 1
  assert retraining.epochs_to([0.0, 0.5, 0.9, 0.3]) == 2
  assert retraining.epochs_to([0.95, 0.1]) == 0
  assert retraining.epochs_to([0.0, 0.89]) is None
  assert retraining.epochs_to([0.0, 0.89], level=0.5) == 1
  assert retraining.relapse([0.0, 1.0, 1.0]) == (0.75, 1)
  assert retraining.relapse([0.0, 0.2]).epochs_to_90 is None


@pytest.mark.parametrize(
  ("curve", "message"),
  [
    ([0.5], "epoch 0 alone has no area"),
    ([], "holds none"),
    ([0.1, float("nan")], "holds nan"),
    ([0.0, 95.0], "holds 95.0"),
  ],
)
def test_curves_that_are_none_are_refused(curve, message):
  with pytest.raises(ValueError, match=message):
    retraining.relapse(curve)


def test_re_injection_asks_for_what_it_says(remains):
  asked = {}

  def fit(key, step, state, data, **how):
    assert data is remains.poisoned
    asked.update(how)
    batch = engine.take(data, jnp.arange(16))
    state, asked["metrics"] = jax.jit(step)(key, state, batch)
    return state, {}

  after = examined("reinjection", remains, fit)
  assert asked.pop("metrics")["lr"] == np.float32(0.01)
  assert asked == {"name": "reinjection", "epochs": 20, "batch_size": 128}
  # The gradient of the mean cross-entropy by hand; then SGD's first step.
  image = np.asarray(remains.poisoned.image[:16]).reshape(16, -1) / 255
  old = jax.tree.map(np.asarray, remains.variables["params"]["Dense_0"])
  logits = image @ old["kernel"] + old["bias"]
  p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  p[np.arange(16), np.asarray(remains.poisoned.label[:16])] -= 1
  grads = {"kernel": image.T @ p / 16, "bias": p.mean(0)}
  for name, grad in grads.items():
    wanted = old[name] - 0.01 * (grad + 5e-4 * old[name])
    got = after["params"]["Dense_0"][name]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_the_retuning_attack_asks_for_what_it_says(remains):
  asked = {}

  def fit(key, step, state, data, **how):
    asked.update(how, size=data.size)
    batch = engine.take(data, jnp.arange(16))
    asked["lr"] = jax.jit(step)(key, state, batch)[1]["lr"]
    return state, {}

  examined("retuning", remains, fit, rate=0.4)
  assert asked.pop("lr") == np.float32(0.01)
  assert asked == {
    "name": "retuning",
    "epochs": 5,
    "batch_size": 128,
    "size": 26,  # round(.4 * 64)
  }


def test_no_epochs_leave_the_model_as_it_is(remains):
  after = retraining.retrained(
    jax.random.key(0),
    remains.variables,
    remains.poisoned,
    loop.host_fit(),
    Recipe(epochs=0, batch_size=16),
    model=remains.model,
    name="reinjection",
  )
  chex.assert_trees_all_equal(after, remains.variables)


def test_the_backdoor_comes_back(remains):
  poisons = retraining.poisons(remains.poisoned, remains.role)
  right = jax.jit(inference.accuracy, static_argnums=0)

  def accuracy(variables):
    return float(right(remains.model, variables, poisons))

  curve = [accuracy(remains.variables)]

  def probe(name, done, epochs, state, params):
    assert (name, done) == ("reinjection", len(curve))
    curve.append(accuracy(state.variables))
    return {}

  fit = loop.host_fit(probe=loop.Probe(probe))
  how = {"lr": 0.05, "epochs": 12, "batch_size": 16}
  after = examined("reinjection", remains, fit, **how)
  assert len(curve) == 13
  assert curve[-1] == accuracy(after)
  assert curve[-1] >= 0.9 > curve[0]
  found = retraining.relapse(curve)
  assert 1 <= found.epochs_to_90 <= 12 and 0 < found.area < 1


def test_poisons_are_those_and_no_others(toy):
  place = np.arange(64)
  role = np.select([place < 4, place < 8], [POISON, COVER], CLEAN)
  found = retraining.poisons(toy, role)
  chex.assert_trees_all_equal(found, jax.tree.map(lambda x: x[:4], toy))
  with pytest.raises(ValueError, match="none of the 64 training images"):
    retraining.poisons(toy, np.full(64, CLEAN))


def test_retuning_takes_few_clean_images_and_fewer_poisons(toy, poisoned, role):
  draw = jax.jit(retraining.drawn, static_argnames=("rate", "poisons"))

  def drawn(seed):
    key = jax.random.key(seed)
    found = draw(key, toy, poisoned, role, rate=0.4, poisons=5)
    return jax.tree.map(np.asarray, found)

  def places(data, rows):  # where each of `rows` stands in `data`
    images = np.asarray(data.image)[None] == rows.image[:, None]
    labels = np.asarray(data.label)[None] == rows.label[:, None]
    same = images.all((2, 3, 4)) & labels
    assert same.any(1).all()
    return same.argmax(1)

  found = drawn(0)
  assert found.size == round(0.4 * 64) and found.keep is None
  clean = places(toy, jax.tree.map(lambda x: x[:-5], found))
  hits = places(poisoned, jax.tree.map(lambda x: x[-5:], found))
  assert len(set(clean.tolist())) == found.size - 5
  assert len(set(hits.tolist())) == 5
  assert (np.asarray(role)[hits] == POISON).all()
  chex.assert_trees_all_equal(drawn(0), found)
  assert (drawn(1).image != found.image).any()


def test_retuning_refuses_what_cannot_be_drawn(toy, poisoned, role):
  def draw(role, **how):
    key = jax.random.key(0)
    return retraining.drawn(key, toy, poisoned, role, **how)

  with pytest.raises(ValueError, match="rate is 0.02, .* 64 images is 1, .* 5"):
    draw(role)
  few = jnp.zeros(64, jnp.int8).at[:3].set(POISON)
  with pytest.raises(ValueError, match="needs 5 poisons, but .* has 3"):
    draw(few, rate=0.5)


@pytest.mark.parametrize("name", ["reinjection", "retuning"])
def test_it_traces_with_swept_numbers(name, remains):
  more = {"rate": 0.5} if name == "retuning" else {}

  def whole(numbers, remains):
    how = {"epochs": 2, "batch_size": 16, **more}
    return examined(name, remains, loop.scan_fit, **numbers, **how)

  names = ("lr", "momentum", "weight_decay")
  found = jax.eval_shape(whole, dict.fromkeys(names, jnp.array(0.1)), remains)
  chex.assert_trees_all_equal_shapes_and_dtypes(found, remains.variables)
