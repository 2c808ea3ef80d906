"""What every architecture must obey, over the registry."""
# ruff: noqa: D103

import functools
import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry, signature
from bdjax.models import efficientnet_b3, mobilenet_v3_large
from bdjax.models.parts import base, heads

MODELS = registry.names("models")
SMALL = {"width": 8, "head_width": 4, "depth": 3, "patch": 8, "hidden": 8}
EFFICIENT, MOBILE = efficientnet_b3.STAGES, mobilenet_v3_large.STAGES
CUT = {  # of deep models, whose blocks are much alike
  "convnext_tiny": {"blocks": (1, 1, 1)},
  "densenet161": {"blocks": (2, 1, 1)},
  "efficientnet_b3": {
    "plans": (EFFICIENT[0], *(EFFICIENT[i][:1] for i in (1, 3)))
  },
  "mobilenet_v3_large": {"plans": tuple(MOBILE[i][:1] for i in (0, 1, 4))},
}
CLASSES = 7
MEAN, STD = (0.5, 0.25, 0.125), (0.5, 2.0, 4.0)
UNPUBLISHED = ("cnn", "resnet9")


def small(name, classes=CLASSES, **args):
  """Returns a narrow model, whatever its arguments are."""
  make = registry.get("models", name)
  known = signature.arguments(make)
  args |= {k: v for k, v in SMALL.items() if k in known}
  return make(classes, **args).clone(**CUT.get(name, {}))


def images():
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.uniform(size=(4, 32, 32, 3)), jnp.float32)


@functools.cache
def _initialized(model):
  return jax.eval_shape(model.init, jax.random.key(0), images())


def shapes(model):
  """Returns the variables' shapes, in dictionaries that are the caller's."""
  return jax.tree.map(lambda leaf: leaf, _initialized(model))


def drawn(model):
  """Returns variables, drawn without compiling what would initialize them."""
  rng = np.random.default_rng(0)

  def draw(path, array):
    kind = path[-1].key
    if kind in ("mean", "var"):
      return np.full(array.shape, kind == "var", array.dtype)
    fan_in = max(1, math.prod(array.shape[:-1]))
    noise = rng.normal(size=array.shape) / fan_in**0.5
    return jnp.asarray(noise + (kind == "scale"), array.dtype)

  return jax.tree_util.tree_map_with_path(draw, shapes(model))


@functools.cache
def train(model):
  """Returns what a step of training gives: logits and features, variables."""
  variables = shapes(model)
  collections = [name for name in variables if name != "params"]
  return jax.eval_shape(
    functools.partial(model.apply, train=True, mutable=collections),
    variables,
    images(),
  )


TYPED = [(name, "bfloat16") for name in MODELS] + [("cnn", "float32")]


@pytest.mark.parametrize(("name", "dtype"), TYPED)
def test_outputs(name, dtype):
  model = small(name, dtype=dtype)
  (logits, features), _ = train(model)
  assert (logits.shape, logits.dtype) == ((4, CLASSES), jnp.float32)
  pooled = features["pooled"]
  assert (pooled.shape[0], pooled.ndim, pooled.dtype) == (4, 2, jnp.float32)
  maps = {k: v for k, v in features.items() if k.startswith("layer")}
  assert len(maps) >= 3
  numbers = [int(name.removeprefix("layer")) for name in maps]
  assert numbers == list(range(numbers[0], numbers[0] + len(maps)))
  assert {(v.shape[0], v.ndim, str(v.dtype)) for v in maps.values()} == {
    (4, 4, dtype)
  }
  sides = [v.shape[1] for v in maps.values()]
  assert sides == sorted(sides, reverse=True)


@pytest.mark.parametrize(("name", "dtype"), TYPED)
def test_variables_are_float32_and_keep_their_shapes(name, dtype):
  model = small(name, dtype=dtype)
  before = shapes(model)
  _, after = train(model)
  rest = {k: v for k, v in before.items() if k != "params"}
  assert jax.tree.map(jnp.shape, dict(after)) == jax.tree.map(jnp.shape, rest)
  assert {x.dtype for x in jax.tree.leaves((before, after))} == {
    jnp.dtype("float32")
  }
  jax.eval_shape(model.apply, before, images())  # raises if it writes


@pytest.mark.parametrize("name", MODELS)
def test_an_encoder_lacks_the_last_layer_and_nothing_else(name):
  model = small(name)
  whole, encoder = shapes(model), model.clone(num_classes=0)
  linear = whole["params"].pop("linear")
  assert linear["kernel"].shape[1] == CLASSES
  assert shapes(encoder) == whole
  same = []

  def apply(variables):
    logits, features = encoder.apply(variables, images())
    same.append(logits is features["pooled"])
    return features["pooled"]

  assert jax.eval_shape(apply, whole).shape == (4, linear["kernel"].shape[0])
  assert same == [True]


@pytest.mark.parametrize("name", MODELS)
def test_a_head_goes_onto_the_features(name):
  backbone = small(name)
  model = heads.Headed(backbone.clone(num_classes=0), heads.Linear(5))
  variables = shapes(model)
  kept = heads.on(shapes(backbone), {"params": variables["params"]["head"]})
  assert jax.tree.structure(kept) == jax.tree.structure(variables)
  (logits, _), _ = train(model)
  assert logits.shape == (4, 5)


@pytest.mark.parametrize("name", MODELS)
def test_values(name):
  """Logits are linear in `pooled`, images are normalized and apart."""
  model = small(name, mean=MEAN, std=STD)
  plain = small(name)
  mean, std = (jnp.array(v).reshape(1, 1, 1, 3) for v in (MEAN, STD))
  x = images()
  variables = drawn(plain)
  linear = variables["params"]["linear"]
  apply = jax.jit(functools.partial(model.apply, variables))
  logits, features = apply(x)
  normalized, _ = jax.jit(plain.apply)(variables, (x - mean) / std)
  others = {
    "are not linear in `pooled`": features["pooled"] @ linear["kernel"]
    + linear["bias"][None],
    "with mean, std are not those of images that were normalized": normalized,
    "depend on the place in the batch": apply(x[::-1])[0][::-1],
  }
  first = apply(x.at[1:].set(0.0))[0][0]
  assert np.ptp(logits, axis=0).min() > 0, f"{name}: logits of all are alike"

  def check(ours, theirs, words):
    message = f"{name}: logits {words}"
    np.testing.assert_allclose(ours, theirs, 1e-4, 1e-4, err_msg=message)

  for words, other in others.items():
    check(logits, other, words)
  check(logits[0], first, "depend on other images of the batch")


SIZES = [  # published, but for those counted by hand; more: test_torchvision.py
  ("cnn", 10, {"width": 32}, 94_762),
  ("preact_resnet18", 10, {}, 11_171_146),
  ("resnet18", 1000, {"stem": "imagenet"}, 11_689_512),
  ("resnet18", 10, {}, 11_173_962),
  ("resnet50", 1000, {"stem": "imagenet"}, 25_557_032),
  ("resnet50", 10, {}, 23_520_842),
  # 9 * (3*24 + 24*48 + 48*96 + 96*96 + 96*192 + 2*96*96) in convolutions,
  # 2 * (24 + 48 + 96 + 96 + 192 + 2*96) in norms, 192 * 10 + 10 at the end.
  ("resnet9", 10, {}, 470_434),
  ("vgg16_bn", 1000, {}, 138_365_992),
  ("vgg16_bn", 10, {"head": "compact"}, 14_728_266),
  ("vgg19", 10, {"head": "compact"}, 20_029_514),
  ("vgg19_bn", 10, {"head": "compact"}, 20_040_522),
  ("vit_b_16", 1000, {"size": 224}, 86_567_656),
]


@pytest.mark.parametrize(("name", "classes", "args", "parameters"), SIZES)
def test_parameter_count(name, classes, args, parameters):
  side = args.get("size", 32)
  image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  model = registry.get("models", name)(classes, **args)
  tree = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
  assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == parameters


@pytest.mark.parametrize("name", MODELS)
def test_arguments_are_explained_typed_and_in_range(name):
  make = registry.get("models", name)
  schema = signature.arguments(make)
  first, *others = inspect.signature(make).parameters.values()
  assert first.name == "num_classes"
  for other in others:
    assert other.kind is other.KEYWORD_ONLY, f"{name}.{other.name}"
  for argument in ("width", "mean", "std", "dtype"):
    assert argument in schema, f"{name} lacks {argument}"
  assert list(signature.meanings(make)) == list(schema), name
  for argument in schema:
    assert schema[argument].base is not Any, f"{name}.{argument} has no type"
  wrong = {"num_classes": -1, "width": 0, "dtype": "float16", "stem": "tiny"}
  for argument in wrong.keys() & schema.keys():
    with pytest.raises(ValueError, match=f"{name}.{argument} is"):
      make(**{"num_classes": CLASSES, argument: wrong[argument]})
  with pytest.raises(ValueError, match=f"{name}.num_classes is -1"):
    make(-1)


@pytest.mark.parametrize("name", MODELS)
def test_python_goes_through_it_once(name):
  model = small(name)
  assert isinstance(model, base.Network)
  hash(model)


@pytest.mark.parametrize("name", MODELS)
def test_module_names_its_paper(name):
  text = registry.module("models", name).__doc__
  shared = inspect.getdoc(inspect.getmodule(type(small(name))))
  assert "arXiv" in text + shared or name in UNPUBLISHED
