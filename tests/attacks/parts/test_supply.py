import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks.parts import roles, supply
from bdjax.attacks.parts.goals import Goal
from bdjax.training import regimes
from bdjax.types import Dataset


def test_what_is_asked_for_is_what_is_drawn():
  """In double precision float32's .0005 of 1,000 is a little above a half."""
  rate = jnp.float32(0.0005)
  assert roles.count(rate, 1000) == 0
  with pytest.raises(ValueError, match="poisons none of 1000 images: give at"):
    supply.check_rate(rate, 1000)
  supply.check_rate(0.001, 1000)


def test_a_rate_that_is_suggested_will_do():
  label = jnp.asarray(np.arange(73_257) >= 10_585, jnp.int32)
  train = Dataset(jnp.zeros((73_257, 1, 1, 1), jnp.uint8), label)
  with pytest.raises(ValueError, match="at most 0.1444 here"):
    supply.candidates(train, Goal(0), 0.1445)
  assert supply.candidates(train, Goal(0), 0.1444).sum() == 10_585


@pytest.mark.parametrize(
  ("regime", "refused"),
  [
    (regimes.conventional(), False),
    (regimes.interleave(), True),
    (regimes.interleave(original=True), False),
    (regimes.sbl(), True),
  ],
)
def test_clean_epochs_need_a_clean_image(regime, refused):
  supply.check_clean(0.5, 0.25, 4, regime)
  if refused:
    with pytest.raises(ValueError, match="none of 4 images clean.* most 0.5"):
      supply.check_clean(0.7, 0.25, 4, regime)
  else:
    supply.check_clean(0.7, 0.25, 4, regime)
