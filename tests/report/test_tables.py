"""What is loaded from a work directory, and the tables made of it."""
# ruff: noqa: D103

import pytest

from bdjax.report import results
from bdjax.report.load import load
from bdjax.report.tables import (
  best,
  between,
  dots,
  floor,
  interval,
  percent,
  pivot,
  protocol,
  several,
  verdict,
)


def test_load_keeps_the_last_of_repeated_curve_rows(workdir, fake):
  (row,) = results.read(workdir / "curves.jsonl")[:1]
  again = [row, row | {"asr": 0.123}]
  results.append(workdir / "curves.jsonl", again, required=results.CURVE)
  rows = load(workdir).curves[row["cell"]]
  assert [r["epoch"] for r in rows] == list(range(1, fake.epochs + 1))
  assert rows[0]["asr"] == 0.123


def test_load_names_classes_and_empty_directories(tmp_path, fake):
  with pytest.raises(ValueError, match="run an experiment into it first"):
    load(tmp_path)
  (tmp_path / "results.jsonl").touch()
  with pytest.raises(ValueError, match="missing or empty"):
    load(tmp_path)
  fake.fabricate(tmp_path, attacks=("badnets",), seeds=(0,))
  picture = load(tmp_path).pictures["badnets-fmn-0"]
  assert picture.label == ["car", "bird", "cat", "deer"]
  assert picture.target == ["plane"] * 4


def test_load_adds_undefended_models_that_have_no_cell(tmp_path, fake):
  path = tmp_path / "results.jsonl"
  one = fake.record("badnets", "fmn", "ft", 0)
  two = [fake.record("sig", "fmn", name, 0) for name in ("none", "ft")]
  results.append(path, [one, *two])
  run = load(tmp_path)
  assert run.cells == [one, *two]
  (added,) = run.records[:-3]
  assert (added["attack"], added["defense"]) == ("badnets", "none")
  assert (added["ca"], added["asr"]) == (one["ca_before"], one["asr_before"])
  assert added["der"] is added["seconds_train"] is None


def test_pivot_orders_and_splits(fake):
  names = [("badnets", "ft"), ("badnets", "none"), ("sig", "ft")]
  records = [fake.record(a, "fmn", d, 0) for a, d in names]
  records.append(records[0] | {"cell": "other", "dataset": "gtsrb"})
  first, second = pivot(records)
  assert first.defenses == ["none", "ft"]
  assert first.attacks == [("badnets", "fmn"), ("sig", "fmn")]
  assert ("sig", "fmn", "none") not in first.rows
  assert second.title[0] == "gtsrb"
  assert second.defenses == ["ft"]


def test_numbers_in_words():
  row = {"asr": 0.1234, "asr_sd": 0.01, "asr_low": 0.1, "asr_high": 0.2}
  assert percent(row, "asr") == "12.3 ± 1.0"
  assert percent(row | {"asr_sd": None}, "asr") == "12.3"
  assert percent(row | {"asr": None}, "asr") == "–"
  assert interval(row, "asr") == "[10.0, 20.0]"
  alone = row | {"asr_low": None, "seeds": [4]}
  assert interval(alone, "asr") == "one seed"
  assert interval(alone | {"asr": None}, "asr") == ""
  sound = {"ca": 0.9, "ca_before": 0.9, "asr_before_least": 0.9}
  words = [
    verdict(sound | {"left": left}) for left in (0.19, 0.2, 0.49, 0.5, None)
  ]
  assert words == ["gone", "weak", "weak", "alive", ""]
  weak = sound | {"left": 0.1, "asr_before_least": 0.89}
  ruined = sound | {
    "left": 0.1,
    "ca": 0.49,
  }  # .1 + .8 / 2 = .5 is left at least
  assert [verdict(weak), verdict(ruined)] == ["attack failed", "destroyed"]
  # At chance, .1 + .9 / 10 = .19, it is no classifier that a trigger misleads.
  naive = {"left": 0.1, "ca": 0.9, "asr_before_least": 1.0}
  learned = [verdict(naive | {"ca_before": ca}) for ca in (0.189, 0.191)]
  assert learned == ["attack failed", "gone"]
  assert verdict(weak | {"asr_before_least": None}) == "gone"  # another task's
  assert several([1, 2.50, 2.5, "a"], most=2) == "1, 2.5 and 1 more"
  assert between([None]) == "an unknown number of"
  assert (between([1000, 1000]), between([5, 2000])) == ("1,000", "5 to 2,000")


def test_one_seed_that_is_destroyed_leaves_a_mean_that_says_nothing(fake):
  cells = [
    fake.record("a", "fmn", "anp", seed, ca_before=0.82, ca=ca, asr=asr)
    for seed, ca, asr in ((0, 0.8, 0.25), (1, 0.8, 0.3), (2, 0.1, 0.0))
  ]
  (row,) = results.summarize(cells)  # means: CA .57, ASR .18
  assert row["ruins"] == 1 and verdict(row) == "destroyed"
  (row,) = results.summarize(cells[:2])
  assert row["ruins"] == 0 and verdict(row) == "weak"


def elsewhere(fake, defense, seed=0, **changes):
  """Returns a record of a transfer: nothing there was known before."""
  nothing = dict.fromkeys(("ca_before", "asr_before", "ra_before", "der"))
  nothing = {} if defense == "none" else nothing
  return fake.record(
    "a", "fmn", defense, seed, scenario="transfer", **nothing, **changes
  )


def test_what_is_left_after_a_transfer_is_the_collapse(tmp_path, fake):
  cells = [
    elsewhere(fake, "none", asr=0.97),
    elsewhere(fake, "ft", asr=0.01, collapse=0.95, clean_ca=0.9, clean_asr=0),
    elsewhere(fake, "nad", asr=0.3, collapse=0.12, clean_ca=0.9, clean_asr=0),
  ]
  results.append(tmp_path / "results.jsonl", cells)
  (table,) = pivot(load(tmp_path).records)
  rows = {name: table.rows["a", "fmn", name] for name in table.defenses}
  assert [verdict(row) for row in rows.values()] == ["alive", "alive", "gone"]
  assert best(table, ("a", "fmn")) == "nad"
  assert percent(rows["ft"], "left") == "95.0"
  assert dots(rows["ft"]) == "collapse by seed 0: 95.0"
  assert floor(rows["ft"]) == "chance 10"  # no clean model's collapse is known


@pytest.mark.parametrize(
  ("ca", "clean_ca", "said"),
  [
    (0.11, 0.12, "destroyed"),  # as is the clean model: at chance, .1
    (0.189, 0.19, "destroyed"),  # .1 + .9 / 10 = .19 is a classifier
    (0.191, 0.2, "gone"),
    (0.3, 0.6, "destroyed"),  # less than .1 + .5 / 2
    (0.3, None, "gone"),
    (0.11, None, "destroyed"),
  ],
)
def test_a_head_that_knows_nothing_after_a_transfer_is_a_ruin(
  fake, ca, clean_ca, said
):
  changes = {"ca": ca, "clean_ca": clean_ca, "collapse": 0.12}
  (row,) = results.summarize([elsewhere(fake, "clp", **changes)])
  assert verdict(row) == said


def test_a_transfer_without_a_collapse_is_not_judged(fake):
  (table,) = pivot([elsewhere(fake, "ft", asr=0.01)])
  (row,) = table.rows.values()
  assert row["left"] is None and verdict(row) == ""


def test_what_was_not_planted_is_not_gone_in_another_task(tmp_path, fake):
  cells = [
    elsewhere(fake, "none", 0, asr=0.97),
    elsewhere(fake, "none", 1, asr=0.2),
    elsewhere(fake, "ft", 0, asr=0.1, collapse=0.1),
    elsewhere(fake, "ft", 1, asr=0.1, collapse=0.1),
  ]
  results.append(tmp_path / "results.jsonl", cells)
  (table,) = pivot(load(tmp_path).records)
  row = table.rows["a", "fmn", "ft"]
  assert row["asr_before_least"] == 0.2 and verdict(row) == "attack failed"


def test_protocol_tells_counts_seeds_and_device(fake):
  records = [fake.record("badnets", "fmn", "ft", s) for s in (0, 1)]
  text = protocol(records)
  assert "over 2 seeds (0, 1)" in text
  assert "10,000 clean" in text
  assert "9,000 triggered" in text
  assert "holds 2,500" in text
  none = fake.record("badnets", "fmn", "none", 0, clean_images=0)
  assert "holds 2,500" in protocol([none, *records])
  assert "holds" not in protocol([none])
  assert "1 x invented accelerator" in text
  assert "One seed per cell (0)" in protocol(records[:1])
