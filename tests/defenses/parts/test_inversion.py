import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses.parts import inversion
from bdjax.training import engine, loop, metrics
from bdjax.types import Access, Batch, Dataset

RULES = inversion.Rules()
SHAPE = (4, 4, 1)
HALF = 0.8807971  # (tanh 1 + 1) / 2


class Reader:
  """Says `scale` times the pixels' product with a kernel [pixels, classes]."""

  def __init__(self, bias):
    self.bias = bias

  def apply(self, variables, images, train):
    assert not train
    pixels = images.reshape(images.shape[0], -1)
    return pixels @ variables["kernel"] + jnp.array(self.bias)[None], {}


BLIND = Reader((0.0, 0.0, 0.0, 0.0))  # on a kernel of zeros
ZEROS = {"kernel": jnp.zeros((16, 4))}


def begun(**changes):
  return inversion.begin(jnp.int32(2), SHAPE, RULES).replace(
    **{name: jnp.asarray(value) for name, value in changes.items()}
  )


def checked(search, rates, rules=RULES, masks=None):
  """Returns what searches are after checks with given success, in turn."""
  run = jax.jit(lambda s: inversion.check(s, rules, steps=4))
  seen = []
  for i, rate in enumerate(rates):
    search = search.replace(hits=jnp.float32(4 * rate))
    if masks is not None:
      mask = jnp.full((4, 4, 1), masks[i])
      search = search.replace(trigger=search.trigger | {"mask": mask})
    search = run(search)
    seen.append(search)
  return seen


def test_a_step_of_adam_on_a_model_that_sees_nothing():
  batch = Batch(jnp.zeros((8, *SHAPE)), jnp.zeros(8, jnp.int32), jnp.arange(8))
  run = jax.jit(lambda s: inversion.descend(BLIND, ZEROS, s, batch, RULES))
  after, metrics = run(begun())
  np.testing.assert_allclose(metrics["norm"], 16 * HALF, rtol=1e-6)
  loss = np.log(4) + 1e-3 * 16 * HALF
  np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
  assert metrics["success"] == 0 == after.hits  # all say class 0
  # Adam's first step is the rate; only the norm pulls, and on the mask alone.
  np.testing.assert_allclose(after.trigger["mask"], 0.9, rtol=1e-4)
  np.testing.assert_array_equal(after.trigger["pattern"], 1.0)


def test_enough_success_in_a_row_doubles_the_weight():
  seen = checked(begun(), [1.0] * 5)
  weights = [float(s.weight) for s in seen]
  np.testing.assert_allclose(weights, [1e-3] * 4 + [2e-3], rtol=1e-6)
  assert seen[4].streak == 0 and seen[4].raised and not seen[4].lowered


def test_failure_in_a_row_lowers_the_weight_by_more():
  seen = checked(begun(), [1.0] * 4 + [0.97] * 5)
  np.testing.assert_allclose(seen[7].weight, 1e-3, rtol=1e-6)
  np.testing.assert_allclose(seen[8].weight, 1e-3 / 2**1.5, rtol=1e-6)
  assert seen[8].lowered and not seen[8].raised
  assert not any(s.hits for s in seen)


def test_the_smallest_mask_with_enough_success_is_kept():
  rates = [0.5, 0.99, 0.98, 0.97, 1.0]
  masks = [0.1, 0.8, 0.4, 0.2, 0.6]
  *_, last = checked(begun(), rates, masks=masks)
  np.testing.assert_allclose(last.best["mask"], 0.4)
  norm = 16 * (np.tanh(0.4) + 1) / 2
  np.testing.assert_allclose(last.norm, norm, rtol=1e-6)
  np.testing.assert_allclose(last.success, 0.98, rtol=1e-6)
  stacked = jax.tree.map(lambda leaf: leaf[None], last)
  found = inversion.result(stacked)
  np.testing.assert_allclose(found.norm, [norm], rtol=1e-6)
  assert found.reached[0] and found.mask.shape == (1, 4, 4, 1)


def test_without_success_the_last_mask_is_returned_as_not_found():
  (last,) = checked(begun(), [0.5], masks=[-1.0])
  found = inversion.result(jax.tree.map(lambda leaf: leaf[None], last))
  assert not found.reached[0] and found.success[0] == 0
  np.testing.assert_allclose(found.norm, [16 * (1 - HALF)], rtol=1e-5)


@pytest.mark.parametrize(
  ("raised", "lowered", "stops"),
  [(True, True, True), (True, False, False), (False, True, False)],
)
def test_a_class_stops_without_progress_once_its_weight_went_both_ways(
  raised, lowered, stops
):
  rules = inversion.Rules(stop_after=3, patience=9)
  start = begun(raised=raised, lowered=lowered)
  seen = checked(start, [1.0] * 4, rules, masks=[0.0, 0.0, -0.001, -0.002])
  assert [int(s.stale) for s in seen] == [0, 1, 2, 3]  # a gain under 1 %
  assert [bool(s.stopped) for s in seen] == [False] * 3 + [stops]
  seen = checked(start, [1.0] * 3, rules, masks=[0.0, 0.0, -0.1])
  assert [int(s.stale) for s in seen] == [0, 1, 0]


def shortcut():
  """Returns a model of four classes, one of which looks at one pixel.

  Classes 0 to 2 are told by the mean of five pixels each; class 3 by pixel 0,
  which is dark in all images.
  """
  kernel = np.zeros((16, 4), np.float32)
  for c in range(3):
    kernel[1 + 5 * c : 6 + 5 * c, c] = 4.0
  kernel[0, 3] = 60.0
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (32, *SHAPE))
  image[:, 0, 0] = rng.integers(0, 40, (32, 1))
  data = Dataset(jnp.asarray(image, jnp.uint8), jnp.zeros(32, jnp.int32))
  model = Reader((0.0, 0.0, 0.0, -20.0))
  return Access({"kernel": jnp.asarray(kernel)}, data, model=model)


def inverted(access, **changes):
  how = {"rules": RULES, "rounds": 120, "batch_size": 16, "width": 4}
  how |= changes

  @jax.jit
  def run(key, variables, clean):
    given = access.replace(variables=variables, clean=clean)
    return inversion.invert(key, given, loop.scan_fit, name="invert", **how)

  return run(jax.random.key(0), access.variables, access.clean)


def test_the_shortcut_has_the_smallest_trigger():
  found = inverted(shortcut())
  assert found.reached.all() and (found.success >= 0.98).all()
  assert found.norm.argmin() == 3 and found.norm[3] < 1.5
  assert found.mask[3].argmax() == 0 and found.mask[3, 0, 0, 0] > 0.5
  assert found.pattern[3, 0, 0, 0] > 0.8
  assert (found.norm[:3] > 2 * found.norm[3]).all()
  others = metrics.anomaly_index(found.norm)
  assert others.argmax() == 3 and others[3] > 2


@pytest.mark.parametrize("width", [0, 1, 3])  # 3: and the one left over
def test_classes_in_turns_are_classes_together(width):
  access = shortcut()
  together = inverted(access, rounds=6)
  alone = inverted(access, rounds=6, width=width)
  chex.assert_trees_all_close(alone, together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [1, 4])
def test_a_stopped_class_does_not_change(width):
  access = shortcut()
  labels = jnp.arange(4, dtype=jnp.int32)
  start = jax.vmap(lambda label: inversion.begin(label, SHAPE, RULES))(labels)
  start = start.replace(stopped=labels == 1)
  state = inversion.Inverting(access.variables, start, jnp.zeros((), jnp.int32))
  step = inversion.searching(access.model, RULES, steps=2, width=width)
  batch = engine.take(access.clean, jnp.arange(8))
  after, told = jax.jit(step)(jax.random.key(0), state, batch)

  def of(searches, c):
    return jax.tree.map(lambda leaf: leaf[c], searches)

  chex.assert_trees_all_equal(of(after.searches, 1), of(start, 1))
  assert (after.searches.trigger["mask"][0] != start.trigger["mask"][0]).all()
  assert told["stopped"] == 0.25 and after.step == 1
  searched = after.searches.hits[jnp.array([0, 2, 3])].mean()
  np.testing.assert_allclose(told["success"], searched, rtol=1e-6)
