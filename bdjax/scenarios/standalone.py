"""Standalone: the planted classifier is used as it is, on the same task.

The defender holds a part of the clean training set (Sha et al., arXiv
2212.09067, section 2.2).
"""

from bdjax.methods.signature import validated
from bdjax.runs import experiment
from bdjax.types import Access, Key, Scenario


@validated
def make() -> Scenario:
  """Returns the scenario."""

  def as_it_is(key: Key, access: Access, num_classes: int) -> Access:
    del key, num_classes
    return access

  return Scenario(
    classes=lambda count: count,
    clean=experiment.clean_model,
    start=as_it_is,
    look=as_it_is,
    elsewhere=False,
  )
