import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import signature
from bdjax.methods.signature import (
  TRAINING,
  Annotated,
  Choice,
  Count,
  Image,
  Rate,
  Size,
  validated,
)
from bdjax.types import Recipe, Scalar


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


@pytest.mark.parametrize(
  ("value", "text"),
  [
    (np.full((2, 2, 3), 200, np.uint8), "an array of uint8"),
    (np.full((2, 2, 3), 200.0), "an array of numbers from 200 to 200"),
    (jnp.full((2, 2, 3), -0.1), "an array of numbers from -0.1 to -0.1"),
    (np.full((2, 2, 3), np.nan), "an array of numbers from nan to nan"),
  ],
)
def test_pictures_are_fractions(value, text):
  with pytest.raises(ValueError, match=rf"\.picture is {text}, but must hold"):
    make(picture=value)
  whole = np.ones((2, 2, 3))
  assert make(picture=whole)[4] is whole


@validated
def sized(*, size: Size = 3):
  return size


def test_a_size_is_pixels_or_a_share():
  assert [sized(size=s) for s in (1, 40.0, 0.125)] == [1, 40, 0.125]
  for value in (0, -1, 1.5, float("nan"), float("inf"), True, "3"):
    with pytest.raises(
      ValueError, match="a number of whole pixels, or a share"
    ):
      sized(size=value)
  assert not signature.arguments(sized)["size"].sweepable


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
  assert signature.sequences(make) == ("std",)
  assert found["size"].default == 3


@validated
def grouped(
  *,
  rate: Rate = 0.1,
  recipe: Annotated[Recipe, TRAINING.without("momentum")] = Recipe(lr=0.2),
  size: Count = 3,
):
  """Returns what it is given.

  Args:
    rate: share.
    recipe: of training.
    lr: here
      another.
    size: in pixels.
  """
  return rate, recipe, size


def test_a_groups_fields_are_given_by_their_own_names():
  assert grouped() == (0.1, Recipe(lr=0.2), 3)
  given = grouped(epochs=3, size=4, lr=0.5)
  assert given == (0.1, Recipe(lr=0.5, epochs=3), 4)
  assert jax.jit(lambda lr: grouped(lr=lr)[1].lr * 2)(4.0) == 8
  schema = signature.arguments(grouped)
  assert " ".join(schema) == (
    "rate lr epochs batch_size schedule weight_decay size"
  )
  assert [k for k, a in schema.items() if a.sweepable] == [
    *("rate", "lr", "weight_decay"),
  ]
  assert schema["lr"].default == 0.2
  assert list(inspect.signature(grouped).parameters) == list(schema)


@pytest.mark.parametrize(
  ("given", "text"),
  [
    ({"epochs": -1}, r"\.epochs is -1, but must be a whole number at least 0"),
    ({"schedule": "steps"}, r"must be one of constant, cosine"),
    ({"momentum": 0.5}, "has no argument 'momentum'"),
    ({"recipe": Recipe()}, "has no argument 'recipe'"),
  ],
)
def test_a_groups_fields_are_checked_and_others_unknown(given, text):
  with pytest.raises(ValueError, match=text):
    grouped(**given)


def test_a_group_may_differ_in_a_field():
  steps = Annotated[str, Choice(("steps",))]

  @validated
  def make(
    *,
    recipe: Annotated[Recipe, TRAINING.having(schedule=steps)] = Recipe(
      schedule="steps"
    ),
  ):
    return recipe

  assert make(lr=0.3) == Recipe(lr=0.3, schedule="steps")
  with pytest.raises(ValueError, match="must be one of steps"):
    make(schedule="cosine")


def test_own_meanings_win_over_a_groups():
  meanings = signature.meanings(grouped)
  assert list(meanings) == list(signature.arguments(grouped))
  assert meanings["lr"] == "here another."
  assert meanings["batch_size"] == "images per step."
  assert meanings["size"] == "in pixels."
