import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses.parts import filtering
from bdjax.training import engine
from bdjax.types import Access, Dataset, Recipe


@pytest.mark.parametrize(
  ("gone", "times"),
  [
    ([False] * 8, [1] * 8),
    ([True, False] * 4, [0, 2] * 4),
    ([True] * 6 + [False] * 2, [0] * 6 + [4] * 2),
  ],
)
def test_an_epoch_shows_kept_images_as_many_times_as_all_fit(
  bright, gone, times
):
  data = Dataset(jnp.zeros((8, 1, 1, 1), jnp.uint8), jnp.zeros(8, jnp.int32))
  recipe = Recipe(epochs=1, batch_size=4)
  access = Access({}, train=data, model=bright, recipe=recipe)
  asked = {}

  def fit(key, step, state, data, *, batch_size, **how):
    steps = engine.steps_per_epoch(data.size, batch_size)
    asked["order"] = engine.order(key, data, steps * batch_size)
    return state, {}

  found = filtering.retrain(
    jax.random.key(0), access, fit, gone=jnp.asarray(gone), memo={}
  )
  assert found.keep.tolist() == [not out for out in gone]
  assert np.bincount(asked["order"], minlength=8).tolist() == times


def test_who_has_no_training_set_is_told_so():
  with pytest.raises(ValueError, match="^spectral needs the training set"):
    filtering.training_set(Access({}), "spectral")
