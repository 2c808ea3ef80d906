import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bdjax.data import augment
from bdjax.training import (
  budget,
  engine,
  learn,
  loop,
  optimizers,
  regimes,
)
from bdjax.training.journal import Journal
from bdjax.types import Batch, Recipe, Regime


def key():
  return jax.random.key(0)


def test_cross_entropy_with_smoothing_by_hand():
  logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
  batch = Batch(None, jnp.array([0]), None)
  plain = learn.cross_entropy()(logits, {}, batch)
  assert float(plain) == pytest.approx(-np.log(0.5))
  smooth = learn.cross_entropy(smoothing=0.1)(logits, {}, batch)
  wanted = -(0.9 * np.log(0.5) + 2 * 0.05 * np.log(0.25))
  assert float(smooth) == pytest.approx(wanted)


@pytest.fixture(scope="module")
def variables(toy, model):
  return learn.init_variables(key(), toy, model=model)


def test_a_step_follows_the_gradient(toy, model, variables):
  lr = optax.constant_schedule(0.1)
  init, step = learn.supervised(model, optimizers.sgd(lr), lr=lr)
  batch = engine.take(toy, jnp.arange(16))
  state, first = jax.jit(step)(key(), init(variables), batch)
  state, second = jax.jit(step)(key(), state, batch)
  assert float(second["loss"]) < float(first["loss"])
  assert float(first["lr"]) == pytest.approx(0.1)
  assert int(state.step) == 2
  moved = jax.tree.map(
    lambda a, b: bool((a != b).any()), state.variables, variables
  )
  assert all(jax.tree.leaves(moved))


def test_sam_keeps_the_first_pass_statistics(toy, model, variables):
  batch = engine.take(toy, jnp.arange(16))
  tx = optimizers.sgd(0.1)
  runs = []
  for one in (tx, optimizers.sam(tx, rho=0.5)):
    init, step = learn.supervised(model, one)
    runs.append(jax.jit(step)(key(), init(variables), batch)[0].variables)
  chex.assert_trees_all_equal(runs[0]["batch_stats"], runs[1]["batch_stats"])
  gap = jax.tree.map(
    lambda a, b: float(jnp.abs(a - b).max()),
    runs[0]["params"],
    runs[1]["params"],
  )
  assert max(jax.tree.leaves(gap)) > 1e-5


def test_planned_epochs_and_rate():
  recipe = Recipe(epochs=4, batch_size=10, lr=0.2, schedule="cosine")
  assert budget.planned_epochs(recipe, Regime()) == 4
  assert budget.planned_epochs(recipe, Regime(interleave=True)) == 8
  rate = budget.planned_rate(recipe, Regime(interleave=True), size=100)
  assert float(rate(0)) == pytest.approx(0.2)
  assert float(rate(40)) == pytest.approx(0.1)  # half of 8 epochs x 10 steps
  seen = []
  regime = Regime(schedule=lambda s, e: seen.append((s, e)) or (lambda t: 0.7))
  assert budget.planned_rate(recipe, regime, size=100)(0) == 0.7
  assert seen == [(10, 4)]


def test_training_learns_the_toy_task(toy, model):
  recipe = Recipe(epochs=20, batch_size=16, lr=0.1)
  journal = Journal()
  learn.train_classifier(
    key(), toy, loop.host_fit(journal=journal), model=model, recipe=recipe
  )
  assert journal.rows[-1]["accuracy"] > 0.9
  assert journal.rows[0]["accuracy"] < 0.7


def test_views_take_turns_by_epoch(toy, model):
  def dark(key, batch):
    del key
    return batch._replace(image=0 * batch.image)

  journal = Journal()
  recipe = Recipe(epochs=4, batch_size=16, lr=0.1)
  learn.train_classifier(
    key(),
    toy,
    loop.host_fit(journal=journal),
    model=model,
    recipe=recipe,
    view=(dark, augment.identity),
  )
  # All images alike: the loss cannot fall below that of guessing.
  losses = [row["loss"] for row in journal.rows]
  assert min(losses[::2]) > np.log(4) - 1e-3 > losses[3]


def test_a_view_has_one_step_for_all_its_turns(toy, model):
  def dark(key, batch):
    del key
    return batch._replace(image=0 * batch.image)

  calls = []

  def fit(key, step, state, data, **how):
    calls.append(step)
    return state, {}

  views = (dark,) * 3 + (augment.identity,) * 3
  recipe = Recipe(epochs=6, batch_size=16)
  learn.train_classifier(
    key(), toy, fit, model=model, recipe=recipe, view=views
  )
  (steps,) = calls
  assert [step is steps[0] for step in steps] == [True] * 3 + [False] * 3
  assert len({id(step) for step in steps}) == 2


def test_training_can_go_on_from_somewhere(toy, model, variables):
  recipe = Recipe(epochs=0, batch_size=16, schedule="constant")
  got = learn.train_classifier(
    key(), toy, loop.host_fit(), model=model, recipe=recipe, start=variables
  )
  chex.assert_trees_all_equal(got, variables)


def test_a_regime_can_start_from_a_conventionally_planted_model(toy, model):
  regime = budget.matched(regimes.fmn(start="planted"), "steps")
  recipe = Recipe(epochs=4, batch_size=32)
  clean = toy.replace(label=toy.label)
  calls, trigger = [], {"pattern": jnp.ones(3)}

  def fit(key, step, state, data, *, name, epochs, params, **how):
    calls.append((name, epochs, data, params(state)))
    return loop.scan_fit(key, step, state, data, epochs=epochs, **how)

  learn.train_classifier(
    key(),
    (toy, clean),
    fit,
    model=model,
    recipe=recipe,
    regime=regime,
    trigger=trigger,
  )
  first, second = calls
  assert first[:2] == ("planted", 2) and first[2] is toy
  assert second[:3] == ("train", 2, (toy, clean))
  assert first[3] is second[3] is trigger


def test_a_clean_classifier_is_taken_where_there_is_one(task):
  def no_fit(*args, **how):
    raise AssertionError("trained although there was one")

  there = task.replace(clean=lambda fit: "variables")
  assert learn.clean_classifier(key(), there, no_fit) == "variables"
  names = []

  def fit(key, step, state, data, *, name, **how):
    names.append(name)
    assert data is task.train
    return state, {}

  learn.clean_classifier(key(), task, fit)
  assert names == ["clean"]


def test_classifiers_are_found_inside_any_state(variables):
  init, _ = learn.supervised(None, optax.sgd(0.1))
  one = init(variables)
  assert learn.classifiers({"a": (one, jnp.zeros(3))}) == [one]
  assert learn.classifiers((jnp.zeros(3),)) == []
