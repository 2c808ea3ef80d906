"""Which programs are compiled for a target, by name.

Names read like paths, so that a pattern chooses among them: train/cnn/bfloat16/
128, or train/*/bfloat16/*.
"""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from typing import Any, NamedTuple

from bdjax.aot.targets import Target
from bdjax.methods import registry, signature

DTYPES = ("float32", "bfloat16")
BATCHES = (128, 512, 1024)
MODEL = "preact_resnet18"  # the field's, for what is no matter of the model
_QUICK = ("train/*/bfloat16/128", "neural_cleanse/bfloat16")
_LARGE = (9469, (224, 224, 3), 10)  # ViT's images: those of ImageNet-10


class Case(NamedTuple):
  """Programs that one process compiles.

  Attributes:
    name: as one asks for it.
    build: one of `programs.BUILDERS`.
    options: its arguments.
  """

  name: str
  build: str
  options: dict[str, Any]


def of(target: Target) -> list[Case]:
  """Returns all cases that make sense for a target."""
  cases = [*_train(), *_methods(), *_score()]
  return cases + [*_together(target)] if target.count > 1 else cases


def choose(
  target: Target, patterns: Sequence[str] = (), *, quick: bool = False
) -> list[Case]:
  """Returns the cases that any of the patterns names; all if there is none.

  Args:
    target: what to compile for.
    patterns: names, with * for any text.
    quick: one training epoch per model, and Neural Cleanse.

  Raises:
    ValueError: a pattern names none.
  """
  known = of(target)
  patterns = patterns or (_QUICK if quick else ("*",))
  for pattern in patterns:
    if not any(fnmatch(case.name, pattern) for case in known):
      near = signature.nearest(pattern, [case.name for case in known])
      raise ValueError(f"{target.name} has no case {pattern!r}: {near}")
  return [c for c in known if any(fnmatch(c.name, p) for p in patterns)]


def _train() -> Iterator[Case]:
  for model in registry.names("models"):
    for dtype in DTYPES:
      for batch in BATCHES:
        name = f"train/{model}/{dtype}/{batch}"
        yield Case(name, "train", _on(model, dtype) | {"batch": batch})


def _methods() -> Iterator[Case]:
  plants = (("wanet", "conventional"), ("badnets", "fmn"), ("wanet", "fmn"))
  for dtype in DTYPES:
    on = _on(MODEL, dtype)
    for attack, regime in plants:
      settings = {"attack": attack, "regime": regime, "batch": 128}
      yield Case(f"plant/{attack}.{regime}/{dtype}", "plant", settings | on)
    settings = {"defense": "neural_cleanse", "options": {"width": 10}}
    yield Case(f"neural_cleanse/{dtype}", "defend", settings | on)
    on = _on("resnet18", dtype)
    yield Case(f"simclr/{dtype}", "pretrain", on | {"batch": 256})


def _score() -> Iterator[Case]:
  for model in registry.names("models"):
    for dtype in DTYPES:
      yield Case(f"score/{model}/{dtype}", "score", _on(model, dtype, 10000))


def _together(target: Target) -> Iterator[Case]:
  for dtype in DTYPES:
    on = _on(MODEL, dtype)
    for batch in BATCHES:
      settings = on | {"batch": batch, "share": True}
      yield Case(f"data_parallel/{dtype}/{batch}", "train", settings)
    for width in (1, 2):
      many = on | {"width": width}
      settings = {"attack": "badnets", "batch": 128}
      name = f"planting_sweep/{dtype}/{width}"
      yield Case(name, "plant", many | settings)
      settings = {"defense": "ft", "options": {"epochs": 2, "batch_size": 128}}
      name = f"defending_sweep/{dtype}/{width}"
      yield Case(name, "defend", many | settings)


def _on(model: str, dtype: str, count: int = 50000) -> dict[str, Any]:
  images = _LARGE if model == "vit_b_16" else (count, (32, 32, 3), 10)
  return {"model": model, "args": {"dtype": dtype}, "images": images}
