"""What a defense leaves behind: leaks of its data, and a way back in.

Sha et al. (arXiv 2212.09067) ask both of repaired models: whether they tell who
was in the training set (`membership`), and whether the backdoor returns sooner
than it first came (`reinjection`, `retuning`). Others ask whether it is still
there, and only needs another trigger (`reactivation`, `qra`). A sequel is
measured with full knowledge of the truth, and on clean, planted and repaired
models alike. What a repaired model is compared with is a clean one after the
same defense: less would take what fine-tuning does to any model, or what any
model does with adversarial images, for a trace of the backdoor.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import flax.struct

from bdjax.types import Array, Dataset, Fit, Key, Params, View


@flax.struct.dataclass
class Shadow:
  """A model whose members the adversary knows.

  Attributes:
    variables: the model's.
    data: clean images, members and others.
    member: [N] bool, those that it was trained on.
    model: the architecture.
  """

  variables: Params
  data: Dataset
  member: Array
  model: nn.Module = flax.struct.field(pytree_node=False, default=None)


@flax.struct.dataclass
class Remains:
  """A model, repaired or not, and what it came from.

  Attributes:
    variables: the model's.
    clean: the training set before any poisoning, with true labels.
    test: clean test images with true labels.
    tuned: [N] bool, training examples that its defender tuned it on.
    poisoned: the training set that planted a backdoor; for a clean model, its
      own clean training set.
    role: [N] int8, of that set.
    hit: the test images with the trigger, labelled as the adversary wants;
      those that retrain do not read them.
    lure: the training images with the trigger, labelled likewise; this and the
      two models are there for sequels with `Sequel.lures`.
    planted: variables of the planted model that the question is about.
    unplanted: variables of the seed's clean model, before any defense.
    learned: what `Sequel.prepare` has returned.
    model: the architecture.
    view: the augmentation used when training.
  """

  variables: Params
  clean: Dataset
  test: Dataset
  tuned: Array
  poisoned: Dataset
  role: Array
  hit: Dataset | None = None
  lure: Dataset | None = None
  planted: Params = ()
  unplanted: Params = ()
  learned: Params = ()
  model: nn.Module = flax.struct.field(pytree_node=False, default=None)
  view: View = flax.struct.field(pytree_node=False, default=lambda key, b: b)


class Outcome(NamedTuple):
  """What a sequel answers about a model; it fills in what it produces.

  Attributes:
    variables: of the model after further training.
    numbers: by name, recorded as they are.
  """

  variables: Params | None = None
  numbers: dict[str, float | Array] | tuple[()] = ()


class Sequel(NamedTuple):
  """A question to a model after its defense.

  Attributes:
    examine: answers it.
    retrains: whether it trains the model further, with poisons; the caller's
      `fit` then observes the backdoor's success rate by epoch.
    prepare: what is learned from a shadow model beforehand, once for all models
      of a seed; None if nothing is.
    lures: how many training images with the trigger it needs, of classes that
      the trigger should change; clean models are then asked beside each planted
      one, whose trigger is meant.
  """

  examine: Callable[[Key, Remains, Fit], Outcome]
  retrains: bool = False
  prepare: Callable[[Key, Shadow, Fit], Params] | None = None
  lures: int = 0
