import jax
import numpy as np
import pytest

from bdjax.machine import notes
from bdjax.methods import registry
from bdjax.training import schedules


def make(**args):
  return registry.get("defenses", "super_ft")(**({"batch_size": 16} | args))


def test_runs_the_two_phase_schedule_of_its_data(suspect, asked):
  make(epochs=20, phase1_epochs=2).defend(jax.random.key(0), suspect, asked)
  schedule = schedules.SuperCycles(phase1_epochs=2).schedule(4)
  wanted = [float(schedule(t)) for t in range(20)]
  np.testing.assert_allclose(asked.rates, wanted, rtol=1e-5)
  # 64 images, batch 16, 2 epochs: phase 1 is 8 steps of four cycles
  assert max(wanted[:8]) > 0.09
  assert max(wanted[8:]) < 2e-3
  assert asked.how["name"] == "super_ft"


def said_of(suspect, caplog, **args):
  """Returns what is said before the only training, which is not run."""
  caplog.clear()
  notes.say.cache_clear()
  defense = make(**args)
  defense.defend(
    jax.random.key(0), suspect, lambda k, s, state, d, **h: (state, {})
  )
  return caplog.messages


def test_a_phase_2_that_never_runs_is_named(suspect, caplog):
  (note,) = said_of(suspect, caplog, epochs=10)
  assert note.startswith("super_ft has 10 epochs and phase1_epochs is 10, so")
  (note,) = said_of(suspect, caplog, epochs=2, phase1_epochs=3)
  assert note.endswith("give more epochs, or a smaller phase1_epochs.")
  for args in ({"epochs": 11}, {"epochs": 2, "phase1_epochs": 1}):
    assert said_of(suspect, caplog, **args) == []
  assert said_of(suspect, caplog, epochs=0) == []


def test_presets_hold_the_papers_readings():
  presets = registry.presets("defenses", "super_ft")
  assert presets["scarce"]["lr_max1"] == 0.3
  assert presets["main_text"] == {
    "clean_rate": 1.0,
    "lr_base": 1e-3,
    "lr_max2": 1e-2,
  }
  assert presets["shen"]["lr_max2"] == 5e-3
  assert presets["fmn"]["clean_rate"] == 0.2


def toolbox_rates(count, steps, base=3e-2, max1=2.5, max2=5e-2):
  """Returns the rates of steps in Backdoor-Toolbox, which sets one after each.

  Written from its description: 40 epochs of phase 1, 10 steps up, 10 down.
  """
  rates, rate = [], base
  for i in range(count):
    rates.append(rate)
    peak = max1 if i // steps < 40 else max2
    place = i % 20
    up = place / 10 if place < 10 else (20 - place) / 10
    rate = base + (peak - base) * up
  return rates


def test_the_toolbox_is_a_step_late(suspect, asked):
  preset = registry.presets("defenses", "super_ft")["toolbox"]
  given = {k: v for k, v in preset.items() if k != "clean_rate"}
  # 64 images in batches of 48: 2 steps an epoch, so that phase 1 has 80 steps
  defense = make(**(given | {"batch_size": 48, "epochs": 101}))
  defense.defend(jax.random.key(0), suspect, asked)
  wanted = toolbox_rates(101, 2)
  np.testing.assert_allclose(asked.rates, wanted, rtol=1e-4)
  assert asked.rates[0] == asked.rates[1] and max(wanted[81:]) == 0.05


def test_the_toolbox_takes_plain_steps_of_100_epochs():
  preset = registry.presets("defenses", "super_ft")["toolbox"]
  assert (preset["momentum"], preset["weight_decay"]) == (0, 0)
  assert (preset["batch_size"], preset["clean_rate"]) == (128, 0.04)
  assert preset["epochs"] == 100


def test_bad_arguments_are_named():
  with pytest.raises(ValueError, match=r"super_ft\.lr_max1 is -1"):
    make(lr_max1=-1)
  with pytest.raises(ValueError, match="^lr_max1 is 0.0001, below lr_base, wh"):
    make(lr_max1=1e-4)
  with pytest.raises(ValueError, match=r"super_ft\.compat is 'tool', but must"):
    make(compat="tool")
