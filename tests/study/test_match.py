"""Every printed cell is met by a record that a study's config would leave."""

import pytest

from bdjax.machine import shipped
from bdjax.study import catalog, comparison, match, measured, published, verdict
from configs.papers import fmn_table2

PRINTED = {p.stem: published.read(p.stem) for p in published.folder().glob("*")}
PRINTED = {study: cells for study, cells in PRINTED.items() if cells}
LABELS = {  # (paper, printed defense) -> what configs/papers has for it
  ("fmn", "super_ft"): "super_ft.fmn",
  ("fmn", "ft_sam"): "ft_sam.fmn",
  ("fmn", "nad"): "nad.fmn",
  ("fmn", "ft"): "ft.fmn",
  ("sha", "super_ft"): "super_ft.paper",
  ("sha", "ft"): "ft.sha",
  ("sha", "abl"): "abl.bb",
  ("sha", "ft.encoder"): "ft.encoder(epochs=200)",
}
MOVED = {
  "fmn_table3": "transfer",
  "sha_fig2": "encoder",
  "sha_fig3": "transfer",
}


def label(cell):
  paper = catalog.STUDIES[cell.study].paper
  return LABELS.get((paper, cell.defense), cell.defense)


def names(cell):
  """Return what a run calls a printed cell's data, attack and regime."""
  places = match.wanted_datasets(cell)
  places = [f"{p}@32" if p == "stl10" else p for p in places]
  regime = "conventional" if cell.regime == "clean" else cell.regime
  preset = ".fmn" if catalog.STUDIES[cell.study].paper == "fmn" else ""
  return " -> ".join(places), f"{cell.attack}{preset}", regime


def replayed(fake, cells):
  """Return records, and rows of curves, with the printed numbers."""
  found, rows = {}, {}
  for cell in cells:
    if not cell.attack or cell.value is None or cell.source:
      continue
    dataset, attack, regime = names(cell)
    scenario = MOVED.get(cell.study, "standalone")
    moved = {"dataset": dataset, "scenario": scenario}
    key = (dataset, attack, regime, label(cell))
    if cell.study == "sha_fig15":
      moved["config.defense.clean_rate"] = 0.1
    record = found.setdefault(key, fake.record(*key[1:], **moved))
    name = measured.key(cell, record)
    hours = cell.metric == "gpu_hours"
    value = cell.value if hours else cell.value / 100
    if cell.epoch is None:
      record[name] = value
    elif hours:
      for i in range(1, cell.epoch + 1):
        row = rows.setdefault((record["cell"], i), {})
        row["seconds_train"] = 3600 * value / cell.epoch
    else:
      rows.setdefault((record["cell"], cell.epoch), {})[name] = value
  lines = [
    {"cell": c, "stage": "ft", "epoch": i, **row}
    for (c, i), row in sorted(rows.items())
  ]
  return list(found.values()), lines


def test_there_are_320_cells():
  assert sum(map(len, PRINTED.values())) == 320
  assert PRINTED.keys() < catalog.STUDIES.keys()


@pytest.mark.parametrize("study", PRINTED)
def test_every_cell_finds_its_record_and_its_number(study, fake, evidence):
  records, rows = replayed(fake, PRINTED[study])
  made = evidence(study, records, rows=rows, protocol="paper")
  papers = study != "fmn_table3"  # whose ten classes nobody knows
  assert made.paper == papers and not made.foreign
  for one in comparison.compare(made):
    cell = one.cell
    if cell.value is None:
      assert one.verdict.word == verdict.UNPRINTED
      continue
    assert one.reading is not None, (cell.row, cell.column)
    if cell.attack:
      assert one.group[-1] == label(cell)
      assert (one.group[0], *one.group[2:4]) == names(cell)
    if not cell.source and cell.attack:
      assert one.reading.mean == pytest.approx(cell.value)
    if papers and cell.metric != "gpu_hours" and cell.source == "":
      assert one.verdict.word == verdict.REPRODUCED, (cell, one)


def test_hours_of_all_are_the_mean_over_all_attacks(fake, evidence):
  records = [
    fake.record(attack, "conventional", "super_ft.paper", device_hours=hours)
    for attack, hours in (("badnets", 0.1), ("lf", 0.3))
  ]
  records.append(fake.record("lf", "conventional", "abl.bb", device_hours=9.0))
  made = evidence("sha_fig6", records)
  cell = published.cell("sha_fig6", "all", "super_ft gpu_hours")
  assert match.reading(made, cell).mean == pytest.approx(0.2)


def chosen(evidence, study, row, column):
  group = match.find(evidence, published.cell(study, row, column))
  return group and (*group[2:4], group[-1])


def test_the_papers_preset_goes_first_then_the_fewest_arguments(fake, evidence):
  labels = ("super_ft", "super_ft.fmn(epochs=9)", "super_ft.fmn", "ft(lr=0.02)")
  records = [fake.record("lira.fmn", "fmn", d) for d in labels]
  records += [fake.record("lira(rate=0.2)", "fmn", d) for d in labels]
  made = evidence("fmn_table2", records)
  row = ("fmn_table2", "lira fmn")
  found = chosen(made, *row, "super_ft asr")
  assert found == ("lira.fmn", "fmn", "super_ft.fmn")
  assert chosen(made, *row, "ft(lr=0.01) asr") is None
  assert chosen(made, "fmn_table2", "lira conventional", "none asr") is None


def test_a_rate_may_come_from_a_preset_a_default_or_the_label(fake, evidence):
  for own in ("ft", "ft.fmn", "ft(lr=0.01)", "ft.sha(lr=0.01)"):
    made = evidence("fmn_table2", [fake.record("lira", "fmn", own)])
    cell = ("fmn_table2", "lira fmn")
    assert chosen(made, *cell, "ft(lr=0.01) asr")[-1] == own
    assert chosen(made, *cell, "ft(lr=0.05) asr") is None
    (made.run.workdir / "results.jsonl").unlink()


def test_the_clean_share_of_figure_15_is_that_of_the_config(fake, evidence):
  own = "super_ft(lr_max1=0.3)"
  few = {"config.defense.clean_rate": 0.1}
  records = [
    fake.record("lf", "conventional", own),
    fake.record("wanet", "conventional", own, **few),
  ]
  made = evidence("sha_fig15", records)
  column = "super_ft(lr_max1=0.3) asr"
  for attack, there in (("lf", None), ("wanet", own)):
    row = ("sha_fig15", f"cifar10 {attack} conventional")
    found = chosen(made, *row, column)
    assert (found and found[-1]) == there


def test_other_data_is_shown_and_not_judged(fake, evidence):
  records = [
    fake.record("lira", "fmn", "super_ft.fmn", dataset="synthetic", asr=0.9),
    fake.record("lira", "fmn", "none", dataset="synthetic"),
  ]
  made = evidence("fmn_table2", records)
  assert made.foreign
  (one,) = [
    one
    for one in comparison.compare(made)
    if (one.cell.row, one.cell.column) == ("lira fmn", "super_ft asr")
  ]
  assert one.reading.mean == pytest.approx(90)
  assert one.verdict == (verdict.FOREIGN, "other data")


def test_names_that_are_no_methods_match_nothing(fake, evidence):
  made = evidence("fmn_table2", [fake.record("<b>", "fmn", "a b")])
  assert {c.verdict.word for c in comparison.compare(made)} == {
    verdict.UNMEASURED
  }


@pytest.mark.parametrize(
  ("row", "column"),
  [
    ("a b c lira fmn", "none asr"),
    ("lira fmn", "none auroc"),
    ("lira fmn", "none step=3 asr"),
  ],
)
def test_words_that_nobody_knows_are_refused(row, column):
  with pytest.raises(ValueError, match="cannot be read"):
    published.cell("fmn_table2", row, column)


def test_an_installation_without_the_numbers_says_so(monkeypatch, tmp_path):
  monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "bdjax")
  with pytest.raises(ValueError, match="clone of the repository"):
    catalog.check({"study": "fmn_table2"})
  catalog.check({"study": ""})


def test_an_unknown_study_gets_one_sentence():
  with pytest.raises(ValueError, match="did you mean fmn_table2"):
    catalog.check({"study": "fmn_tabel2"})


@pytest.mark.parametrize(
  ("section", "key", "value", "papers"),
  [
    ("train", "epochs", 99, False),
    ("data", "train_images", 49_999, False),
    ("model", "width", 32, False),
    ("defense", "clean_rate", 0.1, False),
    ("attack", "rate", 0.2, False),
    ("train", "match", "steps", True),  # which the papers do not state
    ("data", "cache", "/elsewhere", True),
    ("model", "dtype", "bfloat16", True),
  ],
)
def test_what_a_run_changes_decides_whose_protocol_it_has(
  section, key, value, papers
):
  config = fmn_table2.get_config("paper").to_dict()
  assert catalog.follows("fmn_table2", config)
  config[section][key] = value
  assert catalog.follows("fmn_table2", config | {"protocol": "paper"}) == papers


@pytest.mark.parametrize(
  ("attack", "regime", "defense", "papers"),
  [
    ("blended.fmn", "fmn", "ft(lr=0.05)", True),
    ("lira.fmn", "fmn", "super_ft.fmn", True),  # which the preset leaves out
    ("blended(rate=0.2)", "fmn", "super_ft.fmn", False),
    ("blended.fmn", "fmn(phase1=0.5)", "super_ft.fmn", False),
    ("blended.fmn", "fmn", "super_ft.fmn(lr_max1=0.025)", False),
  ],
)
def test_arguments_that_the_paper_does_not_give_make_a_cell_our_own(
  evidence, fake, attack, regime, defense, papers
):
  found = evidence("fmn_table2", [fake.record(attack, regime, defense)])
  (group,) = (key for key in found.groups if key[-1] == defense)
  assert not match.followed(found, group)  # its sizes are a test's
  assert match.followed(found._replace(paper=True), group) == papers
