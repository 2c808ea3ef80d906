"""Clean: no backdoor at all, the baseline on which every alarm is false.

The victim is the clean classifier of the same model, data and recipe; its
trigger leaves images alone. What is then called ASR is the share of ordinary
images of other classes that the model gives the target label: no defense can be
asked to go below this level. BadNets (Gu et al., arXiv 1708.06733) compares
with such a baseline, and detectors are judged by their alarms on it. Nothing is
poisoned, so training regimes do not apply.
"""

import jax.numpy as jnp

from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.methods.signature import validated
from bdjax.training import learn
from bdjax.types import CLEAN, Attack, Backdoor, Fit, Key, Regime, Task

PRESETS = {}


@validated
def make(*, goal: AnyGoal = Goal()) -> Attack:
  """Returns the attack that does nothing.

  Args:
    goal: which class an image's trigger leads to.
    target: class whose false answers are counted.
    mode: all2one, or all2all: class y counts as taken for y + 1.
  """

  def plant(key: Key, task: Task, fit: Fit) -> Backdoor:
    if task.regime != Regime():
      raise ValueError(
        f"clean trains nothing of its own, so the regime {task.regime} cannot "
        "apply: use the regime conventional."
      )
    variables = learn.clean_classifier(key, task, fit)
    role = jnp.full((task.train.size,), CLEAN, jnp.int8)
    return Backdoor(variables, {}, task.train, role)

  return Attack(
    trigger=lambda key, images, params: images,
    target=goal,
    plant=plant,
    trains=False,
    encoder=True,
  )
