"""Linear layers before a convolution: what they would read, and their folding.

A 1x1 convolution right before another one makes one convolution with it, and
what its bias adds to a channel is taken off the mean of the batch norm after
it. So a layer that a model was not built with becomes part of its weights.
"""

import flax.linen as nn
import jax.numpy as jnp
from flax import traverse_util

from bdjax.machine.backend import exact
from bdjax.models.parts.pairs import Pair
from bdjax.types import Array, Images, Params


def read(
  model: nn.Module, variables: Params, conv: str, images: Images
) -> Array:
  """Returns what a convolution reads in evaluation, [B, h, w, C] float32.

  Args:
    conv: its path, as "layer1_0/conv1".
  """
  path, seen = tuple(conv.split("/")), []

  def note(call, args, kwargs, context):
    if context.module.path == path:
      seen.append(args[0].astype(jnp.float32))
    return call(*args, **kwargs)

  with nn.intercept_methods(note):
    model.apply(variables, images, train=False)
  return seen[0]


@exact
def preceded(
  variables: Params, pair: Pair, kernel: Array, bias: Array
) -> Params:
  """Returns a model's variables with a linear layer before a convolution.

  In evaluation it computes what the model would if the convolution read
  x kernel + bias for x [B, h, w, C], its input with the padding. As the padding
  gets the bias too, that is exact at the image's borders.

  Args:
    variables: of the model without it.
    pair: the convolution, and the batch norm that alone reads it.
    kernel: [C, C], from the first axis to the second.
    bias: [C].
  """
  flat = traverse_util.flatten_dict(variables, sep="/")
  weights, mean = f"params/{pair.conv}/kernel", f"batch_stats/{pair.norm}/mean"
  added = jnp.einsum("j,hwjo->o", bias, flat[weights])
  taken = jnp.einsum("ij,hwjo->hwio", kernel, flat[weights])
  flat |= {weights: taken, mean: flat[mean] - added}
  return traverse_util.unflatten_dict(flat, sep="/")
