"""A study's page in a browser; skipped where the machine has no Chromium."""

import io

import pytest
from rich.console import Console

from bdjax.study import page


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_a_studys_page_obeys_the_rules_of_axe(
  tmp_path, fake, beside, width, dark
):
  browser = beside("browser")
  browser.chromium()
  records = [
    fake.record("blended.fmn", regime, defense, asr=asr)
    for regime in ("conventional", "fmn")
    for defense, asr in (("none", 0.99), ("super_ft.fmn", 0.1))
  ]
  records.append(fake.record("lira.fmn", "fmn", "nad.fmn", asr=0.0, ca=0.1))
  folder = fake.workdir(tmp_path, "fmn_table2", records)
  (path,) = page.write([folder], Console(file=io.StringIO()))
  browser.check(path, width=width, dark=dark)
