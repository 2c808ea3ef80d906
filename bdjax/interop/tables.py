"""Which PyTorch name stands for which of our arrays, as data.

A `Layout` turns our dotted path of a module (`layer2_0.shortcut`) into
PyTorch's by substitutions; `Architecture` says which of a model's arguments can
be read from which shape. To add an architecture, add one of the former for each
way its modules are named, and one of the latter.

What no state dict tells: the means and standard deviations that images are
normalized with, whether red or blue comes first, strides, pools, activations,
and in how many heads a transformer's channels are parted. Each but the first
has a usual form, which is taken here; `left_open` lists the others, which only
answers to images can tell apart.
"""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from bdjax.interop import sequences
from bdjax.interop.sequences import Rules
from bdjax.models import convnext_tiny, efficientnet_b3, mobilenet_v3_large
from bdjax.models.parts import layers, resnet, vgg

Arguments = dict[str, Any]
Sizes = dict[str, tuple[str, int]]  # array and dimension, by what it tells


class Layout(NamedTuple):
  """How one PyTorch code base names the modules of an architecture.

  Attributes:
    name: of the code base.
    rules: from our dotted path of a module to theirs.
    names: from what comes of that, with the array's name, to theirs.
    arguments: of `make`, that the code base implies.
  """

  name: str
  rules: Rules
  names: Rules = ()
  arguments: Arguments = {}


class Architecture(NamedTuple):
  """What a model's weights tell about the arguments that it is made with.

  Attributes:
    layouts: ways to name its modules; the first is the one written by default.
    sizes: what to call the size of which array of ours in which dimension.
    stems: size of the first convolution -> the arguments that it implies; empty
      if any size will do.
    stem: our path of that kernel, without its collection, as in `sizes`.
    arguments: from these sizes to arguments of `make`.
    any_size: arguments beyond the layout's to ask a model for its names with.
    forms: arguments that do not show in the weights, and what they may be.
  """

  layouts: tuple[Layout, ...]
  sizes: Sizes
  stems: dict[int, Arguments]
  stem: str = "conv1.kernel"
  arguments: Callable[[dict[str, int]], Arguments] = dict
  any_size: Arguments = {}
  forms: dict[str, tuple[Any, ...]] = {}


_STAGES = (r"^layer(\d)_(\d)", r"layer\1.\2")
_SIZES = {"width": ("conv1.kernel", 3), "num_classes": ("linear.kernel", 1)}

CHANNELS = ("rgb", "bgr")  # OpenCV reads images in the latter order
_ACTIVATIONS = {"activation": tuple(layers.ACTIVATIONS)}
_FORMS = {"stem": tuple(resnet.STEMS), "strides": resnet.STRIDES}
_LAST = {"last_activation": resnet.LAST}

_RESNET = Architecture(
  (
    Layout(
      "kuangliu",
      (
        _STAGES,
        (r"shortcut$", "shortcut.0"),
        (r"shortcut_bn$", "shortcut.1"),
      ),
    ),
    Layout(
      "torchvision",
      (
        _STAGES,
        (r"shortcut$", "downsample.0"),
        (r"shortcut_bn$", "downsample.1"),
        (r"^linear$", "fc"),
      ),
    ),
  ),
  _SIZES,
  {3: {"stem": "cifar"}, 7: {"stem": "imagenet"}},
  forms=_FORMS | _LAST | _ACTIVATIONS,
)
_BOTTLENECKS = {"strides": resnet.WIDENED, "early": (False, True)}


def _vgg_of(depth: int, *, norm: bool = True) -> Architecture:
  """Returns a VGG, with batch norm or without."""
  rules = sequences.vgg(vgg.STAGES[depth], norm=norm)
  hidden = [(r"^linear1$", "classifier.0"), (r"^linear2$", "classifier.3")]
  layouts = (
    Layout("torchvision", (*rules, *hidden, (r"^linear$", "classifier.6"))),
    Layout(
      "kuangliu",
      (*rules, (r"^linear$", "classifier")),
      arguments={"head": "compact"},
    ),
  )
  sizes = _SIZES | {
    "width": ("conv1_1.kernel", 3),
    "hidden": ("linear1.kernel", 1),
  }
  stem = "conv1_1.kernel"
  forms = {"pools": tuple(vgg.POOLS)} | _ACTIVATIONS
  return Architecture(layouts, sizes, {3: {}}, stem, forms=forms)


def _vit_layout(name: str, mlp: tuple[str, str], prefix: str) -> Layout:
  """Returns a way to name a ViT's modules.

  Args:
    name: of the layout.
    mlp: their names of the two hidden layers.
    prefix: of all names. BackdoorBench's model is a list of a resize and a ViT.
  """
  rules = (
    (r"(in|out)_proj$", r"self_attention.\1_proj"),
    *((rf"mlp_{i}$", theirs) for i, theirs in enumerate(mlp, 1)),
    (r"^layer(\d+)", r"encoder.layers.encoder_layer_\1"),
    (r"^ln$", "encoder.ln"),
    (r"^linear$", "heads.head"),
  )
  names = (
    (r"in_proj\.", "in_proj_"),
    (r"^pos_embedding$", "encoder.pos_embedding"),
    (r"^", prefix),
  )
  return Layout(name, rules, names, {"resize": True} if prefix else {})


def _vit_arguments(sizes: dict[str, int]) -> Arguments:
  tokens = sizes.pop("tokens")  # the class token's too
  return sizes | {"size": sizes["patch"] * math.isqrt(max(tokens - 1, 0))}


_OLD = ("mlp.linear_1", "mlp.linear_2")  # before torchvision 0.14
_VIT = Architecture(
  (
    _vit_layout("torchvision", ("mlp.0", "mlp.3"), ""),
    _vit_layout("torchvision-0.13", _OLD, ""),
    _vit_layout("backdoorbench", ("mlp.0", "mlp.3"), "1."),
    _vit_layout("backdoorbench-0.13", _OLD, "1."),
  ),
  {
    "width": ("conv_proj.kernel", 3),
    "num_classes": ("linear.kernel", 1),
    "patch": ("conv_proj.kernel", 0),
    "tokens": ("pos_embedding", 1),
  },
  {},
  "conv_proj.kernel",
  _vit_arguments,
  {"size": 32},
  {"head_width": (64, 32, 128, 16)},
)

_HIDDEN = _SIZES | {"hidden": ("linear1.kernel", 1)}


def _torchvision(
  rules: Rules, stem: int, sizes: Sizes = _SIZES
) -> Architecture:
  """Returns an architecture that torchvision alone is known to name.

  Args:
    stem: size of its first convolution.
  """
  return Architecture((Layout("torchvision", rules),), sizes, {stem: {}})


_DENSE = (
  (r"^layer(\d)_", r"features.denseblock\1.denselayer"),
  (r"bn(\d)$", r"norm\1"),
  (r"^transition(\d)_bn$", r"features.transition\1.norm"),
  (r"^transition(\d)$", r"features.transition\1.conv"),
  (r"^conv1$", "features.conv0"),
  (r"^norm1$", "features.norm0"),
  (r"^norm2$", "features.norm5"),
  (r"^linear$", "classifier"),
  # Theirs are counted from 1.
  (r"(?<=denselayer)\d+", lambda match: str(int(match[0]) + 1)),
)

ARCHITECTURES = {
  "convnext_tiny": _torchvision(sequences.convnext(convnext_tiny.BLOCKS), 4),
  "densenet161": _torchvision(_DENSE, 7),
  "efficientnet_b3": _torchvision(
    sequences.efficientnet(efficientnet_b3.STAGES), 3
  ),
  "mobilenet_v3_large": _torchvision(
    sequences.mobilenet(mobilenet_v3_large.STAGES), 3, _HIDDEN
  ),
  "preact_resnet18": Architecture(
    (Layout("backdoorbench", (_STAGES, (r"shortcut$", "shortcut.0"))),),
    _SIZES,
    {3: {}},
    forms=_FORMS | _ACTIVATIONS | {"shortcut": ("activated", "raw")},
  ),
  "resnet9": Architecture((Layout("bdjax", ()),), _SIZES, {3: {}}),
  "resnet18": _RESNET,
  "resnet50": _RESNET._replace(
    forms=_FORMS | _BOTTLENECKS | _LAST | _ACTIVATIONS
  ),
  "vgg16_bn": _vgg_of(16),
  "vgg19": _vgg_of(19, norm=False),
  "vgg19_bn": _vgg_of(19),
  "vit_b_16": _VIT,
}


def known(name: str) -> str | None:
  """Returns the architecture that others spell otherwise, or None.

  Case and punctuation do not count: BackdoorBench's preactresnet18 is our
  preact_resnet18; its other models have our names.
  """
  plain = {re.sub("_", "", arch): arch for arch in ARCHITECTURES}
  return plain.get(re.sub(r"[\W_]", "", name).lower())


def left_open(arch: str, arguments: Arguments) -> dict[str, tuple[Any, ...]]:
  """Returns what no weights tell of a model, and what each may be.

  All but `channels`, the order in which it takes those of an image, are
  arguments of the model. The first value is the usual one.

  Args:
    arch: the architecture.
    arguments: that its weights told.
  """
  forms = dict(ARCHITECTURES[arch].forms)
  if "stem" in forms:
    size = resnet.STEMS[arguments.get("stem", "cifar")].size
    forms["stem"] = tuple(
      name for name in forms["stem"] if resnet.STEMS[name].size == size
    )
  if "head_width" in forms:
    widths = forms["head_width"]
    forms["head_width"] = tuple(n for n in widths if not arguments["width"] % n)
  return forms | {"channels": CHANNELS}


# The last part of a name, for every layout.
LEAVES = {
  "kernel": "weight",
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
  "class_token": "class_token",
  "pos_embedding": "pos_embedding",
  "layer_scale": "layer_scale",
}
# Number of dimensions of a kernel -> order of ours in theirs: a convolution's
# [h, w, in, out] is their [out, in, h, w], a linear layer's [in, out] the other
# way round.
AXES = {4: (3, 2, 0, 1), 2: (1, 0)}
# Names of theirs that no inference needs.
IGNORED = (".num_batches_tracked",)
