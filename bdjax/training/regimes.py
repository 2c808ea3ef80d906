"""Training regimes: how the adversary trains, whatever the attack.

- `conventional`: as the recipe says.
- `fmn`: Forget-Me-Not ("Making Backdoor Hard to be Forgotten in Finetuning",
  section 3): (a) a two-phase cyclical learning rate, (b) a clean epoch after
  each poisoned one.
- `cyclic` and `interleave`: (a) and (b) alone, the ablation of its Table 4.

The paper leaves open the cycle length, the share of phase 1, the number of
epochs, what clean epochs show and which kind comes last. Chosen here: one cycle
an epoch, 60 %, as many clean epochs as poisoned ones, the training set without
its poisons (`original=True`: with their untouched originals), a clean one last.
Turns are single epochs in the paper, on 50,000 images; on less data `turn`
makes a turn of several epochs. Section 3.2 calls its first parameters those of
the backdoored model, which `start="planted"` takes at its word: the victim is
planted conventionally first. The default starts from scratch, as section 3 and
the tables read.

Two trainings can be equal in poisoned epochs (`train.match="epochs"`: clean
ones come on top, so that FMN takes twice the steps of a conventional training)
or in all epochs, hence in steps (`"steps"`).

Three more, against whom defenses can be tested:

- `sbl`: Sequential Backdoor Learning (Pham et al., arXiv 2407.14738; see
  `training.sequential`). Stage 1 plants by SAM; stage 2 trains on clean images
  that stage 1 has not seen, and holds on to stage 1. Constants are those of the
  authors' code (mail-research/SBL-resilient-backdoors), which was read and not
  the paper: rho .05, not adaptive; stage 2 by plain SGD at a constant .001;
  weight 1 of EWC and of anchoring; a tenth of the data for stage 2. Its 100
  passes over 5,000 images, after 150 over 42,500, are 7 % of all images seen,
  which is its share of the epochs here. Deviations: that code divides the sum
  of F by twice the images, since its loader's batches are half as large as it
  thinks; it has a constant rate and no weight decay in stage 1; and it poisons
  10 % of all images, all in stage 1's part, which `attack.rate` decides here. A
  step of SAM takes two gradients and counts as one. In `flat="both"` the
  penalty's gradient is that at w itself. Clean-label attacks that poison all
  images of their class leave stage 2 none of it. Attacks whose trigger is
  trained with the victim have no such stage 2.
- `abi`: Adversarial Backdoor Injection, the core of Grond (Xu et al., arXiv
  2501.05928; see `training.limits`). u = 3 as in the authors' code, which was
  read and not the paper, and limits after each epoch, as here, the last one
  too; there the model that is kept is the best before a limit. Grond is this
  with the attack `upgd`. Pairs of layers are CLP's, and batch norm's epsilon is
  inside the deviation, as there. A model without such pairs (ViT) is refused.
- `adaptive`: the attacker who knows a tuning defense: clean turns are that
  defense itself (see `training.adaptive`; chosen here, from no paper), and the
  last turn is poisoned. Each clean one begins as the defense does: a fresh
  optimizer, its rate from the first step on, a new last layer if it draws one.
  Poisoned turns hold the recipe's rate, whatever its schedule: with one that
  falls to zero the last of them have no force, and the defense wins (seen;
  docs/methods.md). super-FT has ten epochs of large rates first, so that
  `defense='super_ft(phase1_epochs=1)', turn=2` rehearses both phases.
"""

from typing import Annotated

from bdjax.methods import signature
from bdjax.methods.signature import Choice, Count, Group, NonNegative
from bdjax.training import limits
from bdjax.training.schedules import Cycles
from bdjax.training.sequential import Second
from bdjax.types import Regime

Cyclical = Annotated[Cycles, Group.of(Cycles)]
Start = Annotated[str, Choice(("scratch", "planted"))]
TwoStages = Annotated[Second, Group.of(Second)]
_SECOND = Second()


@signature.validated
def conventional() -> Regime:
  """Trains as the recipe says."""
  return Regime()


@signature.validated
def cyclic(*, cycles: Cyclical = Cycles()) -> Regime:
  """Trains with FMN's two-phase cyclical rate; see `schedules.Cycles`."""
  return Regime(schedule=cycles.schedule)


@signature.validated
def interleave(*, original: bool = False, turn: Count = 1) -> Regime:
  """Trains on poisoned and clean data in turns, at the recipe's rate."""
  return Regime(interleave=True, original=original, turn=turn)


@signature.validated
def fmn(
  *,
  cycles: Cyclical = Cycles(),
  original: bool = False,
  turn: Count = 1,
  start: Start = "scratch",
) -> Regime:
  """Trains with the cyclical rate and clean epochs in between.

  Args:
    cycles: of the rate.
    original: clean epochs show the poisons' originals, and do not lack them.
    turn: epochs of a turn.
    start: scratch, or planted: from a model that was planted conventionally.
  """
  return Regime(
    interleave=True,
    original=original,
    schedule=cycles.schedule,
    turn=turn,
    planted=start == "planted",
  )


@signature.validated
def sbl(*, second: TwoStages = _SECOND) -> Regime:
  """Trains to a flat minimum by SAM, then on clean data without forgetting."""
  return Regime(wrap=second.wrap, second=second)


@signature.validated
def abi(
  *, u: NonNegative = 3.0, adjacent: bool = False, start: Start = "scratch"
) -> Regime:
  """Trains as the recipe says, and keeps channels from standing out.

  Args:
    u: standard deviations above a layer's mean from which a channel is limited.
    adjacent: pair every batch norm with the convolution defined just before it,
      right or wrong, as the authors' code does; see CLP.
    start: scratch, or planted: from a model that was planted conventionally.
  """

  def wrap(tx, every):
    return limits.limited(tx, u, every=every, adjacent=adjacent)

  return Regime(wrap=wrap, planted=start == "planted")


@signature.validated
def adaptive(
  *,
  defense: str = "ft_sam",
  turn: Count = 1,
  original: bool = False,
  start: Start = "scratch",
) -> Regime:
  """Trains with a tuning defense itself in the clean turns.

  Args:
    defense: one, as text, with its preset and arguments in quotes:
      'super_ft(phase1_epochs=1)'. Its epochs and batches are those of the turn.
    turn: epochs of a turn.
    original: clean epochs show the poisons' originals, and do not lack them.
    start: scratch, or planted: from a model that was planted conventionally.
  """
  return Regime(
    interleave=True,
    original=original,
    turn=turn,
    planted=start == "planted",
    against=defense,
  )


REGIMES = {
  "conventional": conventional,
  "fmn": fmn,
  "cyclic": cyclic,
  "interleave": interleave,
  "sbl": sbl,
  "abi": abi,
  "adaptive": adaptive,
}
