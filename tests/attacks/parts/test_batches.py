import jax
import jax.numpy as jnp
import pytest

from bdjax.attacks.parts import batches
from bdjax.attacks.parts.goals import Goal


def stamps(rate, cover_rate):
  def same(key, images, params):
    return images

  names = ("a.rate", "a.cover_rate")
  return batches.Stamps(same, same, Goal(), rate, cover_rate, names)


@pytest.mark.parametrize("number", [float, jnp.float32])
def test_shares_are_checked_where_their_values_are_known(number):
  """Also within a trace, as an estimate's, where they are arrays."""

  def check(rate, cover_rate):
    made = stamps(number(rate), number(cover_rate))
    jax.eval_shape(lambda: made.check(10) or 0)

  check(0.1, 0.9)
  for shares in ((0.09, 0.5), (0.3, 0.8)):
    with pytest.raises(ValueError, match=r"a\.rate 0\.\d+ and a\.cover_rate"):
      check(*shares)


def test_shares_whose_values_are_not_known_pass():
  @jax.jit
  def check(rate):
    stamps(rate, 0.5).check(10)
    return rate

  assert check(0.9) == pytest.approx(0.9)
