"""Builds methods from a config's sections and specs.

A method's arguments come from its section, from a preset and from the spec's
own text, later ones winning. They are checked against the signature of `make`.
"""

import functools
import hashlib
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import data
from bdjax.data import pictures as files
from bdjax.machine import notes, storage
from bdjax.methods import registry, signature, specs, values
from bdjax.runs import experiment, sources
from bdjax.runs.sources import Source

DEFENDER = ("clean_rate", "balanced")  # what a defender holds
SHARED = ("rate", "target", "mode", "epochs", "batch_size")  # for who takes it
GIVEN = ("num_classes", "mean", "std")  # known from the data, not from a user


class Method(NamedTuple):
  """An attack, a regime, a defense ... with the text that names it."""

  label: str
  built: Any  # the attack, regime, defense, sequel or model itself
  args: dict[str, Any]  # what decides it, as JSON-able values
  remake: Callable[..., Any] | None = None  # the same with other numbers
  numbers: tuple[str, ...] = ()  # arguments that may be traced
  holding: experiment.Holding | None = None  # what a defense's defender holds
  source: Source | None = None  # where its arguments are said

  def __hash__(self) -> int:
    """Hashes the text alone: arguments lie in a dict."""
    return hash(self.label)

  def at(self, numbers: dict[str, Any]) -> Any:
    """Returns the method as built, or with other numbers, traced or not."""
    return self.remake(**numbers) if numbers else self.built

  @property
  def name(self) -> str:
    """The method's own name, without preset and arguments."""
    return self.label.partition("(")[0].partition(".")[0]


def model(section: dict[str, Any], info: data.Info, classes: int) -> Method:
  """Builds the model of a section for a dataset's colours.

  Args:
    section: `name`, such as resnet50(stem=imagenet), and arguments; None means
      the architecture's own default.
    classes: logits; 0 for an encoder.
  """
  specified = specs.parse(section["name"])
  if len(specified) != 1 or specified[0].preset:
    raise ValueError(
      f"model.name is {section['name']!r}, but must be one architecture, such "
      "as resnet18 or resnet50(stem=imagenet)."
    )
  (spec,) = specified
  options = {k: v for k, v in section.items() if v is not None and k != "name"}
  make = registry.get("models", spec.name)
  _check_arguments(spec.name, make, options | spec.args)
  facts = {"num_classes": classes, "mean": info.mean, "std": info.std}
  source = sources.of("models", section)._replace(spec=spec)
  _check_given(source, options | spec.args, facts)
  args = options | spec.args | facts
  network = _try(functools.partial(make, **args), source, args)
  del args["num_classes"]
  return Method(str(spec), network, args, source=source)


def methods(
  kind: str,
  section: dict[str, Any],
  facts: dict[str, Any],
  *,
  reserved: tuple[str, ...] = (),
  overridden: frozenset[str] = frozenset(),
  axes: dict[str, tuple] | None = None,
) -> list[Method]:
  """Builds the methods of a section; its other keys go to all that take them.

  Args:
    kind: attacks, defenses or sequela.
    section: `name` and arguments; None means the method's own default.
    facts: arguments that follow from the data.
    reserved: keys that are not the method's own.
    overridden: keys that the user gave on the command line. They win over a
      preset, which wins over the section; a spec's own arguments win over all.
    axes: arguments with several values, for each method that takes them.
  """
  shared = {k: v for k, v in section.items() if v is not None and k != "name"}
  source = sources.of(kind, section, axes)
  chosen = [
    (one, source._replace(spec=spec))
    for spec in specs.parse(section["name"])
    if str(spec) != "none"
    for one in expanded(kind, spec, axes, reserved)
  ]
  used, built = set(reserved), []
  for spec, place in chosen:
    schema = signature.arguments(registry.get(kind, spec.name))
    here = (facts | shared).items()
    options = {k: v for k, v in here if k in schema or k in reserved}
    used |= options.keys()
    overrides = {k: v for k, v in options.items() if k in overridden}
    options |= _preset(kind, spec) | overrides | spec.args
    _check_given(place, options, facts)
    make = registry.get(kind, spec.name)
    built.append(build(make, spec, options, reserved, place))
  lost = shared.keys() - used
  lost = sorted(k for k in lost if k in overridden or k not in SHARED)
  if lost and built:
    first = chosen[0][0].name
    names = signature.arguments(registry.get(kind, first))
    raise ValueError(
      f"{kind.removesuffix('s')}.{lost[0]}: {first} has no such "
      f"argument: {signature.nearest(lost[0], names)}"
    )
  return built


def _check_given(
  source: Source, options: dict[str, Any], facts: dict[str, Any]
) -> None:
  """Refuses arguments that contradict the data."""
  for key, fact in facts.items():
    value = options.get(key, fact)
    value = tuple(value) if isinstance(value, list) else value
    if value != fact:
      raise ValueError(
        f"{source.key(key)} is {values.shown(value)}, but the data says "
        f"{fact}: leave it out."
      )


def swept(kind: str, spec: specs.Spec) -> dict[str, tuple]:
  """Returns the arguments to which a method's text gives several values."""
  if not spec.args:  # and `none` is no method
    return {}
  return specs.swept(spec, signature.sequences(registry.get(kind, spec.name)))


def expanded(
  kind: str,
  spec: specs.Spec,
  axes: dict[str, tuple] | None = None,
  reserved: tuple[str, ...] = (),
) -> list[specs.Spec]:
  """Returns a spec for each combination of a method's arguments' values.

  Args:
    kind: as `methods` takes it.
    spec: of the method, or `none`.
    axes: arguments with several values; those that it does not take are left.
    reserved: keys that are not the method's own.
  """
  if str(spec) == "none":
    return [spec]
  make = registry.get(kind, spec.name)
  schema = signature.arguments(make)
  axes = {k: v for k, v in (axes or {}).items() if k in schema or k in reserved}
  return specs.expand(spec, axes, signature.sequences(make))


def _preset(kind: str, spec: specs.Spec) -> dict[str, Any]:
  if spec.preset is None:
    return {}
  presets = registry.presets(kind, spec.name)
  if spec.preset not in presets:
    raise ValueError(
      f"{spec.name} has no preset {spec.preset!r}: "
      f"{signature.nearest(spec.preset, presets)}"
    )
  return presets[spec.preset]


def build(
  make: Callable[..., Any],
  spec: specs.Spec,
  options: dict[str, Any],
  reserved: Collection[str] = (),
  source: Source | None = None,
) -> Method:
  """Builds a method.

  Args:
    make: its maker.
    spec: its text.
    options: all that is given to it, and what of that is reserved.
    reserved: keys that are not the method's own.
    source: where they are said, which its refusals name.

  Raises:
    ValueError: an argument cannot be so.
  """
  args = {k: v for k, v in options.items() if k not in reserved}
  schema = signature.arguments(make)
  pictures = {
    k: _picture(source.key(k) if source else f"{spec.name}.{k}", v)
    for k, v in args.items()
    if k in schema
    and isinstance(schema[k].check, signature.Picture)
    and isinstance(v, str)
  }
  remake = functools.partial(make, **(args | pictures))
  _try(remake, source, schema)
  method = remake(**signature.arrays(schema, args))
  defaults = {k: a.default for k, a in schema.items()}
  stamps = {
    k: hashlib.sha256(np.asarray(v).tobytes()).hexdigest()[:16]
    for k, v in pictures.items()
  }
  numbers = tuple(k for k, a in schema.items() if a.sweepable)
  decide = defaults | options | stamps
  return Method(str(spec), method, decide, remake, numbers, source=source)


def _try(
  make: Callable[[], Any], source: Source | None, arguments: Collection[str]
) -> Any:
  """Makes a method of Python's numbers, which refuses what is out of range.

  Of arrays it would not be asked.
  """
  try:
    return make()
  except ValueError as error:
    if source is None:
      raise
    raise ValueError(source.worded(str(error), arguments)) from error


def _picture(label: str, path: str) -> jax.Array:
  place = storage.local(path, label)
  try:
    (image,), remarks = files.read([place], files.size(place))
  except ValueError as fault:
    raise ValueError(
      f"{label} is {path!r}, which cannot be read as an image: {fault}"
    ) from None
  for remark in remarks:
    notes.say(remark)
  return jnp.asarray(image, jnp.float32) / 255


def scenario(text: str) -> Method:
  """Builds the scenario that a spec names."""
  specified = specs.parse(text)
  if len(specified) != 1:
    raise ValueError(
      f"scenario is {text!r}, but must be one: standalone, transfer or encoder."
    )
  (spec,) = specified
  make = registry.get("scenarios", spec.name)
  options = _preset("scenarios", spec) | spec.args
  return build(make, spec, options, source=Source("scenario", spec))


def holding(method: Method, section: dict[str, Any]) -> Method:
  """Returns a built defense with what its defender holds."""
  key = method.source.key
  rate = method.args.get("clean_rate", section["clean_rate"])
  balanced = method.args.get("balanced", section["balanced"])
  signature.check(key("balanced"), bool, balanced)
  number = isinstance(rate, int | float) and not isinstance(rate, bool)
  if not number or not 0 < rate <= 1:
    raise ValueError(
      f"{key('clean_rate')} is {rate!r}, but must be above 0 and at most 1: "
      "the defender's share of the clean training set."
    )
  defender = experiment.Holding(float(rate), balanced)
  return method._replace(holding=defender)


def _check_arguments(
  name: str, make: Callable[..., Any], options: dict[str, Any]
) -> None:
  schema = signature.arguments(make)
  for key in options:
    if key not in schema:
      raise ValueError(
        f"model.{key}: {name} has no such argument: "
        f"{signature.nearest(key, schema)}"
      )
