"""Downloads a dataset and prepares it as tfds would, without TensorFlow."""

from pathlib import Path

from bdjax.data import stored
from bdjax.data.places import PREPARED, MissingDataset, root
from bdjax.methods import signature


def prepare(name: str, *, data_dir: str | Path | None = None) -> Path:
  """Downloads a dataset from its official place, unless it is there already.

  Args:
    name: one of `places.PREPARED`.
    data_dir: folder of the datasets; $TFDS_DATA_DIR or
      ~/tensorflow_datasets by default.

  Returns:
    The folder that holds the prepared data.

  Raises:
    ValueError: the dataset is not one that can be downloaded.
  """
  if name not in PREPARED:
    near = signature.nearest(name, PREPARED)
    raise ValueError(f"dataset {name!r} cannot be downloaded: {near}")
  try:
    return stored.locate(name, data_dir)
  except MissingDataset:
    return _download(name, root(data_dir)[0])


def _download(name: str, folder: Path) -> Path:
  import tensorflow_datasets as tfds

  from bdjax.data import gtsrb, official, tiny_imagenet

  ours = (gtsrb.Gtsrb, tiny_imagenet.TinyImagenet)
  builders = official.BUILDERS | {one.name: one for one in ours}
  config = {"config": "160px-v2"} if name == "imagenette" else {}
  builder = builders[name](
    data_dir=str(folder), file_format="array_record", **config
  )
  # the hosted copies and the statistics would both need TensorFlow
  settings = tfds.download.DownloadConfig(
    try_download_gcs=False,
    compute_stats=tfds.download.ComputeStatsMode.SKIP,
  )
  builder.download_and_prepare(download_config=settings)
  return Path(builder.data_dir)
