"""Reads datasets that tfds has prepared, without TensorFlow.

array_record folders go through `tfds.data_source`'s machinery in batches;
tfrecord folders, which it refuses without TensorFlow, through their framing.
Both formats keep checksums, which are looked at: a damaged image is refused.
tfds is imported only when records are decoded.
"""

import contextlib
import functools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from bdjax.data import labels, pictures
from bdjax.data.places import PREPARED, MissingDataset, Source, root

_SPLITS = {
  (name, "test"): "validation" for name in ("imagenette", "tiny_imagenet")
}
# the newer division, smallest first: all are resized anyway
_CONFIGS = {"imagenette": ("160px-v2", "320px-v2", "full-size-v2")}
_STORED = {"celeba8": "celeb_a"}
_BATCH = 1000


def source(
  name: str, split: str, shape: tuple[int, int, int], data_dir: Any
) -> Source:
  """Returns a split of a prepared dataset.

  Raises:
    MissingDataset: no prepared folder.
  """
  folder = locate(name, data_dir)
  split = _SPLITS.get((name, split), split)
  with _whole(name, folder):
    meta = json.loads((folder / "dataset_info.json").read_text())
    part = [part for part in meta["splits"] if part["name"] == split]
    kind = meta.get("fileFormat", "tfrecord")
    config, version = meta.get("configName"), meta["version"]
  if kind not in ("tfrecord", "array_record"):
    raise ValueError(
      f"dataset {name!r} in {folder} has the file format {kind!r}; prepare it "
      "as array_record or tfrecord."
    )
  identity = [name, config, version, kind, part, shape, _files(folder, split)]
  read = functools.partial(_read, name, folder, kind, split, shape)
  return Source(json.dumps(identity), read)


def _files(folder: Path, split: str) -> list[tuple[str, int, int]]:
  """Returns names, sizes and times of a split's files, for its content.

  Lengths and bytes of a split, which dataset_info.json has, are those of other
  labels, too.
  """
  known = [(p.name, p.stat()) for p in sorted(folder.glob(f"*-{split}.*"))]
  return [(name, about.st_size, about.st_mtime_ns) for name, about in known]


def locate(name: str, data_dir: str | Path | None = None) -> Path:
  """Returns the version folder of a prepared dataset.

  Raises:
    MissingDataset: none holds a dataset_info.json.
  """
  base, origin = root(data_dir)
  top = base / _STORED.get(name, name)
  tops = [top / config for config in _CONFIGS.get(name, ("",))]
  for folder in tops:
    folders = [path.parent for path in folder.glob("*/dataset_info.json")]
    if folders:
      return max(folders, key=_version)
  raise MissingDataset(name, tops, origin)


def _version(folder: Path) -> tuple[int, ...]:
  parts = folder.name.split(".")
  return tuple(int(part) if part.isdecimal() else -1 for part in parts)


def _read(
  name: str, folder: Path, kind: str, split: str, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
  import tensorflow_datasets as tfds

  with _whole(name, folder):
    builder = tfds.builder_from_directory(str(folder))
    for path in builder.info.splits[split].filepaths:
      if not Path(path).is_file():
        raise FileNotFoundError(f"{Path(path).name} is missing")
    if kind == "array_record":
      return decode(name, builder, split, shape)
    image, label = _collect(name, _records(builder, folder, split), shape)
    count = builder.info.splits[split].num_examples
    if len(label) != count:
      raise EOFError(f"{len(label)} of {count} images are there")
    return image, label


@contextlib.contextmanager
def _whole(name: str, folder: Path) -> Iterator[None]:
  """Says what to do where files that tfds has prepared are gone or damaged."""
  try:
    yield
  except Exception as fault:  # each reader has its own kinds
    reason = " ".join(str(fault).split())[:200] or type(fault).__name__
    command = f": `python -m bdjax.launch prepare {name}`"
    raise ValueError(
      f"dataset {name!r} in {folder} is not whole ({reason}); remove that "
      f"folder and prepare it again{command if name in PREPARED else '.'}"
    ) from fault


def decode(
  name: str, builder: Any, split: str, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
  """Decodes a split of a tfds builder by batched reads in threads.

  Args:
    name: our name of the dataset, which decides how labels are read.
    builder: a tfds builder whose data lie in array_record files.
    split: the split as tfds calls it.
    shape: of the images returned; others are resized.

  Returns:
    images [N, H, W, C] uint8 and labels [N] int32.
  """
  records = builder.as_data_source(split=split)
  count = len(records)
  image = np.empty((count, *shape), np.uint8)
  label = np.empty(count, np.int32)

  def fill(start):
    rows = range(start, min(start + _BATCH, count))
    for row, example in zip(rows, records.__getitems__(rows), strict=True):
      image[row] = pictures.fit(example["image"], shape)
      label[row] = _label(name, example)

  with ThreadPoolExecutor(4) as pool:
    list(pool.map(fill, range(0, count, _BATCH)))
  return image, label


def _collect(
  name: str, examples: Iterator[dict], shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
  pairs = [
    (pictures.fit(example["image"], shape), _label(name, example))
    for example in examples
  ]
  image, label = zip(*pairs, strict=True)
  return np.stack(image), np.array(label, np.int32)


def _label(name: str, example: dict[str, Any]) -> int:
  if name == "celeba8":
    return celeba_label(example["attributes"])
  return example["label"]


def celeba_label(attributes: dict[str, Any]) -> int:
  """Returns the class in 0..7 that three attributes spell in binary."""
  bits = (attributes[bit] for bit in labels.CELEBA_BITS)
  high, middle, low = (int(bit) > 0 for bit in bits)  # CelebA's 0 is -1
  return 4 * high + 2 * middle + low


def _records(builder: Any, folder: Path, split: str) -> Iterator[dict]:
  paths = sorted(folder.glob(f"*-{split}.tfrecord-*"))
  parse = builder.info.features.deserialize_example_np
  for path in paths:
    yield from map(parse, frames(path))


def frames(path: Path) -> Iterator[bytes]:
  """Yields the records of a TFRecord file, each held against its checksum.

  Raises:
    ValueError: the file ends within a record, or is not as it was written.
  """
  with path.open("rb") as file:
    # length (8 bytes, little-endian), its checksum (4), bytes, checksum (4)
    while head := file.read(12):
      length = int.from_bytes(_checked(path, head, 12), "little")
      yield _checked(path, file.read(length + 4), length + 4)


def _checked(path: Path, content: bytes, wanted: int) -> bytes:
  """Returns what stands before its checksum, a masked crc32c."""
  if len(content) != wanted:
    raise ValueError(f"{path.name} ends within a record")
  body, kept = content[:-4], int.from_bytes(content[-4:], "little")
  crc = google_crc32c.value(body)
  # The format rotates it by 15 bits and adds a constant.
  masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
  if masked != kept:
    raise ValueError(f"a record of {path.name} does not fit its checksum")
  return body
