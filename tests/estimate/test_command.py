import io

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from bdjax.aot import programs, targets
from bdjax.estimate import ahead, command, memory
from bdjax.estimate.command import Item
from bdjax.runs import settings, work
from bdjax.runs.cells import Names
from bdjax.runs.speed import Speed
from bdjax.runs.work import Stage

BOTH = "conventional,fmn"


@pytest.fixture(scope="module")
def plan(config):
  return settings.plan(
    config(attack__name="blended,trojaning", regime__name=BOTH, seeds=(0, 1))
  )


@pytest.fixture(scope="module")
def found(plan):
  return {item.label: item for item in command.items(plan)}


def test_every_training_is_there_as_often_as_the_run_does_it(found):
  counts = {label: item.count for label, item in found.items()}
  assert counts == {
    "train clean victims": 2,  # what TrojanNN starts from, one per seed
    "plant blended, conventional": 2,
    "plant blended, fmn": 2,
    "plant trojaning, conventional": 2,
    "plant trojaning, fmn": 2,
    "ft": 8,
  }


def test_steps_are_those_of_the_config(found):
  # 200 images in batches of 32 for 2 epochs; FMN doubles them.
  steps = {label: sum(s.steps for s in i.stages) for label, i in found.items()}
  assert steps["train clean victims"] == 2 * 7
  assert steps["plant blended, conventional"] == 2 * 7
  assert steps["plant blended, fmn"] == 4 * 7
  one, two = (found[f"plant blended, {r}"] for r in BOTH.split(","))
  assert two.stages[0].flop == 2 * one.stages[0].flop


def test_seconds_and_memory_by_hand(plan):
  stages = [Stage("a", 1, 4, 2, 10.0, 100), Stage("b", 1, 8, 1, 30.0, 400)]
  item = Item("both", (), 3, stages)
  speeds = {4: Speed(5.0, 1.0, 1000), 8: Speed(10.0, 1.0, 2000)}
  alone = 3 * (10 / 5 + 30 / 10)
  assert command.seconds(item, speeds, {}) == alone
  cells = item._replace(cells=("x", "y"))  # 4 and 1 trained for one: 2.5
  assert command.seconds(cells, speeds, {"x": 4.0}) == 2.5 * alone
  assert command.scored(item._replace(scoring=30.0), speeds) == 30 / 10
  needs = memory.needed(plan, item.stages, speeds)
  assert needs["weights"] == 2 * 400
  assert needs["activations"] == 2000
  held = (plan.train, plan.test, plan.train)  # once more as it was planted
  assert needs["images"] == sum(d.image.nbytes + d.label.nbytes for d in held)


def points(plan, item):
  """Returns how many test sets the points of an item's curves are worth."""
  setting = plan.config["evaluate"]  # after each epoch that is shown
  assert setting["curve_every"] == 1
  part = min(setting["curve_images"], plan.test.size) / plan.test.size
  return part * sum(stage.epochs for stage in item.stages)


def test_scoring_is_two_passes_over_the_test_set(plan, found):
  item = found["plant blended, conventional"]
  model, size = plan.model.built, plan.config["evaluate"]["batch_size"]
  images = jnp.zeros((min(size, plan.test.size), *plan.info.shape))
  assert plan.test.size % images.shape[0] == 0
  start = jax.eval_shape(lambda: model.init(jax.random.key(0), images))

  def forward(variables, images):
    return model.apply(variables, images, train=False)[0]

  once = work.flop(jax.make_jaxpr(forward)(start, images).jaxpr)
  whole = 2 * once * plan.test.size / images.shape[0]
  assert points(plan, item) > 0
  for each in (item, found["ft"]):
    assert each.scoring == pytest.approx(whole * (1 + points(plan, each)))


def test_it_shows_what_finished_cells_took(config):
  plan = settings.plan(config())
  cell = Names(plan).cells()[0]
  done = {"cell": Names(plan).id(cell), "seconds_train": 123.0}
  said = io.StringIO()
  command.show(plan, [done], Console(file=said, width=120))
  lines = said.getvalue().splitlines()
  planted = next(line for line in lines if "plant badnets" in line)
  tuned = next(line for line in lines if "ft: " in line)
  assert "123" in planted and tuned.split()[-4] == "-"
  assert "memory of a device" in said.getvalue()


def test_a_target_is_compiled_for_with_the_run_s_own_sizes(config, monkeypatch):
  asked = []
  row = {
    "compiles": True,
    "flop": 6e9,
    "devices": 8,
    "roofline_seconds": 2.0,
    "compile_seconds": 5.0,
    "temp_mib": 3.0,
    "output_mib": 2.0,
    "alias_mib": 1.0,
  }

  def compile_case(target, case):
    asked.append(case)
    yield row

  monkeypatch.setattr(ahead.command, "compile_case", compile_case)
  plan = settings.plan(config())
  pod, gpu = targets.parse("v5e:2x4"), targets.parse("h100")
  assert ahead.speed(plan, 32, gpu) == Speed(6e9 * 8 / 2, 5.0, 4 * 2**20)
  row["estimate_seconds"] = 4.0
  assert ahead.speed(plan, 32, pod).flops == 6e9 * 8 / 4
  assert asked[0].build == "train" and asked[0].options["batch"] == 32
  images = asked[0].options["images"]
  assert (images.count, images.classes) == (plan.train.size, 10)
  devices = jax.devices()
  options = dict(asked[0].options)
  assert options.pop("precision") == "default"  # for its process
  (program,) = programs.BUILDERS["train"](devices, **options)
  assert program.size == plan.train.size
  assert program.devices == len(devices)
  together = settings.plan(config(sweep__width=2))
  ahead.speed(together, 32, pod)
  assert asked[-1].build == "plant" and asked[-1].options["width"] == 2
  options = dict(asked[-1].options)
  assert options.pop("precision") == "default"
  (program,) = programs.plant(devices[:1], **options)
  assert program.grouped
  row |= {"compiles": False, "why": "aborts XLA"}
  with pytest.raises(ValueError, match="v5e:2x4: aborts XLA"):
    ahead.speed(plan, 32, pod)


def test_an_estimate_for_a_target_says_what_it_is(config, monkeypatch):
  def speed(plan, size, target):
    return Speed(1e9, 1.0, 2**20 if target.gpu else 2**40)

  monkeypatch.setattr(ahead, "speed", speed)
  plan = settings.plan(config())

  def shown(name):
    said = io.StringIO()
    console = Console(file=said, width=200)
    command.show(plan, [], console, target=targets.parse(name))
    return said.getvalue()

  assert "does not fit a device of v5e:2x4" in shown("v5e:2x4")
  assert "estimate of XLA's" in shown("v5e:2x4")
  said = shown("h100")
  assert "the run fits a device of h100" in said and "at the very least" in said
