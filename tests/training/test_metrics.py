import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.training import metrics


@pytest.mark.parametrize(
  ("at", "wrong"),
  [
    (0, jnp.zeros((6, 4), jnp.int32)),  # logits, not answers
    (1, jnp.zeros(6)),
    (3, jnp.zeros((), jnp.int32)),  # would be broadcast
    (4, jnp.ones(6, jnp.int32)),
  ],
)
def test_counts_refuse_what_is_no_answer(at, wrong):
  args = [jnp.zeros(6, jnp.int32)] * 4 + [jnp.ones(6, bool)]
  assert metrics.counts(*args)["images"] == 6
  with pytest.raises(AssertionError):
    jax.eval_shape(metrics.counts, *args[:at], wrong, *args[at + 1 :])


def test_counts_and_rates_by_hand():
  label = jnp.array([0, 0, 1, 2, 3, 1])
  wanted = jnp.zeros(6, jnp.int32)
  clean = jnp.array([0, 1, 1, 2, 0, 1])
  hit = jnp.array([0, 0, 0, 2, 1, 0])
  valid = jnp.array([1, 1, 1, 1, 1, 0], bool)  # the last is padding
  count = metrics.counts(clean, hit, label, wanted, valid)
  count = {k: int(v) for k, v in count.items()}
  assert count == {
    "images": 5,
    "correct": 3,
    "triggered": 3,
    "hits": 1,
    "hits_incl": 3,
    "resisted": 1,
  }
  rates = metrics.rates(count)
  assert rates == {
    "ca": 3 / 5,
    "asr": 1 / 3,
    "asr_incl": 3 / 5,
    "ra": 1 / 3,
  }


def test_without_triggered_images_asr_is_unknown():
  count = dict(
    images=2, correct=1, triggered=0, hits=0, hits_incl=2, resisted=0
  )
  rates = metrics.rates(count)
  assert math.isnan(rates["asr"]) and math.isnan(rates["ra"])
  assert rates["ca"] == 0.5


@pytest.mark.parametrize(
  ("ca", "asr", "der"),
  [
    (0.9, 1.0, 0.5),  # nothing changed
    (0.9, 0.0, 1.0),  # perfect
    (0.4, 0.0, 0.75),  # removed, at half the accuracy
    (0.95, 1.0, 0.5),  # gains do not count
    (0.4, 1.0, 0.25),
  ],
)
def test_der_by_hand(ca, asr, der):
  got = metrics.defense_effectiveness(
    ca_before=0.9, asr_before=1.0, ca=ca, asr=asr
  )
  assert float(got) == pytest.approx(der)


def test_filtering_by_hand():
  role = jnp.array([0, 1, 1, 1, 2, 0], jnp.int8)  # 2: a cover, clean
  keep = jnp.array([1, 0, 0, 1, 0, 1], bool)
  assert metrics.filtering(keep, role) == {
    "removed": 3,
    "poisons": 3,
    "kept_poisons": 1,
    "precision": 2 / 3,
    "recall": 2 / 3,
  }


def test_filtering_without_removals_or_poisons_is_unknown():
  found = metrics.filtering(jnp.ones(3, bool), jnp.zeros(3, jnp.int8))
  assert math.isnan(found["precision"]) and math.isnan(found["recall"])


def test_detection_by_hand():
  clean = jnp.arange(100.0)  # thresholds for 1, 5, 10 %: 98, 94, 89
  hit = jnp.array([98.0, 98.5, 94.5, 89.0, -1.0])
  found = metrics.detection(clean, hit)
  assert found["tpr_at_1"] == 1 / 5
  assert found["tpr_at_5"] == 3 / 5
  assert found["tpr_at_10"] == 3 / 5
  wins = 98.5 + 99 + 95 + 89.5 + 0  # of each against the clean, ties half
  assert found["auroc"] == pytest.approx(wins / 500)


def test_detection_of_nothing_is_unknown():
  found = metrics.detection(jnp.arange(3.0), jnp.zeros(0))
  assert all(math.isnan(v) for v in found.values()) and len(found) == 4


def test_anomaly_is_the_distance_in_median_deviations():
  norm = jnp.array([10.0, 12.0, 14.0, 16.0, 2.0])  # median 12, MAD 2
  wanted = np.array([2, 0, 2, 4, 10]) / (1.4826 * 2)
  np.testing.assert_allclose(metrics.anomaly_index(norm), wanted, rtol=1e-6)
  two = metrics.anomaly_index(jnp.array([1.0, 9.0]))
  np.testing.assert_allclose(two, 1 / 1.4826, rtol=1e-6)
  assert (metrics.anomaly_index(jnp.full(4, 7.0)) == 0).all()
  odd = metrics.anomaly_index(jnp.array([7.0, 7.0, 7.0, 1.0]))
  assert odd[3] > 1e6 and (odd[:3] == 0).all()


def test_rates_in_a_task_of_other_classes_by_hand():
  label = jnp.array([0, 0, 1, 1, 2, 2])
  wanted = jnp.full(6, 2)
  clean = jnp.array([0, 0, 1, 0, 2, 2])
  hit = jnp.array([1, 1, 1, 1, 1, 0])
  valid = jnp.array([1, 1, 1, 1, 1, 0], bool)  # the last is padding
  count = metrics.counts_elsewhere(
    clean, hit, label, wanted, valid, num_classes=4
  )
  assert count["others"].tolist() == [3, 3, 4, 5]
  assert count["taken"].tolist() == [0, 3, 0, 0]
  count = {k: np.asarray(v).tolist() for k, v in count.items()}
  assert metrics.rates_elsewhere(count) == {
    "ta": 0.4,
    "collapse": 1.0,
    "collapse_class": 1,
  }
  assert metrics.rates(count)["ca"] == 0.8
  assert metrics.rates(count)["asr"] == 0.0
