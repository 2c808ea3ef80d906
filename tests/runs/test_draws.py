"""Which training images a seed has: its own, or the same as all others."""

import numpy as np
import pytest
from PIL import Image

from bdjax import data
from bdjax.runs import plans, settings
from bdjax.runs.cells import Names


@pytest.fixture
def drawing(config, tmp_path):
  """Returns the maker of a config of folders: 30 images in two classes."""
  random = np.random.default_rng(0)
  for i in range(60):
    path = tmp_path / "tree" / f"{i % 2}" / f"{i}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(path)

  def make(**changes):
    given = {"train__batch_size": 8, "defense__batch_size": 4} | changes
    made = config(seeds=(0, 1), **given)
    folders = {"dir": None, "cache": str(tmp_path / "cache")}
    made["data"] |= folders | {
      "name": f"image_folder:{tmp_path / 'tree'}",
      "train_images": changes.get("data__train_images", 20),
      "test_images": None,
      "draw": changes.get("data__draw", "seed"),
    }
    return made

  return make


def fingerprints(parts):
  return [data.fingerprint(part.train) for part in parts]


def test_each_seed_has_a_plan_with_its_own_images(drawing):
  plan = settings.plan(drawing())
  parts = settings.by_seed(plan)
  assert [part.seeds for part in parts] == [(0,), (1,)]
  one, other = fingerprints(parts)
  assert one == data.fingerprint(plan.train) != other
  assert parts[1].user.train is parts[1].train
  alone = settings.by_seed(settings.plan(drawing() | {"seeds": (1,)}))
  assert fingerprints(alone) == [other]
  names = [Names(part).id(Names(part).cells()[0]) for part in parts]
  assert names[1] == Names(alone[0]).id(Names(alone[0]).cells()[0])


@pytest.mark.parametrize(
  "changes", [{"data__draw": "fixed"}, {"data__train_images": None}]
)
def test_seeds_share_images_that_are_fixed_or_all_there_are(drawing, changes):
  plan = settings.plan(drawing(**changes))
  assert settings.by_seed(plan) == [plan]


def test_older_configs_have_fixed_images(drawing):
  old = drawing(data__draw="fixed")
  del old["data"]["draw"]
  assert plans.identity(old) == plans.identity(drawing(data__draw="fixed"))
  assert plans.identity(old) != plans.identity(drawing())
  with pytest.raises(ValueError, match=r"data.draw is 'x'"):
    settings.plan(drawing(data__draw="x"))


def test_a_seed_s_own_class_may_be_missing(drawing):
  with pytest.raises(ValueError, match="give at least"):
    for seed in range(20):
      made = drawing(data__train_images=3) | {"seeds": (0, seed + 1)}
      made["train"]["batch_size"] = made["defense"]["batch_size"] = 1
      made["defense"]["clean_rate"] = 1.0
      made["attack"]["rate"] = 0.4
      settings.by_seed(settings.plan(made))
