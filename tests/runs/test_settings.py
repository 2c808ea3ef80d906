import numpy as np
import pytest
from PIL import Image

from bdjax import data
from bdjax.methods import registry, specs
from bdjax.runs import methods, plans, settings


def test_methods_are_built_from_sections_presets_and_specs(config):
  made = settings.plan(
    config(
      attack__name="badnets.fmn,blended(alpha=0.3)",
      defense__name="none,ft(lr=0.05),super_ft.scarce",
      defense__epochs=7,
    )
  )
  fmn, blended = made.attacks
  assert (fmn.label, fmn.args["rate"], fmn.args["size"]) == (
    "badnets.fmn",
    0.05,
    0.125,
  )
  assert (blended.args["rate"], blended.args["alpha"]) == (0.1, 0.3)
  ft, super_ft = made.defenses
  assert (ft.label, ft.args["lr"], ft.args["epochs"]) == (
    "ft(lr=0.05)",
    0.05,
    7,
  )
  assert super_ft.args["lr_max1"] == 0.3
  assert made.info.num_classes == 10 == fmn.args["num_classes"]


def test_several_numbers_that_the_data_says_too_are_no_axis(config):
  mean = settings.plan(config()).info.mean
  text = f"inputaware(mean={mean}, rate=(0.1, 0.2))"
  built = settings.plan(config(attack__name=text)).attacks
  assert [m.args["mean"] for m in built] == [mean, mean]
  assert list(methods.swept("attacks", specs.parse(text)[0])) == ["rate"]


def test_who_wins_section_preset_override_spec(config):
  def rate(overridden=frozenset(), **changes):
    made = settings.plan(config(**changes), frozenset(overridden))
    return made.attacks[0].args["rate"]

  assert rate() == 0.1
  assert rate(attack__name="badnets.fmn") == 0.05
  changed = {"attack__name": "badnets.fmn", "attack__rate": 0.2}
  assert rate({"attack.rate"}, **changed) == 0.2
  changed["attack__name"] = "badnets.fmn(rate=0.3)"
  assert rate({"attack.rate"}, **changed) == 0.3


def test_defenders_hold_what_their_method_says(config):
  made = settings.plan(
    config(defense__name="ft,super_ft.fmn,ft_sam(balanced=True)")
  )
  rates = [defense.holding.rate for defense in made.defenses]
  assert rates == [0.5, 0.2, 0.5]
  assert [defense.holding.balanced for defense in made.defenses] == [0, 0, 1]


def test_a_picture_file_is_read_and_decides_the_model(config, tmp_path):
  keys = set()
  for value in (10, 200):
    file = tmp_path / "k.png"
    Image.fromarray(np.full((6, 6, 3), value, np.uint8)).save(file)
    made = settings.plan(config(attack__name=f"blended(image='{file}')"))
    key = plans.attack_key(made, made.attacks[0], made.regimes[0], 0)
    keys.add(plans.digest(key))
  assert len(keys) == 2


def test_a_model_takes_arguments_in_its_name(config):
  made = config()
  made["model"] = {"name": "resnet18(stem=imagenet)", "width": 4, "dtype": None}
  plan = settings.plan(made)
  assert plan.model.built.stem == "imagenet" and plan.model.built.width == 4
  assert "imagenet" in plan.model.label
  made["model"]["name"] = "resnet18,cnn"
  with pytest.raises(ValueError, match="must be one architecture"):
    settings.plan(made)
  made["model"]["name"] = "resnet18(stern=imagenet)"
  with pytest.raises(ValueError, match="did you mean stem"):
    settings.plan(made)


def test_what_decides_a_planted_model(config):
  def key(seed=0, **changes):
    made = settings.plan(config(**changes))
    return plans.digest(
      plans.attack_key(made, made.attacks[0], made.regimes[0], seed)
    )

  base = key()
  assert key() == base
  assert key(defense__name="super_ft", defense__epochs=3) == base
  assert key(evaluate__curve_images=0) == base
  different = [
    key(seed=1),
    key(attack__rate=0.2),
    key(attack__name="badnets(size=4)"),
    key(regime__name="fmn"),
    key(regime__name="fmn(lr_max1=0.2)"),
    key(train__epochs=3),
    key(model__width=8),
    key(data__crop=2),
    key(data__flip=not data.info("synthetic").flip),
    key(regime__name="fmn(phase1=1.0)"),
    key(regime__name="fmn", train__match="steps"),
  ]
  assert len({base, *different}) == 12
  assert key(train__match="steps") == base  # nothing to match


@pytest.mark.parametrize(
  ("changes", "text"),
  [
    ({"attack__name": "badnet"}, "^attack.name: unknown attack 'badnet': did"),
    ({"defense__name": "superft"}, "unknown defense 'superft': did you mean s"),
    ({"regime__name": "fnm"}, "unknown regime 'fnm': did you mean fmn"),
    ({"model__name": "resnet"}, "unknown model 'resnet': did you mean"),
    ({"data__name": "cifar"}, "cifar10"),
    (
      {"attack__rate": 1.5},
      r"^attack.rate is 1.5, but must be .*between 0 and",
    ),
    ({"attack__rate": "x"}, r"^attack.rate is 'x'"),
    ({"attack__sise": 3}, "attack.sise: badnets has no such argument.*size"),
    ({"attack__name": "badnets(sise=3)"}, "no argument 'sise': did you mean s"),
    ({"attack__name": "badnets.fnm"}, "no preset 'fnm': did you mean fmn"),
    ({"attack__target": 10}, "^attack.target is 10, but the data has 10"),
    ({"model__widht": 3}, "model.widht: cnn has no such argument"),
    ({"train__epoch": 3}, "unknown config key 'train.epoch': did you mean"),
    ({"train__batch_size": 201}, "^train.batch_size is 201, .* has 200"),
    (
      {"defense__batch_size": 101},
      "ft cannot work here: defense.batch_size is 101, but the defender has "
      "100 clean images: give a smaller one, or defense.clean_rate of at least "
      "0.51.",
    ),
    ({"defense__clean_rate": 0.0}, "clean_rate is 0.0, but must be above 0"),
    ({"train__epochs": 0}, "train.epochs is 0"),
    ({"data__crop": 32}, "data.crop is 32, but images are 32x32"),
    ({"train__lr": -1}, "train.lr is -1"),
    ({"train__schedule": "step"}, "train.schedule is 'step'"),
    ({"scenario": "transfr"}, "unknown scenario 'transfr'"),
    ({"seeds": ()}, r"seeds is \(\)"),
    ({"seeds": ("a",)}, "seeds is"),
    ({"seeds": (0, 1, 0)}, "seeds is .*, which has 0 twice: a seed counts onc"),
    ({"seeds": 2**32}, "numbers from 0 to 4294967295"),
    ({"seeds": -1}, "seeds is -1"),
    ({"seeds": True}, "seeds is True"),
    (
      {"attack__name": "badnets,badnets.bb"},
      "badnets and badnets.bb, which ar",
    ),
    ({"defense__name": "ft(lr=0.01),ft"}, "defense.name has .* are the same"),
    ({"regime__name": "fmn,fmn"}, "regime.name has fmn and fmn, which are the"),
    ({"regime__name": "fmn.paper"}, "fmn has no preset 'paper': known are no"),
    (
      {"attack__name": "none"},
      "attack.name is 'none', but must name an attack",
    ),
    ({"attack__name": "badnets(rate=())"}, r"the axis rate is \(\): give its"),
    ({"sweep__axes": "lr=(0.1, 0.1)"}, "the axis lr has 0.1 twice: leave one"),
    ({"sweep__axes": "lr=(1, 2)), ft("}, "but must be axes alone, such as lr="),
    ({"sweep__width": 0}, "sweep.width is 0, .* at least 1, or None"),
    (
      {"evaluate__batch_size": 0},
      "evaluate.batch_size is 0, but must be a who",
    ),
    ({"evaluate__curve_every": 0}, "evaluate.curve_every is 0"),
    ({"model__width": 10**12}, "model.width is 1000000000000, .* at most 2147"),
    ({"train__momentum": float("nan")}, "train.momentum is nan"),
    ({"train__lr": 1e-50}, "train.lr is 1e-50, .* between 1.2e-38 and 3.4e"),
    ({"attack__rate": 2**2000}, "is a number of more than 40 digits"),
    ({"data__train_images": "a"}, "data.train_images is 'a'"),
    ({"data__train_images": 10**9}, "^data.train_images is 10*, .* 100000"),
    (
      {"data__dir": 3},
      "data.dir is 3, but must be a string or a path, or None",
    ),
    ({"data": 3}, "data is 3, but must be a section of keys"),
    ({"evaluate": {}}, "the config lacks 'evaluate.batch_size'"),
    ({"defense__balanced": "no"}, "defense.balanced is 'no', but must be True"),
    ({"defense__name": "ft(balanced=no)"}, "ft.balanced=....' is 'no'"),
    ({"attack__name": "badnets(num_classes=5)"}, "is 5, but the data says 10"),
    ({"model__name": "cnn(mean=(0, 0.1, 0.2))"}, "cnn.mean=....' is .* says"),
    (
      {"attack__name": "inputaware(mean=(0.5, 0.5, 0.5))"},
      r"inputaware\(mean=...\)' is \(0.5, 0.5, 0.5\), but the data says",
    ),
    ({"attack__name": "badnets(size=33)"}, "33, but images are 32x32"),
    ({"attack__name": "l0_inv(pixels=1025)"}, "1025, but images hav"),
    ({"attack__name": "wanet(grid_size=33)"}, "33, but images"),
    ({"defense__name": "ft(part=head)"}, "ft.* cannot work here: a CNN has no"),
    ({"defense__name": "super_ft(cycle_steps=1)"}, "at least 2, or None"),
    ({"typo": 1}, "unknown config key 'typo'"),
    (
      {"regime__name": "fmn(turn=5)"},
      "2 epochs are no multiple of a turn of 5",
    ),
    (
      {
        "regime__name": "fmn(start=planted)",
        "train__match": "steps",
        "train__epochs": 6,
      },
      "train.epochs is 6, of which fmn.* leaves 3 for its own .* of 4, or",
    ),
    (
      {"regime__name": "adaptive(defense='ft(clean_rate=0.2)')"},
      "but no turn heeds its clean_rate",
    ),
    (
      {
        "scenario": "transfer",
        "attack__mode": "all2all",
        "downstream__name": "synthetic",
        "downstream__train_images": 200,
        "downstream__test_images": 50,
      },
      "^attack.mode is 'all2all', but the user of the scenario transfer",
    ),
    (
      {"attack__rate": 0.999, "regime__name": "fmn"},
      "rate is 0.999, which leaves none of 200 images clean, .* most 0.995",
    ),
    ({"attack__name": "blended(image='no.png')"}, r"image=...\)' is 'no.png'"),
    ({"precision": {}}, "precision is {}, but must be"),
    (
      {"sequela": {"name": "membership(images=100)"}},
      r"^membership\S*: .*sequela\S* is 128, but the data has 100 examples",
    ),
    (
      {"attack__name": "blended(image='gs://b/a.png')"},
      "' is gs://b/a.png, but must be a local path",
    ),
  ],
)
def test_bad_configs_get_one_sentence(config, changes, text):
  with pytest.raises(ValueError, match=text) as error:
    settings.plan(config(**changes))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("refused", "given", "remedy"),
  [
    # A half is rounded to even: 0.5 of an image is none, 1 of 200 is one.
    ({"attack__rate": 0.0025}, {"attack__rate": 0.005}, "give at least 0.005"),
    ({"defense__clean_rate": 0.047}, {"defense__clean_rate": 0.05}, "0.05, or"),
    ({"data__train_images": 9}, {"data__train_images": 10}, "give at least 10"),
    (
      {"attack__name": "sig(rate=0.11)"},
      {"attack__name": "sig(rate=0.1)"},
      "a rate of at most 0.1 here",
    ),
    ({"data__test_images": 1}, {"data__test_images": 2}, "give more, or None"),
  ],
)
def test_what_rounds_to_nothing_is_refused_with_what_would_do(
  config, refused, given, remedy
):
  small = {"defense__batch_size": 1, "train__batch_size": 1}
  if "data__train_images" in given:
    small |= {"attack__name": "clean", "defense__clean_rate": 1.0}
  with pytest.raises(ValueError, match=remedy):
    settings.plan(config(**small | refused))
  assert settings.plan(config(**small | given)).attacks


def test_every_method_is_tried_and_can_work_here(config):
  names = {kind: registry.names(kind) for kind in ("attacks", "defenses")}
  names["attacks"].remove("badencoder")  # of another scenario
  made = config(
    attack__name=names["attacks"],
    attack__rate=0.05,
    defense__name=names["defenses"],
    defense__batch_size=None,
    defense__clean_rate=1.0,
    data__train_images=300,
  )
  plan = settings.plan(made)
  assert len(plan.attacks) == len(names["attacks"])
  assert len(plan.defenses) == len(names["defenses"])


def test_shared_keys_go_to_whom_they_concern(config):
  changes = {"attack__name": "clean", "defense__name": "clp"}
  made = settings.plan(config(**changes, defense__epochs=3))  # rate, epochs
  assert "rate" not in made.attacks[0].args
  with pytest.raises(ValueError, match="defense.epochs: clp has no such"):
    settings.plan(
      config(**changes, defense__epochs=3),
      overridden=frozenset({"defense.epochs"}),
    )


def test_axes_may_grow_and_nothing_else(config):
  one = plans.identity(config())
  assert one == plans.identity(
    config(attack__name="blended", defense__name="ft,ft_sam", seeds=(0, 1))
  )
  assert one != plans.identity(config(train__epochs=3))


def test_precision_decides_a_model_unless_it_is_the_platforms(config):
  made = settings.plan(config())  # an older config says nothing of it
  assert made.precision == "default"
  key = plans.attack_key(made, made.attacks[0], made.regimes[0], 0)
  assert "precision" not in key
  exact = config(precision="highest")
  made = settings.plan(exact)
  own = plans.attack_key(made, made.attacks[0], made.regimes[0], 0)
  assert own == key | {"precision": "highest"}
  assert plans.identity(config()) != plans.identity(exact)
  assert plans.identity(config()) == plans.identity(config(precision="default"))
  with pytest.raises(ValueError, match="precision is 'tf32', but must be one"):
    settings.plan(config(precision="tf32"))


def test_a_regime_needs_an_attack_that_trains(config):
  small = config(attack__name="handcrafted", regime__name="fmn")
  small["attack"].pop("rate")
  with pytest.raises(ValueError, match="handcrafted trains nothing, so regime"):
    settings.plan(small)


@pytest.mark.parametrize(
  ("section", "text", "least"),
  [
    ("attack", "adaptive_blend(rate=0.02, cover_rate={})", 1 / 200),
    ("attack", "bpp(negative_rate={})", 0.032),  # of batches of 32
    ("attack", "wanet(noise_rate={})", 0.032),
    ("attack", "inputaware(cross_rate={})", 0.032),
    ("attack", "imc(rate={})", 1 / 200),
    ("defense", "abl(isolate={}, batch_size=1)", 1 / 200),
    ("defense", "fine_pruning(holdout={})", 1 / 100),  # of the clean half
    ("defense", "spectral(rate={})", 0.0034),  # 1.5 times it of 200 images
    ("sequela", "retuning(rate={}, batch_size=16)", 16 / 200),
    ("sequela", "retuning(rate={}, poisons=9, batch_size=1)", 10 / 200),
    ("sequela", "qra(rate={}, images=64, batch_size=32)", 6 / 200),
  ],
)
def test_a_share_of_nothing_is_refused_with_one_that_does(
  config, section, text, least
):
  def planned(share):
    name = text.format(share)
    if section == "sequela":
      return settings.plan(config(sequela={"name": name}))
    return settings.plan(config(**{f"{section}__name": name}))

  with pytest.raises(ValueError, match=f"give at least {least:g}(,|\\.| )"):
    planned(1e-4)
  assert planned(least).attacks
