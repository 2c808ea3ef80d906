"""What a table says in a sentence and a card, before the table."""

import io

import pytest
from rich.console import Console

from bdjax import report
from bdjax.report import results, tables
from bdjax.report.answer import answer


def said(records):
  (table,) = tables.pivot(records)
  return answer(table)


def cells(fake, defense, *, asr, ca=0.9, seeds=(0,), attack="a", **more):
  """Return cells of one attack and defense; ASR and CA by seed or equal."""
  found = []
  for i, seed in enumerate(seeds):
    rates = {"asr": asr[i] if isinstance(asr, tuple) else asr, "ca": ca}
    der = 0.5 + (0.98 - rates["asr"]) / 2
    made = fake.record(attack, "fmn", defense, seed, der=der, **rates, **more)
    found.append(made | {"ca_before": 0.92})
  return found


def test_the_best_is_named_with_its_cost_and_what_is_left(fake):
  more = {"seconds_train": 30.0}
  found = said(
    cells(fake, "none", asr=0.98)
    + cells(fake, "x", asr=0.1, ca=0.9, **more)
    + cells(fake, "x", asr=0.02, ca=0.91, attack="b", **more)
    + cells(fake, "y", asr=0.3, **more)
    + cells(fake, "y", asr=0.3, attack="b", **more)
  )
  assert found.sentences == [
    "x is the best of 2 defenses here: over 2 backdoors, the ASR falls from "
    "98.0 to 6.0 %."
  ]
  assert found.card == [
    ("Best defense", "x: gone in 2 of 2 backdoors"),
    ("What it costs", "1.5 points less CA, 30 s of training a model"),
    ("What is left", "ASR 6.0 (chance 10), at most 10.0, by a, fmn"),
    ("How sure", "Not sure: of one seed, and another may give another order"),
  ]


def test_a_ruin_is_not_the_best_and_is_said(fake):
  ruined = cells(fake, "nad", asr=0.0, ca=0.1)
  found = said(ruined + cells(fake, "ft", asr=0.4))
  assert found.sentences[0].startswith("No backdoor is gone: under ft, the")
  assert found.sentences[1] == (
    "nad destroyed 1 model: a low ASR is no success there."
  )
  assert "ft" in dict(found.card)["Best defense"]
  assert said(ruined).card == []
  assert said(ruined).sentences[0].startswith("No defense left a model")


def test_a_defense_that_diverged_in_a_seed_comes_after_whole_ones(fake):
  whole = cells(fake, "ft", asr=0.1, seeds=(0, 1, 2))
  lucky = cells(fake, "super_ft", asr=0.02)
  lost = cells(fake, "super_ft", asr=0.02, seeds=(1, 2))
  (table,) = tables.pivot(whole + lucky, lost)
  found = answer(table)
  assert dict(found.card)["Best defense"].startswith("ft: ")
  assert found.sentences[1] == (
    "super_ft diverged in 2 cells, and is judged by the others alone."
  )


def test_attacks_that_failed_judge_nothing(fake):
  failed = cells(fake, "ft", asr=0.1, attack="b", asr_before=0.3)
  found = said(cells(fake, "ft", asr=0.1) + failed)
  assert found.sentences[1] == "1 of 2 attacks failed and judge no defense."
  assert "over 1 backdoor," in found.sentences[0]
  assert said(failed).sentences[0].startswith("No attack planted")
  assert "no defense was run" in said(cells(fake, "none", asr=0.98))[0][0]


@pytest.mark.parametrize(
  ("second", "text"),
  [
    # DER: half of the drop; gaps 10, 11 and 12 points, t(.975; 2) = 4.303.
    ((0.3, 0.32, 0.34), "11.0 [8.5, 13.5] points of DER ahead of y, over 3"),
    ((0.3, 0.1, 0.9), "Not told apart: 16.7 [-35.0, 68.4] points of DER ahead"),
  ],
)
def test_how_sure_follows_from_the_seeds(fake, second, text):
  seeds = (0, 1, 2)
  found = said(
    cells(fake, "x", asr=0.1, seeds=seeds)
    + cells(fake, "y", asr=second, seeds=seeds)
  )
  assert text in dict(found.card)["How sure"]


def test_where_there_is_no_der_the_lowest_asr_is_best(fake):
  none = dict.fromkeys(("ca_before", "asr_before", "der"))
  made = [
    fake.record("a", "fmn", name, 0, **none | {"asr": asr, "clean_ca": 0.9})
    for name, asr in (("x", 0.5), ("y", 0.1))
  ]
  found = said(made)
  assert found.sentences[0].startswith("y is the best of 2 defenses")
  assert "the ASR falls to 10.0 %" in found.sentences[0]


def test_the_page_begins_with_it_and_ends_with_where_it_is_from(tmp_path, fake):
  made = cells(fake, "none", asr=0.98) + cells(fake, "x", asr=0.1)
  results.append(tmp_path / "results.jsonl", made)
  page = report.write(tmp_path).read_text()
  console = Console(file=io.StringIO(), width=100)
  report.show(tmp_path, console)
  said = console.file.getvalue()
  assert 0 < said.index("x is the only defense here") < said.index("  attack ")
  places = [
    *("x is the only defense", "Best defense", '<table class="grid">'),
    *("<h3>Accuracy kept", 'id="numbers"', 'id="origin"', "<dt>Versions"),
  ]
  found = [page.index(text) for text in places]
  assert found == sorted(found)


def test_who_leads_by_other_seeds_may_be_behind(fake):
  # By means over all seeds x is first; in those of both its DER is 4 less.
  found = said(
    cells(fake, "x", asr=(0.10, 0.11), seeds=(0, 1))
    + cells(fake, "y", asr=(0.02, 0.03, 0.45), seeds=(0, 1, 2))
  )
  assert dict(found.card)["How sure"] == (
    "Not sure, since in the seeds of both it is behind: -4.0 [-4.0, -4.0] "
    "points of DER ahead of y, over 2 seeds"
  )


def test_more_clean_images_than_others_have_are_a_cost(fake):
  found = said(
    cells(fake, "x", asr=0.1, clean_images=4000)
    + cells(fake, "y", asr=0.3, clean_images=1000)
    + cells(fake, "z", asr=0.4, clean_images=4000)
  )
  assert dict(found.card)["What it costs"].endswith(
    ", 4,000 clean images, where 1 of the 2 others hold 1,000"
  )


def test_a_rate_that_grew_does_not_fall(fake):
  text = said(cells(fake, "x", asr=0.99)).sentences[0]
  assert text.endswith("the ASR rises from 98.0 to 99.0 %.")


def test_ruins_are_counted_by_models(fake):
  ruins = cells(fake, "nad", asr=0.0, ca=0.1, seeds=(0, 1, 2))
  text = said(ruins + cells(fake, "ft", asr=0.4)).sentences[1]
  assert text.startswith("nad destroyed 3 models:")


def test_a_seed_at_chance_before_is_no_backdoor(fake):
  sound, blank = (cells(fake, "ft", asr=0.05, seeds=(s,)) for s in (0, 1))
  blank = [cell | {"ca_before": 0.1, "asr_before": 1.0} for cell in blank]
  (table,) = tables.pivot(sound + blank)
  (row,) = table.rows.values()
  assert tables.verdict(row) == tables.UNPLANTED and row["blanks"] == 1


def test_nor_is_one_that_was_at_chance_in_its_own_task(tmp_path, fake):
  moved = {"scenario": "transfer", "collapse": 0.15, "ca_before": None}
  moved |= {"asr_before": None, "ra_before": None, "der": None}
  cell = fake.record("a", "fmn", "ft", 0, **moved, clean_ca=0.8)
  none = fake.record("a", "fmn", "none", 0, scenario="transfer", asr=1.0)
  for ca, word in ((0.1, tables.UNPLANTED), (0.9, "gone")):
    folder = tmp_path / word
    folder.mkdir()
    results.append(folder / "results.jsonl", [none | {"ca": ca}, cell])
    (table,) = tables.pivot(report.load(folder).records)
    assert tables.verdict(table.rows["a", "fmn", "ft"]) == word
