"""ViT-B/16: a transformer over patches of 16 x 16 pixels and a class token.

Dosovitskiy et al. 2020 (arXiv:2010.11929), laid out and initialized as in
torchvision: 86,567,656 parameters with 224 x 224 images and 1000 classes. The
width is 768 in heads of 64, as in all of the paper's models, and the hidden
layers are four times as wide; no dropout, which is torchvision's default.

The positional embedding is learned for one number of patches: other sizes are
refused, or resized to it. BackdoorBench resizes to 224 x 224 inside the model.

The features layer0, layer1, ... are the patches' tokens after each block, in
their places in the image; after the last block nothing reads them.
The class token, normalized, is what the last layer reads.

Parameter tree, with torchvision's name where it differs:
  conv_proj, class_token
  pos_embedding              encoder.pos_embedding
  layerL/{ln_1, ln_2}        encoder.layers.encoder_layer_L.*
  layerL/{in_proj, out_proj} encoder.layers.encoder_layer_L.self_attention.*
  layerL/{mlp_1, mlp_2}      encoder.layers.encoder_layer_L.mlp.{0, 3}
  ln                         encoder.ln
  linear                     heads.head
with the kernel of in_proj holding queries, keys and values side by side.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.methods.signature import (
  Channels,
  Count,
  Dtype,
  Index,
  Some,
  validated,
)
from bdjax.models.parts import base, layers
from bdjax.types import Array, Images, Logits

_LECUN = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
_XAVIER = nn.initializers.xavier_uniform()
_ZEROS = nn.initializers.zeros


class _Patches(nn.Module):
  """A convolution whose stride is its size, as the matrix product it is."""

  channels: int
  size: int
  dtype: str

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H / size, W / size, channels]."""
    b, height, width, c = x.shape
    p = self.size
    kernel = self.param("kernel", _LECUN, (p, p, c, self.channels))
    bias = self.param("bias", _ZEROS, (self.channels,)).astype(self.dtype)
    x = x.reshape(b, height // p, p, width // p, p, c)
    x = jnp.einsum("bhiwjc,ijcd->bhwd", x, kernel.astype(self.dtype))
    return x + bias.reshape(1, 1, 1, -1)


class _Block(nn.Module):
  """Self-attention and a hidden layer, each after a norm and added to x."""

  width: int
  head_width: int
  dtype: str

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps tokens [B, N, C] to the same shape."""
    x = x + self._attended(layers.layer_norm("ln_1", self.dtype)(x))
    y = layers.layer_norm("ln_2", self.dtype)(x)
    tiny = nn.initializers.normal(1e-6)
    kind = {"kernel_init": _XAVIER, "bias_init": tiny, "dtype": self.dtype}
    y = nn.Dense(4 * self.width, name="mlp_1", **kind)(y)
    y = nn.gelu(y, approximate=False)
    return x + nn.Dense(self.width, name="mlp_2", **kind)(y)

  def _attended(self, x: Array) -> Array:
    b, n, c = x.shape
    kind = {"bias_init": _ZEROS, "dtype": self.dtype}
    x = nn.Dense(3 * c, kernel_init=_XAVIER, name="in_proj", **kind)(x)
    x = x.reshape(b, n, 3, c // self.head_width, self.head_width)
    x = jax.nn.dot_product_attention(x[:, :, 0], x[:, :, 1], x[:, :, 2])
    init = layers.torch_default
    x = x.reshape(b, n, c)
    return nn.Dense(c, kernel_init=init, name="out_proj", **kind)(x)


class ViT(base.Network):
  """Patches, blocks and a linear layer; see the module's docstring."""

  num_classes: int
  size: int | None
  resize: bool
  patch: int
  width: int
  depth: int
  head_width: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str

  @nn.compact
  def __call__(
    self, x: Images, train: bool = False
  ) -> tuple[Logits, dict[str, Array]]:
    """Returns logits and {layer0..: [B, h, w, c], pooled: [B, c]}."""
    del train
    x = layers.normalize(x, self.mean, self.std, self.dtype)
    patches = _Patches(self.width, self.patch, self.dtype, name="conv_proj")
    x = patches(self._fitted(x))
    b, height, width, c = x.shape
    token = self.param("class_token", _ZEROS, (1, 1, c)).astype(self.dtype)
    x = x.reshape(b, height * width, c)
    x = jnp.concatenate([jnp.tile(token, (b, 1, 1)), x], axis=1)
    x = x + self._positions(x.shape)
    features = {}
    for i in range(self.depth):
      block = _Block(self.width, self.head_width, self.dtype, name=f"layer{i}")
      x = block(x)
      features[f"layer{i}"] = x[:, 1:].reshape(b, height, width, c)
    token = layers.layer_norm("ln", self.dtype)(x[:, 0])
    features["pooled"] = token.astype(jnp.float32)
    return layers.linear(
      features["pooled"], self.num_classes, init=_ZEROS
    ), features

  def _fitted(self, x: Array) -> Array:
    """Returns the images in the size that the model is made for."""
    shape = (x.shape[0], self.size, self.size, x.shape[3])
    if self.resize:
      return jax.image.resize(x, shape, "bilinear")
    if self.size is not None and x.shape != shape:
      raise ValueError(
        f"the images are {x.shape[1]} x {x.shape[2]}, but this ViT is made for "
        f"{self.size} x {self.size}: give such images, or resize=True."
      )
    if x.shape[1] % self.patch or x.shape[2] % self.patch:
      raise ValueError(
        f"images of {x.shape[1]} x {x.shape[2]} are no whole patches of "
        f"{self.patch} x {self.patch}: give another patch=, or resize=True "
        "with a size= that is."
      )
    return x

  def _positions(self, shape: tuple[int, ...]) -> Array:
    """Returns the positional embedding of tokens [B, N, C], [1, N, C]."""
    shape = (1, *shape[1:])
    if self.has_variable("params", "pos_embedding"):
      saved = self.get_variable("params", "pos_embedding").shape
      if saved != shape:
        raise ValueError(
          f"the images make {shape[1] - 1} patches, but this ViT's positions "
          f"were learned for {saved[1] - 1}: give images of that size, or make "
          "it with size= and resize=True."
        )
    init = nn.initializers.normal(0.02)
    return self.param("pos_embedding", init, shape).astype(self.dtype)


@validated
def make(
  num_classes: Index,
  *,
  size: Some = None,
  resize: bool = False,
  patch: Count = 16,
  width: Count = 768,
  depth: Count = 12,
  head_width: Count = 64,
  mean: Channels = (0.0, 0.0, 0.0),
  std: Channels = (1.0, 1.0, 1.0),
  dtype: Dtype = "float32",
) -> ViT:
  """Builds a vision transformer.

  Args:
    num_classes: number of logits; 0 for an encoder, which has no last layer.
    size: pixels along a side of the images; None for those that the model is
      initialized with.
    resize: whether images of another size are resized (bilinear) to it.
    patch: pixels along a side of a patch.
    width: channels of a token.
    depth: number of blocks.
    head_width: channels of an attention head; the width is a multiple.
    mean: per-channel mean of the training images in [0, 1].
    std: per-channel standard deviation of the same.
    dtype: what the layers compute in; parameters, pooled features and logits
      stay float32, as do the sums inside norms and attention.

  Raises:
    ValueError: the numbers do not divide, or there is no size to resize to.
  """
  if width % head_width:
    raise ValueError(
      f"width {width} is not a multiple of head_width {head_width}; give a "
      "head_width that divides it."
    )
  if size is not None and size % patch:
    raise ValueError(
      f"size {size} is not a multiple of patch {patch}; give one that is."
    )
  if resize and size is None:
    raise ValueError("resize=True needs size=, the size to resize images to.")
  mean, std = layers.check(mean, std)
  return ViT(
    num_classes=num_classes,
    size=size,
    resize=resize,
    patch=patch,
    width=width,
    depth=depth,
    head_width=head_width,
    mean=mean,
    std=std,
    dtype=dtype,
  )
