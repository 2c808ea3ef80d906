"""Turns PyTorch's named tensors into variables of our models, and back.

Which name is whose, `naming` tells. Running statistics are taken as they are.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from bdjax.interop import naming
from bdjax.interop.naming import Mismatch, Path, Tensors
from bdjax.interop.refusals import listed
from bdjax.interop.tables import AXES, Layout
from bdjax.methods import signature
from bdjax.types import Params


def to_flax(tensors: Tensors, arch: str) -> tuple[dict[str, Any], Params]:
  """Returns a model's arguments and variables, from PyTorch's tensors.

  Args:
    tensors: by PyTorch's names, in any of the architecture's layouts.
    arch: name of a model in `tables.ARCHITECTURES`.

  Returns:
    The arguments of the model's `make` that shapes tell, to which those of the
    normalization (`mean`, `std`) are yet to be added; and float32 variables.

  Raises:
    Mismatch: names or shapes are not the architecture's; says which, and whose
      they are likely to be.
    ValueError: the architecture is unknown; names the known ones.
  """
  table, place = naming.architecture(arch), naming.seen(tensors, arch)
  layout, ranks = place.layout, naming.plain(arch, place.layout)
  names = {
    path: place.prefix + place.names[naming.called(path, layout)]
    for path in ranks
  }
  for path, shape in ranks.items():
    _check_kind(names[path], tensors[names[path]], len(shape))
  ours = {path: _turned(tensors[name], _BACK) for path, name in names.items()}
  arguments = _arguments(ours, arch, layout)
  channels = ours[naming.param(table.stem)].shape[-2]
  try:
    needed = naming.shapes(arch, tuple(sorted(arguments.items())), channels)
  except ValueError as e:
    raise Mismatch(f"no {arch} has {_words(arguments)}: {e}") from e
  for path, shape in needed.items():
    if ours[path].shape != shape:
      raise Mismatch(
        f"{names[path]} has shape {tensors[names[path]].shape}, but {arch} "
        f"with {_words(arguments)} needs {_permuted(shape, AXES)}; name the "
        "architecture that the file was made for."
      )
  cast = {p: jnp.array(_single(names[p], ours[p])) for p in needed}
  return arguments, unflatten_dict(cast)


def to_torch(
  variables: Params, arch: str, *, layout: str | None = None
) -> dict[str, np.ndarray]:
  """Returns PyTorch's tensors, from a model's variables.

  Batch norms' `num_batches_tracked` is left out: PyTorch sets it to 0 itself
  when it loads a state dict that carries no version numbers.

  Args:
    variables: of the model `arch`.
    arch: name of a model in `tables.ARCHITECTURES`.
    layout: name of one of the architecture's layouts; None for `fitting`.

  Raises:
    Mismatch: the variables are another architecture's.
    ValueError: architecture or layout is unknown; names the known ones.
  """
  flat = flatten_dict(variables)
  layouts = {x.name: x for x in naming.architecture(arch).layouts}
  layout = fitting(variables, arch) if layout is None else layout
  if layout not in layouts:
    raise ValueError(
      f"unknown layout {layout!r} of {arch}: "
      f"{signature.nearest(layout, layouts)}"
    )
  needed = naming.plain(arch, layouts[layout])
  odd = flat.keys() ^ needed.keys()
  if odd:
    raise Mismatch(
      f"the variables are not those of {arch} ({layout}): one of the two lacks "
      f"{listed(sorted(map('.'.join, odd)))}; name the architecture they were "
      "made for."
    )
  return {
    naming.called(path, layouts[layout]): np.ascontiguousarray(
      _turned(np.asarray(flat[path]), AXES)
    )
    for path in needed
  }


def fitting(variables: Params, arch: str) -> str:
  """Returns the first layout of an architecture that has such variables.

  Where none has, the first of all.

  Raises:
    ValueError: the architecture is unknown; names the known ones.
  """
  paths = flatten_dict(variables).keys()
  layouts = naming.architecture(arch).layouts
  fits = (x.name for x in layouts if naming.plain(arch, x).keys() == paths)
  return next(fits, layouts[0].name)


def first_kernel(variables: Params, arch: str) -> jnp.ndarray:
  """Returns the kernel of a model's first layer, [h, w, channels, filters]."""
  return flatten_dict(variables)[naming.param(naming.architecture(arch).stem)]


def with_channels_reversed(variables: Params, arch: str) -> Params:
  """Returns a model that takes the channels of an image in reversed order."""
  path = naming.param(naming.architecture(arch).stem)
  kernel = first_kernel(variables, arch)[:, :, ::-1]
  return unflatten_dict(flatten_dict(variables) | {path: kernel})


def _check_kind(name: str, tensor: np.ndarray, dimensions: int) -> None:
  if tensor.ndim != dimensions or tensor.dtype.kind != "f":
    raise Mismatch(
      f"{name} is {tensor.dtype} of shape {tensor.shape}, but should be "
      f"floating point of {dimensions} dimensions; name the architecture that "
      "the file was made for."
    )


def _arguments(
  ours: Mapping[Path, np.ndarray], arch: str, layout: Layout
) -> dict[str, Any]:
  table = naming.architecture(arch)
  height, width, channels, _ = ours[naming.param(table.stem)].shape
  if height != width or (table.stems and height not in table.stems):
    forms = " or ".join(f"{size} x {size}" for size in table.stems)
    raise Mismatch(
      f"the first convolution is {height} x {width}, but {arch} here has one "
      f"of {forms or 'equal sides'} only, so this model cannot be rebuilt."
    )
  arguments = table.arguments(
    {
      name: ours[naming.param(path)].shape[axis]
      for name, (path, axis) in table.sizes.items()
      if naming.param(path) in ours
    }
  )
  if not min(channels, *arguments.values()):
    raise Mismatch(
      f"{_words(arguments)} and {channels} input channels make no model; the "
      "file is not whole."
    )
  return arguments | table.stems.get(height, {}) | layout.arguments


def _words(arguments: Mapping[str, Any]) -> str:
  return ", ".join(f"{k}={v}" for k, v in arguments.items())


_Axes = Mapping[int, tuple[int, ...]]
_BACK: _Axes = {n: tuple(np.argsort(axes).tolist()) for n, axes in AXES.items()}


def _permuted(shape: tuple[int, ...], axes: _Axes) -> tuple[int, ...]:
  return tuple(shape[i] for i in axes.get(len(shape), range(len(shape))))


def _turned(array: np.ndarray, axes: _Axes) -> np.ndarray:
  """Returns a view: no shape is checked yet of what a file holds."""
  return array.transpose(axes.get(array.ndim, tuple(range(array.ndim))))


def _single(name: str, array: np.ndarray) -> np.ndarray:
  limit = np.finfo(np.float32).max
  if array.dtype.itemsize > 4 and np.abs(array).max(initial=0) > limit:
    raise Mismatch(
      f"{name} holds numbers above {limit:g}, which float32 cannot hold; use "
      "another copy of the model."
    )
  return np.ascontiguousarray(array, np.float32)
