import numpy as np
import pytest
from PIL import Image

from bdjax.runs import plans, settings


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
    4,
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
  assert plan.model.made.stem == "imagenet" and plan.model.made.width == 4
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
    key(data__flip=True),
    key(regime__name="fmn(phase1=1.0)"),
    key(regime__name="fmn", train__match="steps"),
  ]
  assert len({base, *different}) == 12
  assert key(train__match="steps") == base  # nothing to match


@pytest.mark.parametrize(
  ("changes", "text"),
  [
    ({"attack__name": "badnet"}, "unknown attack 'badnet': did you mean badn"),
    ({"defense__name": "superft"}, "unknown defense 'superft': did you mean s"),
    ({"regime__name": "fnm"}, "unknown regime 'fnm': did you mean fmn"),
    ({"model__name": "resnet"}, "unknown model 'resnet': did you mean"),
    ({"data__name": "cifar"}, "cifar10"),
    (
      {"attack__rate": 1.5},
      r"badnets.rate is 1.5, but must be .*between 0 and",
    ),
    ({"attack__rate": "x"}, r"badnets.rate is 'x'"),
    ({"attack__sise": 3}, "attack.sise: badnets has no such argument.*size"),
    ({"attack__name": "badnets(sise=3)"}, "no argument 'sise': did you mean s"),
    ({"attack__name": "badnets.fnm"}, "no preset 'fnm': did you mean fmn"),
    ({"attack__target": 10}, "target class is 10, but the data has 10"),
    ({"model__widht": 3}, "model.widht: cnn has no such argument"),
    ({"train__epoch": 3}, "unknown config key 'train.epoch': did you mean"),
    ({"train__batch_size": 201}, "batch_size is 201, but the data has 200"),
    ({"defense__batch_size": 101}, "ft's batch_size: .* 101, but .* 100"),
    ({"defense__clean_rate": 0.0}, "clean_rate is 0.0, but must be above 0"),
    ({"train__epochs": 0}, "train.epochs is 0"),
    ({"data__crop": 32}, "data.crop is 32, but images are 32x32"),
    ({"train__lr": -1}, "train.lr is -1"),
    ({"train__schedule": "step"}, "train.schedule is 'step'"),
    ({"scenario": "transfr"}, "unknown scenario 'transfr'"),
    ({"seeds": ()}, r"seeds is \(\)"),
    ({"seeds": ("a",)}, "seeds is"),
    ({"typo": 1}, "unknown config key 'typo'"),
    (
      {"regime__name": "fmn(turn=5)"},
      "2 epochs are no multiple of a turn of 5",
    ),
    ({"attack__name": "blended(image='no.png')"}, "blended.image is 'no.png'"),
    (
      {"attack__name": "blended(image='gs://b/a.png')"},
      "blended.image is gs://b/a.png, but must be a local path",
    ),
  ],
)
def test_bad_configs_get_one_sentence(config, changes, text):
  with pytest.raises(ValueError, match=text) as error:
    settings.plan(config(**changes))
  assert "\n" not in str(error.value)


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
