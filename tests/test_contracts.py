"""What every attack and defense must obey, over the registry.

The whole program of a method is traced with its sweepable numbers as tracers:
that catches a branch on a value, a reused key (also one that is split here and
folded there), accidental broadcasting, and a number that claims to be sweepable
and is not.
"""

import inspect
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters.partial_eval import dce_jaxpr

from bdjax.methods import registry, signature, specs
from bdjax.models.parts import heads
from bdjax.report import results
from bdjax.runs import experiment, methods, session
from bdjax.training import learn, loop, regimes
from bdjax.types import Access, Attack, Backdoor, Defended, Defense
from configs import base

ATTACKS = registry.names("attacks")
DEFENSES = registry.names("defenses")
# Attacks that train a victim as one of the others does, and differ in what they
# poison alone: one of each way is run, and put into every regime.
ALIKE = ("adaptive_blend", "blended", "bpp", "clean", "label_consistent", "lf")
ALIKE += ("l0_inv", "l2_inv", "narcissus", "sig", "ssba", "trojaning", "upgd")
WAYS = [name for name in ATTACKS if name not in ALIKE]
BOTH = [("attacks", n) for n in ATTACKS] + [("defenses", n) for n in DEFENSES]
SMALL = {"epochs": 2, "batch_size": 16, "num_classes": 4, "size": 2}
SHORT = {"rounds": 2, "passes": 1, "iterations": 2, "images": 8, "width": 4}
FAINT = {"lira": {"eps": 0.5}, "narcissus": {"rounds": 20}}
CLASSES = SMALL["num_classes"]
TOP = Path(__file__).parent.parent


def split(kind, name):
  """Returns a method's small static arguments and its sweepable ones."""
  schema = signature.arguments(registry.get(kind, name))
  static = {k: v for k, v in SMALL.items() if k in schema}
  numbers = {k: a.default for k, a in schema.items() if a.sweepable}
  return static, numbers


def takers(argument):
  """Returns the defenses that have an argument."""
  makes = {name: registry.get("defenses", name) for name in DEFENSES}
  return [n for n, m in makes.items() if argument in signature.arguments(m)]


def needs_train(name):
  """Returns whether a defense says that it reads the training set."""
  return registry.get("defenses", name)().needs_train


def shapes(tree):
  return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.fixture(scope="module")
def access(toy, model, task):
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  role_free = toy.replace(keep=jnp.ones(toy.size, bool))
  return Access(
    variables, toy, role_free, model=model, view=task.view, recipe=task.recipe
  )


def refusal(attack, regime):
  """Returns what an attack says to a regime that it cannot have, or None."""
  if regime == "conventional":
    return None
  if not attack.trains:
    return "trains nothing"
  if regime == "sbl" and not attack.continues:
    return "in a way of its own"
  own = regime == "abi" and attack.encoder and not attack.continues
  return "leaves them as they are" if own else None


PLANTS = [(name, "conventional") for name in ATTACKS]
PLANTS += [(name, way) for name in WAYS for way in ("fmn", "sbl", "abi")]


@pytest.mark.parametrize(("name", "regime"), PLANTS)
def test_attack_traces_with_swept_numbers(name, regime, task, model, reused):
  static, numbers = split("attacks", name)
  schema = signature.arguments(regimes.REGIMES[regime])
  own = {k: a.default for k, a in schema.items() if a.sweepable}
  refused = refusal(registry.get("attacks", name)(**static), regime)
  if refused:
    task = task.replace(regime=regimes.REGIMES[regime]())
    with pytest.raises(ValueError, match=refused):
      jax.eval_shape(
        lambda: registry.get("attacks", name)(**static).plant(
          jax.random.key(0), task, loop.scan_fit
        )
      )
    return

  def plant(numbers, own, task):
    task = task.replace(regime=regimes.REGIMES[regime](**own))
    attack = registry.get("attacks", name)(**static, **numbers)
    assert isinstance(attack, Attack)
    backdoor = attack.plant(
      jax.random.key(0), task, session.once(loop.scan_fit)
    )
    hit = attack.trigger(
      jax.random.key(1), jnp.zeros((3, 8, 8, 3)), backdoor.params
    )
    return backdoor, hit, attack.target(jnp.arange(4))

  traced = jax.make_jaxpr(plant, return_shape=True)
  program, shown = traced(numbers, own, task)
  assert reused(program) == []
  backdoor, hit, wanted = shown
  assert isinstance(backdoor, Backdoor)
  assert (hit.shape, hit.dtype) == ((3, 8, 8, 3), jnp.float32)
  assert wanted.dtype == jnp.int32
  assert shapes(backdoor.train.image) == shapes(task.train.image)
  assert shapes(backdoor.role) == ((task.train.size,), jnp.int8)
  fresh = jax.eval_shape(
    lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
  )
  assert shapes(backdoor.variables) == shapes(fresh)


@pytest.mark.parametrize("name", ATTACKS)
def test_all_to_all_leads_to_the_next_class(name):
  make = registry.get("attacks", name)
  if "all2all" not in signature.arguments(make)["mode"].check:
    pytest.skip("has one target")
  wanted = make(mode="all2all", num_classes=4).target(jnp.arange(4))
  assert wanted.tolist() == [1, 2, 3, 0]


def acts_alone(trigger, images, others, params):
  """Checks that a trigger stays in [0, 1], under its key, in each image.

  A trigger may draw from its key, for each place in the batch. So an image
  stays in its place, and all others are replaced: nothing of it may change.
  One that draws nothing also stamps an image alone as it does among others.

  Args:
    trigger: (key, images, params) -> images.
    images: [B, H, W, C] in [0, 1].
    others: what they are replaced by.
    params: the trigger's.

  Returns:
    The images with the trigger.
  """
  keys = jax.random.key(1), jax.random.key(2)
  with jax.debug_key_reuse(False):
    stamp = jax.jit(trigger)
    hit, other = (np.asarray(stamp(key, images, params)) for key in keys)
    np.testing.assert_array_equal(stamp(keys[0], images, params), hit)
    assert hit.min() >= -1e-6 and hit.max() <= 1 + 1e-6
    for i in range(len(images)):
      among = stamp(keys[0], others.at[i].set(images[i]), params)[i]
      np.testing.assert_allclose(among, hit[i], rtol=0, atol=1e-5)
    if (hit == other).all():
      alone = [stamp(keys[0], image[None], params)[0] for image in images]
      np.testing.assert_allclose(jnp.stack(alone), hit, rtol=0, atol=1e-5)
  return hit


def pictures(key, count=3):
  return jnp.round(jax.random.uniform(key, (count, 8, 8, 3)) * 255) / 255


@pytest.mark.parametrize("name", ATTACKS)
def test_trigger_acts_on_each_image_alone(name, task):
  schema = signature.arguments(registry.get("attacks", name))
  known = SMALL | SHORT | {"rate": 0.25, "cover_rate": 0.125}
  static = {k: v for k, v in known.items() if k in schema} | FAINT.get(name, {})
  attack = registry.get("attacks", name)(**static)

  def rest(key, step, state, data, **how):
    return state, {}

  params = jax.jit(
    lambda task: attack.plant(jax.random.key(0), task, rest).params
  )(task)
  images, others = map(pictures, jax.random.split(jax.random.key(3)))
  hit = acts_alone(attack.trigger, images, others, params)
  if name in ALIKE:  # others may be faint until they are trained; see below
    shown = np.round(hit * 255) != np.round(np.asarray(images) * 255)
    assert shown.any() == (name != "clean")


def draws(key, images, params):
  return jnp.clip(images + jax.random.normal(key, images.shape), 0, 1)


BROKEN = {
  "leaves [0, 1]": lambda key, images, params: images * 1.5,
  "takes its neighbour's": lambda key, x, p: (x + jnp.roll(x, 1, 0)) / 2,
  "takes the batch's mean": lambda key, x, p: x * 0 + x.mean(0, keepdims=True),
  "takes the largest": lambda key, images, params: images / images.max(),
  "turns the batch": lambda key, images, params: images[::-1],
  "leaks and draws": lambda key, x, p: draws(key, x[::-1], p),
  "stamps the first only": lambda key, x, p: x.at[0].set(0.0),
}


@pytest.mark.parametrize("trigger", BROKEN.values(), ids=BROKEN)
def test_a_broken_trigger_is_noticed(trigger):
  images, others = map(pictures, jax.random.split(jax.random.key(3)))
  with pytest.raises(AssertionError):
    acts_alone(trigger, images, others, {})


def test_a_trigger_may_draw_for_each_image():
  images, others = map(pictures, jax.random.split(jax.random.key(3)))
  acts_alone(draws, images, others, {})


def marked(tree, mark):
  """Returns a tree with a mark at each of its leaves."""
  return jax.tree.map(lambda _: mark, tree)


def moves(program, outputs, inputs):
  """Returns whether what is marked goes into what is marked of a program."""
  used = dce_jaxpr(program.jaxpr, jax.tree.leaves(outputs))[1]
  asked = jax.tree.leaves(inputs)
  assert len(used) == len(asked) and any(asked)
  return any(a and b for a, b in zip(used, asked, strict=True))


@pytest.mark.parametrize("name", DEFENSES)
def test_defense_traces_with_swept_numbers(name, access, reused):
  static, numbers = split("defenses", name)
  given = access if needs_train(name) else access.replace(train=None)

  def defend(numbers, access):
    defense = registry.get("defenses", name)(**static, **numbers)
    assert isinstance(defense, Defense)
    state = defense.defend(
      jax.random.key(0), access, session.once(loop.scan_fit)
    )
    images, key = jnp.zeros((3, 8, 8, 3)), jax.random.key(1)
    logits = defense.predict(key, images, access, state)
    if defense.suspect is None:
      return state, logits, jnp.zeros(3)
    return state, logits, defense.suspect(key, images, access, state)

  program, shown = jax.make_jaxpr(defend, return_shape=True)(numbers, given)
  assert reused(program) == []
  state, logits, scores = shown
  outputs = marked(shown, False)
  outputs = outputs[0]._replace(variables=marked(state.variables, True)), True
  held = marked(given, False).replace(clean=marked(given.clean, True))
  tunes = registry.get("defenses", name)().tunes
  inputs = (marked(numbers, False), held)
  assert moves(program, (*outputs, False), inputs) == tunes
  assert isinstance(state, Defended)
  assert (logits.shape, logits.dtype) == ((3, 4), jnp.float32)
  assert (scores.shape, scores.dtype) == ((3,), jnp.float32)
  assert shapes(state.variables) == shapes(access.variables)
  if state.keep is not None:
    assert shapes(state.keep) == ((access.train.size,), bool)
  if state.verdict is not None:
    assert shapes(state.verdict) == ((), jnp.float32)
  assert isinstance(state.memo, dict) or state.memo == ()


@pytest.mark.parametrize("name", [n for n in DEFENSES if needs_train(n)])
def test_who_needs_the_training_set_says_so_before_anything_runs(name, access):
  defense = registry.get("defenses", name)(**split("defenses", name)[0])
  sentence = f"{name} needs the training set, but [^.]*access.train is None: "
  with pytest.raises(ValueError, match=rf"^{sentence}[^.]*\.$"):
    defense.defend(jax.random.key(0), access.replace(train=None), None)


@pytest.mark.parametrize("name", [n for n in DEFENSES if not needs_train(n)])
def test_defense_takes_a_head_apart(name, access):
  """As in the scenarios transfer and encoder, where nothing is filtered."""
  static, numbers = split("defenses", name)
  user = jax.eval_shape(
    lambda: experiment.adapted(
      jax.random.key(0), access, heads.make("mlp", CLASSES)
    )
  )

  def defend(numbers, user):
    defense = registry.get("defenses", name)(**static, **numbers)
    state = defense.defend(jax.random.key(0), user, loop.scan_fit)
    images, key = jnp.zeros((3, 8, 8, 3)), jax.random.key(1)
    return state, defense.predict(key, images, user, state)

  state, logits = jax.eval_shape(defend, numbers, user)
  assert shapes(state.variables) == shapes(user.variables)
  assert (logits.shape, logits.dtype) == ((3, CLASSES), jnp.float32)


def changed(defense, access):
  """Returns the paths of the weights that a defense changes.

  Those that it prunes do not count, nor those that it draws anew: these do not
  depend on the suspect.
  """

  def repaired(variables):
    suspect = access.replace(variables=variables)
    return defense.defend(jax.random.key(0), suspect, loop.host_fit())

  state = repaired(access.variables)
  before, after = access.variables, state.variables
  if dict(state.memo).get("pruned", 0):
    before = jax.tree.map(lambda a, b: jnp.where(b == 0, 0, a), before, after)
  same = jax.tree.map(jnp.array_equal, before, after)
  if not jax.tree.all(same):
    other = repaired(jax.tree.map(lambda x: x + 1, access.variables)).variables
    drawn = jax.tree.map(jnp.array_equal, other, after)
    same = jax.tree.map(jnp.logical_or, same, drawn)
  paths = jax.tree_util.tree_leaves_with_path(same)
  return [jax.tree_util.keystr(path) for path, equal in paths if not equal]


@pytest.mark.parametrize(
  "name", [n for n in takers("epochs") if not needs_train(n)]
)
def test_no_epochs_change_no_weight_but_those_pruned_or_drawn(name, access):
  static, _ = split("defenses", name)
  less = {"epochs": 0} | ({"rounds": 1} if name in takers("rounds") else {})
  defense = registry.get("defenses", name)(**(static | less))
  assert changed(defense, access) == []


@pytest.mark.parametrize(
  ("last", "paths"),
  [
    (lambda kernel: kernel, []),
    (lambda kernel: jax.random.normal(jax.random.key(0), kernel.shape), []),
    (lambda kernel: kernel * 0.9, ["['params']['linear']['kernel']"]),
  ],
  ids=["kept", "drawn", "shrunk"],
)
def test_a_weight_that_changes_is_noticed(last, paths, access):
  def defend(key, access, fit):
    params = access.variables["params"]
    linear = params["linear"] | {"kernel": last(params["linear"]["kernel"])}
    params = params | {"linear": linear}
    return Defended(access.variables | {"params": params})

  assert changed(Defense(defend), access) == paths


@pytest.mark.parametrize("name", DEFENSES)
def test_the_preset_for_scarce_data_raises_the_rate_that_is_named(name):
  schema = signature.arguments(registry.get("defenses", name))
  preset = registry.presets("defenses", name).get("scarce", {})
  rate = registry.get("defenses", name)().scarce
  assert list(preset) == ([rate] if rate else [])
  assert all(preset[k] > schema[k].default for k in preset)


@pytest.mark.parametrize(("kind", "name"), BOTH)
def test_presets_and_defaults_build(kind, name):
  make = registry.get(kind, name)
  assert make() is not None
  for args in registry.presets(kind, name).values():
    own = {k: v for k, v in args.items() if k not in methods.DEFENDER}
    assert make(**own) is not None


@pytest.mark.parametrize(("kind", "name"), BOTH)
def test_every_argument_is_explained_keyword_only_and_typed(kind, name):
  make = registry.get(kind, name)
  written = inspect.signature(inspect.unwrap(make)).parameters.values()
  for parameter in written:
    label = f"{name}.{parameter.name}"
    assert parameter.kind is parameter.KEYWORD_ONLY, label
    assert parameter.annotation is not parameter.empty, label
    assert f"    {parameter.name}: " in make.__doc__, label
  explained, arguments = signature.meanings(make), signature.arguments(make)
  assert list(explained) == list(arguments), name


@pytest.mark.parametrize(("kind", "name"), BOTH)
def test_module_names_its_paper(kind, name):
  named = "arXiv" in registry.module(kind, name).__doc__ or name == "ft"
  assert named, (
    "say in the module's docstring where it is from: arXiv 1234.5678"
  )


@pytest.mark.parametrize(("kind", "name"), BOTH)
def test_every_method_has_its_keys_and_test(kind, name):
  section = kind.removesuffix("s")
  keys = base.get_config(f"{section}={name}")[section]
  assert keys["name"] == name
  schema = signature.arguments(registry.get(kind, name))
  assert schema.keys() - set(methods.GIVEN) <= set(keys)
  own = TOP / "tests" / kind / f"test_{name}.py"
  assert own.exists(), f"write {own.relative_to(TOP)}"


def brief(name):
  """Returns an attack's spec with as little optimization as it allows."""
  schema = signature.arguments(registry.get("attacks", name))
  args = {k: v for k, v in SHORT.items() if k in schema}
  if "rate" in schema:
    args["rate"] = 0.05  # of 300 images: 15, and no class has fewer
  args |= FAINT.get(name, {})  # or else rounding to 8 bits takes it away
  return str(specs.Spec(name, None, args))


@pytest.fixture(scope="module")
def gallery(request, tmp_path_factory):
  """Returns the workdir of the attacks that tests ask for, of one command."""
  path = tmp_path_factory.mktemp("gallery")
  tests = [t for t in request.session.items if "gallery" in t.fixturenames]
  names = [test.callspec.params["name"] for test in tests]
  changes = {
    "attack.name": ",".join(brief(name) for name in names),
    "data.train_images": 300,
    "data.test_images": 60,
    "model.width": 4,
    "train.epochs": 2,
    "train.batch_size": 50,
    "evaluate.batch_size": 60,
  }
  done = subprocess.run(
    [sys.executable, "-m", "bdjax.launch", "gallery", f"--workdir={path}"]
    + [f"--config.{key}={value}" for key, value in changes.items()],
    cwd=TOP,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return path


@pytest.mark.parametrize("name", WAYS)
def test_attack_runs_from_the_command_line(name, gallery):
  records = results.read(gallery / "results.jsonl")
  (record,) = [r for r in records if r["attack"] == brief(name)]
  assert 0 <= record["asr"] <= 1 and record["triggered_images"] > 0
  with np.load(gallery / "pictures" / f"{record['planted']}.npz") as pictures:
    changed = (pictures["clean"] != pictures["triggered"]).any()
  assert changed
  assert brief(name) in (gallery / "gallery.html").read_text()
