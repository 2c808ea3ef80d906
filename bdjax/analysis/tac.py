"""TAC: how much the trigger changes what a channel says.

Trigger-activated change, Zheng et al., "Data-free Backdoor Removal based on
Channel Lipschitzness" (arXiv 2208.03111): of channel k of layer l,

  TAC = 1 / |D| sum over x in D of || F_k(x) - F_k(trigger(x)) ||_2,

the norm over the channel's map. D is here the test images whose class is not
the adversary's. BackdoorBench's tool sums the absolute values of the map
instead. Since a defense may scale a layer as a whole, the mean norm of the
clean map stands beside it.
"""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.analysis.scores import Probe
from bdjax.training import engine, inference, metrics
from bdjax.types import Array, Dataset, Params


def stages(
  model: nn.Module, variables: Params, data: Dataset, count: int
) -> list[str]:
  """Returns the names of a model's last maps, [B, h, w, C], in order."""
  image = jax.ShapeDtypeStruct((1, *data.image.shape[1:]), jnp.float32)
  ask = lambda v, x: model.apply(v, x, train=False)[1]  # noqa: E731
  maps = {
    name: shape
    for name, shape in jax.eval_shape(ask, variables, image).items()
    if len(shape.shape) == 4
  }
  return sorted(maps, key=_place)[-count:]


def _place(name: str) -> tuple[str, int]:
  """Returns what sorts layer10 behind layer9."""
  number = re.search(r"\d*$", name).group()
  return name.removesuffix(number), int(number or 0)


def changes(
  model: nn.Module, variables: Params, images: Probe, *, names: tuple[str, ...]
) -> dict[str, dict[str, Array]]:
  """Returns what a trigger changes in each channel of some layers.

  Args:
    names: of features.

  Returns:
    name -> {"tac": [C], "clean": [C] mean norm of the map without trigger}.
  """
  triggered = engine.rows(images.hit)

  def both(batch):
    hit = engine.take(triggered, batch.index)
    plain, changed = (
      model.apply(variables, one.image, train=False)[1] for one in (batch, hit)
    )
    return {
      name: {
        "tac": metrics.channel_norms(plain[name] - changed[name]),
        "clean": metrics.channel_norms(plain[name]),
      }
      for name in names
    }

  where = images.other[:, None]
  found = inference.each(images.clean, both)
  return jax.tree.map(lambda x: jnp.mean(x, axis=0, where=where), found)
