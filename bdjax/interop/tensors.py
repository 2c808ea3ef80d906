"""Named tensors in and out of files: PyTorch's zip format and safetensors.

What a file is, is told by its first bytes, not by its name. Of a checkpoint
that holds more than weights, `sets` picks the weights, and the few other facts
in `FACTS` are kept.
"""

import json
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
from safetensors.numpy import save_file

from bdjax.interop import archive, pytorch, sets, shards
from bdjax.interop.refusals import Refused, about, listed, shown
from bdjax.machine import storage

LARGEST = 2**33  # bytes of a file
HEADER = 2 * 2**20  # bytes of a safetensors file's list of tensors
_LONGEST = 200  # characters of a fact
_HIGHEST = 1000  # mean or standard deviation, of images in 0..1 or 0..255


class Loaded(NamedTuple):
  """What a file holds.

  Attributes:
    tensors: by name, as the file has them; bfloat16 as float32.
    metadata: those of the `FACTS` that the file states; of a safetensors file
      also its other strings.
    taken: what a checkpoint calls the weights that were taken; "" for all.
    others: what it calls others, of the same names, that were not.
    files: that were read.
    place: the one of them, or their index, that the path stands for.
  """

  tensors: dict[str, np.ndarray]
  metadata: dict[str, Any]
  taken: str = ""
  others: tuple[str, ...] = ()
  files: tuple[Path, ...] = ()
  place: Path = Path()


def read(path: Path, *, weights: str | None = None) -> Loaded:
  """Reads the tensors of a PyTorch or safetensors file, or of its shards.

  Args:
    path: the file, one of several with an index beside them, that index, or
      the folder of either; it is only read, and nothing in it is run or
      extracted.
    weights: which are taken of several, "raw", "ema" or a name; None for the
      averaged ones if there are any.

  Raises:
    UnsafeFile: it asks for code; says for which.
    Refused: it cannot be read; says why, and what to do.
  """
  with about(Path(path)):
    path = shards.resolved(Path(path))
    places = shards.places(path) if shards.is_index(path) else None
  files = (path,) if places is None else tuple(dict.fromkeys(places.values()))
  contents = {file: _contents(file) for file in files}
  with about(path):
    content, metadata = contents[files[0]]
    if places is not None:
      content = shards.joined(places, {k: v for k, (v, _) in contents.items()})
    some = sets.picked(content, weights)
  return Loaded(some.tensors, metadata, some.name, some.others, files, path)


def _contents(path: Path) -> tuple[Any, dict[str, Any]]:
  """Returns what one file holds, and the facts that it states."""
  with about(path):
    try:
      status = path.stat()
      if not stat.S_ISREG(status.st_mode):
        raise Refused("is not a file; give the path of a .pt or .safetensors.")
      if status.st_size > LARGEST:
        raise Refused(
          f"has {status.st_size} bytes, more than the {LARGEST} that are read "
          "of a model; save its weights alone."
        )
      with open(path, "rb") as file:
        start = file.read(16)
    except OSError as fault:
      raise Refused(f"cannot be opened: {fault.strerror}.") from None
  if archive.is_one(start):
    content = archive.load(path)
    return content, _facts(content) if isinstance(content, dict) else {}
  with about(path):
    return _read_safetensors(path, start)


def write(
  path: Path,
  tensors: Mapping[str, np.ndarray],
  metadata: Mapping[str, Any],
  *,
  force: bool = False,
) -> None:
  """Writes a safetensors or PyTorch file, whole or not at all.

  Args:
    path: the file; its folder exists. What ends in .pt or .pth is written by
      PyTorch, as a plain state dict; all else is a safetensors file.
    tensors: by name.
    metadata: strings, or numbers and tuples of numbers, by name; a PyTorch file
      holds none.
    force: whether a file that is there already may be replaced.

  Raises:
    ValueError: the file is there already, or its folder is not; or PyTorch,
      which is needed, is not.
  """
  path = Path(path)
  pytorch.check(path)
  check_free(path, force=force)
  # The library writes an array's memory as it lies, whatever its strides.
  arrays = {k: np.ascontiguousarray(v) for k, v in tensors.items()}
  arrays = {k: v.reshape(np.shape(tensors[k])) for k, v in arrays.items()}
  texts = {
    k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()
  }
  with storage.replacing(path) as part:
    mode = stat.S_IMODE(part.stat().st_mode)  # as the umask leaves it
    if path.suffix in pytorch.SUFFIXES:
      pytorch.save(part, arrays)
    else:
      save_file(arrays, part, metadata=texts)
    part.chmod(mode)  # the library makes it anew, for its owner alone
    check_free(path, force=force)


def check_finite(tensors: Mapping[str, np.ndarray]) -> None:
  """Says which tensors hold numbers that no model can have.

  Raises:
    Refused: some are not finite, or variances below 0; names the first few and
      counts them.
  """
  floats = {k: v for k, v in tensors.items() if v.dtype.kind in "fc"}
  bad = [k for k, v in floats.items() if not np.isfinite(v).all()]
  if bad:
    raise Refused(
      f"{len(bad)} of {len(tensors)} tensors hold NaN or infinite numbers "
      f"({listed(bad)}): the model was broken in training or the file was "
      "tampered with; use another copy."
    )
  bad = [
    k
    for k in floats
    if k.endswith("running_var") and floats[k].min(initial=0) < 0
  ]
  if bad:
    raise Refused(
      f"{len(bad)} of {len(tensors)} tensors hold variances below 0 "
      f"({listed(bad)}): the file was tampered with; use another copy."
    )


def check_free(path: Path, *, force: bool) -> None:
  """Refuses a file that is not to be replaced, or has no folder to lie in.

  Args:
    path: the file.
    force: whether it may be there already.

  Raises:
    ValueError: it is there and may not be, or its folder is not.
  """
  if not path.parent.is_dir():
    raise ValueError(f"{path.parent} is not a folder; make it first.")
  if path.exists() and not force:
    raise ValueError(
      f"{path} exists already; give another name, or allow it to be replaced "
      "with force."
    )


def _read_safetensors(
  path: Path, start: bytes
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  header = int.from_bytes(start[:8], "little")
  if start[8:9] != b"{":
    raise Refused(
      "is neither a PyTorch zip file nor a safetensors file; save the weights "
      "in PyTorch with torch.save(model.state_dict(), ...)."
    )
  if header > HEADER:
    raise Refused(
      f"is cut off or damaged: its list of tensors is {header} bytes long, "
      f"more than the {HEADER} that are read; fetch or save it again."
    )
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      texts = file.metadata() or {}
      tensors = {name: _widened(file.get_tensor(name)) for name in file.keys()}
  except (safetensors.SafetensorError, ValueError, OSError) as fault:
    raise Refused(f"is not a sound safetensors file: {shown(fault)}.") from None
  except (AttributeError, KeyError, TypeError) as fault:
    raise Refused(
      f"holds numbers of a type that numpy lacks ({shown(fault)}); save them "
      "as float32."
    ) from None
  facts = {name: _fact(name, text) for name, text in texts.items()}
  others = {name: text for name, text in texts.items() if name not in FACTS}
  return tensors, others | _facts(facts)


def _widened(tensor: np.ndarray) -> np.ndarray:
  return (
    tensor.astype(np.float32) if tensor.dtype.name == "bfloat16" else tensor
  )


def _facts(entries: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the facts that look as they should; lists as tuples."""
  values = {name: entries.get(name) for name in FACTS}
  values = {k: tuple(v) if type(v) is list else v for k, v in values.items()}
  return {k: v for k, v in values.items() if FACTS[k](v)}


def _fact(name: str, text: str) -> Any:
  """Returns a safetensors file's string, or the fact that it stands for."""
  if FACTS.get(name, _is_text) is _is_text or len(text) > _LONGEST:
    return text
  try:
    return json.loads(text)
  except (ValueError, RecursionError):
    return text


def _is_text(value: Any) -> bool:
  return isinstance(value, str) and len(value) <= _LONGEST


def _is_count(value: Any) -> bool:
  return type(value) is int and 0 < value < 2**31


def _is_size(value: Any) -> bool:
  sized = isinstance(value, tuple) and 0 < len(value) < 5
  return sized and all(map(_is_count, value))


def _are_levels(value: Any) -> bool:
  sized = isinstance(value, tuple) and 0 < len(value) < 5
  return sized and all(
    type(v) in (int, float) and abs(v) < _HIGHEST for v in value
  )


# What may be known of a model besides its weights, and how it looks.
FACTS: dict[str, Callable[[Any], bool]] = {
  "model_name": _is_text,
  "num_classes": _is_count,
  "img_size": _is_size,
  "mean": _are_levels,
  "std": _are_levels,
  "clean_data": _is_text,  # the benchmark's name of what it was trained on
}
