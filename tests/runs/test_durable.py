"""Regimes whose backdoors should last, as a config names them."""

import io

import pytest
from rich.console import Console

from bdjax.estimate import command
from bdjax.methods import signature
from bdjax.runs import listing, settings
from bdjax.training import regimes


def test_the_estimate_knows_what_they_cost(config):
  """SAM takes two gradients, and each image's own are counted."""
  texts = "conventional,sbl(length=0.5),abi,adaptive(defense='ft_sam')"
  made = settings.plan(
    config(regime__name=texts, train__match="steps", defense__name="none")
  )
  plain, sbl, abi, rehearsed = command.items(made)
  stages = [(s.name, s.epochs) for s in sbl.stages]
  assert stages == [("train", 1), ("fisher", 1), ("second", 1)]
  (one,) = plain.stages
  first, fisher, second = (s.flop for s in sbl.stages)
  assert first == pytest.approx(one.flop, rel=0.01)  # half the epochs, twice
  assert second == pytest.approx(one.flop / 2, rel=0.01)
  assert fisher == pytest.approx(one.flop / 2, rel=0.1)
  assert abi.stages[0].flop == pytest.approx(one.flop, rel=0.01)
  assert rehearsed.stages[0].flop == pytest.approx(1.5 * one.flop, rel=0.01)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      {"model__name": "vit_b_16", "model__width": None, "regime__name": "abi"},
      "abi cannot work here: no pairs are known in a model with the layers",
    ),
    (
      {"regime__name": "sbl", "train__match": "steps", "train__epochs": 1},
      "train.epochs is 1, but sbl with train.match=steps trains two models",
    ),
    (
      {"regime__name": "sbl(held=0.001)"},
      r"^sbl.held=0.001. cannot work here: .*held=...\)' is 0.001, which of",
    ),
    (
      {"regime__name": "sbl(held=1.5)"},
      r"'sbl\(held=...\)' is 1.5, but must be",
    ),
    (
      {"regime__name": "sbl(continual=ewcc)"},
      r"'sbl\(continual=...\)' is 'ewcc', but must",
    ),
    ({"regime__name": "abi(u=-1)"}, r"'abi\(u=...\)' is -1, but must be"),
  ],
)
def test_what_cannot_work_is_refused(change, message, config):
  with pytest.raises(ValueError, match=message):
    settings.plan(config(**change))


@pytest.mark.parametrize("name", ["sbl", "abi", "adaptive"])
def test_their_arguments_are_listed(name):
  console = Console(file=io.StringIO(), width=100)
  listing.show(name, console)
  text = console.file.getvalue()
  assert f"{name}'s arguments" in text
  assert all(k in text for k in signature.arguments(regimes.REGIMES[name]))
