"""What a defense found is scored against the truth."""

import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.runs import scoring, settings
from bdjax.runs.cells import Names
from bdjax.types import POISON, Access, Backdoor, Defended, Defense


def corner(key, images, access, defended):
  return images[:, -1, -1, 0]  # white where the trigger is


@pytest.fixture(scope="module")
def plan(config):
  return settings.plan(config())


@pytest.fixture
def audit(plan):
  """Returns what audits a state, with or without a detector of inputs."""
  cell = Names(plan).cells()[1]
  image = jnp.zeros(plan.info.shape)
  mask = image.at[-3:, -3:].set(1)[None, :, :, :1]
  params = {"mask": mask, "pattern": jnp.ones((1, *image.shape))}
  role = jnp.array([POISON, POISON, 0, 0], jnp.int8)
  backdoor = Backdoor({}, params, None, role)

  def run(state, suspect=None):
    defense = cell.defense._replace(built=Defense(None, suspect=suspect))
    one = cell._replace(defense=defense)
    return scoring.Scorer(plan).audit(one, state, Access({}), backdoor)

  return run


@pytest.mark.parametrize(
  ("every", "turn", "looks"),
  [
    (1, 1, [*range(1, 17)]),
    (4, 1, [1, 4, 8, 12, 16]),
    (4, 2, [1, 7, 8, 15, 16]),  # poisoned epochs and clean ones
    (3, 3, [1, 7, 8, 9, 16]),
  ],
)
def test_points_are_of_every_epoch_of_a_turn(config, every, turn, looks):
  plan = settings.plan(config(evaluate__curve_every=every))
  due = scoring.Scorer(plan).watch(None).due
  assert [e for e in range(1, 17) if due(e, 16, turn)] == looks


def test_a_repair_finds_nothing(audit):
  assert audit(Defended({})) == ({}, {"compile": 0.0, "eval": 0.0})


def test_filters_verdicts_and_memos_are_recorded(audit):
  keep = jnp.array([False, True, False, True])
  memo = {
    "threshold": jnp.float32(0.5),
    "flagged": jnp.array([True, False]),
    "trigger": jnp.zeros((2, 4, 4, 3)),
    "own": {"deep": jnp.zeros(3)},
  }
  found, _ = audit(Defended({}, keep, jnp.float32(2.5), memo))
  assert (found["removed"], found["precision"], found["recall"]) == (
    2,
    0.5,
    0.5,
  )
  assert found["verdict"] == 2.5
  assert found["memo.threshold"] == 0.5
  assert found["memo.flagged"] == [True, False]
  assert [k for k in found if k.startswith("memo.")] == [
    "memo.threshold",
    "memo.flagged",
  ]


def test_a_detector_that_sees_the_trigger_is_perfect(audit, plan):
  found, spent = audit(Defended({}), corner)
  assert found["auroc"] == found["tpr_at_1"] == 1.0
  assert spent["compile"] > 0 and spent["eval"] > 0
  blind, _ = audit(
    Defended({}), lambda key, x, access, state: x.mean((1, 2, 3))
  )
  assert blind["auroc"] < 0.9


def test_pictures_are_eight_bit():
  memo = {"trigger": jnp.array([0.0, 0.5, 1.2])[:, None, None, None]}
  found = scoring.findings(memo | {"index": jnp.zeros(3)})
  assert list(found) == ["trigger"]
  np.testing.assert_array_equal(found["trigger"].ravel(), [0, 128, 255])
  assert found["trigger"].dtype == np.uint8
  assert scoring.findings(()) == {}
