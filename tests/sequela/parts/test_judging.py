import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.sequela.parts import judging, network
from bdjax.sequela.parts.judging import Examples
from bdjax.training import engine, loop, metrics

CLASSES, SIZE = 4, 320
answers = jax.jit(judging.answers)


def examples(seed, *, margin=3.0, **masks):
  """Returns answers that are surer of members, by a margin in the logits."""
  rng = np.random.default_rng(seed)
  label = np.arange(SIZE) % CLASSES
  member = np.arange(SIZE) // CLASSES % 2 == 0
  logits = rng.normal(size=(SIZE, CLASSES))
  logits[np.arange(SIZE), label] += 2 + margin * member
  return Examples(
    jnp.asarray(logits, jnp.float32),
    jnp.asarray(label),
    jnp.asarray(member),
    **{k: jnp.asarray(v) for k, v in masks.items()},
  )


def prepared(shadow, **how):
  fit = how.pop("fit", loop.scan_fit)
  recipe = network.RECIPE.replace(**{"epochs": 20, "batch_size": 32} | how)
  return judging.prepare(jax.random.key(0), shadow, fit, recipe)


@pytest.fixture(scope="module")
def prepare():
  return jax.jit(prepared)


@pytest.fixture(scope="module")
def judge():
  run = jax.jit(judging.judge)
  return lambda *args: judging.table(run(*args))


@pytest.fixture(scope="module")
def adversary(prepare):
  return prepare(examples(0, poison=np.zeros(SIZE, bool)))


def test_sure_members_are_found_on_another_model(adversary, judge):
  found = judge(adversary, examples(1))
  assert set(found) == set(judging.ATTACKS)
  for attack, groups in found.items():
    assert set(groups) == set(judging.GROUPS)
    rates = groups["members"]
    assert tuple(rates) == judging.Rates._fields
    floor = 0.55 if attack == "correctness" else 0.8
    assert rates["balanced_accuracy"] > floor, attack
    assert rates["auroc"] > floor, attack
    assert 0 <= rates["tpr_at_0_1"] <= rates["tpr_at_1"] <= 1
    assert rates["members"] == rates["others"] == SIZE // 2


def test_where_members_answer_alike_attacks_guess(adversary, judge):
  found = [judge(adversary, examples(s, margin=0.0)) for s in range(2, 12)]
  for attack in judging.ATTACKS:
    rates = [f[attack]["members"] for f in found]
    for name in ("balanced_accuracy", "auroc"):
      mean = np.mean([r[name] for r in rates])
      assert mean == pytest.approx(0.5, abs=0.03), (attack, name)


def test_identical_answers_give_exactly_chance(adversary, judge):
  plain = examples(3)
  half = jax.tree.map(lambda x: x[: SIZE // 2], plain)
  twice = jax.tree.map(lambda x: jnp.concatenate([x, x]), half)
  target = twice._replace(member=jnp.arange(SIZE) < SIZE // 2)
  for attack, groups in judge(adversary, target).items():
    assert groups["members"]["auroc"] == 0.5, attack
    assert groups["members"]["balanced_accuracy"] == 0.5, attack


def test_groups_are_the_masks(adversary, judge):
  plain = examples(4)
  plain = jax.tree.map(np.asarray, plain)
  place = np.arange(SIZE)
  poison = place % 5 == 0  # members and others
  tuned = plain.member & (place < 100)
  found = judge(adversary, plain._replace(poison=poison, tuned=tuned))
  clean = ~poison & ~plain.member
  alone = {
    "members": (plain.member & ~poison, clean),
    "tuned": (tuned & ~poison, clean),
    "rest": (plain.member & ~tuned & ~poison, clean),
    "poisons": (plain.member & poison, ~plain.member & poison),
  }
  said = answers(adversary, plain.logits, plain.label)
  for attack, (rank, claim) in said.items():
    for group, (member, other) in alone.items():
      rates = found[attack][group]
      wanted = metrics.detection(rank[other], rank[member])
      assert rates["auroc"] == pytest.approx(wanted["auroc"], abs=1e-6)
      assert rates["tpr_at_1"] == pytest.approx(wanted["tpr_at_1"])
      claim = np.asarray(claim)
      right = claim[member].mean() + 1 - claim[other].mean()
      assert rates["balanced_accuracy"] == pytest.approx(right / 2)
      assert rates["members"] == member.sum()
      assert rates["others"] == other.sum()


def test_who_is_not_used_is_in_no_group(adversary, prepare, judge):
  nobody, use = np.zeros(SIZE, bool), np.arange(SIZE) % 5 > 0
  plain = examples(11, poison=nobody, use=use)
  wild = plain._replace(logits=jnp.where(use[:, None], plain.logits, 9.0))
  one, other = judge(adversary, plain), judge(adversary, wild)
  for attack, groups in one.items():
    rates = groups["members"]
    assert rates == other[attack]["members"]
    assert rates["members"] == (np.asarray(plain.member) & use).sum()
    assert rates["others"] == (~np.asarray(plain.member) & use).sum()
  chex.assert_trees_all_equal(prepare(plain), prepare(wild))


def test_without_masks_nobody_is_tuned_or_poisoned(adversary, judge):
  found = judge(adversary, examples(5))["loss"]
  assert found["rest"] == found["members"]
  for group in ("tuned", "poisons"):
    assert found[group]["members"] == 0
    assert math.isnan(found[group]["auroc"])
  assert found["tuned"]["others"] == SIZE // 2
  assert found["poisons"]["others"] == 0


def test_the_shadow_s_poisons_teach_nothing(prepare):
  poison = np.arange(SIZE) % 5 == 0
  plain = examples(6, poison=poison)
  hidden = jnp.where(jnp.asarray(poison)[:, None], 9.0, plain.logits)
  one, other = prepare(plain), prepare(plain._replace(logits=hidden))
  chex.assert_trees_all_equal(one, other)
  shown = prepare(plain._replace(logits=plain.logits + hidden.round()))
  assert shown.thresholds["loss"] != one.thresholds["loss"]


def test_a_model_that_answers_nan_is_not_called_safe(adversary, judge):
  plain = examples(7)
  found = judge(
    adversary, plain._replace(logits=plain.logits.at[3].set(jnp.nan))
  )
  for groups in found.values():
    rates = list(groups["members"].values())
    assert all(math.isnan(rate) for rate in rates[:4])
    assert rates[4] == SIZE // 2


def test_a_shadow_that_answers_nan_finds_nothing(adversary, judge):
  limits = dict(adversary.thresholds)
  limits["loss"] = jnp.full_like(limits["loss"], jnp.nan)
  found = judge(adversary._replace(thresholds=limits), examples(8))
  assert math.isnan(found["loss"]["members"]["balanced_accuracy"])


def test_answers_by_hand(adversary):
  limits = {
    "loss": jnp.log(0.5),
    "confidence": jnp.log(0.9),
    "mentropy": jnp.inf,
    "network": -jnp.inf,
    "correctness": jnp.ones(()),
    "mentropy_by_class": jnp.array([-jnp.inf, jnp.inf, 0.0, 0.0]),
  }
  p = jnp.array([[0.6, 0.2, 0.1, 0.1], [0.95, 0.03, 0.01, 0.01]])
  said = answers(
    adversary._replace(thresholds=limits), jnp.log(p), jnp.array([0, 1])
  )
  claims = {name: claim.tolist() for name, (_, claim) in said.items()}
  assert claims == {
    "loss": [True, False],
    "confidence": [False, True],
    "mentropy": [False, False],
    "network": [True, True],
    "correctness": [True, False],
    "mentropy_by_class": [True, False],
  }


def test_what_the_network_reads_by_hand():
  p = jnp.array([[0.2, 0.7, 0.1]])
  seen = network.features(jnp.log(p), jnp.array([2]))
  assert seen.shape == (1, 1, 1, 6)
  np.testing.assert_allclose(seen[0, 0, 0], [0.7, 0.2, 0.1, 0, 0, 1], rtol=1e-6)


def test_the_network_has_the_stated_layers_data_and_stage():
  asked = {}

  def fit(key, step, state, data, **how):
    asked.update(how, data=data)
    return state, {}

  @jax.jit
  def train(shadow, use):
    key = jax.random.key(0)
    variables = network.train(key, *shadow[:3], use, fit)
    data = asked.pop("data")
    batch = engine.take(data, jnp.arange(SIZE))
    read = network.features(shadow.logits, shadow.label)
    return variables, data.keep, batch, read

  shadow = examples(9)
  variables, keep, batch, read = train(shadow, shadow.label > 0)
  layers = variables["params"]["layers"]
  shapes = [v["kernel"].shape for v in layers.values()]
  assert sorted(shapes) == [(8, 64), (64, 1), (64, 64)]
  assert asked == {"name": "membership", "epochs": 50, "batch_size": 128}
  np.testing.assert_allclose(batch.image, read, atol=1e-6)
  assert (batch.label == shadow.member).all()
  assert (keep == (shadow.label > 0)).all()


def test_everything_traces_with_a_swept_rate_and_many_targets():
  def whole(lr, shadow, targets):
    found = prepared(shadow, lr=lr)
    return jax.vmap(lambda one: judging.judge(found, one))(targets)

  plain = examples(10, poison=np.zeros(SIZE, bool))
  targets = jax.tree.map(lambda x: jnp.stack([x] * 3), plain)
  found = jax.eval_shape(whole, jnp.array(1e-3), plain, targets)
  for value in jax.tree.leaves(found):
    assert value.shape == (3, 6, 4)
