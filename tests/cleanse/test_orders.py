"""Another order of the classes is seen in the answers, and chance is not."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from bdjax.cleanse import orders
from bdjax.data import labels
from bdjax.data.stored import celeba_label

TWELVE = tuple(map(str, range(12)))


def answered(places, *, right=1.0, count=20, seed=0):
  """Returns labels, and answers that are right by a share in an order."""
  rng = np.random.default_rng(seed)
  label = np.repeat(np.arange(len(places)), count)
  guesses = rng.integers(0, len(places), len(label))
  return label, np.where(
    rng.random(len(label)) < right, np.array(places)[label], guesses
  )


def test_image_folders_order_of_twelve_numbers():
  places = [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 2, 3]  # of 0, 1, 2, ... in 0, 1, 10
  label, answers = answered(places, right=0.6)
  order = orders.seen(label, answers, TWELVE)
  assert order.value == "lexicographic"
  assert order.place.tolist() == places
  assert order.right(label, answers).mean() > 0.6
  assert (label == answers).mean() < 0.3


@pytest.mark.parametrize("right", [0.4, 0.9, 1.0])
def test_an_order_that_no_names_tell(right):
  places = [3, 1, 2, 0, *range(4, 12)]
  label, answers = answered(places, right=right)
  order = orders.seen(label, answers, TWELVE)
  assert order.value == "3,1,2,0,4,5,6,7,8,9,10,11"
  assert order.place.tolist() == places


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 20])
def test_guesses_have_no_order(seed, count):
  label, answers = answered(range(12), right=0.0, count=count, seed=seed)
  assert orders.seen(label, answers, TWELVE).value == ""


@pytest.mark.parametrize("right", [0.2, 1.0])
def test_the_order_taken_needs_no_other(right):
  label, answers = answered(range(12), right=right)
  assert orders.seen(label, answers, TWELVE).value == ""


def test_one_class_that_is_answered_with_another_is_no_order():
  label, answers = answered(range(12))
  answers[label == 3] = 7
  assert orders.seen(label, answers, TWELVE).value == ""


def test_many_classes_are_not_all_listed():
  places = [1, 0, *range(2, 150)]
  names = [f"n{i:03}" for i in range(150)]
  label, answers = answered(places)
  value = orders.seen(label, answers, names).value
  assert 'which has "n000" as 1, "n001" as 0' in value and "n002" not in value


@pytest.mark.parametrize(
  ("order", "names"),
  [
    ("lexicographic", ["c1", "c10", "c2"]),
    ("natural", ["c1", "c2", "c10"]),
    ("c2,c10,c1", ["c2", "c10", "c1"]),
    ('["c2", "c10", "c1"]', ["c2", "c10", "c1"]),
  ],
)
def test_orders_by_name_or_list(order, names):
  assert list(orders.named(order, ["c10", "c1", "c2"])) == names


def test_lists_that_repeat_a_name_are_refused(tmp_path):
  for order in ("a,b,a", '["a", "a"]', '["a", 1]'):
    with pytest.raises(ValueError, match="--class_order (does|begins)"):
      orders.named(order, ["a", "b"])
  with pytest.raises(ValueError, match="or natural or lexicographic"):
    orders.named(str(tmp_path / "nowhere"), ["a", "b"])


def test_the_order_of_backdoorbenchs_celeba_is_documented():
  """Theirs is 4 * makeup + 2 * smile + open, of CelebA's 18, 31 and 21."""
  page = Path(__file__).parents[2] / "docs" / "cleanse.md"
  order = re.search(r"--class_order\s+(plain,[a-z_,]+)`", page.read_text())[1]
  names = orders.named(order, labels.CELEBA8)
  for bits in itertools.product((0, 1), repeat=3):
    makeup, smile, opened = bits
    ours = celeba_label(
      {"Heavy_Makeup": makeup, "Smiling": smile, "Mouth_Slightly_Open": opened}
    )
    place = names.index(labels.CELEBA8[ours])
    assert place == 4 * makeup + 2 * smile + opened
