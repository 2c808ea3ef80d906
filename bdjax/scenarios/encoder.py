"""Encoder: a planted encoder gets a classifier for the user's own task.

Sha et al. (arXiv 2212.09067, sections 2.2 and 5.1), after BadEncoder (Jia
et al., arXiv 2108.00352): an encoder is pre-trained without labels by SimCLR
(`training.simclr`) and planted; a user puts an MLP on it and trains either that
alone (`ft.classifier`) or the whole model (`ft.encoder`). Constants of
pre-training are those of BadEncoder's code; preset `sha` has Sha et al.'s rate.

Before any such training the encoder is judged by the nearest class mean of the
user's images (`attacks.parts.prototypes`); the defense `none` reports this.
"""

from bdjax.attacks.parts import prototypes
from bdjax.machine import programs
from bdjax.methods.signature import (
  TRAINING,
  Annotated,
  Choice,
  Count,
  Positive,
  validated,
)
from bdjax.models.parts import heads
from bdjax.runs import experiment
from bdjax.training import simclr
from bdjax.types import Access, Fit, Key, Params, Recipe, Scenario, Task

PRESETS = {"sha": {"lr": 3e-4}}
PRETRAINING = TRAINING.without("schedule", "momentum").having(epochs=Count)


@validated
def make(
  *,
  recipe: Annotated[Recipe, PRETRAINING] = Recipe(
    epochs=1000, batch_size=256, lr=1e-3, weight_decay=1e-6, schedule="constant"
  ),
  temperature: Positive = 0.5,
  head: Annotated[str, Choice(heads.HEADS)] = "mlp",
) -> Scenario:
  """Returns the scenario.

  Args:
    recipe: of pre-training.
    epochs: of pre-training.
    lr: of pre-training, Adam's.
    temperature: of the contrastive loss.
    head: mlp (C-512-256-classes with dropout), or linear.
  """

  def clean(key: Key, task: Task, fit: Fit) -> Params:
    return simclr.pretrain(
      experiment.key_for(key, "clean"),
      task.train,
      fit,
      recipe,
      encoder=task.model,
      temperature=temperature,
    )

  def look(key: Key, access: Access, num_classes: int) -> Access:
    del key
    kernel = programs.jit(
      lambda variables, data: prototypes.kernel(
        access.model, variables, data, num_classes=num_classes
      )
    )(access.variables, access.clean)
    model = heads.Headed(access.model, heads.Prototypes(num_classes))
    head = {"params": {"kernel": kernel}}
    return access.replace(
      model=model, variables=heads.on(access.variables, head)
    )

  def start(key: Key, access: Access, num_classes: int) -> Access:
    return experiment.adapted(key, access, heads.make(head, num_classes))

  return Scenario(
    classes=lambda count: 0,
    clean=clean,
    start=start,
    look=look,
    elsewhere=True,
  )
