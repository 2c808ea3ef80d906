import jax
import numpy as np

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


def test_presets_hold_the_papers_readings():
  presets = registry.presets("defenses", "super_ft")
  assert presets["scarce"]["lr_max1"] == 0.3
  assert presets["main_text"] == {"lr_base": 1e-3, "lr_max2": 1e-2}
  assert presets["shen"]["lr_max2"] == 5e-3
  assert presets["fmn"]["clean_rate"] == 0.2
