"""The table for a paper, where defenses are many."""

from bdjax.api import export
from bdjax.report import results


def test_many_defenses_stand_below_each_other(fake, tmp_path):
  sound = {"ca": 0.9, "ca_sd": None, "asr": 0.1, "clean_asr": None}
  ruined = {"ca": 0.1, "asr": 0.0}
  results.append(
    tmp_path / "results.jsonl",
    [
      fake.record("badnets", "fmn", name, seed, **(sound | more))
      for name, more in (
        *(("none", {"asr": 0.99}), ("ft", {}), ("super_ft", {"asr": 0.04})),
        *(("nad", {}), ("anp(epochs=9)", ruined)),
      )
      for seed in (0, 1)
    ],
  )
  text = export.export(tmp_path, tmp_path / "a.tex").read_text()
  rows = [line for line in text.splitlines() if line.endswith(r"\\")]
  assert rows[0] == r"attack & regime & defense & CA & ASR \\"
  assert len(rows) == 1 + 5
  one = r"badnets & fmn & super\_ft & 90.0 $\pm$ 0.0 & 4.0 $\pm$ 0.0 \\"
  assert one in rows
  assert rows[-1].endswith(r"0.0 $\pm$ 0.0$^\ddagger$ \\")
  assert r"$^\ddagger$ destroyed." in text and "attack failed" not in text
  assert r"\begin{tabular}{lllrr}" in text and r"\label{tab:" in text
