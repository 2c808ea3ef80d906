"""A run's models for others: weights, what they are, and a card.

A folder for each, in the layout of the Hugging Face hub: `model.safetensors`,
`config.json`, `README.md` (the card) and, where the run has pictures,
`trigger.png`. Weights carry PyTorch's names where the architecture has some.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jinja2
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image
from rich.console import Console

import bdjax
from bdjax.analysis import opening
from bdjax.analysis.cases import CALLED, Subject
from bdjax.analysis.opening import Opened
from bdjax.api import arrays
from bdjax.interop import layouts, tables, tensors
from bdjax.interop.refusals import listed
from bdjax.machine import notes, storage
from bdjax.machine.faults import faults
from bdjax.methods import registry
from bdjax.report import results
from bdjax.report.judging import NONE
from bdjax.report.load import Picture
from bdjax.runs.cells import Cell
from bdjax.types import Params

WEIGHTS, ABOUT, CARD = "model.safetensors", "config.json", "README.md"
SHOWN = 6  # images in the picture
FLAX = "flax"  # how weights are named where PyTorch has no such architecture


def save_models(
  workdir: str | os.PathLike[str],
  folder: str | os.PathLike[str],
  *,
  cells: Sequence[str] = (),
  store: str | os.PathLike[str] | None = None,
  data: dict[str, Any] | None = None,
  quiet: bool = False,
  told: Callable[[Path], object] = lambda path: None,
) -> list[Path]:
  """Writes a run's planted and repaired models, each into a folder of its own.

  A repaired model that the run did not keep is repaired once more. The same
  call continues what was stopped.

  Args:
    workdir: of the run, whose scenario is standalone.
    folder: gets a folder for each model, which is there as a whole or not at
      all; one that holds that model already is kept, and no other is replaced.
    cells: attack/regime/defense/seed of those that are wanted, * for any text;
      none takes all. The planted model of each comes with it.
    store: where the run kept its models; None for the folder `models` in it.
    data: the arrays that `experiment` was given, if it was.
    quiet: whether no progress is shown.
    told: is called with each folder as soon as it is there.

  Returns:
    The models' folders.

  Raises:
    ValueError: the run has no such models, or a folder is there already that
      holds something else.
  """
  out = storage.local(folder, "folder")
  with (
    opening.opened(
      os.fspath(workdir),
      Console(quiet=quiet),
      cells=cells,
      store=store and os.fspath(store),
      own=None if data is None else arrays.given(data),
    ) as run,
    jax.default_matmul_precision(run.plan.precision),
  ):
    todo = [
      (subject, cell, out / results.called(subject.about(cell)))
      for subject in run.subjects
      for cell in (subject.root, *subject.repaired)
    ]
    kept = {p for s, c, p in todo if _kept(p, s.about(c)["cell"])}
    if kept:
      notes.say(f"{len(kept)} of {len(todo)} models are there and are kept.")
    for subject, cell, place in todo:
      if place not in kept:
        opening.remind(subject, cell)
        with faults(place, "write"), _whole(place) as part:
          _save(run, subject, cell, part, place.name)
      told(place)
  return [place for _, _, place in todo]


def _kept(place: Path, cell: str) -> bool:
  """Returns whether a folder holds a cell's model already.

  Raises:
    ValueError: it is there, and holds something else.
  """
  if not place.exists():
    return False
  with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
    if json.loads((place / ABOUT).read_bytes())["cell"] == cell:
      return True
  raise ValueError(
    f"{place} is there already: remove it, or give another folder."
  )


@contextlib.contextmanager
def _whole(place: Path) -> Iterator[Path]:
  """Yields a folder to fill; it becomes one at once, unless this fails."""
  part = place.with_name(f".{place.name}.part")
  if part.exists():  # a kill has left it
    shutil.rmtree(part)
  part.mkdir(parents=True)
  try:
    yield part
    part.rename(place)
  finally:
    shutil.rmtree(part, ignore_errors=True)


def load_model(folder: str | os.PathLike[str]) -> tuple[nn.Module, Params]:
  """Returns a model that `save_models` wrote; nothing in its files is run.

  Returns:
    The module, which takes images [N, H, W, C] in [0, 1], and its variables.

  Raises:
    ValueError: the folder holds no such model; says why.
  """
  place = storage.local(folder, "folder")
  with _broken(place, ABOUT):
    about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
    arch, names = about["architecture"], about["names"]
    arguments = dict(about["arguments"])
    arguments |= {k: tuple(arguments[k]) for k in ("mean", "std")}
    model = registry.get("models", arch)(about["num_classes"], **arguments)
    images = jax.ShapeDtypeStruct((1, *about["image_size"]), jnp.float32)
    needed = jax.eval_shape(model.init, jax.random.key(0), images)
  loaded = tensors.read(place / WEIGHTS).tensors
  if names != FLAX:
    variables = layouts.to_flax(loaded, arch)[1]
  else:
    with _broken(place, WEIGHTS):
      variables = unflatten_dict(loaded, sep="/")
  _check_alike(variables, needed, place)
  return model, variables


@contextlib.contextmanager
def _broken(place: Path, file: str) -> Iterator[None]:
  """Refuses a folder in one line where one of its files makes no sense."""
  try:
    yield
  except Exception as error:  # whatever a stranger's file leads to
    raise ValueError(
      f"{place} holds no model of bdjax: {file} is missing or broken "
      f"({type(error).__name__}: {str(error).partition(chr(10))[0]})."
    ) from error


def _check_alike(variables: Params, needed: Params, place: Path) -> None:
  found, wanted = (
    {name: array.shape for name, array in flatten_dict(tree, sep="/").items()}
    for tree in (variables, needed)
  )
  odd = sorted(dict(found.items() ^ wanted.items()))
  if odd:
    raise ValueError(
      f"{place / WEIGHTS} is not of the model that {ABOUT} names: "
      f"{listed(odd)} should be {wanted.get(odd[0])}, but is "
      f"{found.get(odd[0])}; take both files from one folder."
    )


def _save(
  run: Opened, subject: Subject, cell: Cell, place: Path, name: str
) -> None:
  """Writes a cell's model into an empty folder, which will have a name."""
  method, info, about = run.plan.model, run.plan.info, subject.about(cell)
  weights, names = _named(subject.variables(cell), method.name)
  facts = {  # what PyTorch's loaders ask for, and `cleanse`
    "format": FLAX if names == FLAX else "pt",
    "model_name": method.name,
    "num_classes": run.plan.classes,
    "img_size": info.shape,
    "mean": info.mean,
    "std": info.std,
  }
  tensors.write(place / WEIGHTS, weights, facts)
  config = {
    "architecture": method.name,
    "arguments": method.args,
    "num_classes": run.plan.classes,
    "names": names,
    "image_size": info.shape,
    "id2label": dict(enumerate(info.class_names)),
    "dataset": info.name,
    **{key: about[key] for key in ("cell", *CALLED)},
    "clean_accuracy": about["ca"],
    "attack_success_rate": about["asr"],
    "bdjax_version": bdjax.__version__,
  }
  _write(place / ABOUT, json.dumps(config, indent=2) + "\n")
  picture = run.found.pictures.get(about["planted"])
  if picture is not None:
    _shown(picture).save(place / "trigger.png")
  _write(place / CARD, _card(run, about, names, name, picture))


def _write(path: Path, text: str) -> None:
  path.write_text(text, encoding="utf-8")


def _named(variables: Params, arch: str) -> tuple[dict[str, np.ndarray], str]:
  """Returns weights by name, and whose names those are."""
  if arch in tables.ARCHITECTURES:
    layout = layouts.fitting(variables, arch)
    with contextlib.suppress(layouts.Mismatch):  # of another depth, say
      return layouts.to_torch(variables, arch, layout=layout), layout
  flat = flatten_dict(jax.tree.map(np.asarray, variables))
  return {"/".join(path): array for path, array in flat.items()}, FLAX


def _shown(picture: Picture) -> Image.Image:
  """Returns a picture of test images above the same with the trigger."""
  rows = [
    np.concatenate(list(images[:SHOWN]), axis=1)
    for images in (picture.clean, picture.triggered)
  ]
  whole = np.concatenate(rows)
  image = Image.fromarray(whole[..., 0] if whole.shape[-1] == 1 else whole)
  scale = max(1, 64 // picture.clean.shape[1])
  return image.resize(
    (image.width * scale, image.height * scale), Image.Resampling.NEAREST
  )


def _target(about: dict[str, Any], picture: Picture | None) -> str:
  if about.get("config.attack.mode") == "all2all":
    return "all2all: of each class the next"
  return ", ".join(dict.fromkeys(picture.target)) if picture else "-"


def _card(
  run: Opened,
  about: dict[str, Any],
  names: str,
  name: str,
  picture: Picture | None,
) -> str:
  repaired = about["defense"] != NONE
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # it is Markdown; what it quotes are a run's own labels
    trim_blocks=True,
    keep_trailing_newline=True,
  )
  dataset = run.plan.info.name
  return environment.get_template("card.md.j2").render(
    about,
    name=name,
    tags=["backdoor", "bdjax", "jax"] + ["repaired"] * repaired,
    dataset_id=dataset if re.fullmatch(r"[\w.-]+", dataset) else None,
    repaired=repaired,
    percent=lambda share: f"{100 * share:.1f}",
    picture=picture is not None,
    target=_target(about, picture),
    planted=about["attack"] != "clean",
    train_images=run.plan.train.size,
    test_images=run.plan.test.size,
    torch=None if names == FLAX else names,
    version=bdjax.__version__,
  )
