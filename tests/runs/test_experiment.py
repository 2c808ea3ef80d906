from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry
from bdjax.runs import experiment
from bdjax.training import loop
from bdjax.types import Access, Defended, Defense

README = Path(__file__).parents[2] / "README.md"


def cell(task):
  attack = registry.get("attacks", "badnets")(num_classes=4, rate=0.25)
  defense = registry.get("defenses", "ft")(epochs=2, batch_size=16, lr=0.05)
  holding = experiment.Holding(rate=0.5)
  clean = experiment.clean_subset(jax.random.key(3), task.train, holding)
  return attack, defense, clean


def test_the_whole_cell_is_one_pure_function(task, toy):
  attack, defense, clean = cell(task)

  def whole(key, task, clean, test, fit):
    backdoor = experiment.plant(key, attack, task, fit)
    access = experiment.access_to(backdoor, task, clean)
    defended = experiment.defend(key, defense, access, fit)
    return [
      experiment.score(
        state, access, test, backdoor.params, attack=attack, batch_size=64
      )
      for state in (Defended(backdoor.variables), defended)
    ]

  args = jax.random.key(3), task, clean, toy
  one_program = jax.jit(whole, static_argnums=4)(*args, loop.scan_fit)
  by_epoch = whole(*args, loop.host_fit())
  for got, wanted in zip(one_program, by_epoch, strict=True):
    assert got["images"] == 64 and got["triggered"] == 48
    for kind in got:  # rounding may tip a close decision
      assert abs(int(got[kind]) - int(wanted[kind])) <= 2, kind


@pytest.mark.parametrize(
  "keep", [jnp.ones(63, bool), jnp.ones(64), jnp.ones((64, 1), bool)]
)
def test_what_a_defense_trusts_is_checked(keep, toy, model):
  defense = Defense(lambda key, access, fit: Defended({}, keep=keep))
  access = Access({}, toy, toy, model=model)
  with pytest.raises(AssertionError):
    experiment.defend(jax.random.key(0), defense, access, loop.scan_fit)


def test_the_clean_subset_is_clean_and_follows_the_seed(task):
  _, _, clean = cell(task)
  assert clean.size == 32
  images = {i.tobytes() for i in np.asarray(task.train.image)}
  assert {i.tobytes() for i in np.asarray(clean.image)} <= images
  holding = experiment.Holding(rate=0.5)
  same = experiment.clean_subset(jax.random.key(3), task.train, holding)
  other = experiment.clean_subset(jax.random.key(4), task.train, holding)
  assert (same.image == clean.image).all()
  assert (other.image != clean.image).any()


def test_purposes_have_their_own_keys():
  draws = {
    float(jax.random.uniform(experiment.key_for(jax.random.key(s), p)))
    for s in (0, 1)
    for p in ("plant", "defend", "clean subset")
  }
  assert len(draws) == 6
