"""The page of a hand-written work directory, its files, and the console."""

import csv
import io
import re

import pytest
from rich.console import Console

from bdjax.report import tables
from bdjax.report.load import load
from bdjax.runs import plans
from bdjax.study import comparison, export, facing, grid, page, verdict

HOSTILE = "<script>alert(1)</script>"


def written(*folders):
  """Return the pages' texts and what the console says."""
  console = Console(file=io.StringIO(), width=200)
  paths = page.write(folders, console)
  texts = [path.read_text(encoding="utf-8") for path in paths]
  return paths, texts, console.file.getvalue()


def table(path):
  with path.open(newline="", encoding="utf-8") as file:
    return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def fmn(tmp_path_factory, fake):
  """Return a study of two attacks: paths, pages and console."""
  cells = {
    ("blended.fmn", "conventional", "none"): 0.99,
    ("blended.fmn", "conventional", "super_ft.fmn"): 0.05,
    ("blended.fmn", "fmn", "none"): 0.97,
    ("blended.fmn", "fmn", "super_ft.fmn"): 0.3,
    ("lira.fmn", "fmn", "none"): 0.2,
    ("lira.fmn", "fmn", "super_ft.fmn"): 0.1,
    ("lira.fmn", "fmn", "nad.fmn"): 0.1,
    ("trojaning.fmn", "conventional", "none"): 0.99,
    (HOSTILE, "fmn", "none"): 0.5,
  }
  records = [
    fake.record(*key, asr=asr, asr_before=cells[*key[:2], "none"])
    for key, asr in cells.items()
  ]
  ruin = ("trojaning.fmn", "conventional", "super_ft.fmn")
  records.append(fake.record(*ruin, asr=0.0, ca=0.1))
  folder = tmp_path_factory.mktemp("fmn")
  return written(fake.workdir(folder, "fmn_table2", records))


def test_a_run_of_two_studies_is_read_for_each(tmp_path, fake):
  records = [fake.record("blended.fmn", "fmn", "super_ft.fmn", asr=0.3)]
  folder = fake.workdir(tmp_path, "fmn_table2,fmn_table4", records)
  paths, (two, four), _ = written(folder)
  assert [path.name for path in paths] == [
    "study-fmn_table2.html",
    "study-fmn_table4.html",
  ]
  assert "Table 2" in two and "Table 4" in four
  for path in paths:
    assert table(path.with_suffix("") / "verdicts.csv")


def test_the_page_has_every_verdict_in_words(fmn):
  (path,), (text,), _ = fmn
  assert path.name == "study.html" and "<!doctype html>" in text
  (folder,) = {path.parent}
  rows = {
    (r["row"], r["column"]): r["verdict"]
    for r in table(folder / "study" / "verdicts.csv")
  }
  assert len(rows) == 168
  # Blended after super-fine-tuning: 18.58 printed and 5 measured, both below
  # 50; with FMN 86.22 printed and 30 measured.
  assert rows["blended conventional", "super_ft asr"] == verdict.KIND
  assert rows["blended fmn", "super_ft asr"] == verdict.KIND_NOT
  assert rows["blended fmn", "super_ft ca"] == verdict.FOREIGN
  assert rows["trojaning conventional", "super_ft asr"] == verdict.DESTROYED
  assert rows["lira fmn", "none asr"] == verdict.KIND_NOT
  assert rows["lira fmn", "nad asr"] == verdict.UNPLANTED
  assert rows["trojaning fmn", "nad asr"] == verdict.UNMEASURED
  for word in set(rows.values()):
    shown = word not in facing.LEFT_OUT  # what is left out is counted alone
    count = list(rows.values()).count(word) if shown else 0
    shown = re.findall(rf"<b>.</b> {word}</span>", text)
    kinds = {
      c.rpartition(" ")[0] == "none" for (_, c), w in rows.items() if w == word
    }
    assert len(shown) == count + len(kinds)  # and in the tally of each kind
  assert ', printed">86.22<' in text and "5.0 [5.0, 5.0]" in text


def test_the_page_has_claims_and_how_all_is_judged(fmn):
  _, (text,), _ = fmn
  plain = " ".join(text.split())
  assert "Backdoors trained with FMN bypass fine-tuning defenses." in plain
  assert "cifar10 blended fmn, super_ft asr: 30.0" in plain
  assert "undecided (1 of 28 cells measured)" in plain
  assert "lies within 2 points (CA) or 5" in plain
  assert "The protocol is our own, not the paper's" in plain
  assert "<code>super_ft.fmn</code> for super_ft" in plain


def test_printed_and_measured_are_in_one_row(fmn):
  _, (text,), _ = fmn
  plain = " ".join(text.split())
  row = re.findall(r"<tr>(?:(?!</tr>).)*>blended fmn</td>.*?</tr>", plain)[1]
  cells = re.findall(r'data-label="([^"]*)">([^<]*)', row)
  assert cells[:4] == [
    ("model", "blended fmn"),
    ("defense", "super_ft"),
    ("ASR, printed", "86.22"),
    ("ASR, measured", "30.0 [30.0, 30.0] "),
  ]
  assert "blended.fmn, fmn, super_ft.fmn" in row
  assert "not reproduced in kind" in row
  # Of blended both models with and without, of LIRA without, of trojaning both.
  assert len(re.findall('data-label="ASR, printed"', plain)) == 7
  assert "Of 8 claims: " in plain
  assert "Of 8 printed numbers that can be compared: " in plain


def test_nothing_of_a_record_is_run_by_the_page(fmn):
  _, (text,), _ = fmn
  assert HOSTILE not in text and "&lt;script&gt;" in text
  assert text.count("<script") == 1  # the page's own


def test_the_console_has_a_line_for_each_claim(fmn):
  (path,), _, said = fmn
  found = comparison.findings(
    comparison.gather("fmn_table2", [load(path.parent)])
  )
  assert len(found) == 8
  for one in found:
    assert f"{one.words}: {one.claim.sentence[:40]}" in said
  assert f"study: {path}" in said
  assert "140 printed cells of defenses: 1 reproduced in kind" in said
  assert "28 of undefended models: 3 reproduced in kind" in said
  assert "The protocol is our own" in said


def test_files_are_read_back(fmn):
  (path,), _, _ = fmn
  folder = path.parent / "study"
  cells = table(folder / "cells.csv")
  assert len(cells) == 10
  (one,) = [c for c in cells if c["asr_mean"] == "5.0"]
  assert (one["attack"], one["defense"]) == ("blended.fmn", "super_ft.fmn")
  assert float(one["asr_low"]) == 5 == float(one["asr_high"])
  claims = {c["claim"]: c for c in table(folder / "claims.csv")}
  assert claims["fmn_kept"]["status"] == "not supported"
  assert "blended fmn, super_ft asr" in claims["fmn_kept"]["against"]
  tex = (folder / "cells.tex").read_text()
  assert r"super\_ft.fmn" in tex and r"90.0 $\pm$ 0.0 / 5.0 $\pm$ 0.0" in tex
  assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 1
  heat = folder / "heat.png"
  assert heat.read_bytes()[:4] == b"\x89PNG"
  assert "(86.22)" in (folder / "heat.svg").read_text()
  assert {p.suffix for p in folder.iterdir()} == {
    *(".csv", ".tex", ".svg", ".png")
  }


def test_folders_of_one_study_are_one_and_others_apart(tmp_path, fake):
  def made(name, study, attack, **how):
    record = fake.record(attack, "conventional", "none")
    return fake.workdir(tmp_path / name, study, [record], **how)

  one = made("one", "sha_table1", "imc", protocol="paper")
  two = made("two", "sha_table1", "handcrafted")
  other = made("three", "sha_membership", "lf")
  plain = made("four", "", "lf")
  paths, texts, _ = written(one, two, other, plain)
  assert paths == [one / "study.html", other / "study.html"]
  for folder, protocol in ((one, "paper"), (two, "own")):
    row = f'data-label="folder">{folder}</td><td class="name" data-label='
    assert f'{row}"protocol">{protocol}</td>' in texts[0]
  rows = table(one / "study" / "cells.csv")
  assert [row["attack"] for row in rows] == ["imc", "handcrafted"]
  # Not all of it is the paper's protocol: 98.1 and 97.1 printed, 99 measured.
  words = {r["verdict"] for r in table(one / "study" / "verdicts.csv")}
  assert words == {verdict.KIND, verdict.UNMEASURED}


def test_two_protocols_of_one_cell_are_refused(tmp_path, fake):
  records = [
    fake.record("imc", "conventional", "none", cell=name) for name in "ab"
  ]
  folders = [
    fake.workdir(tmp_path / r["cell"], "sha_table1", [r]) for r in records
  ]
  with pytest.raises(ValueError, match="one work directory per protocol"):
    written(*folders)


@pytest.mark.parametrize("protocol", ["paper", "own"])
def test_curves_hold_the_papers_points(tmp_path, fake, protocol):
  moved = {"dataset": "cifar100 -> cifar10", "scenario": "transfer"}
  names = ("badnets", "conventional")
  moved |= {"config.evaluate.curve_images": 1000}  # of 10,000
  record = fake.record(*names, "super_ft.paper", **moved, collapse=0.1)
  rows = fake.curve(record["cell"], (0.5, 0.3, 0.1), collapse=0.12, lr=[0.1])
  start = fake.record(*names, "none", **moved)
  folder = tmp_path / protocol
  fake.workdir(
    folder, "sha_fig3", [record, start], rows=rows, protocol=protocol
  )
  _, (text,), _ = written(folder)
  rows = {
    (r["row"], r["column"]): r for r in table(folder / "study" / "verdicts.csv")
  }
  one = rows["cifar100 cifar10 badnets conventional", "super_ft epoch=3 asr"]
  # 9.6 printed and 12 measured, twice.
  assert float(one["mean"]) == float(one["low"]) == pytest.approx(12)
  words = {"paper": verdict.REPRODUCED, "own": verdict.KIND}
  assert one["verdict"] == words[protocol]
  assert "ASR and CA by epoch" in text and "Learning rates" in text


def test_figures_over_a_setting_and_of_costs(tmp_path, fake):
  records = [
    fake.record("blended", "conventional", f"super_ft(clean_rate={share})")
    for share in (0.1, 0.2, 1.0)
  ]
  fake.workdir(tmp_path / "size", "sha_fig13", records)
  records = [
    fake.record("badnets", "conventional", d, seconds_train=s)
    for d, s in (("super_ft.paper", 30.0), ("abl.bb", 300.0))
  ]
  fake.workdir(tmp_path / "cost", "sha_fig6", records)
  _, texts, _ = written(tmp_path / "size", tmp_path / "cost")
  assert "ASR and CA by clean_rate" in texts[0]
  assert (tmp_path / "cost" / "study" / "costs.png").exists()


def test_what_a_defense_left_behind_is_shown_as_in_the_report(tmp_path, fake):
  names = ("asr", "ca", "poison_accuracy")
  numbers = {f"{n}{when}": 0.5 for n in names for when in ("", "_before")}
  numbers |= {"epochs_to_90": None}
  areas = {"clean model": 0.1, "none": 0.9, "super_ft.paper": 0.75}
  sequela = [
    fake.sequel("reinjection", name, area=area, **numbers)
    for name, area in areas.items()
  ]
  beside = {"cell": "beside", "clean_defense": "super_ft.paper", "area": 0.25}
  sequela.append(fake.sequel("reinjection", "clean model", **numbers, **beside))
  rows = [
    row
    for record in sequela
    for row in fake.curve(record["cell"], (0.2, 0.7), "reinjection")
  ]
  records = [
    fake.record("blended", "conventional", defense)
    for defense in ("none", "super_ft.paper")
  ]
  folder = fake.workdir(
    tmp_path, "sha_reinjection", records, rows=rows, sequela=sequela
  )
  _, (text,), said = written(folder)
  assert "What the defense left behind" in text and "epochs to 90" in text
  assert "75.0" in text and "undefended" in text
  assert "clean model, super_ft.paper" in text and ">50.0 ± 0.0<" in text
  assert "undecided (1 of 4 cells measured): Models after" in said
  claims = table(folder / "study" / "claims.csv")
  against = {c["claim"]: c["against"] for c in claims}
  assert against["sha_reinjection_easier"] == ""
  assert "75.0 and 25.0" in against["sha_reinjection_not_easier"]


def test_the_heat_map_hatches_what_says_nothing_of_a_defense(fmn):
  (path,), (text,), _ = fmn
  evidence = comparison.gather("fmn_table2", [load(path.parent)])
  shown = grid.arranged(evidence, comparison.compare(evidence))
  assert {place for place in shown.unjudged if "lira" not in place[0]} == {
    ("trojaning conventional", "super_ft"),
    (f"cifar10 {HOSTILE} fmn", "none"),
  }
  failed = {("lira fmn", name) for name in ("none", "super_ft", "nad")}
  assert failed < shown.unjudged
  assert "<pattern" in text


def test_what_stands_for_no_printed_cell_is_drawn_in_no_tile_of_one(
  fake, evidence
):
  start = {"regime": "fmn(start='planted')"}
  records = [
    fake.record("blended.fmn", "fmn", "none"),
    fake.record("blended.fmn", "fmn", "nad.fmn", asr=0.1),
    fake.record("blended.fmn", "fmn", "nad", asr=0.8),
    fake.record("blended.fmn", start["regime"], "nad.fmn", asr=0.3),
    fake.record("blended.fmn", start["regime"], "ft_sam.fmn", asr=0.2),
  ]
  for order in (records, records[::-1]):
    made = evidence("fmn_table2", order)
    means = grid.arranged(made, comparison.compare(made)).means
    assert means["blended fmn", "nad"] == pytest.approx(10)
    assert means["cifar10 blended.fmn fmn", "nad"] == pytest.approx(80)
    own = "cifar10 blended.fmn fmn(start='planted')"
    assert means[own, "nad.fmn"] == pytest.approx(30)


def test_a_study_decides_nothing_that_a_workdir_holds_to():
  old = {"train": {"epochs": 3}}
  new = old | {"study": "fmn_table2", "protocol": "paper"}
  assert plans.identity(new) == plans.identity(old)


def test_other_data_keep_their_name_and_the_console_says_so(
  fake, tmp_path, fmn
):
  records = [
    fake.record("lira.fmn", "fmn", name, dataset="synthetic", asr=0.9)
    for name in ("none", "super_ft.fmn")
  ]
  folder = fake.workdir(tmp_path, "fmn_table2", records)
  _, _, said = written(folder)
  assert "No record is of the paper's data" in said
  assert "No record is of the paper's data" not in fmn[2]
  evidence = comparison.gather("fmn_table2", [load(folder)])
  shown = grid.arranged(evidence, comparison.compare(evidence))
  assert {row for row, _ in shown.means} == {"synthetic lira.fmn fmn"}


def test_the_latex_table_marks_what_says_nothing_of_a_defense(fake, evidence):
  moved = {"scenario": "transfer", "asr": 0.08, "collapse": 0.85}
  records = [
    fake.record("blended", "fmn", "ft", **moved),
    fake.record("blended", "fmn", "nad", **moved | {"ca": 0.11}),
  ]
  text = export.latex(evidence("fmn_table2", records))
  assert text.count("/ 85.0") == 2
  assert text.count(r" / 85.0 $\pm$ 0.0$^\ddagger$") == 1
  assert tables.MOVED in text
  row = export.cells(evidence("fmn_table2", records))[-1]
  assert row["success"] == "collapse" and row["asr_mean"] == pytest.approx(85)
