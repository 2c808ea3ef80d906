"""VGG16 with batch norm, as torchvision defines it or in CIFAR's compact form.

138,365,992 parameters with torchvision's head and 1000 classes, 14,728,266 with
the compact one and 10.

Layers, features and parameter tree are those of `parts.vgg`.
"""

from typing import Annotated

from bdjax.methods.signature import (
  Channels,
  Choice,
  Count,
  Dtype,
  Index,
  Range,
  validated,
)
from bdjax.models.parts import layers, vgg


@validated
def make(
  num_classes: Index,
  *,
  width: Count = 64,
  head: Annotated[str, Choice(vgg.HEADS)] = "torchvision",
  hidden: Count = 4096,
  dropout: Annotated[float, Range(0.0, 1.0, closed=True)] = 0.5,
  activation: Annotated[str, Choice(layers.ACTIVATIONS)] = "relu",
  mean: Channels = (0.0, 0.0, 0.0),
  std: Channels = (1.0, 1.0, 1.0),
  dtype: Dtype = "float32",
) -> vgg.VGG:
  """Builds a VGG16 with batch norm.

  Args:
    num_classes: number of logits; 0 for an encoder, which has no last layer.
    width: channels of the first stage; the last two have eight times as many.
    head: "torchvision" (7 x 7 places, two hidden layers) or "compact" (global
      mean pool, none).
    hidden: channels of each hidden layer.
    dropout: share of them that is dropped in training.
    activation: what follows the norms and the hidden layers.
    mean: per-channel mean of the training images in [0, 1].
    std: per-channel standard deviation of the same.
    dtype: what convolutions and hidden layers compute in; parameters, batch
      statistics, pooled features and logits stay float32.

  Raises:
    ValueError: the dropout is 1.
  """
  return vgg.build(
    16,
    num_classes,
    width=width,
    head=head,
    hidden=hidden,
    dropout=dropout,
    activation=activation,
    mean=mean,
    std=std,
    dtype=dtype,
  )
