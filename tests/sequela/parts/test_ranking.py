import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from bdjax.sequela.parts import ranking
from bdjax.training import metrics

PER_MILLE = (1, 10, 50, 100, 300)

threshold = jax.jit(ranking.threshold)
balanced_accuracy = jax.jit(ranking.balanced_accuracy)
by_class = jax.jit(ranking.threshold_by_class, static_argnames="num_classes")


@jax.jit
def separation(score, member, other):
  return ranking.separation(score, member, other, per_mille=PER_MILLE)


def groups(*members):
  member = jnp.array(members, bool)
  return member, ~member


def random_case(seed, size=400):
  rng = np.random.default_rng(seed)
  kind = rng.integers(0, 3, size)  # 2: in neither group
  score = rng.integers(0, 40, size) / 8 + (kind == 1)  # with many ties
  return (
    jnp.asarray(score, jnp.float32),
    jnp.asarray(kind == 1),
    jnp.asarray(kind == 0),
  )


def test_threshold_by_hand():
  score = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
  # From 3 on: 3 of 3 members, 1 of 3 others; from 6 on: 1 of 3 members.
  assert threshold(score, *groups(0, 0, 1, 1, 0, 1)) == 3
  # From 5 on, 2/3 - 0; from 3 on, 3/3 - 1/3: of equally good ones the highest.
  assert threshold(score, *groups(0, 0, 1, 0, 1, 1)) == 5


def test_equal_scores_are_claimed_together():
  # Cutting within the fours would look perfect.
  score = jnp.array([4.0, 4.0, 4.0, 5.0, 1.0, 1.0])
  member, other = groups(1, 1, 0, 1, 0, 0)
  found = threshold(score, member, other)
  assert found == 4
  assert balanced_accuracy(score >= found, member, other) == pytest.approx(
    (1 + 2 / 3) / 2
  )


@pytest.mark.parametrize(
  "members", [(0,) * 6, (1,) * 6, (1, 1, 1, 0, 0, 0)], ids=str
)
def test_where_nothing_beats_chance_nobody_is_claimed(members):
  score = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
  assert threshold(score, *groups(*members)) == jnp.inf


def test_a_score_that_is_no_number_gives_no_threshold():
  score = jnp.array([1.0, jnp.nan, 3.0, 4.0, 5.0, 6.0])
  assert jnp.isnan(threshold(score, *groups(0, 0, 0, 1, 1, 1)))


@pytest.mark.parametrize("seed", range(3))
def test_threshold_is_the_best_there_is(seed):
  score, member, other = random_case(seed)

  def accuracy(t):
    return float(balanced_accuracy(score >= t, member, other))

  best = max(accuracy(t) for t in np.unique(score))
  assert accuracy(threshold(score, member, other)) == best > 0.5


def test_thresholds_by_class_beat_one_for_all():
  label = jnp.array([0, 0, 0, 0, 1, 1, 1, 1])
  score = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
  member, other = groups(0, 0, 1, 1, 0, 0, 1, 1)
  one = threshold(score, member, other)
  each = by_class(score, label, member, other, num_classes=3)
  assert each.tolist() == [3, 7, np.inf]  # nobody is of the last class
  accuracy = [
    float(balanced_accuracy(score >= t, member, other))
    for t in (one, each[label])
  ]
  assert accuracy == [0.75, 1.0]


def test_thresholds_by_class_are_those_of_each_class_alone():
  score, member, other = random_case(5)
  label = jnp.arange(score.size) % 3
  each = by_class(score, label, member, other, num_classes=3)
  for c in range(3):
    own = label == c
    assert each[c] == threshold(score, member & own, other & own)
    # Examples in neither group do not count, whatever they score.
    assert each[c] == threshold(
      jnp.where(own, score, 100.0), member & own, other & own
    )


@pytest.mark.parametrize("seed", range(3))
def test_rates_agree_with_scikit_learn(seed):
  score, member, other = random_case(seed)
  used = np.asarray(member | other)
  truth, value = np.asarray(member)[used], np.asarray(score)[used]
  auroc, found = separation(score, member, other)
  wanted = reference.roc_auc_score(truth, value)
  assert float(auroc) == pytest.approx(wanted, abs=1e-6)
  fpr, tpr, _ = reference.roc_curve(truth, value, drop_intermediate=False)
  wanted = [tpr[fpr <= allowed / 1000].max() for allowed in PER_MILLE]
  np.testing.assert_allclose(found, wanted, rtol=1e-6)
  claim = score >= 2.5
  wanted = reference.balanced_accuracy_score(truth, np.asarray(claim)[used])
  found = float(balanced_accuracy(claim, member, other))
  assert found == pytest.approx(wanted)


def test_rates_agree_with_those_of_detectors():
  score, member, other = random_case(9)
  wanted = metrics.detection(
    np.asarray(score)[np.asarray(other)], np.asarray(score)[np.asarray(member)]
  )
  auroc, found = separation(score, member, other)
  assert float(auroc) == pytest.approx(wanted["auroc"], abs=1e-6)
  found = dict(zip(PER_MILLE, found.tolist(), strict=True))
  for percent in (1, 5, 10):
    assert found[10 * percent] == pytest.approx(wanted[f"tpr_at_{percent}"])


def test_true_positives_by_hand():
  score = jnp.arange(400.0)
  member = jnp.arange(400) >= 200
  score = score.at[0].set(390.0)  # one of 200 others: 5 thousandths
  _, found = separation(score, member, ~member)
  # 0 and 2 of 200 may pass; 390 is a tie, which does not pass.
  np.testing.assert_allclose(found[:2], [9 / 200, 1.0], rtol=1e-6)


def test_identical_groups_are_told_apart_by_chance_exactly():
  rng = np.random.default_rng(0)
  half = rng.normal(size=200).round(1)
  score = jnp.asarray(np.append(half, half[::-1]), jnp.float32)
  member = jnp.arange(400) < 200
  assert separation(score, member, ~member)[0] == 0.5
  assert threshold(score, member, ~member) == jnp.inf


def test_separate_groups_are_told_apart_perfectly():
  score = jnp.arange(400.0)
  member = score >= 240
  auroc, found = separation(score, member, ~member)
  assert auroc == 1 and (found == 1).all()
  auroc, found = separation(-score, member, ~member)
  assert auroc == 0 and (found == 0).all()
  cut = threshold(score, member, ~member)
  assert balanced_accuracy(score >= cut, member, ~member) == 1


@pytest.mark.parametrize("empty", [0, 1])
def test_an_empty_group_has_no_rates(empty):
  score, everyone = jnp.arange(400.0), jnp.ones(400, bool)
  pair = (everyone, ~everyone) if empty else (~everyone, everyone)
  auroc, found = separation(score, *pair)
  assert jnp.isnan(auroc) and jnp.isnan(found).all()
  assert jnp.isnan(balanced_accuracy(score > 3, *pair))


@pytest.mark.parametrize("function", [ranking.threshold, ranking.separation])
def test_more_examples_than_can_be_counted_are_refused(function):
  score = jax.ShapeDtypeStruct((ranking.MOST + 1,), jnp.float32)
  group = jax.ShapeDtypeStruct((ranking.MOST + 1,), bool)
  with pytest.raises(ValueError, match="92682 examples .* at most 92681"):
    jax.eval_shape(function, score, group, group)
  half = ranking.MOST // 2
  assert half * (ranking.MOST - half) < 2**31
