"""Defenses that filter: from suspicious training images to a new model."""

from bdjax.training import learn
from bdjax.types import Access, Array, Dataset, Defended, Fit, Key


def training_set(access: Access, name: str) -> Dataset:
  """Returns the training set that a defense filters.

  Args:
    name: of the defense, for the error.

  Raises:
    ValueError: the defender has none.
  """
  if access.train is None:
    raise ValueError(
      f"{name} needs the training set, but this defender's access.train is "
      "None: choose a scenario that gives it one."
    )
  return access.train


def retrain(
  key: Key,
  access: Access,
  fit: Fit,
  *,
  gone: Array,
  memo: dict[str, Array],
  epochs: int | None = None,
) -> Defended:
  """Trains from scratch, by the recipe, on what a filter leaves.

  An epoch has as many steps as one over all N images: each kept image is shown
  N / kept times in it, twice where half of them are kept.

  Args:
    access: its training set, recipe and augmentation are used.
    gone: [N] bool, training images to drop.
    memo: see `Defended`.
    epochs: None for the recipe's.
  """
  data, recipe = access.train, access.recipe
  keep = ~gone if data.keep is None else ~gone & data.keep
  variables = learn.train_classifier(
    key,
    data.replace(keep=keep),
    fit,
    model=access.model,
    recipe=recipe if epochs is None else recipe.replace(epochs=epochs),
    view=access.view,
    name="retrain",
  )
  return Defended(variables, keep=keep, memo=memo)
