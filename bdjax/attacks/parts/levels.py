"""How BackdoorBench keeps triggered images in bytes: levels are cut off.

This package rounds them. Read in that benchmark's version 2.2: triggers that
are laid over bytes (blended, SIG, LF) are cast to uint8; images that are made
in training (WaNet, Input-aware, LIRA) are normalized, brought back in float32
and cut off.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from bdjax.types import Images, Key, Params, Trigger


def kept(trigger: Trigger, compat: str) -> Trigger:
  """Returns a trigger as its images are kept.

  Args:
    compat: "paper" for the trigger itself, whose images are rounded later;
      "backdoorbench" cuts off what is beyond a whole level, and takes from
      whole ones what `lost` says, if that is among the parameters.
  """

  def cut(key: Key, images: Images, params: Params) -> Images:
    level = 255 * jnp.clip(trigger(key, images, params), 0, 1)
    whole = near = jnp.round(level)
    if "lost" in params:
      whole -= params["lost"][near.astype(int), jnp.arange(level.shape[-1])]
    exact = jnp.abs(level - near) < 1e-3  # but for errors of float32
    return jnp.where(exact, whole, jnp.floor(level)) / 255

  return cut if compat == "backdoorbench" else trigger


def lost(model: nn.Module, compat: str) -> Params:
  """Returns what images lose that BackdoorBench normalized, for `kept`.

  The way back leaves many whole levels a little short. NumPy divides as PyTorch
  does; a compiled program multiplies by an inverse.

  Args:
    model: whose mean and std the data have.
    compat: only "backdoorbench" loses anything.

  Returns:
    "lost", [256, C] levels, 0 or 1 for each level that a byte can be; or
    nothing.
  """
  if compat != "backdoorbench":
    return {}
  level = np.arange(256, dtype=np.float32)[:, None]
  mean, std = np.float32(model.mean), np.float32(model.std)
  inverse = np.float32(1 / np.float64(model.std))
  back = (level / np.float32(255) - mean) / std / inverse + mean
  return {"lost": jnp.asarray(level - np.trunc(back * np.float32(255)))}
