import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses import neural_cleanse
from bdjax.defenses.parts import inversion
from bdjax.methods import registry
from bdjax.training import loop

SMALL = {"rounds": 2, "epochs": 1, "batch_size": 16}


def make(**args):
  return registry.get("defenses", "neural_cleanse")(**(SMALL | args))


def triggers(norms, reached=None, shape=(8, 8, 3)):
  """Returns triggers of given norms; pattern c is (c + 1) / 10 all over."""
  count = len(norms)
  reached = jnp.ones(count, bool) if reached is None else jnp.array(reached)
  height, width, channels = shape
  gray = jnp.arange(1, count + 1)[:, None, None, None] / 10
  return inversion.Inverted(
    mask=jnp.ones((count, height, width, 1)),
    pattern=jnp.broadcast_to(gray, (count, height, width, channels)),
    norm=jnp.array(norms),
    success=jnp.ones(count),
    reached=reached,
  )


def test_small_outliers_are_flagged_and_large_ones_are_not():
  norms = [10.0, 12.0, 14.0, 40.0, 2.0]  # median 12, MAD 2
  verdict, memo = neural_cleanse.judge(triggers(norms), 2.0)
  index = np.array([2, 0, 2, 28, 10]) / (1.4826 * 2)
  np.testing.assert_allclose(memo["anomaly_index"], index, rtol=1e-6)
  assert memo["flagged"].tolist() == [False] * 4 + [True]
  np.testing.assert_allclose(verdict, index[4], rtol=1e-6)
  assert verdict.shape == () and verdict.dtype == jnp.float32
  np.testing.assert_array_equal(memo["mask_norm"], norms)
  assert memo["trigger"].shape == (5, 8, 8, 3)


def test_a_mask_that_sends_nothing_to_its_class_is_no_evidence():
  norms = [10.0, 12.0, 14.0, 40.0, 2.0]
  found = triggers(norms, [True, True, True, True, False])
  verdict, memo = neural_cleanse.judge(found, 2.0)
  assert not memo["flagged"].any()
  # of the others the median is 13, the deviations 3, 1, 1, 27: MAD 2
  np.testing.assert_allclose(verdict, 3 / (1.4826 * 2), rtol=1e-6)
  verdict, memo = neural_cleanse.judge(found, 2.0, compat="backdoorbench")
  assert not memo["flagged"].any()
  np.testing.assert_allclose(verdict, 2 / (1.4826 * 2), rtol=1e-6)


def test_masks_that_reach_nothing_flag_no_other():
  norms = [8.0, 9.0, 10.0, *[30.0, 31.0, 32.0, 33.0]]
  found = triggers(norms, [True] * 3 + [False] * 4)
  verdict, memo = neural_cleanse.judge(found, 0.9)
  np.testing.assert_allclose(verdict, 1 / 1.4826, rtol=1e-6)  # 9, MAD 1
  assert not memo["flagged"].any()
  # among all: median 30, deviations 22, 21, 20, 0, 1, 2, 3
  whole = neural_cleanse.judge(found, 0.9, compat="backdoorbench")
  np.testing.assert_allclose(whole[0], 22 / (1.4826 * 3), rtol=1e-6)
  assert whole[1]["flagged"].tolist() == [True] * 3 + [False] * 4


@pytest.mark.parametrize("count", [0, 1, 2])
def test_of_fewer_than_three_classes_nothing_is_said(count):
  norms = [1.0, 40.0, 41.0, 43.0]
  found = triggers(norms, [True] * count + [False] * (4 - count))
  verdict, memo = jax.jit(neural_cleanse.judge)(found, 0.1)
  assert verdict == 0 and not memo["flagged"].any()
  assert memo["anomaly_index"].tolist() == [0] * 4


@pytest.mark.parametrize("compat", ["paper", "backdoorbench"])
@pytest.mark.parametrize("count", [3, 4, 9, 10])
def test_where_all_are_reached_indices_are_those_of_all(count, compat):
  norms = 40 * jax.random.uniform(jax.random.key(count), (count,))
  _, memo = neural_cleanse.judge(triggers(norms), 2.0, compat=compat)
  away = jnp.abs(norms - jnp.median(norms))
  wanted = away / (1.4826 * jnp.median(away))
  np.testing.assert_allclose(memo["anomaly_index"], wanted, rtol=1e-6)


def stamped(toy, flagged, share=0.25):
  run = jax.jit(neural_cleanse.stamp)
  found = triggers([1.0] * 4)
  return run(jax.random.key(0), toy, found, jnp.array(flagged), share)


def test_flagged_triggers_share_the_stamped_images(toy):
  after = stamped(toy, [False, True, False, True])
  np.testing.assert_array_equal(after.label, toy.label)
  changed = (after.image != toy.image).any((1, 2, 3))
  assert changed.sum() == 16
  assert (after.image == round(0.2 * 255)).all((1, 2, 3)).sum() == 8
  assert (after.image == round(0.4 * 255)).all((1, 2, 3)).sum() == 8


def test_without_a_flag_nothing_is_stamped(toy):
  after = stamped(toy, [False] * 4, share=1.0)
  np.testing.assert_array_equal(after.image, toy.image)


def test_only_a_flagged_model_is_changed(suspect, monkeypatch):
  found = triggers([9.0, 10.0, 11.0, 1.0])
  monkeypatch.setattr(inversion, "invert", lambda *args, **how: found)

  def repaired(threshold):
    defense = make(threshold=threshold)
    return defense.defend(jax.random.key(0), suspect, loop.host_fit())

  flagged, spared = repaired(2.0), repaired(1e9)
  assert flagged.memo["flagged"].tolist() == [False] * 3 + [True]
  chex.assert_trees_all_equal_shapes_and_dtypes(
    flagged.variables, suspect.variables
  )
  kernels = (
    variables["params"]["linear"]["kernel"]
    for variables in (flagged.variables, suspect.variables)
  )
  assert (next(kernels) != next(kernels)).any()
  assert not spared.memo["flagged"].any()
  assert spared.verdict == flagged.verdict > 2
  chex.assert_trees_all_equal(spared.variables, suspect.variables)


def asked_of(suspect, **args):
  """Returns what each stage asked of fit, without running any."""
  asked = {}

  def fit(key, step, state, data, *, name, **how):
    asked[name] = how | {"size": data.size}
    return state, {}

  found = make(**args).defend(jax.random.key(0), suspect, fit)
  return asked, found


def test_stages_have_their_own_lengths(suspect):
  asked, found = asked_of(suspect, rounds=7, epochs=3)
  how = {"batch_size": 16, "size": 64}
  assert asked == {
    "invert": how | {"epochs": 7},
    "unlearn": how | {"epochs": 3},
  }
  assert found.verdict == 0  # nothing was searched, so nothing was found


def test_backdoorbench_keeps_the_suspect(suspect):
  asked, found = asked_of(suspect, compat="backdoorbench")
  assert list(asked) == ["invert"]
  chex.assert_trees_all_equal(found.variables, suspect.variables)
