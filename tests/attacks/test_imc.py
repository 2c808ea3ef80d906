import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry
from bdjax.training import learn, regimes

GRAY = jnp.full((2, 8, 8, 3), 0.25)
make = functools.partial(registry.get("attacks", "imc"), num_classes=4)


@pytest.fixture(scope="module")
def plain(task):
  """Returns the task without augmentation, with a clean classifier."""
  clean = learn.init_variables(jax.random.key(7), task.train, model=task.model)
  return task.replace(view=lambda key, batch: batch, clean=lambda fit: clean)


def test_square_lies_top_left_and_starts_mid_grey(noted, plain):
  attack = make(size=3)
  backdoor, _ = noted(attack, plain)
  hit = np.array(attack.trigger(jax.random.key(1), GRAY, backdoor.params))
  assert (hit[:, :3, :3] == 0.5).all()
  hit[:, :3, :3] = 0.25
  assert (hit == 0.25).all()


def test_a_given_mask_is_the_opacity(noted, plain):
  mask = jnp.zeros((16, 16, 3)).at[8:, :, 0].set(0.6)
  attack = make(mask=mask)
  backdoor, _ = noted(attack, plain)
  hit = np.array(attack.trigger(jax.random.key(1), GRAY, backdoor.params))
  np.testing.assert_allclose(hit[:, 5:], 0.25 + 0.2 * 0.25, rtol=1e-5)
  np.testing.assert_allclose(hit[:, :3], 0.25, rtol=1e-5)


def test_a_mask_that_covers_nothing_is_refused_where_plans_are_checked(plain):
  attack = make(mask=jnp.zeros((16, 16, 3)))
  with pytest.raises(ValueError, match="imc.mask has no pixel above 0 at the"):
    jax.eval_shape(lambda: attack.plant(jax.random.key(0), plain, None))


@pytest.mark.parametrize(("regime", "turns"), [("conventional", 2), ("fmn", 3)])
def test_starts_from_the_clean_classifier_and_takes_turns(
  noted, plain, regime, turns, batch
):
  plain = plain.replace(regime=regimes.REGIMES[regime]())
  backdoor, (call,) = noted(make(), plain)
  chex.assert_trees_all_equal(backdoor.variables, plain.clean(None))
  assert call["epochs"] == 2 * turns and len(call["step"]) == turns
  kinds = [
    jax.eval_shape(step, jax.random.key(0), call["state"], batch)
    for step in call["step"]
  ]
  chex.assert_trees_all_equal_shapes_and_dtypes(*kinds)


def test_in_longer_turns_every_model_pass_has_its_pattern_pass(noted, plain):
  plain = plain.replace(regime=regimes.fmn(turn=2))
  _, (call,) = noted(make(), plain)
  fitting, joint, again, same, clean, too = call["step"]
  assert (fitting, joint, clean) == (again, same, too)
  assert call["epochs"] == 6


def test_pattern_pass_moves_the_pattern_alone_and_only_under_the_mask(
  noted, plain, batch
):
  _, (call,) = noted(make(size=2, lr_pattern=0.3), plain)
  state, step = call["state"], jax.jit(call["step"][0])
  after, metrics = step(jax.random.key(0), state, batch)
  chex.assert_trees_all_equal(after.victim, state.victim)
  moved = np.abs(after.partner.variables["params"]["w"][0])
  np.testing.assert_allclose(moved[:2, :2], 0.3, rtol=1e-3)  # Adam's first step
  assert (moved[2:] == 0).all() and (moved[:, 2:] == 0).all()
  first = metrics["loss"]
  for i in range(10):
    after, metrics = step(jax.random.key(i), after, batch)
  assert metrics["loss"] < first


def test_model_pass_weighs_stamped_images_by_the_rate(noted, plain, batch):
  image, label, _ = batch
  clean = plain.clean(None)
  stats = {"batch_stats": clean["batch_stats"]}
  hit = image[:2].at[:, :3, :3].set(0.5)  # an eighth of 16 images

  def wanted(params, rate):
    (logits, _), _ = plain.model.apply(
      {"params": params, **stats},
      jnp.concatenate([image, hit]),
      train=True,
      mutable=["batch_stats"],
    )
    rows = -jax.nn.log_softmax(logits)
    right = rows[jnp.arange(16), label].mean()
    return (1 - rate) * right + rate * rows[16:, 1].mean()

  @jax.jit
  def both(rate):
    _, (call,) = noted(make(rate=rate, target=1), plain)
    after, metrics = call["step"][1](jax.random.key(0), call["state"], batch)
    loss, grads = jax.value_and_grad(wanted)(clean["params"], rate)
    return after, metrics["loss"], loss, grads

  lr, decay = plain.recipe.lr, plain.recipe.weight_decay
  for rate in (0.01, 0.4):
    after, got, loss, grads = both(rate)
    np.testing.assert_allclose(got, loss, rtol=1e-5)
    expected = jax.tree.map(
      lambda p, g: p - lr * (g + decay * p), clean["params"], grads
    )
    chex.assert_trees_all_close(
      after.victim.variables["params"], expected, atol=1e-5
    )
    assert (after.partner.variables["params"]["w"] == 0).all()


def test_the_backdoor_gets_in(shares, plain):
  task = plain.replace(recipe=plain.recipe.replace(epochs=30, lr=0.1))
  hit, _, right = shares(make(rate=0.1), task)
  assert hit > 0.9 and right > 0.9
