"""Divisions, counts, changes and decisions, by hand."""

import inspect

import jax
import numpy as np
import pytest

from bdjax.cleanse import measure, repair, verdict, weights
from bdjax.cleanse.audit import Audit
from bdjax.cleanse.result import Result
from bdjax.methods import registry, specs
from bdjax.runs import work
from bdjax.types import Access, Defended, Defense


def test_the_division_is_the_same_share_of_every_class():
  label = np.array([0] * 10 + [1] * 5 + [2] * 2)
  train, held = measure.divided(label, rate=0.2, seed=0)
  assert np.bincount(label[held]).tolist() == [2, 1, 1]
  assert sorted([*train, *held]) == list(range(17))
  again = measure.divided(label, rate=0.2, seed=0)[1]
  other = measure.divided(label, rate=0.2, seed=1)[1]
  assert held.tolist() == again.tolist() != other.tolist()
  assert len(measure.divided(label, rate=0.99, seed=0)[0]) == 3


def answers(confusion, triggered=None):
  return measure.Answers(np.array(confusion), np.zeros(2, int), triggered)


def test_shares_of_a_confusion():
  said = answers([[8, 2, 0], [1, 9, 0], [4, 0, 6]])
  assert said.accuracy == (23, 30)
  assert said.of_class(2) == (6, 10)
  assert said.drawn(0) == (5, 20) and said.drawn(2) == (0, 20)
  assert said.given(0) == (13, 30) and said.given(2) == (6, 30)
  low, high = said.accuracy.interval  # Wilson's, by its formula
  assert (low, high) == pytest.approx((0.5907, 0.8821), abs=1e-4)
  assert str(measure.Share(0, 0)) == "of no images"


def test_suspected_images_of_the_class_itself_do_not_count():
  before = answers(np.eye(2), np.array([1, 1, 1, 0]))
  after = answers(np.eye(2), np.array([0, 0, 1, 0]))
  taken = measure.taken(before, after, np.array([0, 0, 1, 0]))
  assert taken.target == 1
  assert taken.before == (2, 3) and taken.after == (0, 3)
  assert taken.right == ((2, 4), (4, 4))
  unknown = measure.taken(before, after, np.full(4, -1))
  assert unknown.before == (3, 4) and unknown.after == (1, 4)
  assert unknown.right is None


def test_asking_in_batches_changes_nothing(model):
  variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 8, 8, 3)))
  images = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), np.uint8)
  said = measure.ask(model, variables, images)
  scaled = images[250:].astype(np.float32) / 255
  logits, _ = jax.jit(model.apply)(variables, scaled)
  assert said.shape == (300,)
  assert said[250:].tolist() == logits.argmax(-1).tolist()
  assert measure.ask(model, variables, images[:0]).shape == (0,)


def test_changes_are_relative_to_the_layer():
  before = {
    "a.weight": np.array([3.0, 0.0]),
    "a.bias": np.array([4.0]),
    "a.running_var": np.array([2.0]),
    "b.weight": np.array([1.0, 1.0]),
  }
  after = before | {
    "a.weight": np.array([3.0, 1.0]),
    "a.running_var": np.array([1.0]),
    "b.weight": np.array([1.0, 0.0]),
  }
  assert weights.changes(before, after) == (
    ("a", 0.2, 0.5, 0),
    ("b", pytest.approx(0.5**0.5), None, 1),
  )
  assert weights.whole(before, after) == pytest.approx((2 / 27) ** 0.5)
  assert weights.whole(before, before) == 0


@pytest.mark.parametrize(
  ("images", "usual", "size"),
  [
    (2_560, 256, 256),
    (2_559, 256, 128),
    (500, 256, 32),
    (100, 256, 16),
    (999, 100, 50),
    (7, 256, 7),
    (500, 8, 8),
  ],
)
def test_batches_shrink_with_the_images(images, usual, size):
  assert repair.batch_size(images, usual) == size


@pytest.mark.parametrize(
  ("text", "images", "label", "notes"),
  [
    ("super_ft", 5_001, "super_ft", 0),
    ("super_ft", 5_000, "super_ft(lr_max1=0.3)", 1),
    ("super_ft", 1_000, "super_ft(batch_size=64, lr_max1=0.075)", 2),
    ("super_ft", 400, "super_ft(batch_size=32, lr_max1=0.0375)", 2),
    (
      "super_ft(batch_size=8)",
      400,
      "super_ft(lr_max1=0.009375, batch_size=8)",
      1,
    ),
    ("super_ft(lr_max1=0.2, batch_size=9)", 90, None, 0),
    ("super_ft.fmn", 4_000, "super_ft.fmn", 0),
    ("super_ft.scarce", 4_000, "super_ft.scarce", 0),
    ("ft", 600, "ft(batch_size=32)", 1),
    ("clp", 20, "clp", 0),
  ],
)
def test_only_what_the_user_left_open_is_decided(text, images, label, notes):
  found = repair.fitted(repair.chosen(text), images)
  assert found.label == (label or text)
  assert len(found.notes) == notes


@pytest.mark.parametrize("name", registry.names("defenses"))
def test_who_is_refused_needs_the_training_set_and_others_do_not(
  name, model, toy
):
  """Traces every defense with nothing but clean images."""
  make = registry.get("defenses", name)
  takes = "batch_size" in inspect.signature(make).parameters
  made = make(**({"batch_size": 16} if takes else {}))
  variables = jax.eval_shape(
    model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 8, 8, 3), "float32")
  )

  def program(fit, key, variables):
    access = Access(variables, toy, model=model)
    return made.defend(key, access, fit).variables

  args = (jax.random.key(0), variables)
  if made.needs_train:
    with pytest.raises(ValueError, match="needs the training set"):
      work.stages(program, *args)
  else:
    work.stages(program, *args)
    if made.suspect is None:
      assert repair.chosen(name) == specs.parse(name)[0]


def test_a_repair_that_breaks_the_model_is_done_anew_with_a_lower_peak(
  model, toy
):
  """Hand-made repairs: what counts is what the images trained on say."""
  variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 8, 8, 3)))
  said = measure.ask(model, variables, np.asarray(toy.image))
  toy = toy.replace(label=said)  # so that this model is right on all
  zeros = jax.tree.map(np.zeros_like, variables)
  nans = jax.tree.map(lambda x: np.full_like(x, np.nan), variables)
  access = Access(variables, toy, model=model)

  def repairing(result, **more):
    made = Defense(lambda key, access, fit: Defended(result))
    return repair.Repair("it", made, (), **more)

  milder = repairing(variables)
  for result, done in ((variables, False), (zeros, True), (nans, True)):
    first = repairing(result, milder=milder)
    state, chosen = repair.run(jax.random.key(0), first, access, None)
    assert chosen is (milder if done else first)
    assert state.variables is (variables if done else result)
  with pytest.raises(repair.Broken, match="not finite"):
    repair.run(jax.random.key(0), repairing(nans), access, None)

  def diverging(key, access, fit):
    raise FloatingPointError("the loss is nan; lower the learning rate.")

  first = repair.Repair("it", Defense(diverging), ())
  with pytest.raises(repair.Broken, match="the loss is nan"):
    repair.run(jax.random.key(0), first, access, None)
  first = first._replace(milder=milder)
  assert repair.run(jax.random.key(0), first, access, None)[1] is milder


def test_the_lower_peak_says_that_it_came_second():
  found = repair.fitted(repair.chosen("super_ft"), 1_000)
  assert found.milder.label == "super_ft(batch_size=64, lr_max1=0.025)"
  assert found.milder.notes[:2] == found.notes
  assert "0.3 instead of 0.1" in found.notes[1]
  assert "times 64/256 as batches are" in found.notes[1]
  assert "repaired anew with 0.025" in found.milder.notes[-1]


def compared(before, after, **given):
  """Returns a result, of the first rows of both models' confusion."""
  size = len(before[0])

  def answers(rows):
    confusion = np.zeros((size, size), int)
    confusion[: len(rows)] = rows
    return measure.Answers(confusion, np.ones(size, int), None)

  whole = dict.fromkeys(Result._fields) | {"names": tuple("abc"[:size])}
  whole |= {"before": answers(before), "after": answers(after)}
  given = {"left_out": ()} | given
  return Result(**(whole | {"notes": (), "moved": 0.1, "doubt": ""} | given))


@pytest.mark.parametrize(
  ("before", "after", "taught"),
  [
    ((4, 16, 0), (18, 2, 0), [0]),
    ((6, 14, 0), (15, 5, 0), []),  # 30 to 75 % is no half
    ((4, 8, 8), (18, 1, 1), []),  # not mostly for one other
    ((16, 4, 0), (20, 0, 0), []),
    ((0, 2, 0), (2, 0, 0), []),  # of two: may be chance
  ],
)
def test_a_class_that_was_another_before_the_repair_is_in_doubt(
  before, after, taught
):
  """Intervals of 4 and 18 of 20: up to 41.6, from 69.9 %."""
  other = [0, 300, 0]
  result = compared([before, other], [after, other])
  assert result.taught == taught and not result.lifted
  assert result.doubtful == bool(taught)
  said = verdict.text(verdict.of(result))
  assert (
    "takes most images of 0 (a) for one other class" in said
  ) == result.doubtful
  assert ("was taught the labels" in said) == result.doubtful


def test_labels_in_doubt_put_the_result_in_doubt():
  result = compared([[90, 10]], [[92, 8]], doubt="It is sure.")
  said = verdict.text(verdict.of(result))
  assert result.doubtful and said.startswith("Doubtful: the clean images seem")
  assert "- It is sure." in said and "was taught the labels" in said


@pytest.mark.parametrize(
  ("before", "after", "doubtful"),
  [(50, 90, True), (85, 94, False), (90, 60, False), (90, 98, False)],
)
def test_a_repair_that_raises_accuracy_by_far_is_in_doubt(
  before, after, doubtful
):
  """85 to 94 of 100 is no tenth; 50 to 90 is, and beyond chance."""
  result = compared([[before, 100 - before]], [[after, 100 - after]])
  assert result.doubtful == doubtful
  said = verdict.text(verdict.of(result))
  assert said.startswith("Doubtful") == doubtful
  assert ("do not use it before" in said) == doubtful


@pytest.mark.parametrize(
  ("reached", "said"),
  [
    ([False, True, False], "a patch was found for 1 (b) alone, too few to"),
    ([False] * 3, "a patch was found for no class, too few to judge."),
    ([True] * 3, "No class stands out"),
  ],
)
def test_a_search_that_reached_few_classes_judges_none(reached, said):
  few = Audit(
    norm=np.ones(3),
    index=np.zeros(3),
    flagged=np.zeros(3, bool),
    reached=np.array(reached),
    mask=np.zeros((3, 8, 8, 1)),
    pattern=np.zeros((3, 8, 8, 3)),
    images=400,
  )
  told = verdict.of(
    compared([[9, 1]], [[9, 1]], names=("a", "b", "c"), audit=few)
  )
  assert said in told.headline
  flagged = "No class was flagged" in " ".join(told.findings)
  assert flagged == all(reached)


def test_notes_are_told_where_no_weight_changed():
  result = compared([[9, 1]], [[9, 1]], moved=0, notes=("It was resized.",))
  result = result._replace(defense="clp")
  assert verdict.of(result).done == [
    "It was resized.",
    "clp left every weight as it was, so the output is the suspect itself.",
  ]


@pytest.mark.parametrize(
  ("hits", "count", "striking"),
  [
    (90, 100, True),
    (10, 100, False),  # chance, with ten classes
    (50, 100, False),  # of clean ones, up to 52.4 get that class
    (2, 3, False),  # the interval reaches down to what is usual
  ],
)
def test_suspected_images_are_compared_with_chance_and_clean_ones(
  hits, count, striking
):
  share = measure.Share(hits, count)
  taken = measure.Taken(1, share, share, None)
  result = compared([[170, 30], [40, 160]], [[170, 30], [40, 160]], taken=taken)
  result = result._replace(names=tuple("abcdefghij"))
  assert result.usual == (190, 400)  # of all clean images, b's own too
  known = taken._replace(right=(share, share))
  assert result._replace(taken=known).usual == (30, 200)
  assert result.striking == striking
  said = verdict.text(verdict.of(result))
  assert "chance is 10.0 % (1 of 10 classes)" in said
  assert "gives that class 47.5 % [42.7, 52.4] of 400" in said
  assert said.startswith("Suspicious") == striking


def test_half_of_two_classes_is_chance():
  share = measure.Share(60, 100)
  taken = measure.Taken(1, share, share, None)
  result = compared([[90, 10], [10, 90]], [[90, 10], [10, 90]], taken=taken)
  assert not result.striking  # 50.2 % at the least, 56.9 of clean ones at most


def test_what_a_budget_left_out_is_not_proved():
  result = compared([[9, 1]], [[9, 1]], left_out=("Left out: it.",))
  assert verdict.of(result).unproved[0] == "Left out: it."
