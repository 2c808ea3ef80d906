"""A claim's verdict follows from all experiments that measured some of it."""

import pytest

from bdjax.archive import claims

ALL = ("blended", "l0_inv", "l2_inv", "trojaning")
PLANTED = "fmn(start='planted')"
REST = ("inputaware", "lira", "narcissus")
WHOLE = {"clean_images": 20_000, "train_images": 20_000}


def planted(invent, asr, attacks=(*ALL, *REST), seeds=(0, 1), **changes):
  """Returns what FMN's claim on success rates is asked of."""
  return [
    invent.record(f"{attack}.fmn", "fmn", "none", seed, asr=asr, **changes)
    for attack in attacks
    for seed in seeds
  ]


@pytest.fixture
def verdict(invent, tmp_path):
  """Returns what makes experiments of records, and asks one claim of them."""

  def asked(name, *several):
    found = [
      invent.keep(tmp_path / "results" / f"one{i}", records)
      for i, records in enumerate(several)
    ]
    (outcome,) = [o for o in claims.outcomes(found) if o.claim.name == name]
    return outcome

  return asked


def test_all_cells_above_reproduce_it(invent, verdict):
  outcome = verdict("fmn_asr", planted(invent, 0.95))
  assert outcome.verdict == "reproduced"
  (answer,) = outcome.answers
  assert (answer.finding.measured, answer.finding.of) == (7, 7)


def test_one_cell_below_is_enough_against(invent, verdict):
  found = planted(invent, 0.95, ALL) + planted(invent, 0.4, ("lira",))
  outcome = verdict("fmn_asr", found)
  assert outcome.verdict == "not reproduced"
  assert outcome.answers[0].finding.measured == 5


def test_some_cells_or_one_seed_decide_nothing(invent, verdict):
  assert verdict("fmn_asr", planted(invent, 0.95, ALL)).verdict == "undecided"


def test_one_seed_decides_nothing(invent, verdict):
  outcome = verdict("fmn_asr", planted(invent, 0.95, seeds=(0,)))
  assert outcome.verdict == "undecided"


def test_a_machine_that_was_shared_tells_no_cost(invent, tmp_path):
  found = [
    invent.record("blended", "conventional", defense, seed, **WHOLE)
    for defense in ("none", "super_ft", "nad")
    for seed in (0, 1)
  ]
  told = {}
  for busy in (False, True):
    kept = invent.keep(tmp_path / f"busy {busy}", found, busy=busy)
    told[busy] = {o.claim.name: o.verdict for o in claims.outcomes([kept])}
  assert told[False]["sha_cheapest"] == "undecided"
  assert told[True]["sha_cheapest"] == "not run"
  assert told[True].pop("sha_dearest") == "not run"
  del told[True]["sha_cheapest"]
  assert told[True].items() <= told[False].items()


def test_experiments_that_disagree_leave_it_undecided(invent, verdict):
  outcome = verdict("fmn_asr", planted(invent, 0.95), planted(invent, 0.4))
  assert outcome.verdict == "undecided"
  assert [a.finding.status for a in outcome.answers] == [
    "supported",
    "not supported",
  ]


def test_what_decides_nothing_outvotes_nothing(invent, verdict):
  one = planted(invent, 0.95, seeds=(2,))
  assert verdict("fmn_asr", planted(invent, 0.95), one).verdict == "reproduced"


def test_other_data_is_shown_and_not_counted(invent, verdict):
  outcome = verdict(
    "fmn_low_rate",
    [
      invent.record(a, "conventional", d, seed, asr=s, dataset="imagenette")
      for a in ALL
      for d, s in (("none", 0.99), ("ft(lr=0.01)", 0.1))
      for seed in (0, 1)
    ],
  )
  assert outcome.verdict == "not run"
  assert outcome.answers[0].whose == claims.FOREIGN


def test_procedural_images_are_not_asked(invent, verdict):
  outcome = verdict("fmn_asr", planted(invent, 0.95, dataset="synthetic"))
  assert (outcome.verdict, outcome.answers) == ("not run", [])


def test_a_claim_is_asked_of_its_own_scenario(invent, verdict):
  found = [
    invent.record("badnets", "conventional", d, seed, asr=a, collapse=a)
    for d, a in (("none", 0.99), ("ft.sha", 0.1), ("super_ft.paper", 0.05))
    for seed in (0, 1)
  ]
  assert verdict("sha_transfer_super", found).verdict == "not run"


@pytest.mark.parametrize(
  ("clean", "word"), [(20_000, "not reproduced"), (2_500, "not run")]
)
def test_a_standalone_claim_sees_what_is_standalone_and_of_all_images(
  invent, verdict, clean, word
):
  held = {"clean_images": clean, "train_images": 20_000}
  found = [
    invent.record("badnets", "conventional", d, seed, asr=a, **held)
    for d, a in (("none", 0.99), ("super_ft.paper", 0.6))
    for seed in (0, 1)
  ]
  assert verdict("sha_super_asr", found).verdict == word


def test_the_page_links_each_verdict_to_its_evidence(invent, tmp_path):
  one = invent.keep(tmp_path / "results" / "one", planted(invent, 0.4))
  text = claims.render([one])
  sentence = "Every attack trained with FMN reaches a high success rate."
  link = "#every-attack-trained-with-fmn-reaches-a-high-success-rate"
  assert f"| [{sentence}]({link}) |" in text
  assert f"### {sentence}\n\n**not reproduced**." in text
  assert "[Experiment one](results.md#experiment-one)" in text
  assert r"- no: cifar10 blended fmn: 40.0 \[40.0, 40.0\]" in text


def reading(invent, scratch, started):
  """Returns FMN's records from scratch and from the planted model."""
  other = [
    record | {"cell": f"planted {record['cell']}", "regime": PLANTED}
    for record in planted(invent, started)
  ]
  return planted(invent, scratch) + other


def test_another_reading_is_asked_beside_and_not_counted(invent, verdict):
  outcome = verdict("fmn_asr", reading(invent, 0.95, 0.4))
  assert outcome.verdict == "reproduced"
  (name,) = outcome.others
  other = outcome.others[name]
  assert other.verdict == "not reproduced"
  (answer,) = other.answers
  assert (answer.finding.measured, answer.finding.of) == (7, 7)
  assert all("40.0" in part.what for part in answer.parts)


def test_another_reading_alone_leaves_a_claim_not_run(invent, verdict):
  found = reading(invent, 0.95, 0.95)[len(planted(invent, 0.95)) :]
  outcome = verdict("fmn_asr", found)
  assert (outcome.verdict, outcome.answers) == ("not run", [])
  assert [o.verdict for o in outcome.others.values()] == ["reproduced"]


def test_a_reading_that_was_not_run_is_not_shown(invent, verdict):
  assert verdict("fmn_asr", planted(invent, 0.95)).others == {}


def test_a_reading_is_shown_only_where_it_bears_on_a_claim(invent, verdict):
  found = reading(invent, 0.95, 0.4)
  found += [
    invent.record(f"{attack}.fmn", "conventional", defense, seed, asr=0.99)
    for attack in ALL
    for defense in ("none", "ft(lr=0.01)")
    for seed in (0, 1)
  ]
  outcome = verdict("fmn_low_rate", found)
  assert outcome.answers
  assert outcome.others == {}


def test_the_page_shows_another_reading_beside_the_verdict(invent, tmp_path):
  found = reading(invent, 0.95, 0.4)
  text = claims.render([invent.keep(tmp_path / "results" / "one", found)])
  assert "**reproduced**; from the planted model: not reproduced |" in text
  head, _, tail = text.partition(
    "Read from the planted model, not counted: **not reproduced**."
  )
  assert r"- yes: cifar10 blended fmn: 95.0 \[95.0, 95.0\]" in head
  assert r"- no: cifar10 blended fmn: 40.0 \[40.0, 40.0\]" in tail


def test_a_sequel_of_a_clean_model_has_no_regime_to_be_read(invent, tmp_path):
  one = invent.keep(tmp_path / "results" / "one", reading(invent, 0.95, 0.4))
  sequel = {"cell": "s", "regime": None, "scenario": "standalone"}
  run = claims._reread(one.run._replace(sequela=[sequel]), PLANTED, "fmn")
  assert run.sequela == [sequel]
  assert {record["regime"] for record in run.records} == {"fmn"}
