"""The form that the weights leave open is told by answers, or not at all."""

import re

import numpy as np
import pytest

from bdjax.cleanse import case, forms, measure, suspect
from bdjax.cleanse.clean_images import Images
from bdjax.interop import layouts

COUNT = 100
LABEL = np.arange(COUNT) % 4


def right_on(count):
  """Returns answers of which the first are right, others anything else."""
  other = (LABEL + 1 + np.arange(COUNT) // 4 % 3) % 4
  return np.where(np.arange(COUNT) < count, LABEL, other)


@pytest.fixture
def settle(handed, monkeypatch):
  """Returns a call: what answers a form -> the form that is taken."""

  def settle(answers, arch=None):
    def ask(model, variables, images):
      form = model.stem, model.strides
      return answers.get(form, right_on(25))[: len(images)]

    monkeypatch.setattr(measure, "ask", ask)
    accused = suspect.load(handed.model, arch=arch, flags={})
    image = np.zeros((COUNT, 8, 8, 3), np.uint8)
    few = [None] * 4
    images = Images(image, LABEL, tuple("abcd"), *few, "", "as told", "")
    return accused, images

  return settle


def test_the_usual_form_is_taken_where_none_is_better(settle):
  found, notes = forms.settled(*settle({("cifar", "1222"): right_on(80)}))
  assert found.chosen == {}
  assert "the usual form was taken, right on 80.0 %" in notes[0]
  rest = notes[0].split("(the others: ")[1].split("; ")
  assert len(rest) == 4  # the best, and how many more there are
  assert all(form.endswith(" 80.0 %") for form in rest[:3])
  assert re.fullmatch(r"\d+ more at most 80\.0 %\)\.", rest[3])


def test_a_form_that_is_far_better_is_taken_and_said(settle):
  answers = {
    ("cifar", "1222"): right_on(30),
    ("cifar_pool", "1222"): right_on(50),
    ("cifar_pool", "1221"): right_on(90),
  }
  said = []
  found, notes = forms.settled(*settle(answers), said.append)
  lines = [line.split(" [")[0] for line in said]
  assert lines[0] == "With the usual form it is right on 30.0 %"
  assert "With stem=cifar_pool on 50.0 %" in lines
  assert "With stem=cifar_pool, strides=1221 on 90.0 %" in lines
  assert found.chosen == {"stem": "cifar_pool", "strides": "1221"}
  assert found.arguments["stem"] == "cifar_pool"
  assert "stem=cifar_pool, strides=1221 was taken, right on 90.0 %" in notes[0]


def test_a_form_that_helped_in_a_wrong_one_is_taken_back(settle):
  """As ELU did in a network whose last ReLUs stand before the sums."""
  answers = {
    ("cifar", "1222"): right_on(30),
    ("cifar_pool", "1222"): right_on(45),
    ("cifar_pool", "1221"): right_on(60),
    ("cifar", "1221"): right_on(90),
  }
  found, notes = forms.settled(*settle(answers))
  assert found.arguments["stem"] == "cifar"
  assert found.arguments["strides"] == "1221"
  assert "stem=cifar, strides=1221 was taken, right on 90.0 %" in notes[0]


def test_a_stem_that_makes_up_for_large_images_is_refused(handed, monkeypatch):
  """A stride of two does to images of 16 x 16 what halving does."""
  strided = {("cifar", 8): right_on(90), ("cifar_stride", 16): right_on(91)}

  def ask(model, variables, images):
    return strided.get((model.stem, images.shape[1]), right_on(25))

  monkeypatch.setattr(measure, "ask", ask)
  image = np.zeros((COUNT, 16, 16, 3), np.uint8)
  images = Images(image, LABEL, tuple("abcd"), *[None] * 4, "", "as told", "")
  accused = suspect.load(handed.model, arch=None, flags={})
  with pytest.raises(ValueError, match="images of 8 x 8: give --image_size 8"):
    forms.settled(accused, images)
  told = suspect.load(handed.model, arch=None, flags={"img_size": (16, 16)})
  assert forms.settled(told, images)[0].chosen == {"stem": "cifar_stride"}


def test_a_network_that_is_better_with_smaller_images_is_refused(
  handed, monkeypatch
):
  """Its form is given, so that nothing but the size is left to vary."""
  sizes = {8: right_on(100), 16: right_on(93)}
  monkeypatch.setattr(
    measure, "ask", lambda m, v, images: sizes[images.shape[1]]
  )
  form = "stem=cifar, strides=1222, activation=relu, shortcut=activated"
  given = f"preact_resnet18({form}, channels=rgb)"
  image = np.zeros((COUNT, 16, 16, 3), np.uint8)
  images = Images(image, LABEL, tuple("abcd"), *[None] * 4, "", "as told", "")
  accused = suspect.load(handed.model, arch=given, flags={})
  text = "right on 93.0 % .* on 100.0 % .* give --image_size 8, or 16 if"
  with pytest.raises(ValueError, match=text):
    forms.settled(accused, images)
  told = suspect.load(handed.model, arch=given, flags={"img_size": (16, 16)})
  assert forms.settled(told, images)[1] == []
  sizes[8] = right_on(97)  # is no twentieth more
  assert forms.settled(accused, images)[1] == []


def test_a_form_that_is_hardly_better_is_not(settle):
  """As a leaky ReLU beside the ReLU that a model was trained with."""
  answers = {
    ("cifar", "1222"): right_on(90),
    ("cifar", "1221"): right_on(94),
  }
  assert forms.settled(*settle(answers))[0].chosen == {}


def test_nothing_is_tried_where_the_usual_form_is_certain(settle):
  assert forms.settled(*settle({("cifar", "1222"): right_on(98)}))[1] == []


def test_forms_that_are_right_as_often_are_refused(settle):
  other = np.roll(right_on(60), 40)
  answers = {("cifar", "1222"): right_on(60), ("cifar_pool", "1222"): other}
  with pytest.raises(ValueError, match="do not tell: .* or the form"):
    forms.settled(*settle(answers))
  given = "preact_resnet18(stem=cifar_pool)"
  found, _ = forms.settled(*settle(answers, given))
  assert found.chosen == {"stem": "cifar_pool"}


@pytest.fixture
def ordered(handed, monkeypatch):
  """Returns a call: what answers red and blue first -> the form that is taken.

  The user says the rest of it.
  """
  form = "stem=cifar, strides=1222, activation=relu, shortcut=activated"
  arch = f"preact_resnet18({form})"
  accused = suspect.load(handed.model, arch=arch, flags={})
  usual = np.asarray(layouts.first_kernel(accused.variables, accused.arch))

  def ordered(red, blue):
    def ask(model, variables, images):
      kernel = layouts.first_kernel(variables, accused.arch)
      if np.array_equal(kernel, usual):
        return red
      np.testing.assert_array_equal(kernel, usual[:, :, ::-1])
      return blue

    monkeypatch.setattr(measure, "ask", ask)
    image = np.zeros((COUNT, 8, 8, 3), np.uint8)
    few = [None] * 4
    images = Images(image, LABEL, tuple("abcd"), *few, "", "as told", "")
    return forms.settled(accused, images)

  return ordered


def test_blue_first_is_taken_where_that_is_far_better(ordered):
  found, notes = ordered(right_on(60), right_on(90))
  assert found.channels == "bgr"
  assert "channels=bgr was taken, right on 90.0 %" in notes[0]
  assert len(notes) == 1


def test_a_form_that_needs_no_other_order_of_classes_is_preferred(ordered):
  """Where hues tell classes, red for blue looks like another order of them."""
  moved = np.where(np.arange(COUNT) < 96, (LABEL + 1) % 4, LABEL)
  found, _ = ordered(moved, right_on(96))
  assert found.channels == "bgr"
  found, _ = ordered(moved, right_on(40))
  assert found.channels == "rgb"


def test_an_order_of_channels_that_hardly_counts_is_not_refused(ordered):
  """Right as often on others, which of other forms nobody could say."""
  found, notes = ordered(right_on(60), np.roll(right_on(60), 40))
  assert found.channels == "rgb" and len(notes) == 1
  found, notes = ordered(right_on(60), right_on(63))
  assert found.channels == "rgb"
  assert "too near to tell: if it was trained so, give --arch" in notes[1]
  assert "shortcut=activated, channels=bgr)'." in notes[1]


def test_guesses_in_every_form_are_refused(settle):
  answers = {("cifar", "1222"): right_on(36), ("cifar", "1221"): right_on(38)}
  accused, images = settle(answers)
  found, notes = forms.settled(accused, images)
  assert found.chosen == {} and "None of 16 other forms" in notes[0]
  assert "strides=1221, is right on 38.0 %" in notes[0]
  with pytest.raises(ValueError, match="may be guessing.*None of 16"):
    case.opened(accused, images, held_out=0.2, seed=0)


def test_an_order_in_which_answers_are_guesses_too_is_not_advised(settle):
  """As with another normalization, which favours some pairs of classes."""
  order = np.where(np.arange(COUNT) < 8, (LABEL + 1) % 4, right_on(0))
  order = np.where(np.arange(COUNT) >= 92, LABEL, order)
  usual = "preact_resnet18(stem=cifar, strides=1222)"
  accused, images = settle({("cifar", "1222"): order}, usual)
  with pytest.raises(ValueError, match="may be guessing: check --mean"):
    case.opened(accused, images, held_out=0.2, seed=0)


@pytest.mark.parametrize(
  ("right", "classes", "guess"),
  [(17, 12, True), (27, 10, True), (33, 10, False), (58, 2, True), (80, 2, 0)],
)
def test_what_counts_as_guessing(right, classes, guess):
  """A fifth of the way: 12 classes 26.7 %, 10 classes 28 %, 2 classes 60 %."""
  assert forms.guessing(measure.Share(right, 100), classes) == guess


def test_forms_are_given_with_the_architecture(handed):
  found = suspect.load(
    handed.model, arch="PreActResNet18(strides=1221)", flags={}
  )
  assert found.arguments["strides"] == "1221"
  with pytest.raises(
    ValueError, match="says stem=7x7 of .*stem cifar, cifar_p"
  ):
    suspect.load(handed.model, arch="preact_resnet18(stem='7x7')", flags={})
