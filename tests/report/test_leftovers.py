"""Records of sequela: their models, their baselines, and who memorizes."""
# ruff: noqa: D103

import io
import re

import pytest
from rich.console import Console

from bdjax import report
from bdjax.report import leftovers, results, sequela, tables
from bdjax.report.leftovers import Beside
from bdjax.report.load import load
from bdjax.report.results import CLEAN_MODEL

RATES = {"auroc": 0.6, "balanced_accuracy": 0.6}
RATES |= {"tpr_at_0_1": 0.05, "tpr_at_1": 0.1}


def sequel(kind, defense, seed=0, *, attack="badnets", after=None, **found):
  """Return an invented answer; after None is what older records had."""
  more = {} if after is None else {"clean_defense": after}
  return {
    "cell": f"{kind}|{attack}|{defense}|{after}|{seed}",
    **{"dataset": "cifar10", "model": "preact_resnet18"},
    **{"scenario": "standalone", "attack": attack},
    **{"regime": attack and "conventional", "defense": defense},
    **{"seed": seed, "sequel": kind, "kind": kind},
    **{"device": "invented accelerator", "devices": 1},
    **more,
    **found,
  }


def member(defense, seed=0, *, members=1000, tuned=0, **changes):
  """Return an answer on membership whose rates are far above chance."""
  names = ("attack", "after")
  more = {k: changes.pop(k) for k in names if k in changes}
  groups = {"members": members, "tuned": tuned, "rest": members - tuned}
  groups["poisons"] = 0
  found = {
    f"{attack}.{group}.{name}": value
    for attack in sequela.ATTACKS
    for group, count in groups.items()
    for name, value in (
      RATES | changes | {"members": count, "others": 1000}
    ).items()
  }
  return sequel("membership", defense, seed, **more, **found)


@pytest.mark.parametrize(
  ("rate", "below", "above"),
  [
    # 1.645 sqrt(v 2 / 1000) above chance; v = 1/12, 1/16, .001 .999, .01 .99.
    ("auroc", 0.5212, 0.5213),
    ("balanced_accuracy", 0.5183, 0.5184),
    ("tpr_at_0_1", 0.00332, 0.00333),
    ("tpr_at_1", 0.01731, 0.01733),
  ],
)
def test_who_memorizes_is_above_chance_by_more_than_chance_is(
  rate, below, above
):
  for value, answer in ((below, False), (above, True), (None, None)):
    before, after = member("none", **{rate: value}), member("ft")
    beside = Beside([before, after])
    assert beside.memorizes(after, "network", "rest", rate) is answer
  alone = Beside([after])
  assert alone.memorizes(after, "network", "rest", rate) is None
  assert beside.memorizes(before, "network", "poisons", rate) is None  # none


def test_few_examples_prove_little():
  few = member("none", members=20, auroc=0.6)
  for name in sequela.ATTACKS:
    few[f"{name}.members.others"] = 20
  assert Beside([few]).memorizes(few, "network", "members", "auroc") is False


def test_a_baseline_went_through_the_same_defense():
  own = sequel("retuning", "ft", 1, area=0.5)
  others = [
    sequel("retuning", CLEAN_MODEL, 1, after="none", area=0.1),
    sequel("retuning", CLEAN_MODEL, 1, after="nad", area=0.2),
    sequel("retuning", CLEAN_MODEL, 0, after="ft", area=0.3),
    sequel("retuning", CLEAN_MODEL, 1, attack="sig", after="ft", area=0.4),
    sequel("reinjection", CLEAN_MODEL, 1, after="ft", area=0.6),
  ]
  assert Beside([own, *others]).baseline(own) is None
  assert Beside([own, *others]).gain(own, "area") is None
  right = sequel("retuning", CLEAN_MODEL, 1, after="ft", area=0.45)
  beside = Beside([own, *others, right])
  assert beside.baseline(own) == right
  assert beside.gain(own, "area") == pytest.approx(0.05)
  planted = own | {"defense": "none"}
  assert beside.baseline(planted) == others[0]


def test_clean_members_are_the_same_for_all_attacks():
  own = member("ft", attack="sig")
  clean = member(CLEAN_MODEL, attack=None, after="ft", auroc=0.55)
  gain = Beside([own, clean]).gain(own, "network.rest.auroc")
  assert gain == pytest.approx(0.05)


def test_clean_models_of_older_records_had_no_defense():
  old = sequel("retuning", CLEAN_MODEL, area=0.1)
  assert leftovers.named(old) == CLEAN_MODEL
  own = sequel("retuning", "ft", area=0.5)
  assert Beside([old, own]).baseline(own) is None
  assert Beside([old, own]).baseline(own | {"defense": "none"}) == old


@pytest.fixture
def run(tmp_path, fake):
  """Return the maker of a run with some answers."""

  def make(answers):
    records = [
      fake.record("badnets", "conventional", name, seed)
      for name in ("none", "ft")
      for seed in (0, 1)
    ]
    results.append(tmp_path / "results.jsonl", records)
    path = tmp_path / "sequela.jsonl"
    results.append(path, answers, required=results.SEQUEL)
    return load(tmp_path)

  return make


def asked(seeds=(0, 1), **before):
  """Return four models' answers, the defended one leaking most."""
  return [
    record
    for seed in seeds
    for record in (
      member("ft", seed, tuned=100, auroc=0.7),
      member(CLEAN_MODEL, seed, attack=None, after="ft", auroc=0.65, tuned=100),
      member("none", seed, **before),
      member(CLEAN_MODEL, seed, attack=None, after="none"),
    )
  ]


def test_rows_stand_beside_their_baselines(run):
  made = run(asked())
  told = sequela.rows(made, tables.pivot(made.records)[0]).leaks
  rows = {(r["model"], r["group"]): r for r in told}
  assert list(rows) == [
    (CLEAN_MODEL, "all"),
    *(
      (f"{CLEAN_MODEL}, ft", name)
      for name in sequela.GROUPS.values()
      if name != "poisons"
    ),
    ("none", "all"),
    *(("ft", name) for name in ("all", "tuned on", "not tuned on")),
  ]
  texts = rows["ft", "all"]["values"][: len(sequela.COLUMNS)]
  values = dict(zip(sequela.COLUMNS, texts, strict=True))
  assert values["AUROC"] == "70.0 ± 0.0"
  assert values["AUROC, less clean"] == "5.0 ± 0.0"
  assert values["memorizes"] == "yes"


@pytest.mark.parametrize(
  ("before", "shown", "word"),
  [
    ({"tpr_at_0_1": 0.001}, 3, "by AUROC, balanced accuracy, TPR at 1 %"),
    ({k: v / 20 for k, v in RATES.items()}, 0, "does not memorize"),
  ],
)
def test_a_model_that_does_not_memorize_is_not_judged(run, before, shown, word):
  made = run(asked(**before))
  told = sequela.rows(made, tables.pivot(made.records)[0]).leaks
  (row,) = [r for r in told if (r["model"], r["group"]) == ("ft", "all")]
  said, *rates, gain = row["values"][: len(sequela.COLUMNS)]
  assert sum(text != "–" for text in rates) == shown
  assert (gain == "–", said) == (not shown, word)
  (start,) = [r for r in told if r["model"] == "none"]
  assert "–" not in start["values"][: len(sequela.COLUMNS) - 1]  # it is why
  console = Console(file=io.StringIO(), width=120)
  report.show(made, console)
  said = re.sub(r"\s+", " ", console.file.getvalue())
  assert word.partition(",")[0] in said
  assert word in report.write(made).read_text()


def test_one_seed_that_does_not_memorize_is_enough(run):
  made = run([*asked((0,)), *asked((1,), auroc=0.5)])
  told = sequela.rows(made, tables.pivot(made.records)[0]).leaks
  (row,) = [r for r in told if (r["model"], r["group"]) == ("ft", "all")]
  assert row["values"][0].startswith("by balanced")
  assert row["values"][1] == "–"
