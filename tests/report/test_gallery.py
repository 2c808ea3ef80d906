import numpy as np
import pytest

from bdjax import report
from bdjax.report import gallery, results
from bdjax.report.load import Picture


def picture(change):
  clean = np.full((2, 16, 16, 3), 100, np.uint8)
  return Picture(clean, (clean + change).astype(np.uint8), ["a"] * 2, ["b"] * 2)


def test_the_spectrum_of_a_cosine_is_one_point():
  x = np.arange(16)
  wave = np.round(50 * np.cos(np.pi * (2 * x + 1) * 4 / 32))
  got = gallery.spectrum(picture(wave[None, None, :, None]))
  assert got[0, 4] == 0 == got.max()
  assert got.min() == -gallery._DECADES
  assert (got > -2).sum() == 1


def test_no_change_has_an_even_spectrum():
  got = gallery.spectrum(picture(0))
  assert (got == -gallery._DECADES).all()


def test_the_page_shows_every_attack(workdir, fake):
  page = report.write_gallery(workdir).read_text()
  for attack in fake.attacks:
    assert f"<h2>{attack}</h2>" in page
  assert page.count("<img ") == len(fake.attacks) * (3 * 4 + 1)
  assert "conventional, seed 0" in page and "fmn, seed 0" in page


def test_a_folder_without_pictures_is_refused(tmp_path, fake):
  record = fake.record("badnets", "fmn", "none", 0)
  results.append(tmp_path / "results.jsonl", [record])
  with pytest.raises(ValueError, match="holds no pictures"):
    report.write_gallery(tmp_path)
