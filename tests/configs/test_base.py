"""A config's argument: methods by name, and all of their arguments as keys."""

import importlib

import pytest

from bdjax.runs import configs, rehearsal, settings
from configs import base

FIXED = ("quickstart", "cifar10_small", "cifar10_defenses", "gallery")


def test_a_method_is_the_only_one_and_the_rest_as_it_was():
  config, usual = base.get_config("attack=blended.fmn"), base.get_config()
  assert config.attack.name == "blended.fmn"
  assert config.attack.alpha is None  # the method's own
  added = set(config.attack) - set(usual.attack)
  assert added == {"alpha", "compat", "image", "pattern_seed"}
  for key in added:
    del config.attack[key]
  usual.attack.name = config.attack.name
  assert config == usual


def test_a_key_reaches_the_method_and_wins_over_its_preset():
  config = base.get_config("attack=blended.fmn,defense=nad.bb")
  config.attack.alpha = 0.35
  config.defense.beta1 = 7.0
  config.defense.clean_rate = 0.1  # enough for a batch
  overridden = frozenset({"attack.alpha", "defense.beta1"})
  plan = settings.plan(config.to_dict(), overridden)
  (attack,), (defense,) = plan.attacks, plan.defenses
  assert (attack.label, attack.args["alpha"]) == ("blended.fmn", 0.35)
  assert (defense.label, defense.args["beta1"]) == ("nad.bb", 7.0)


def test_keys_have_their_arguments_types():
  config = base.get_config("attack=badnets,defense=strip")
  for section, key, value in (
    ("attack", "size", "3"),
    ("attack", "rate", "0.1"),
    ("defense", "count", 1.5),
  ):
    with pytest.raises(TypeError):
      config[section][key] = value


@pytest.mark.parametrize("name", FIXED)
def test_other_configs_take_it_too(name):
  make = importlib.import_module(f"configs.{name}").get_config
  config = make("attack=wanet")
  assert config.attack.name == "wanet" and "noise_rate" in config.attack
  assert config.defense == make().defense


@pytest.mark.parametrize("name", ("base", *FIXED))
@pytest.mark.parametrize(
  ("argument", "text"),
  [
    ("badnets", "has 'badnets', but takes one method of a section: configs/"),
    ("attack=badnets,blended", "has 'blended', but takes one method"),
    ("attack=badnets,", "has '', but takes one method"),
    ("atack=badnets", "no section 'atack': did you mean attack?"),
    ("model=cnn", "no section 'model': known are attack, defense"),
    ("attack=lf,attack=sig", "attack twice; .* --config.attack.name=lf,sig"),
    ("attack=bdnets", "unknown attack 'bdnets': did you mean badnets"),
    ("defense=badnets", "unknown defense 'badnets'"),
    ("attack=", "unknown attack ''"),
  ],
)
def test_what_names_no_method_is_refused_in_one_sentence(name, argument, text):
  make = importlib.import_module(f"configs.{name}").get_config
  with pytest.raises(ValueError, match=text) as refused:
    make(argument)
  assert len(str(refused.value).splitlines()) == 1


def test_it_can_be_run_as_it_stands():
  read = configs.read("base")
  plan = settings.plan(read.values, read.overridden)
  rehearsal.check(plan)
