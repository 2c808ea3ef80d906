import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks import inputaware
from bdjax.attacks.parts import generators, poison
from bdjax.attacks.parts.goals import Goal
from bdjax.methods import registry
from bdjax.models.parts import ushape
from bdjax.training import budget, regimes
from bdjax.types import CLEAN, COVER, POISON, Batch, Recipe, Regime

NETS = ushape.Pair(None, None)
WEIGHTS = ushape.Weights(0.032, 100.0, 1.0)
PARTS = inputaware.slices(0.25, 0.3, 10)
PLAN = inputaware._Plan(NETS, Goal(9), PARTS, WEIGHTS, compat="paper")
BATCH = Batch(jnp.arange(10.0).reshape(10, 1, 1, 1), jnp.arange(10), None)


def planted(task, *, loud=1.0, **args):
  """Returns attack, backdoor and the stages' (steps, state, epochs).

  Stages end with the kernels they begin with, times `loud`.
  """
  stages = {}

  def grown(path, leaf):
    return loud * leaf if path[-1] == jax.tree_util.DictKey("kernel") else leaf

  def note(key, step, state, data, *, epochs, batch_size, name, **how):
    stages[name] = step, state, epochs
    return jax.tree_util.tree_map_with_path(grown, state), {}

  attack = registry.get("attacks", "inputaware")(width=2, **args)
  backdoor = attack.plant(jax.random.key(0), task, note)
  return attack, backdoor, stages


def test_a_batch_is_laid_out_by_position():
  label, donors, bad, touched = inputaware.lay_out(PLAN, BATCH)
  assert label.tolist() == [9, 9, 2, 3, 4, 5, 6, 7, 8, 9]  # 2.5 -> 2, 3
  assert donors.ravel().tolist() == [0, 1, 3, 4, 5]
  assert bad.tolist() == [True, True, False, False, False]
  assert touched.all() and touched.shape == (5, 1, 1, 1)


def test_traced_rates_lay_out_the_same_over_the_whole_batch():
  def traced(rate, cross_rate):
    parts = inputaware.slices(rate, cross_rate, 10)
    return inputaware.lay_out(PLAN._replace(slices=parts), BATCH)

  label, donors, bad, touched = jax.jit(traced)(0.25, 0.3)
  assert label.tolist() == [9, 9, 2, 3, 4, 5, 6, 7, 8, 9]
  assert donors.ravel().tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9, 0]
  assert bad.tolist() == [True] * 2 + [False] * 8
  assert touched.ravel().tolist() == [True] * 5 + [False] * 5


@pytest.mark.parametrize(
  ("epochs", "wanted", "as_peer", "expected"),
  [
    (600, None, False, (25, 600)),
    (100, None, True, (25, 75)),
    (12, None, False, (3, 12)),
    (1, None, False, (1, 1)),
    (12, 9, True, (9, 3)),
  ],
)
def test_epochs_of_the_stages(epochs, wanted, as_peer, expected):
  assert inputaware.stages(epochs, wanted, as_peer) == expected


def test_stages_without_epochs_are_refused():
  with pytest.raises(ValueError, match="mask_epochs 5 leaves 0 of 5"):
    inputaware.stages(5, 5, as_peer=True)


def test_slices_without_images_are_refused():
  with pytest.raises(ValueError, match="make 2 and 0 images of a batch of 10"):
    inputaware.slices(0.25, 0.05, 10)


def test_rates_in_arrays_give_whole_numbers_too():
  parts = inputaware.slices(jnp.float32(0.25), jnp.float32(0.3), 10)
  assert parts == PARTS == (2, 5, 5)
  assert [type(part) for part in parts] == [int] * 3


@pytest.mark.parametrize("match", ["epochs", "steps"])
def test_the_patterns_rate_falls_over_its_own_epochs(task, monkeypatch, match):
  spans = []

  def noted(task, drops, epochs, **how):
    spans.append(epochs)
    return adam(task, drops, epochs, **how)

  adam = generators.adam
  monkeypatch.setattr(generators, "adam", noted)
  regime = budget.matched(regimes.interleave(), match)
  recipe = task.recipe.replace(epochs=8)
  _, _, stages = planted(task.replace(regime=regime, recipe=recipe))
  epochs = stages["train"][2]  # clean ones too, which leave the pattern alone
  assert epochs == {"epochs": 16, "steps": 8}[match]
  assert spans[-1] == epochs // 2


def test_a_second_stage_that_fills_no_turns_is_refused_before_the_first(task):
  regime = budget.matched(regimes.interleave(), "steps")
  recipe = task.recipe.replace(epochs=10)
  with pytest.raises(ValueError, match=r"^train.epochs is 10, of which .* 7"):
    planted(
      task.replace(regime=regime, recipe=recipe),
      mask_epochs=3,
      compat="backdoorbench",
    )


def updates(tx, grads):
  """Returns what an optimizer does to a number, gradient by gradient."""
  state, found = tx.init(0.0), []
  for grad in grads:
    update, state = tx.update(grad, state, 0.0)
    found.append(float(update))
  return found


def test_generators_rate_falls_at_its_shares_of_the_epochs(task):
  # Adam's step under a constant gradient is the rate. One step an epoch.
  task = task.replace(recipe=Recipe(batch_size=64))
  tx = generators.adam(task, generators.MASK_DROPS, 10)
  wanted = -0.01 * np.array([1] * 4 + [0.1] * 4 + [0.01] * 2)
  np.testing.assert_allclose(updates(tx, [1.0] * 10), wanted, rtol=1e-3)


def test_as_the_peer_gradients_add_up(task):
  plain, adding = (
    generators.adam(task, (0.5,), 9, adds_up=x) for x in (False, True)
  )
  assert updates(adding, [1.0, -1.0, 2.0]) == updates(plain, [1.0, 0.0, 2.0])


def test_clean_epochs_leave_the_generators_alone(task, batch):
  regime = Regime(interleave=True)
  _, _, stages = planted(task.replace(regime=regime), num_classes=4)
  (joint, clean), state, epochs = stages["train"]

  @jax.jit
  def both(state):
    return [step(jax.random.key(1), state, batch) for step in (joint, clean)]

  (dirty, one), (plain, two) = both(state)
  assert epochs == 2 * task.recipe.epochs
  assert one.keys() == two.keys()
  chex.assert_trees_all_equal(plain.partner, state.partner)
  chex.assert_trees_all_equal(plain.mask, state.mask)
  chex.assert_trees_all_equal(dirty.mask, state.mask)
  for after in (dirty.victim, dirty.partner, plain.victim):
    assert int(after.step) == 1
    chex.assert_tree_all_finite(after.variables)
  moved = jax.tree.map(
    lambda a, b: bool((a != b).any()), dirty.partner, state.partner
  )
  assert moved.variables["params"]["up3b_conv"]["kernel"]


def test_mask_stage_is_not_scored_as_a_classifier(task, batch):
  _, backdoor, stages = planted(task, num_classes=4)
  step, state, epochs = stages["mask"]
  assert epochs == 1
  chex.assert_trees_all_equal(backdoor.params["mask"], state[0])
  (after, _), metrics = jax.jit(step)(jax.random.key(1), state, batch)
  assert metrics.keys() == {"loss", "area"} and 0 < metrics["area"] < 1
  chex.assert_tree_all_finite(after)
  chex.assert_trees_all_equal_shapes(after, state[0])


def test_the_audited_copy_has_own_and_others_triggers(task):
  args = {"rate": 0.25, "cross_rate": 0.5, "num_classes": 4, "target": 2}
  attack, backdoor, _ = planted(task, loud=3.0, **args)
  role, clean = np.asarray(backdoor.role), np.asarray(task.train.image)
  assert np.bincount(role).tolist() == [16, 16, 32]
  np.testing.assert_array_equal(
    backdoor.train.label, np.where(role == POISON, 2, task.train.label)
  )
  image = np.asarray(backdoor.train.image).astype(int)
  before = jnp.asarray(clean, jnp.float32) / 255
  np.testing.assert_array_equal(image[role == CLEAN], clean[role == CLEAN])
  norm = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "width": 2}
  nets = ushape.Pair(*(ushape.make(n, **norm) for n in (3, 1)))
  near = nets.stamp(before, jnp.roll(before, -1, 0), backdoor.params)
  own = attack.trigger(None, before, backdoor.params)

  def gap(images):
    hit = np.asarray(poison.to_bytes(images)).astype(int)
    return np.abs(image - hit).max((1, 2, 3))

  assert (gap(own)[role == POISON] <= 1).all()
  assert (gap(near)[role == COVER] <= 1).all()
  assert (gap(own)[role == COVER] > 1).mean() > 0.9


def test_as_the_peer_triggered_images_are_cut_off(task):
  attack, backdoor, _ = planted(
    task, compat="backdoorbench", num_classes=4, rate=0.25, cross_rate=0.25
  )
  images = task.train.image[:4].astype(jnp.float32) / 255
  level = 255 * attack.trigger(None, images, backdoor.params)
  np.testing.assert_allclose(level, jnp.round(level), atol=1e-3)
  assert backdoor.params["lost"].shape == (256, 3)
