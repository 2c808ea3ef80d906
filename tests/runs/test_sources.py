"""Refusals name the key that says what is refused."""

import pytest

from bdjax.methods import specs
from bdjax.runs import configs, plans, settings, sources

(NAD,) = specs.parse("nad.bb(epochs=3)")
SOURCE = sources.Source(
  "defense", NAD, frozenset({"batch_size", "epochs"}), frozenset({"lr"})
)
ARGUMENTS = ("batch_size", "epochs", "lr", "power")
BAD = [  # of the command line, and the key that is at fault
  ("defense.batch_size=101", "--config.defense.batch_size is 101,"),
  ("defense.name=ft(batch_size=101)", "--config.defense.name='ft(batch_size="),
  ("attack.rate=0", "--config.attack.rate is 0.0,"),
  ("attack.target=10", "--config.attack.target is 10,"),
  ("train.epochs=0", "--config.train.epochs is 0,"),
  ("model.width=0", "--config.model.width is 0,"),
  ("train.schedule=step", "--config.train.schedule is 'step',"),
  ("train.lr=-1", "--config.train.lr is -1.0,"),
  ("seeds=()", "--config.seeds is (),"),
  ("sweep.axes=speed=(1, 2)", "--config.sweep.axes: no attack or defense"),
  ("data.test_images=1000000", "--config.data.test_images is 1000000,"),
  ("scenario=transfr", "--config.scenario: unknown scenario 'transfr'"),
  ("regime.name=fmn(u=1)", "--config.regime.name: fmn has no argument 'u'"),
]


def test_a_key_is_the_method_s_text_an_axis_or_the_section_s():
  keys = {name: SOURCE.key(name) for name in ARGUMENTS}
  assert keys == {
    "epochs": "defense.name='nad.bb(epochs=...)'",  # which wins over the key
    "batch_size": "defense.batch_size",
    "lr": "sweep.axes='lr=...'",
    "power": "defense.name='nad.bb(power=...)'",
  }
  (spec,) = specs.parse("encoder")
  whole = sources.Source("scenario", spec)
  assert whole.key("epochs") == "scenario='encoder(epochs=...)'"


@pytest.mark.parametrize(
  ("said", "worded"),
  [
    ("nad.lr is 0.", "sweep.axes='lr=...' is 0."),
    ("no: batch_size is 9, and", "no: defense.batch_size is 9, and"),
    ("the batch_size is 9.", "the batch_size is 9."),
    ("bnad.lr and nad.lrs", "bnad.lr and nad.lrs"),
  ],
)
def test_only_what_names_an_argument_is_worded_anew(said, worded):
  assert SOURCE.worded(said, ARGUMENTS) == worded


def test_what_an_attack_trains_by_is_the_recipe():
  source = sources.Source("attack", NAD._replace(name="sig", args={}))
  assert source.worded("momentum is 2", ("rate",)) == "train.momentum is 2"


def test_flags_are_of_keys_alone():
  text = "train.lr is 0: see train.lrs, 'train.lr', the seeds; seeds is ()"
  assert sources.flagged(text, ["train.lr", "seeds"]) == (
    "--config.train.lr is 0: see train.lrs, 'train.lr', the seeds; seeds is ()"
  )
  assert sources.flagged("seeds is 1", ()) == "--config.seeds is 1"


@pytest.mark.parametrize(("word", "text"), BAD)
def test_a_refusal_names_what_was_typed(config, word, text):
  key, _, value = word.partition("=")
  small = {"defense__name": "ft", "data__test_images": 100}
  read = configs.read("quickstart", [f"--config.{key}={value}"])
  values = read.values
  if key not in ("data.test_images", "seeds"):
    values["data"] |= config(**small)["data"]
  with pytest.raises(ValueError) as error:
    settings.plan(values, read.overridden)
  said = sources.flagged(str(error.value), plans.flat(values))
  assert text in said and "\n" not in said


@pytest.mark.parametrize(
  ("words", "said"),
  [
    (["defense.lrr=3"], r"^--config.defense.lrr sets no key .*did you mean lr"),
    (["defense.lr=3"], r"defense.name='ft\(lr=...\)'"),
    (["defense.name=nad,abl", "defense.lr=3"], r"name='abl\(lr=...\)'"),
    (["regime.original=1"], r"regime.name='fmn\(original=...\)'"),
    (["sequela.rounds=1"], r"sequela.name='reactivation\(rounds=...\)'"),
    (["data.limit=5"], r"^--config.data.limit sets no key .* train_images"),
    (["train.a.b=5"], r"^--config.train.a.b sets no key .* known are batch_s"),
    (["data.nme=x"], r"^--config.data.nme sets no key .*did you mean name\?"),
    (["seed=3"], r"^--config.seed sets no key .*did you mean seeds"),
  ],
)
def test_an_argument_is_sent_to_a_method_that_has_it(words, said):
  with pytest.raises(ValueError, match=said):
    configs.read("quickstart", [f"--config.{word}" for word in words])


def test_an_argument_that_is_no_key_is_sent_to_its_method():
  with pytest.raises(ValueError, match=r"defense.name='\w+\(rate=...\)'"):
    configs.read("quickstart", ["--config.defense.rate=0.1"])
