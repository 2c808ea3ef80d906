"""Re-injection: the backdoor is trained back in on the set that planted it.

Sha et al. (arXiv 2212.09067, Figures 9 to 12) train defended models on poisoned
data again and draw the accuracy on poisons by epoch. Optimizer, rate, data and
the number of epochs are not in the texts at hand, and summaries of the results
contradict each other. Chosen here: the very training set that planted the
backdoor (of training-control attacks, the copy that is frozen with the final
trigger), SGD at a constant .01 (.001 in the preset `slow`), 0 to 20 epochs,
with batch 128, momentum .9 and weight decay 5e-4 as in BackdoorBench. A clean
model after the same defense, treated the same way, is what a defended one
compares with.
"""

from bdjax.methods.signature import validated
from bdjax.sequela import Outcome, Remains, Sequel
from bdjax.sequela.parts import retraining
from bdjax.sequela.parts.retraining import Retraining
from bdjax.types import Fit, Key, Recipe

PRESETS = {"slow": {"lr": 0.001}}


@validated
def make(
  *,
  recipe: Retraining = Recipe(lr=0.01, epochs=20, schedule="constant"),
) -> Sequel:
  """Returns the sequel.

  Args:
    recipe: of training on the poisoned set.
    epochs: passes over that set.
    lr: learning rate, constant.
  """

  def examine(key: Key, remains: Remains, fit: Fit) -> Outcome:
    variables = retraining.retrained(
      key,
      remains.variables,
      remains.poisoned,
      fit,
      recipe,
      model=remains.model,
      view=remains.view,
      name="reinjection",
    )
    return Outcome(variables)

  return Sequel(examine, retrains=True)
