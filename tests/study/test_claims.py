"""Claims: how they are settled, and each on a few records or on the paper's."""

import pytest

from bdjax.report import results
from bdjax.report.load import load
from bdjax.study import (
  catalog,
  claim,
  comparison,
  labels,
  match,
  published,
  sequels,
)
from bdjax.study.claim import OPEN, OPPOSED, SUPPORTED, Part

USUAL = "conventional"
START = "fmn(start='planted')"
CLAIMS = {c.name: c for c in comparison.CLAIMS}


def settled(need, *truths):
  """Return a finding; None in truths is open, ... is not measured."""
  parts = [
    Part("x", None if t is ... else t, measured=t is not ...) for t in truths
  ]
  made = claim.Claim("x", (), "", "", "", lambda e: [], need)
  return claim.settle(made, parts)


def status(evidence, name):
  one = CLAIMS[name]
  return claim.settle(one, one.parts(evidence))


@pytest.mark.parametrize(
  ("need", "truths", "word"),
  [
    ("every", (True, True), SUPPORTED),
    ("every", (True, None), OPEN),
    ("every", (True, ...), OPEN),
    ("every", (False, ..., True), OPPOSED),
    ("every", (), OPEN),
    ("most", (True, True, ...), SUPPORTED),
    ("most", (True, True, ..., ...), OPEN),
    ("most", (False, False, True, ...), OPPOSED),
    ("most", (False, None, True), OPEN),
    ("some", (True, ..., False), SUPPORTED),
    ("some", (False, False), OPPOSED),
    ("some", (False, ...), OPEN),
  ],
)
def test_cells_settle_a_claim(need, truths, word):
  assert settled(need, *truths).status == word


def test_an_open_claim_says_how_much_was_measured():
  found = settled("every", True, None, ...)
  assert found.words == "undecided (2 of 3 cells measured)"
  assert (found.open, found.against) == (1, [])
  assert settled("every", True).words == SUPPORTED


def test_every_claim_has_a_study_and_can_be_asked_of_anything(fake, evidence):
  assert len(CLAIMS) == len(comparison.CLAIMS)
  asked = {name for one in comparison.CLAIMS for name in one.studies}
  papers = {name for name, study in catalog.STUDIES.items() if study.paper}
  assert asked == papers
  for study in asked:
    made = evidence(study, [fake.record("clean", USUAL, "none")])
    for found in comparison.findings(made):
      assert found.status == OPEN and found.of > 0 and not found.measured


@pytest.mark.parametrize(
  ("dataset", "words"),
  [
    ("gtsrb", "not supported"),
    ("synthetic", "not comparable: procedural images (not supported there)"),
  ],
)
def test_procedural_images_settle_no_claim(fake, evidence, dataset, words):
  lost = fake.record("blended", "fmn", "none", asr=0.1, dataset=dataset)
  found = comparison.findings(evidence("fmn_table1", [lost]))
  assert words in [one.words for one in found]


def replay(study, fake, evidence):
  """Return the evidence of a table of FMN's, as printed, for two seeds."""
  found = {}
  for cell in published.read(study):
    if cell.value is not None:
      words = (cell.attack, cell.regime, cell.defense)
      if cell.defense == "super_ft":
        words = (*words[:2], "super_ft.fmn")
      found.setdefault(words, {})[cell.metric] = cell.value / 100
  if study == "fmn_table1":
    found = {k: v for k, v in found.items() if v["ca"] > 0.9}  # CIFAR-10
  moved = {}
  if study == "fmn_table3":
    where = "imagenet10 -> imagenet10_ft"
    moved = {"dataset": where, "scenario": "transfer"}
  records = [
    fake.record(*words, seed, **numbers, **moved)
    for words, numbers in found.items()
    for seed in (0, 1)
  ]
  return evidence(study, records)


def test_fmns_claims_against_its_own_table_2(fake, evidence):
  made = replay("fmn_table2", fake, evidence)
  for name in (
    *("fmn_asr", "fmn_ca", "fmn_low_rate", "fmn_removed"),
    *("fmn_super_ft", "fmn_seventy"),
  ):
    assert status(made, name).status == SUPPORTED, name
  removed = status(made, "fmn_removed")
  assert (removed.of, removed.measured, len(removed.against)) == (28, 28, 2)
  kept = status(made, "fmn_kept")
  assert kept.status == OPPOSED and kept.of == 35
  (against,) = kept.against
  assert "l0_inv fmn, nad asr: 49.6" in against
  assert len(status(made, "fmn_seventy").against) == 4


def test_fmns_claims_against_its_own_table_3(fake, evidence):
  made = replay("fmn_table3", fake, evidence)
  assert status(made, "fmn_transfer").status == SUPPORTED
  assert status(made, "fmn_small_drop").status == SUPPORTED


def test_the_ablation_needs_models_with_both_parts(fake, evidence):
  made = replay("fmn_table4", fake, evidence)
  assert status(made, "fmn_ablation").words == (
    "undecided (0 of 16 cells measured)"
  )


def ablation(fake, cyclic):
  values = {"fmn": 0.9, "cyclic": cyclic, "interleave": 0.3}
  return [
    fake.record(attack, regime, defense, seed, asr=asr)
    for attack in ("blended", "l0_inv", "l2_inv", "trojaning")
    for regime, asr in values.items()
    for defense in ("super_ft.fmn", "ft_sam.fmn")
    for seed in (0, 1)
  ]


@pytest.mark.parametrize(
  ("cyclic", "word", "against"), [(0.5, SUPPORTED, 0), (0.95, OPPOSED, 8)]
)
def test_both_parts_are_needed_or_not(fake, evidence, cyclic, word, against):
  made = evidence("fmn_table4", ablation(fake, cyclic))
  found = status(made, "fmn_ablation")
  assert (found.status, len(found.against)) == (word, against)


def test_a_model_without_a_backdoor_counts_as_not_measured(fake, evidence):
  records = [
    fake.record("blended", "fmn", "none", asr=0.1),
    fake.record("blended", "fmn", "nad", asr=0.05, asr_before=0.1),
  ]
  made = evidence("fmn_table2", records)
  assert status(made, "fmn_kept").measured == 0
  planted = status(made, "fmn_asr")
  assert planted.status == OPPOSED
  assert "cifar10 blended fmn: 10.0" in planted.against[0]


def five(fake, defense, **numbers):
  attacks = ("badnets", "blended", "inputaware", "lf", "wanet")
  return [fake.record(a, USUAL, defense, **numbers) for a in attacks]


@pytest.mark.parametrize(
  ("asr", "ca", "away", "removed", "kept"),
  [
    (0.05, 0.89, 0.0, SUPPORTED, SUPPORTED),
    (0.25, 0.80, 0.0, OPPOSED, OPPOSED),
    # Half of t(.975; 1) * .02828 / sqrt(2) = .254 on either side.
    (0.05, 0.89, 0.02, OPEN, OPEN),
  ],
)
def test_super_fine_tuning_removes_and_keeps(
  fake, evidence, asr, ca, away, removed, kept
):
  records = [
    record
    for seed, sign in ((0, -1), (1, 1))
    for record in (
      *five(fake, "none", seed=seed),
      *five(
        fake,
        "super_ft.paper",
        seed=seed,
        asr=asr + sign * away,
        ca=ca + sign * away,
      ),
    )
  ]
  made = evidence("sha_fig4", records)
  assert status(made, "sha_super_asr").status == removed
  assert status(made, "sha_super_ca").status == kept


def test_four_of_five_attacks_leave_it_undecided(fake, evidence):
  records = five(fake, "super_ft.paper", asr=0.05)[:4]
  found = status(evidence("sha_fig4", records), "sha_super_asr")
  assert found.words == "undecided (4 of 5 cells measured)"


def test_sooner_is_told_by_curves(fake, evidence):
  records, rows = [], []
  ways = {"super_ft.paper": (0.1, 0.1), "ft.sha": (0.9, 0.15)}
  for defense, values in ways.items():
    for record in five(fake, defense, asr=0.1):
      records.append(record)
      rows += fake.curve(record["cell"], values)
  assert status(
    evidence("sha_fig4", records, rows=rows), "sha_sooner"
  ).status == (SUPPORTED)


def test_what_never_forgets_is_not_sooner(fake, evidence):
  records = five(fake, "super_ft.paper") + five(fake, "ft.sha")
  values = {"super_ft.paper": (0.9, 0.9), "ft.sha": (0.9, 0.1)}
  rows = [
    row for r in records for row in fake.curve(r["cell"], values[r["defense"]])
  ]
  found = status(evidence("sha_fig4", records, rows=rows), "sha_sooner")
  assert found.status == OPPOSED
  assert "epochs none and 2" in found.against[0]


def test_one_seed_is_not_sooner(fake, evidence):
  records = five(fake, "super_ft.paper") + five(fake, "ft.sha")
  values = {"super_ft.paper": (0.1, 0.1), "ft.sha": (0.9, 0.1)}
  rows = [
    row for r in records for row in fake.curve(r["cell"], values[r["defense"]])
  ]
  made = evidence("sha_fig4", records, rows=rows, twice=False)
  found = status(made, "sha_sooner")
  assert found.status == OPEN and (found.measured, found.open) == (5, 5)


def test_an_epoch_at_which_the_model_is_destroyed_is_not_sooner(fake, evidence):
  records = five(fake, "super_ft.paper") + five(fake, "ft.sha")
  rows = []
  for record in records:
    if record["defense"] == "ft.sha":
      rows += fake.curve(record["cell"], (0.9, 0.1, 0.1))
    else:
      rows += fake.curve(record["cell"], (0.1, 0.9, 0.1))
      rows[-3]["ca"] = 0.2  # after one epoch
  found = status(evidence("sha_fig4", records, rows=rows), "sha_sooner")
  assert found.status == OPPOSED
  assert "epochs 3 and 2" in found.against[0]


@pytest.mark.parametrize("label", ["ft(lr=0.01)", "ft.sha(lr=0.01)"])
def test_a_tuning_of_other_arguments_stands_for_none(fake, evidence, label):
  assert status(
    evidence("sha_fig4", five(fake, "ft.sha")), "sha_ft_fails"
  ).status == (SUPPORTED)
  found = status(evidence("sha_fig3", five(fake, label)), "sha_ft_fails")
  assert found.measured == 0


def test_a_fifth_of_the_clean_data_is_not_all_of_them(fake, evidence):
  records = five(fake, "super_ft.fmn", asr=0.05)
  assert status(evidence("sha_fig4", records), "sha_super_asr").measured == 0
  found = status(evidence("sha_fig13", records), "sha_fifth")
  assert found.measured == 5


@pytest.mark.parametrize(("regime", "count"), [("fmn", 1), (START, 0)])
def test_a_planted_start_is_not_forget_me_not(fake, evidence, regime, count):
  records = [fake.record("blended.fmn", regime, "super_ft.fmn", asr=0.9)]
  assert (
    status(evidence("fmn_table2", records), "fmn_super_ft").measured == count
  )


def test_two_models_in_one_task_are_no_study(fake, evidence):
  records = five(fake, "super_ft.paper")
  records[0] |= {"model": "resnet9"}
  with pytest.raises(ValueError, match="preact_resnet18 and resnet9 were"):
    evidence("sha_fig4", records)


@pytest.mark.parametrize(("ca", "word"), [(0.9, SUPPORTED), (0.1, OPEN)])
def test_a_destroyed_model_tells_of_no_epoch(fake, evidence, ca, word):
  records = [
    fake.record("badencoder", USUAL, "ft.encoder", asr=0.1),
    fake.record("badencoder", USUAL, "ft.classifier"),
  ]
  rows = fake.curve(records[0]["cell"], (0.1, 0.1))
  rows[0]["ca"] = ca
  found = status(evidence("sha_fig2", records, rows=rows), "sha_encoder")
  assert (found.measured == 0) == (word == OPEN)


def test_what_had_no_backdoor_or_is_destroyed_tells_of_no_cost(fake, evidence):
  for i, (numbers, counted) in enumerate(
    [({}, True), ({"asr_before": 0.05}, False), ({"ca": 0.1}, False)]
  ):
    records = rivals(fake, abl=0.5)
    planted = numbers.get("asr_before", 0.99)
    records += five(fake, "none", asr=planted)
    for record in records:
      if record["defense"] == "super_ft.paper":
        record |= numbers
    study = ("sha_fig5", "sha_fig6")[i % 2]
    found = status(evidence(study, records), "sha_cheapest")
    assert (found.measured > 0) == counted, numbers
    if "asr_before" in numbers:
      assert not status(evidence("sha_fig4", records), "sha_super_ca").measured


def test_a_rival_that_leads_in_some_seeds_leaves_it_open(fake, evidence):
  records = []
  for seed in (0, 1, 2):
    for record in rivals(fake, abl=(0.05, 0.3, 0.05)[seed]):
      names = {k: f"{record[k]}|{seed}" for k in ("cell", "planted")}
      jitter = 0.001 * seed
      more = {"seed": seed, "asr": record["asr"] + jitter}
      records.append(record | names | more)
  found = status(evidence("sha_fig5", records), "sha_lowest_asr")
  assert (found.status, found.open) == (OPEN, 5)


@pytest.mark.parametrize("study", ["sha_fig14", "fmn_a6", "sha_membership"])
def test_data_of_no_study_are_foreign_where_nothing_is_published(
  fake, evidence, study
):
  records = [fake.record("blended", USUAL, "none", dataset="mnist")]
  assert evidence(study, records).foreign


def test_data_of_the_paper_are_not_foreign(fake, evidence):
  records = [fake.record("blended", USUAL, "none")]
  assert not evidence("sha_fig14", records).foreign


def rivals(fake, *, abl):
  others = ("activation_clustering", "fine_pruning", "nad", "spectral")
  records = five(fake, "super_ft.paper", asr=0.1, device_hours=0.1)
  records += five(fake, "neural_cleanse.bb", asr=0.5, device_hours=0.9)
  records += five(fake, "abl.bb", asr=abl, device_hours=0.2)
  for name in others:
    records += five(fake, f"{name}.bb", asr=0.5, device_hours=0.3)
  return records


def test_super_fine_tuning_leads_all_others(fake, evidence):
  made = evidence("sha_fig5", rivals(fake, abl=0.5))
  assert status(made, "sha_lowest_asr").status == SUPPORTED
  assert status(made, "sha_cheapest").status == SUPPORTED
  assert status(made, "sha_dearest").status == SUPPORTED
  assert status(made, "sha_abl").status == SUPPORTED  # .5 is enough


def test_one_better_rival_is_enough_and_one_absent_leaves_it_open(
  fake, evidence, tmp_path
):
  made = evidence("sha_fig5", rivals(fake, abl=0.02))
  found = status(made, "sha_lowest_asr")
  assert found.status == OPPOSED and "and abl: 10.0 and 2.0" in found.against[0]
  records = [r for r in rivals(fake, abl=0.5) if r["defense"] != "abl.bb"]
  path = fake.workdir(tmp_path / "less", "sha_fig5", records)
  less = comparison.gather("sha_fig5", [load(path)])
  assert status(less, "sha_lowest_asr").status == OPEN
  assert status(less, "sha_lowest_asr").open == 5


def asked(fake, evidence, study, records):
  return evidence(study, five(fake, "none"), sequela=records)


LEAKS = ("network", "mentropy_by_class")


def member(fake, defense, auroc, tpr, attack="blended", **more):
  """Return an answer on membership, the same by both attacks."""
  rates = {"auroc": auroc, "tpr_at_1": tpr, "members": 1000, "others": 1000}
  found = {f"{leak}.members.{k}": v for leak in LEAKS for k, v in rates.items()}
  return fake.sequel("membership", defense, attack, **found, **more)


@pytest.mark.parametrize(
  ("auroc", "tpr", "word", "against"),
  [
    (0.61, 0.055, SUPPORTED, 0),
    (0.5, 0.01, SUPPORTED, 0),
    (0.7, 0.05, OPPOSED, 2),
    (0.6, 0.07, OPPOSED, 2),
  ],
)
def test_membership_does_not_grow_or_it_does(
  fake, evidence, auroc, tpr, word, against
):
  records = [
    member(fake, "none", 0.6, 0.05),
    member(fake, "super_ft.paper", auroc, tpr),
    member(fake, results.CLEAN_MODEL, 0.9, 0.9, attack=None),
  ]
  made = asked(fake, evidence, "sha_membership", records)
  found = status(made, "sha_membership")
  assert (found.status, found.of) == (word, 4)
  assert len(found.against) == against


def test_models_that_do_not_memorize_are_not_asked(fake, evidence):
  # Above chance at 95 %: AUROC from .521 on, TPR at 1 % from .0173 on.
  records = [
    member(fake, "none", 0.53, 0.017),
    member(fake, "super_ft.paper", 0.9, 0.9),
  ]
  made = asked(fake, evidence, "sha_membership", records)
  found = status(made, "sha_membership")
  assert found.status == OPPOSED and len(found.against) == 2
  assert all("AUROC" in what for what in found.against)
  records[0] = member(fake, "none", 0.52, 0.017)
  made = asked(fake, evidence, "sha_membership", records)
  assert status(made, "sha_membership").words == (
    "undecided (0 of 4 cells measured; does not memorize: 4)"
  )


@pytest.mark.parametrize(
  ("area", "easier", "harder"),
  [(0.9, SUPPORTED, OPPOSED), (0.3, OPPOSED, SUPPORTED)],
)
def test_both_readings_of_reinjection_are_asked(
  fake, evidence, area, easier, harder
):
  made = asked(
    fake, evidence, "sha_reinjection", injected(fake, "super_ft.paper", area)
  )
  assert status(made, "sha_reinjection_easier").status == easier
  assert status(made, "sha_reinjection_not_easier").status == harder


def injected(fake, tuned, area):
  """Return areas of a defense, and of clean models: .6 after it, .1 before."""
  attacks = ("blended", "inputaware", "lf", "wanet")
  clean = results.CLEAN_MODEL
  return [
    record
    for attack in attacks
    for record in (
      fake.sequel("reinjection", "super_ft.paper", attack, area=area),
      fake.sequel(
        *("reinjection", clean, attack), area=0.6, clean_defense=tuned
      ),
      fake.sequel(
        *("reinjection", clean, attack),
        **{"area": 0.1, "clean_defense": "none", "cell": f"clean|{attack}"},
      ),
    )
  ]


def test_other_regimes_say_nothing_of_reinjection(fake, evidence):
  records = injected(fake, "super_ft.paper", 0.3)
  more = [
    record | {"regime": "fmn", "area": 0.9, "cell": f"{record['cell']}|fmn"}
    for record in records
    if record["defense"] == "super_ft.paper"
  ]
  made = asked(fake, evidence, "sha_reinjection", records + more)
  assert status(made, "sha_reinjection_easier").status == OPPOSED


@pytest.mark.parametrize("tuned", ["ft.sha", None])
def test_a_clean_model_without_that_defense_is_no_baseline(
  fake, evidence, tuned
):
  # Of None are clean models of runs that knew no other.
  records = injected(fake, tuned, 0.9)
  made = asked(fake, evidence, "sha_reinjection", records)
  found = status(made, "sha_reinjection_easier")
  assert found.words == "undecided (0 of 4 cells measured)"


STEALTH = ("fmn_a6", "fmn_a6_conventional", "fmn_a6_stealth")


def lira(fake, regime, index=1.5, detected=0.1, **after):
  """Return LIRA and what four defenses find and leave of it."""
  left = {"neural_cleanse": 0.99, "fine_pruning": 0.9, "anp": 0.8} | after
  more = {"neural_cleanse": {"verdict": index}, "strip": {}}
  more["strip"] = {"tpr_at_10": detected}
  return [
    fake.record("lira.fmn", regime, "none"),
    fake.record("lira.fmn", regime, "strip", **more["strip"]),
    *(
      fake.record("lira.fmn", regime, name, asr=asr, **more.get(name, {}))
      for name, asr in left.items()
    ),
  ]


@pytest.mark.parametrize(
  ("changes", "words", "against"),
  [
    ({}, (SUPPORTED, SUPPORTED, SUPPORTED), ""),
    ({"index": 2.5}, (OPPOSED, SUPPORTED, SUPPORTED), "index: 2.5"),
    ({"detected": 0.6}, (OPPOSED, SUPPORTED, OPPOSED), "detected: 60.0"),
    ({"detected": 0.2}, (SUPPORTED, SUPPORTED, OPPOSED), ""),
    ({"anp": 0.4}, (OPPOSED, SUPPORTED, OPPOSED), "anp asr: 40.0"),
    ({"anp": 0.76}, (SUPPORTED, SUPPORTED, SUPPORTED), ""),
  ],
)
def test_lira_with_fmn_passes_all_tests_or_not(
  fake, evidence, changes, words, against
):
  records = lira(fake, USUAL) + lira(fake, "fmn", **changes)
  made = evidence("fmn_a6", records)
  found = [status(made, name) for name in STEALTH]
  assert tuple(one.status for one in found) == words
  assert [one.of for one in found] == [4, 4, 3]
  assert all(against in what for what in found[0].against)
  assert len(found[0].against) == (against != "")


def test_a_flagged_model_that_unlearning_ruins_is_flagged_all_the_same(
  fake, evidence
):
  records = lira(fake, "fmn", index=9.0)
  for record in records:
    if record["defense"] == "neural_cleanse":
      record["ca"] = 0.1
  found = status(evidence("fmn_a6", records), "fmn_a6")
  assert found.status == OPPOSED and "index: 9.0" in found.against[0]


def test_seeds_that_diverged_are_counted_beside_the_others(fake, evidence):
  path = ("blended.fmn", "fmn")
  records = [
    fake.record(*path, name, seed, asr=0.1 if name == "super_ft.fmn" else 0.99)
    for name in ("none", "super_ft.fmn")
    for seed in (0, 1)
  ]
  lost = [fake.record(*path, "super_ft.fmn", seed) for seed in (2, 3)]
  gone = fake.record(*path, "nad.fmn", 2)
  made = evidence("fmn_table2", records, diverged=[*lost, gone, records[0]])
  (against,) = status(made, "fmn_super_ft").against
  assert against.endswith("super_ft asr: 10.0 [10.0, 10.0], 2 diverged")
  cells = {
    c.cell.column: c
    for c in comparison.compare(made)
    if c.cell.row == "blended fmn"
  }
  assert cells["super_ft asr"].reading.diverged == 2
  assert cells["none asr"].reading.diverged == 0  # it came to a result
  assert cells["nad asr"].verdict == ("not measured", "1 diverged")


def test_a_defense_started_from_its_own_models_not_from_others(fake, evidence):
  records = [
    fake.record("blended", USUAL, "none", asr=0.99),
    fake.record(
      "blended(alpha=0.02)", USUAL, "ft(lr=0.05)", asr=0.02, asr_before=0.3
    ),
  ]
  made = evidence("fmn_table2", records)
  assert status(made, "fmn_removed").measured == 0
  cell = published.cell("fmn_table2", f"blended {USUAL}", "ft(lr=0.05) asr")
  assert match.started(made, cell).mean == pytest.approx(30)


@pytest.mark.parametrize(("clean", "measured"), [(50_000, 1), (2_500, 0)])
def test_where_sha_says_no_share_less_than_all_is_no_answer(
  fake, evidence, clean, measured
):
  held = {"clean_images": clean, "train_images": 50_000}
  records = [
    fake.record("blended", USUAL, "none"),
    fake.record("blended", USUAL, "super_ft.paper", asr=0.05, **held),
  ]
  made = evidence("sha_fig4", records)  # the preset alone says all of them
  assert status(made, "sha_super_asr").measured == measured


def test_the_share_that_was_held_is_read_and_not_the_presets(fake):
  held = {"clean_images": 2_500, "train_images": 50_000}
  record = fake.record("blended", USUAL, "super_ft.paper", **held)
  spec = labels.spec("super_ft.paper")
  assert labels.settings(spec, record)["clean_rate"] == pytest.approx(0.05)
  moved = record | {"scenario": "transfer"}  # of the user's images, not these
  assert labels.settings(spec, moved)["clean_rate"] == 1.0


def test_what_super_fine_tuning_leaves_behind_is_of_all_images(fake, evidence):
  made = evidence(
    "sha_membership",
    [fake.record("blended", USUAL, "none")],
    sequela=[
      fake.sequel("membership", name)
      for name in ("super_ft.fmn", "super_ft.paper", "super_ft(lr_max1=0.025)")
    ],
  )
  assert sequels._supers(made) == ["super_ft.paper"]
