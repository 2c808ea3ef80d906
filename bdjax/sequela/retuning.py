"""Retuning attack: a few poisons among few clean images bring it back.

Min et al. ("Uncovering, Explaining, and Mitigating the Superficial Safety of
Backdoor Defense", arXiv 2410.09838; as their code and its instructions have
it): fine-tuning on 2 % of the clean training set, five images of which are
replaced by poisons; SGD at .01, momentum .9, no weight decay, batch 128, 5
epochs. Deviations: their images are augmented once, before the first epoch, and
poisons not at all, where the view draws anew in every step, for poisons too;
and a last, short batch is filled up.
"""

from typing import Annotated

import jax

from bdjax.methods.signature import Count, Range, validated
from bdjax.sequela import Outcome, Remains, Sequel
from bdjax.sequela.parts import retraining
from bdjax.sequela.parts.retraining import Retraining
from bdjax.types import Fit, Key, Recipe

PRESETS = {}
Share = Annotated[float, Range(0.0, 1.0)]  # decides shapes: not swept


@validated
def make(
  *,
  rate: Share = 0.02,
  poisons: Count = 5,
  recipe: Retraining = Recipe(
    lr=0.01, epochs=5, schedule="constant", weight_decay=0.0
  ),
) -> Sequel:
  """Returns the sequel.

  Args:
    rate: share of the training set that is trained on.
    poisons: how many of these images are poisons.
    recipe: of training on these images.
    epochs: passes over them.
    lr: learning rate, constant.
  """

  def examine(key: Key, remains: Remains, fit: Fit) -> Outcome:
    k_draw, k_fit = jax.random.split(key)
    data = retraining.drawn(
      k_draw,
      remains.clean,
      remains.poisoned,
      remains.role,
      rate=rate,
      poisons=poisons,
    )
    variables = retraining.retrained(
      k_fit,
      remains.variables,
      data,
      fit,
      recipe,
      model=remains.model,
      view=remains.view,
      name="retuning",
    )
    return Outcome(variables)

  return Sequel(examine, retrains=True)
