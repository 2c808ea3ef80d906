"""SIG: a faint sine wave over images of the target class, labels unchanged.

Barni et al., "A New Backdoor Attack in CNNs by Training Set Corruption Without
Label Poisoning", arXiv 1902.11237. Clean-label data poisoning with
A(x) = clip(x + v), v[i, j] = strength * sin(2 pi j frequency / W), the same in
every row i and channel.

Constants are BackdoorBench's: 40/255 and 6 waves, in training and at test time
alike; `train_strength` lets the two differ, as in the paper, whose own numbers
are not verified.

Deviations: the rate is a share of the whole training set, so that 0.1 of ten
equal classes is the whole target class. Stamped images are rounded to bytes
where the benchmark truncates, as `compat="backdoorbench"` does. Its older 0.2 x
+ 0.8 v blend is left out.
"""

import jax.numpy as jnp

from bdjax.attacks.parts import levels, poison
from bdjax.attacks.parts.goals import Goal, OneGoal
from bdjax.methods.signature import Compat, Count, Rate, validated
from bdjax.types import Array, Attack, Fit, Images, Key, Params, Task

PRESETS = {"bb": {"compat": "backdoorbench"}, "fmn": {"rate": 0.05}}


@validated
def make(
  *,
  rate: Rate = 0.1,
  goal: OneGoal = Goal(),
  strength: Rate = 40 / 255,
  train_strength: Rate = 40 / 255,
  frequency: Count = 6,
  compat: Compat = "paper",
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of the training set that is poisoned; all of it comes from the
      target class.
    goal: which class an image's trigger leads to.
    mode: all2one; a clean label says nothing about any other class.
    strength: amplitude of the wave at test time, on the scale of [0, 1].
    train_strength: amplitude of the wave on the poisons.
    frequency: whole waves across the image.
    compat: paper, or backdoorbench, which cuts levels off, not rounds them.
  """

  def init(key: Key, task: Task, fit: Fit) -> Params:
    del key, fit
    width = task.train.image.shape[2]
    _check(frequency, width)
    return {
      "wave": wave(width, frequency=frequency),
      "strength": jnp.float32(strength),
      "train_strength": jnp.float32(train_strength),
    }

  hit, hit_poisons = (levels.kept(f, compat) for f in (trigger, stamp))
  return poison.data_poisoning(
    init, hit, goal, rate, stamp=hit_poisons, clean_label=True
  )


def _check(frequency: int, width: int) -> None:
  """Refuses a wave whose every column is one of its zeros."""
  if 2 * frequency % width == 0:
    half = width if width % 2 else width // 2
    raise ValueError(
      f"sig.frequency is {frequency}, but over {width} columns a wave of that "
      f"many turns is 0 everywhere: give no multiple of {half}."
    )


def wave(width: int, *, frequency: int) -> Array:
  """Returns sin(2 pi j frequency / width) over the columns, [1, 1, W, 1]."""
  # Whole turns are dropped in integers, which keeps float32's phase exact.
  turn = jnp.arange(width) * frequency % width / width
  return jnp.sin(2 * jnp.pi * turn)[None, None, :, None]


def trigger(key: Key, images: Images, params: Params) -> Images:
  """Returns the images under the wave of test time."""
  del key
  return jnp.clip(images + params["strength"] * params["wave"], 0, 1)


def stamp(key: Key, images: Images, params: Params) -> Images:
  """Returns the images under the wave of the poisons."""
  del key
  return jnp.clip(images + params["train_strength"] * params["wave"], 0, 1)
