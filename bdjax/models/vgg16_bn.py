"""VGG16 with batch norm, as torchvision defines it or in CIFAR's compact form.

138,365,992 parameters with torchvision's head and 1000 classes, 14,728,266 with
the compact one and 10.

Layers, features and parameter tree are those of `parts.vgg`.
"""

from collections.abc import Sequence

from bdjax.models.parts import vgg


def make(
  num_classes: int,
  *,
  width: int = 64,
  head: str = "torchvision",
  hidden: int = 4096,
  dropout: float = 0.5,
  mean: Sequence[float] = (0.0, 0.0, 0.0),
  std: Sequence[float] = (1.0, 1.0, 1.0),
  dtype: str = "float32",
) -> vgg.VGG:
  """Builds a VGG16 with batch norm.

  Args:
    num_classes: number of logits; 0 for an encoder, which has no last layer.
    width: channels of the first stage; the last two have eight times as many.
    head: "torchvision" (7 x 7 places, two hidden layers) or "compact" (global
      mean pool, none).
    hidden: channels of each hidden layer.
    dropout: share of them that is dropped in training.
    mean: per-channel mean of the training images in [0, 1].
    std: per-channel standard deviation of the same.
    dtype: what convolutions and hidden layers compute in; parameters, batch
      statistics, pooled features and logits stay float32.

  Raises:
    ValueError: the head is unknown, or the dropout no share below 1.
  """
  return vgg.build(
    16,
    num_classes,
    width=width,
    head=head,
    hidden=hidden,
    dropout=dropout,
    mean=mean,
    std=std,
    dtype=dtype,
  )
