import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry
from bdjax.models.parts.autoencoder import Autoencoder
from bdjax.training import budget, regimes
from bdjax.types import POISON

STD = (0.2, 0.1, 0.4)
NUMBERS = {"target": 1, "eps": 0.5, "alpha": 0.3, "lr_generator": 0.002}
make = functools.partial(
  registry.get("attacks", "lira"), num_classes=4, std=STD, width=4
)


@pytest.fixture(scope="module")
def plain(task):
  """Returns the task without augmentation, under FMN's regime."""
  regime = regimes.fmn(lr_min=0.003)
  return task.replace(view=lambda key, batch: batch, regime=regime)


@pytest.fixture(scope="module")
def stages(noted, plain):
  """Returns both stages' joint steps, compiled once, and first states."""
  _, (one, two) = noted(make(**NUMBERS), plain)
  steps = jax.jit(one["step"]), jax.jit(two["step"][0])
  return list(zip(steps, (one["state"], two["state"]), strict=True))


def entropy(logits, label):
  rows = jax.nn.log_softmax(logits)[jnp.arange(label.size), label]
  return -rows.mean()


def test_noise_is_at_most_eps_standard_deviations(noted, task):
  attack = make(eps=0.5)
  backdoor, _ = noted(attack, task)
  net = jax.tree.map(lambda x: 100 * x, backdoor.params["generator"])
  params = backdoor.params | {"generator": net}
  gray = jnp.full((2, 8, 8, 3), 0.5) + jnp.arange(2).reshape(2, 1, 1, 1) / 9
  moved = np.abs(attack.trigger(jax.random.key(1), gray, params) - gray)
  np.testing.assert_allclose(moved.max((0, 1, 2)), [0.1, 0.05, 0.2], rtol=1e-3)
  edge = attack.trigger(jax.random.key(1), jnp.round(gray), params)
  assert edge.min() >= 0 and edge.max() <= 1


@pytest.mark.parametrize(
  ("args", "regime", "epochs", "turns"),
  [
    ({}, "conventional", (50, 50), 1),
    ({"stage1": 17}, "conventional", (17, 83), 1),
    ({}, "fmn", (50, 100), 2),
    ({"compat": "backdoorbench"}, "conventional", (50,), None),
  ],
)
def test_stages(noted, task, args, regime, epochs, turns):
  task = task.replace(
    recipe=task.recipe.replace(epochs=100), regime=regimes.REGIMES[regime]()
  )
  _, calls = noted(make(**args), task)
  assert tuple(call["epochs"] for call in calls) == epochs
  assert [call["name"] for call in calls] == ["stage1", "stage2"][: len(calls)]
  if turns:
    assert len(calls[1]["step"]) == turns


def test_a_second_stage_that_fills_no_turns_is_refused_before_the_first(task):
  def fit(*args, **how):
    pytest.fail("something was trained")

  regime = budget.matched(regimes.fmn(), "steps")
  recipe = task.recipe.replace(epochs=6)
  short = task.replace(recipe=recipe, regime=regime)
  text = "^train.epochs is 6, of which lira's stage 2 has 3, .* lira.stage1 or"
  with pytest.raises(ValueError, match=text):
    make().plant(jax.random.key(0), short, fit)


def test_stage_1_keeps_the_rate_and_stage_2_follows_the_regime(stages, batch):
  (one, first), (two, second) = stages
  late = first.replace(victim=first.victim.replace(step=jnp.int32(3)))
  for step, state, rate in ((one, late, 0.05), (two, second, 0.003)):
    _, metrics = step(jax.random.key(0), state, batch)
    assert set(metrics) == {"loss", "accuracy", "lr"}
    np.testing.assert_allclose(metrics["lr"], rate, rtol=1e-6)


def test_first_step_is_the_algorithm_of_the_paper(noted, stages, plain, batch):
  step, state = stages[0]
  after, _ = step(jax.random.key(1), state, batch)
  peer = make(**NUMBERS, compat="backdoorbench")
  usual = plain.replace(regime=regimes.conventional())
  backdoor, (call,) = noted(peer, usual)
  assert backdoor.params["lost"].shape == (256, 3)
  after_peer, _ = jax.jit(call["step"])(jax.random.key(1), state, batch)
  image, label, _ = batch
  wanted = jnp.ones(16, jnp.int32)
  net, victim = state.partner.variables, state.victim.variables
  stats = {"batch_stats": victim["batch_stats"]}
  scale = 0.5 * jnp.asarray(STD).reshape(1, 1, 1, 3)

  def fool(net_params, params):
    noise, _ = Autoencoder(4).apply(
      {**net, "params": net_params}, image, train=True, mutable=["batch_stats"]
    )
    hit = jnp.clip(image + scale * noise, 0, 1)
    logits, _ = plain.model.apply({"params": params, **stats}, hit)
    return entropy(logits, wanted)

  def learn(params):
    hit = jnp.clip(image + scale * Autoencoder(4).apply(net, image), 0, 1)
    (logits, _), _ = plain.model.apply(
      {"params": params, **stats},
      jnp.concatenate([image, hit]),
      train=True,
      mutable=["batch_stats"],
    )
    clean = 0.3 * entropy(logits[:16], label)
    return clean + 0.7 * entropy(logits[16:], wanted)

  @jax.jit
  def gradients(net_params, params):
    return jax.grad(fool, (0, 1))(net_params, params), jax.grad(learn)(params)

  (by_net, leftover), by_victim = gradients(net["params"], victim["params"])
  moments = after.partner.opt_state[0].mu  # Adam's first: a tenth of the slope
  tenth = jax.tree.map(lambda g: 0.1 * g, by_net)
  chex.assert_trees_all_close(moments, tenth, atol=1e-6, rtol=1e-3)
  moved = after.partner.variables["params"]["up0"]["bias"]
  moved = jnp.abs(moved - net["params"]["up0"]["bias"]).max()
  np.testing.assert_allclose(moved, 0.002, rtol=1e-3)

  def descended(*grads):
    rate, decay = plain.recipe.lr, plain.recipe.weight_decay
    return jax.tree.map(
      lambda p, *g: p - rate * (sum(g) + decay * p), victim["params"], *grads
    )

  for got, grads in (
    (after, (by_victim,)),
    (after_peer, (by_victim, leftover)),
  ):
    chex.assert_trees_all_close(
      got.victim.variables["params"], descended(*grads), atol=1e-5
    )
  assert max(jnp.abs(x).max() for x in jax.tree.leaves(leftover)) > 1e-2


def test_victim_learns_from_the_generator_of_an_epoch_ago(stages, batch):
  step, state = stages[0]
  fresh = state.partner.variables
  for i in range(4):  # 64 images make four batches
    state, _ = step(jax.random.key(i), state, batch)
    chex.assert_trees_all_equal(state.previous, fresh)
  ended = state.partner.variables
  for i in range(2):
    state, _ = step(jax.random.key(i), state, batch)
    chex.assert_trees_all_equal(state.previous, ended)
  moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), fresh, ended)
  assert max(jax.tree.leaves(moved)) > 0


def test_stage_2_leaves_the_generator_alone(stages, batch):
  step, state = stages[1]
  after, _ = step(jax.random.key(0), state, batch)
  chex.assert_trees_all_equal(after.partner, state.partner)
  assert after.victim.step == 1


def test_poisons_of_the_frozen_copy_are_the_rounded_trigger(noted, task):
  attack = make(rate=0.25, eps=1.0, target=2)
  backdoor, _ = noted(attack, task)
  hit = np.asarray(backdoor.role) == POISON
  assert hit.sum() == 16
  before = task.train.image[hit].astype(jnp.float32) / 255
  wanted = attack.trigger(jax.random.key(1), before, backdoor.params)
  got = np.asarray(backdoor.train.image)[hit]
  np.testing.assert_allclose(got, np.asarray(wanted) * 255, atol=0.51)
  assert (np.asarray(backdoor.train.label)[hit] == 2).all()


def test_the_backdoor_gets_in(shares, plain):
  recipe = plain.recipe.replace(epochs=40, lr=0.1)
  attack = make(eps=1.0, lr_generator=3e-3)
  task = plain.replace(recipe=recipe, regime=regimes.conventional())
  hit, _, right = shares(attack, task)
  assert hit > 0.9 and right > 0.9


def test_what_cannot_be_is_refused(noted, task):
  once = task.replace(recipe=task.recipe.replace(epochs=1))
  with pytest.raises(ValueError, match="train.epochs is 1, but"):
    noted(make(), once)
  peer = make(compat="backdoorbench")
  with pytest.raises(ValueError, match="leave compat at 'paper'"):
    noted(peer, task.replace(regime=regimes.fmn()))
  with pytest.raises(ValueError, match="the images have 3 channels"):
    noted(make(std=(0.2,)), task)
