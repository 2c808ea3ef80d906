"""UPGD: one faint noise that a clean classifier takes for the target, Grond's.

Xu et al., "Towards Backdoor Stealthiness in Model Parameter Space", arXiv
2501.05928. The trigger is a universal adversarial perturbation by projected
gradient descent: 500 steps against the sign of the gradient, of a clean
classifier's cross-entropy towards the target class over batches of all classes.
It is added to images of the target class, which keep their label, so that the
victim learns to lean on it. Grond is this attack in the training regime `abi`,
which keeps channels from standing out: `attack.name=upgd regime.name=abi`.

Equations and constants are in docs/methods.md. The authors' code
(xiaoyunxxy/parameter_backdoor) was seen as others quote it, line by line, and
the paper was not read. Constants are its own: 8/255 in steps of 8/255/5, and a
tenth of the target class (its README; preset `official` has the half that its
training script takes unless told). Its target is class 2; here it is 0, as for
other attacks.

Choices and deviations:
- The rate is a share of the whole training set: .01 of ten equal classes is a
  tenth of the target class.
- The classifier whose gradients are taken is the clean one that other attacks
  use too: of the victim's architecture, trained on all of the adversary's data.
- The images are not augmented while the noise is sought (not verified).
- A pass over the data leaves out the images that do not fill its last batch.
- Poisons are rounded to bytes, where the reference cuts off; triggered images
  are clipped at test time, where the reference leaves them beyond [0, 1].
- 20 epochs on 10,000 images reach an ASR of 56 % and plant nothing
  (docs/methods.md); the authors' 200 on 50,000 were not run.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from bdjax.attacks.parts import poison, universal
from bdjax.attacks.parts.goals import Goal, OneGoal
from bdjax.machine import programs
from bdjax.methods.signature import Count, Positive, Rate, validated
from bdjax.training import engine, learn
from bdjax.types import Array, Attack, Dataset, Fit, Key, Params, Scalar, Task

PRESETS = {"official": {"rate": 0.05}}


@validated
def make(
  *,
  rate: Rate = 0.01,
  goal: OneGoal = Goal(),
  eps: Positive = 8 / 255,
  step: Positive = 8 / 255 / 5,
  rounds: Count = 500,
  batch_size: Count = 256,
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of the training set that is poisoned, all of the target class.
    goal: which class an image's trigger leads to.
    mode: all2one.
    eps: bound on every entry of the noise, in units of [0, 1].
    step: how far a round moves every entry, in the same units.
    rounds: steps of the noise.
    batch_size: images of all classes per step.
  """

  def init(key: Key, task: Task, fit: Fit) -> Params:
    k_clean, k_descend = jax.random.split(key)
    variables = learn.clean_classifier(k_clean, task, fit)
    optimize = functools.partial(
      _descend, goal.target, eps, step, rounds, batch_size
    )
    return {"delta": programs.jit(optimize)(k_descend, task, variables)}

  return poison.data_poisoning(
    init, universal.added, goal, rate, clean_label=True
  )


def _descend(
  target: int,
  eps: Scalar,
  step: Scalar,
  rounds: int,
  batch_size: int,
  key: Key,
  task: Task,
  variables: Params,
) -> Array:
  """Returns the noise, [1, H, W, C], that leads all images to the target."""
  data = task.train
  return universal.descend(
    passes(key, data, rounds, batch_size),
    lambda rows: engine.take(data, rows).image,
    lambda x: task.model.apply(variables, x, train=False)[0],
    start=jnp.zeros((1, *data.image.shape[1:])),
    target=target,
    eps=eps,
    tx=optax.sign_sgd(step),
  )


def passes(key: Key, data: Dataset, rounds: int, batch_size: int) -> Array:
  """Returns places of images, [rounds, batch], each pass in an order anew."""
  batch_size = min(batch_size, data.size)
  batches = data.size // batch_size

  def one(i: Array) -> Array:
    return engine.order(jax.random.fold_in(key, i), data, batches * batch_size)

  orders = jax.lax.map(one, jnp.arange(-(-rounds // batches)))
  return orders.reshape(-1, batch_size)[:rounds]
