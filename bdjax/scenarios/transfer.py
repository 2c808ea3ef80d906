"""Transfer: the planted classifier gets a new head and is tuned elsewhere.

Sha et al. (arXiv 2212.09067, sections 2.2 and 5.2) and Forget-Me-Not (section
4.4): the last layer is replaced by a fresh one for the classes of the user's
data, and the whole model is fine-tuned on these (`ft`, `super_ft`, or any other
defense that needs clean data only). With `ft(part=head)` the rest stays.

The label set changes, so three things are measured of triggered images, beside
the clean accuracy: the share that gets the old target's index; the share that
falls into a single class, whichever that is, without that class's own images;
and their accuracy, against that of a clean model tuned the same way (FMN,
Table 3).
"""

from bdjax.methods.signature import Annotated, Choice, validated
from bdjax.models.parts import heads
from bdjax.runs import experiment
from bdjax.types import Access, Key, Scenario


@validated
def make(*, head: Annotated[str, Choice(heads.HEADS)] = "linear") -> Scenario:
  """Returns the scenario.

  Args:
    head: linear, or mlp (C-512-256-classes with dropout).
  """

  def start(key: Key, access: Access, num_classes: int) -> Access:
    return experiment.adapted(key, access, heads.make(head, num_classes))

  return Scenario(
    classes=lambda count: count,
    clean=experiment.clean_model,
    start=start,
    look=lambda key, access, num_classes: access,
    elsewhere=True,
  )
