"""What is asked of an analysis."""

from typing import NamedTuple

TAC, LINE, SURFACE, FEATURES = "tac", "line", "surface", "features"
PARTS = (TAC, LINE, SURFACE, FEATURES)
_DECIDE = {  # numbers of a part, beside its models
  TAC: ("images", "layers"),
  LINE: ("images", "points", "statistics"),
  SURFACE: ("surface_images", "grid", "span", "statistics", "seed"),
  FEATURES: ("embedding_images", "embedding", "seed"),
}


class Asked(NamedTuple):
  """What is to be computed of a finished run.

  Attributes:
    workdir: the run's.
    cells: patterns of those that are looked at, see `cases.like`; none is all.
    parts: some of `PARTS`.
    out: where it goes; None is WORKDIR/analysis.
    store: where the run kept its models; None is WORKDIR/models.
    images: test images of tac and line.
    layers: how many of the last ones tac looks at.
    points: of the line.
    statistics: batch norm's; see `norms.STATISTICS`.
    grid: points along a side of the surface.
    span: how far it reaches each way.
    surface_images: its test images.
    chunk: its points at once; None leaves that to the device.
    embedding: of the features; see `features.EMBEDDINGS`.
    embedding_images: its test images.
    seed: of the surface's directions and of t-SNE.
  """

  workdir: str
  cells: tuple[str, ...] = ()
  parts: tuple[str, ...] = PARTS
  out: str | None = None
  store: str | None = None
  images: int = 500
  layers: int = 2
  points: int = 11
  statistics: str = "stored"
  grid: int = 15
  span: float = 0.5
  surface_images: int = 200
  chunk: int | None = None
  embedding: str = "tsne"
  embedding_images: int = 400
  seed: int = 0

  def settings(self, part: str) -> dict[str, int | float | str]:
    """Returns what decides a part's numbers, beside its models."""
    known = {name: getattr(self, name) for name in _DECIDE[part]}
    return known | {"sample": "drawn"}  # earlier parts are of the first images
