"""What is exported says what the run's records say."""

import pandas
import pytest

from bdjax import launch, report
from bdjax.api import export
from bdjax.report import figures, page, results


def test_csv_and_parquet_hold_every_record(outcome, tmp_path):
  frames = [
    pandas.read_csv(export.export(outcome.workdir, tmp_path / "a.csv")),
    pandas.read_parquet(export.export(outcome.workdir, tmp_path / "a.parquet")),
  ]
  for frame in frames:
    assert list(frame["defense"]) == ["none", "ft"]
    assert list(frame["asr"]) == [r["asr"] for r in outcome.records]
    assert list(frame["seed"]) == [0, 0]


def test_the_table_has_what_the_console_has(outcome, tmp_path):
  path = export.export(outcome.workdir, tmp_path / "new" / "a.tex")
  text = path.read_text()
  rows = [line for line in text.splitlines() if line.endswith(r"\\")]
  assert r"\multicolumn{2}{c}{none} & \multicolumn{2}{c}{ft}" in rows[0]
  assert rows[1] == r"attack & regime & CA & ASR & CA & ASR \\"
  wanted = [f"{100 * r[k]:.1f}" for r in outcome.records for k in ("ca", "asr")]
  cells = rows[2].removesuffix(r" \\").split(" & ")
  assert cells[:2] == ["badnets(size=2)", "conventional"]
  assert [cell.partition("$")[0] for cell in cells[2:]] == wanted
  assert r"\toprule" in text and r"\begin{table}[t]" in text
  assert "own arrays, cnn(width=4), standalone" in text


def test_a_pdf_has_a_page_for_each_figure_of_the_report(outcome, tmp_path):
  shown = page.drawn(report.load(outcome.workdir))
  words = [text for text, _ in shown]
  assert {text.split(":")[0] for text in words} >= {
    "CA against ASR",
    "ASR and CA during the defense",
    "learning rate of steps",
  }
  assert all(isinstance(drawn, figures.Drawn) for _, drawn in shown)
  path = export.export(outcome.workdir, tmp_path / "a.pdf")
  assert path.read_bytes().count(b"/Type /Page ") == len(words)


def test_many_defenses_stand_below_each_other(outcome, tmp_path):
  (one,) = (r for r in outcome.records if r["defense"] == "ft")
  sound = {"asr_before": 0.99, "ca_before": 0.9, "ca": 0.9, "asr": 0.04}
  sound |= {"train_accuracy": 1.0}
  made = dict.fromkeys(("ft", "super_ft", "nad", "clp"), sound)
  made["anp(iterations=9)"] = sound | {"ca": 0.1, "asr": 0.0}
  results.append(
    tmp_path / "results.jsonl",
    [
      one | own | {"defense": name, "seed": seed, "cell": f"{name}|{seed}"}
      for name, own in made.items()
      for seed in (0, 1)
    ],
  )
  text = export.export(tmp_path, tmp_path / "a.tex").read_text()
  rows = [line for line in text.splitlines() if line.endswith(r"\\")]
  assert rows[0] == r"attack & regime & defense & CA & ASR \\"
  assert len(rows) == 1 + 6  # the undefended model, too
  assert any(
    row.endswith(r"super\_ft & 90.0 $\pm$ 0.0 & 4.0 $\pm$ 0.0 \\")
    for row in rows
  )
  assert rows[-1].endswith(r"& 0.0 $\pm$ 0.0$^\ddagger$ \\")
  assert r"$^\ddagger$ destroyed." in text and "attack failed" not in text
  assert r"\begin{tabular}{lllrr}" in text
  said = " ".join(text.split())
  assert r"Mean $\pm$ standard deviation over 2 seeds, on 64 test" in said
  assert (
    "57 triggered ones a seed. Chance is 10." in said
    and "models without a backdoor" not in said
  )
  assert r"\label{tab:own-arrays-cnn-width-4-standalone}" in text


def test_other_endings_are_refused(outcome, tmp_path):
  with pytest.raises(
    ValueError, match="must end in one of .csv, .parquet, .tex"
  ):
    export.export(outcome.workdir, tmp_path / "a.xlsx")


def test_the_command_says_where_it_wrote(outcome, tmp_path, capsys):
  words = ["bdjax", "export", str(outcome.workdir), str(tmp_path / "a.csv")]
  assert launch.main(words) == 0
  assert capsys.readouterr().out == f"{tmp_path / 'a.csv'}\n"
  assert launch.main(["bdjax", "export", str(tmp_path), "a.csv"]) == 2
  assert "holds no results" in capsys.readouterr().err


def test_after_a_transfer_floor_and_chance_are_of_the_collapse(
  outcome, tmp_path
):
  (one,) = (r for r in outcome.records if r["defense"] == "ft")
  moved = {"scenario": "transfer", "collapse": 0.85, "asr": 0.08}
  moved |= {"ca": 0.8, "clean_ca": 0.8, "clean_asr": 0.09, "asr_before": None}
  moved |= {"clean_collapse": 0.3, "classes": 100, "ca_before": None}
  none = {"scenario": "transfer", "defense": "none", "cell": "n", "asr": 1.0}
  results.append(
    tmp_path / "results.jsonl", [one | {"ca": 0.9} | none, one | moved]
  )
  gone = [one | moved | {"defense": "nad", "cell": "d"}]
  gone.append(one | moved | {"seed": 5, "cell": "e"})
  path = tmp_path / "diverged.jsonl"
  results.append(path, gone, required=results.DIVERGED)
  text = export.export(tmp_path, tmp_path / "a.tex").read_text()
  said = " ".join(text.split())
  assert (
    "Chance is 1; models without a backdoor have a collapse of 30.0" in said
  )
  assert "& 80.0 & 85.0 " in said and "& diverged & diverged" in said
  assert "2 of 4 cells diverged and are in no mean." in said
