"""The leaderboard in a browser; skipped where there is no Chromium."""

import pytest

from bdjax.archive import board


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_the_leaderboard_obeys_the_rules_of_axe(
  invent, tmp_path, beside, width, dark
):
  browser = beside("browser")
  browser.chromium()
  records = [
    invent.record("blended.fmn", "fmn", defense, seed, asr=asr, **changes)
    for seed in (0, 1)
    for defense, asr, changes in (
      ("none", 0.98, {}),
      ("super_ft.fmn(lr_max1=0.05)", 0.9, {"clean_asr": 0.05}),
      ("clp", 0.1, {"ca": 0.3}),  # a ruin
    )
  ]
  kept = invent.keep(
    tmp_path / "results" / "mine", records, title="Blended under FMN", by="A."
  )
  path = tmp_path / "board.html"
  path.write_text(board.render([kept]), encoding="utf-8")
  browser.check(path, width=width, dark=dark)
