"""Activation Clustering: of each class's two clusters drops a small one.

Chen et al., "Detecting Backdoor Attacks on Deep Neural Networks by Activation
Clustering", arXiv 1811.03728. The suspect's pooled features of the training
images of one label are reduced to ten components and split by two-means. The
smaller cluster is dropped where it holds less than the share `threshold` of its
class (.35), and a model is trained from scratch, by the recipe, on the rest.
Preset `silhouette` also wants the split to be cohesive, a mean silhouette of at
least .1: the threshold of the Adversarial Robustness Toolbox. Neither number is
verified.

The rule assumes that poisons are the minority of their class. With ten classes
of equal size and the base protocol's poison rate of .1 they are about half of
it.

Deviations: the components are principal, not independent ones, as in
BackdoorBench; ten random starts of two-means. The silhouette is that of 2,000
members of a class at most.

`compat="backdoorbench"` drops the smaller cluster of every class. That
benchmark clusters batches of 256 images of all classes and applies the result
to other images, since its two loaders shuffle independently; that is not
imitated.
"""

import functools

import jax
import jax.numpy as jnp

from bdjax.defenses.parts import clusters, filtering
from bdjax.machine import programs
from bdjax.machine.backend import exact
from bdjax.methods.signature import (
  Annotated,
  Compat,
  Count,
  Fraction,
  Range,
  Some,
  validated,
)
from bdjax.training import inference
from bdjax.types import Array, Defense, Key, Scalar

PRESETS = {
  "silhouette": {"silhouette": 0.1},
  "bb": {"compat": "backdoorbench"},
}


@validated
def make(
  *,
  threshold: Fraction = 0.35,
  silhouette: Annotated[Scalar, Range(-1.0, 1.0, closed=True)] = -1.0,
  components: Count = 10,
  epochs: Some = None,
  num_classes: Count = 10,
  compat: Compat = "paper",
) -> Defense:
  """Returns the defense.

  Args:
    threshold: smaller clusters are dropped if below this share of their class.
    silhouette: and if the split has this mean silhouette; -1 asks for none.
    components: dimensions in which to cluster.
    epochs: of training from scratch; None for the recipe's.
    num_classes: labels.
    compat: "backdoorbench" always drops the smaller cluster.
  """

  def suspicious(share, cohesion):
    if compat == "backdoorbench":
      return jnp.ones_like(share, bool)
    return (share < threshold) & (cohesion >= silhouette)

  @exact
  def find(key, variables, data, *, model):
    def pooled(batch):
      return model.apply(variables, batch.image, train=False)[1]["pooled"]

    features = inference.each(data, pooled)
    keys = jax.random.split(key, num_classes)
    smaller, share, cohesion = jax.lax.map(
      lambda group: halves(group[0], features, group[1], components=components),
      (keys, clusters.by_class(data, num_classes=num_classes)),
    )
    dropped = (smaller & suspicious(share, cohesion)[:, None]).any(0)
    return dropped, {"share": share, "silhouette": cohesion}

  def defend(key, access, fit):
    data = filtering.training_set(access, "activation_clustering")
    k_find, k_fit = jax.random.split(key)
    find_now = programs.jit(functools.partial(find, model=access.model))
    dropped, memo = find_now(k_find, access.variables, data)
    return filtering.retrain(
      k_fit, access, fit, gone=dropped, memo=memo, epochs=epochs
    )

  return Defense(defend, needs_train=True, tunes=False)


def halves(
  key: Key, features: Array, members: Array, *, components: int
) -> tuple[Array, Array, Array]:
  """Splits one class's features in two.

  Args:
    key: decides the starts of two-means.
    features: [N, D].
    members: [N] bool, those of the class.
    components: dimensions in which to cluster.

  Returns:
    The smaller cluster, [N] bool, its share of the members, and the mean
    silhouette of the split; an empty class has 0 and 0.
  """
  basis = clusters.components(features, members, count=components)
  points = clusters.centered(features, members) @ basis
  smaller = clusters.two_means(key, points, members)
  share = smaller.sum() / jnp.maximum(members.sum(), 1)
  return smaller, share, clusters.silhouette(points, members, smaller)
