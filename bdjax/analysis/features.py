"""Where triggered images lie among clean ones, in a model's pooled features.

Two dimensions of them by t-SNE (van der Maaten & Hinton 2008; scikit-learn's,
with its defaults, from a PCA), or by PCA alone, which needs no further package.
Beside the picture stands a number that no projection decides: the share of
triggered images most of whose nearest clean neighbours are of the class that
the adversary wants.
"""

import importlib.util

import flax.linen as nn
import numpy as np
from scipy.spatial import distance

from bdjax.analysis.scores import Probe
from bdjax.machine import programs
from bdjax.training import inference
from bdjax.types import Dataset, Params

TSNE, PCA = "tsne", "pca"
EMBEDDINGS = (TSNE, PCA)
NEIGHBOURS = 5  # that vote on a triggered image (chosen)
PERPLEXITY = 30.0  # scikit-learn's default; fewer images take a third of them


def check(embedding: str) -> None:
  """Refuses t-SNE where scikit-learn is not installed.

  Raises:
    ValueError: with the remedy.
  """
  if embedding == TSNE and importlib.util.find_spec("sklearn") is None:
    raise ValueError(
      "--embedding=tsne needs scikit-learn: run `uv sync --extra analysis`, "
      "and give --extra analysis to `uv run` as well, or give --embedding=pca."
    )


def pooled(model: nn.Module, variables: Params, data: Dataset) -> np.ndarray:
  """Returns the features that the last layer reads, [N, C]."""

  def ask(variables, data):
    return inference.each(
      data,
      lambda batch: model.apply(variables, batch.image, train=False)[1][
        "pooled"
      ],
    )

  return np.asarray(programs.jit(ask)(variables, data))


def flat(points: np.ndarray, embedding: str, *, seed: int) -> np.ndarray:
  """Returns points [N, C] in two dimensions, [N, 2].

  Args:
    embedding: one of `EMBEDDINGS`.
    seed: of t-SNE.
  """
  if embedding == PCA:
    return principal(points)
  from sklearn.manifold import TSNE as Embedding
  from threadpoolctl import threadpool_limits  # which scikit-learn brings

  perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
  made = Embedding(perplexity=perplexity, init="pca", random_state=seed)
  with threadpool_limits(1):  # so few points are no work for several threads
    return made.fit_transform(points)


def principal(points: np.ndarray) -> np.ndarray:
  """Returns points [N, C] along their first two principal axes, [N, 2].

  An axis points to where its largest entry is positive.
  """
  centred = points - points.mean(0)
  left, size, right = np.linalg.svd(centred, full_matrices=False)
  right = right[:2]
  largest = np.take_along_axis(right, abs(right).argmax(1)[:, None], axis=1)
  return left[:, :2] * size[:2] * np.sign(largest[:, 0])


def drawn_in(
  clean: np.ndarray, label: np.ndarray, hit: np.ndarray, wanted: np.ndarray
) -> float | None:
  """Returns how many triggered images lie where the adversary wants them.

  Args:
    clean: [N, C] features of clean images.
    label: [N] their classes.
    hit: [M, C] features of triggered ones.
    wanted: [M] classes.

  Returns:
    The share of them for which most of the nearest `NEIGHBOURS` are of the
    class that is wanted; of those alone of whose class there are as many as
    most of them. None if there are none.
  """
  enough = (label == wanted[:, None]).sum(1) > NEIGHBOURS // 2
  if not enough.any():
    return None
  near = distance.cdist(hit, clean).argsort(1)[:, :NEIGHBOURS]
  votes = (label[near] == wanted[:, None]).mean(1)
  return float((votes > 0.5)[enough].mean())


def seen(
  model: nn.Module,
  variables: Params,
  images: Probe,
  *,
  embedding: str,
  seed: int,
) -> dict[str, object]:
  """Returns where a model puts clean and triggered images.

  Returns:
    "clean" [N][2] and "label" [N], "hit" [M][2] and "wanted" [M] of those
    triggered images whose class is another, and "drawn_in", see there.
  """
  other = np.asarray(images.other)
  label = np.asarray(images.clean.label)
  wanted = np.asarray(images.hit.label)[other]
  clean = pooled(model, variables, images.clean)
  hit = pooled(model, variables, images.hit)[other]
  places = flat(np.concatenate([clean, hit]), embedding, seed=seed)
  return {
    "clean": places[: len(clean)].tolist(),
    "label": label.tolist(),
    "hit": places[len(clean) :].tolist(),
    "wanted": wanted.tolist(),
    "drawn_in": drawn_in(clean, label, hit, wanted),
  }
