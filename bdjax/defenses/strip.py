"""STRIP: overlays an input with clean images and sees if the answer wavers.

Gao et al., "STRIP: A Defence Against Trojan Attacks on Deep Neural Networks",
arXiv 1902.06531. An input's score is minus the mean entropy, in bits, of the
model's answers to the input superimposed with each of `count` clean images: a
trigger that wins whatever it lies on keeps the entropy low. The model is left
as it is. Presets:

- `original`: the authors' script, x + x' as floats, which pass 1; 100 overlays;
  1 % false alarms;
- `bb`: BackdoorBench, which adds in normalized space (weight 1, 100 overlays,
  10 %). In pixels that is x + x' - mean; the mean is here that of the half of
  the clean subset that overlays are drawn from;
- `tz`: TrojanZoo, the blend (x + x') / 2, 64 overlays, 5 %; without its second
  threshold, for entropies too high.

The default is `original` at BackdoorBench's 10 % of false alarms. Some
attacks' code tests STRIP on images saturated to [0, 1]: `mix="saturated"`.

Deviations: the overlays are drawn once, so that an input's score depends on
nothing but the input; the original draws them anew for every input. The
threshold is the quantile of the scores of clean images that are no overlays;
the original takes it from a normal distribution fitted to the entropies, and
BackdoorBench superimposes its clean images with themselves. Ground truth plays
no part: BackdoorBench takes its clean images from the test set.

Cost: the threshold takes `count` forward passes for half of the clean subset,
and so does every input tested: 10,000 test images, clean and triggered, with
100 overlays are two million passes, 100 times what it takes to score accuracy
and attack success. On a CPU lower `count` first.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy import special

from bdjax.data import splits
from bdjax.machine import programs
from bdjax.methods.signature import (
  Annotated,
  Choice,
  Count,
  Positive,
  Rate,
  validated,
)
from bdjax.training import engine, inference
from bdjax.types import (
  Access,
  Array,
  Dataset,
  Defended,
  Defense,
  Fit,
  Images,
  Key,
  Logits,
  Scalar,
  Scores,
)

PRESETS = {
  "original": {"false_alarms": 0.01},
  "bb": {"mix": "centered"},
  "tz": {"mix": "blend", "alpha": 0.5, "count": 64, "false_alarms": 0.05},
}
HELD = 0.5  # share of the clean subset that sets the threshold


@validated
def make(
  *,
  count: Count = 100,
  alpha: Positive = 1.0,
  mix: Annotated[
    str, Choice(("plain", "saturated", "centered", "blend"))
  ] = "plain",
  false_alarms: Rate = 0.1,
) -> Defense:
  """Returns the defense.

  Args:
    count: overlays per input; repeated where half the clean subset is smaller.
    alpha: weight of an overlay; the input's own is 1, in a blend 1 - alpha.
    mix: how they are added: plain; saturated to [0, 1]; centered, where the
      overlay first loses the mean color of the images that it is drawn from; or
      as a blend.
    false_alarms: share of clean inputs above the threshold.

  Raises:
    ValueError: a blend would show nothing of the input.
  """
  if mix == "blend" and isinstance(alpha, int | float) and alpha >= 1:
    raise ValueError(
      f"strip.alpha is {alpha}, but a blend shows the input with weight "
      "1 - alpha: give less than 1, such as 0.5."
    )

  def suspect(
    key: Key | None, images: Images, access: Access, defended: Defended
  ) -> Scores:
    del key
    overlays, mean = defended.memo["overlays"], defended.memo["mean"]

    def wavering(overlay):
      other = overlay.astype(jnp.float32) / 255
      mixed = superimpose(images, other, mean, alpha=alpha, mix=mix)
      return entropy(
        access.model.apply(defended.variables, mixed, train=False)[0]
      )

    # One overlay at a time bounds memory by a batch of the inputs.
    return -jnp.mean(jax.lax.map(wavering, overlays.image), axis=0)

  def defend(key: Key, access: Access, fit: Fit) -> Defended:
    del fit
    run = functools.partial(_calibrate, suspect, count, false_alarms)
    memo = programs.jit(run)(key, access.replace(train=None))
    return Defended(access.variables, memo=memo)

  return Defense(defend, suspect=suspect, tunes=False)


def _calibrate(
  suspect: Callable[..., Scores],
  count: int,
  false_alarms: Scalar,
  key: Key,
  access: Access,
) -> dict[str, Any]:
  """Returns the overlays, a mean color, the threshold and its entropy.

  The mean is of all images that overlays are drawn from, drawn or not; the
  threshold and the mean entropy are of the others.
  """
  k_split, k_draw = jax.random.split(key)
  rest, held = splits.hold_out(k_split, access.clean, rate=HELD)
  drawn = engine.order(k_draw, rest, count)
  memo = {
    "overlays": Dataset(rest.image[drawn], rest.label[drawn]),
    "mean": jnp.mean(rest.image, axis=(0, 1, 2), dtype=jnp.float32) / 255,
  }
  state = Defended(access.variables, memo=memo)
  score = inference.each(
    held, lambda batch: suspect(None, batch.image, access, state)
  )
  memo["threshold"] = jnp.quantile(score, 1 - false_alarms)
  return memo | {"entropy": -jnp.mean(score)}


def superimpose(
  images: Images, other: Array, mean: Array, *, alpha: Scalar, mix: str
) -> Images:
  """Returns images with another one laid over each.

  Args:
    images: [B, H, W, C].
    other: [H, W, C], laid over.
    mean: [C], the color that "centered" takes from it.
    mix: see `make`.
  """
  if mix == "blend":
    return (1 - alpha) * images + alpha * other[None]
  if mix == "centered":
    other = other - mean[None, None, :]
  mixed = images + alpha * other[None]
  return jnp.clip(mixed, 0, 1) if mix == "saturated" else mixed


def entropy(logits: Logits) -> Array:
  """Returns the Shannon entropy of the answers, [B], in bits."""
  return special.entr(jax.nn.softmax(logits)).sum(-1) / jnp.log(2.0)
