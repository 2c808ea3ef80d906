"""What an adversary wants triggered images to be taken for."""

import dataclasses
from typing import Annotated

import jax.numpy as jnp

from bdjax.methods.signature import Choice, Count, Group, Index
from bdjax.types import Labels


@dataclasses.dataclass(frozen=True)
class Goal:
  """Which class an image's trigger leads to; called, it is a `Target`.

  Attributes:
    target: class the trigger leads to (all2one).
    mode: all2one, or all2all: class y leads to y + 1.
    num_classes: classes of the data.

  Raises:
    ValueError: the target is no class of the data.
  """

  target: Index = 0
  mode: Annotated[str, Choice(("all2one", "all2all"))] = "all2one"
  num_classes: Count = 10

  def __post_init__(self) -> None:
    """Refuses a target that is no class."""
    if self.target >= self.num_classes:
      raise ValueError(
        f"target is {self.target}, but the data has "
        f"{self.num_classes} classes: give one between 0 and "
        f"{self.num_classes - 1}."
      )

  def __call__(self, label: Labels) -> Labels:
    """Returns eta(y): the target, or (y + 1) mod num_classes."""
    if self.mode == "all2all":
      return (label + 1) % self.num_classes
    return jnp.full_like(label, self.target)


_ONE = Annotated[str, Choice(("all2one",))]  # a `mode` without a choice
AnyGoal = Annotated[Goal, Group.of(Goal)]
OneGoal = Annotated[Goal, Group.of(Goal).having(mode=_ONE)]
