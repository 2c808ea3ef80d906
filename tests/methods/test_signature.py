import jax
import jax.numpy as jnp
import pytest

from bdjax.methods import signature
from bdjax.methods.signature import (
  Annotated,
  Choice,
  Count,
  Image,
  Rate,
  validated,
)
from bdjax.types import Scalar


@validated
def make(
  *,
  rate: Rate = 0.1,
  size: Count = 3,
  mode: Annotated[str, Choice(("a", "b"))] = "a",
  lr: Scalar = 1.0,
  picture: Image = None,
  flag: bool = False,
  std: tuple[float, ...] = (1.0,),
):
  return rate, size, mode, lr, picture, flag, std


def test_defaults_and_good_values_pass():
  assert make() == (0.1, 3, "a", 1.0, None, False, (1.0,))
  assert make(std=(0.2, 0.3))[6] == (0.2, 0.3)
  assert make(rate=0.5, size=1, mode="b", lr=-2)[:4] == (0.5, 1, "b", -2)


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("rate", 0.0),
    ("rate", 1.0),
    ("rate", float("nan")),
    ("rate", "0.1"),
    ("rate", True),
    ("lr", float("inf")),
    ("size", 0),
    ("size", 1.5),
    ("size", True),
    ("mode", "c"),
    ("mode", 3),
    ("picture", 3),
    ("flag", 1),
    ("std", 0.2),
  ],
)
def test_bad_values_are_named(name, value):
  with pytest.raises(ValueError, match=rf"\.{name} is .*but must be") as error:
    make(**{name: value})
  assert repr(value) in str(error.value)


def test_unknown_argument_names_the_nearest():
  with pytest.raises(ValueError, match="no argument 'rat': did you mean rate"):
    make(rat=0.1)


def test_traced_numbers_pass_unchecked():
  traced = jax.jit(lambda r: make(rate=r)[0] * 2)
  assert traced(7.0) == 14
  image = jnp.zeros((2, 2, 3))
  assert make(picture=image)[4] is image


def test_what_is_sweepable():
  found = signature.arguments(make)
  sweepable = [name for name, argument in found.items() if argument.sweepable]
  assert sweepable == ["rate", "lr"]
  assert found["size"].default == 3
