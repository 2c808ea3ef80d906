"""A hundred hostile files and more: each gets a sentence, and nothing runs."""

import pickle
import zipfile

import hostile
import pytest

QUICK = [n for n, c in hostile.CASES.items() if c.quick and not c.sound]


def test_there_are_more_than_a_hundred():
  assert len(QUICK) > 100
  readers = {case.reader for case in hostile.CASES.values()}
  assert readers == hostile.READERS.keys()


@pytest.mark.parametrize("name", QUICK)
def test_it_is_refused_in_one_sentence(name, tmp_path):
  case = hostile.CASES[name]
  path = hostile.write(case, tmp_path)
  said = hostile.answer(case, path, tmp_path)
  assert said and said.isascii() and said.isprintable()
  assert said.endswith((".", "?")) and len(said) < 600


def test_what_is_sound_is_read(tmp_path):
  hostile.read_model(hostile.sound_model(tmp_path))
  hostile.read_images(hostile.images.layout(tmp_path))


def test_code_that_runs_would_be_noticed(tmp_path, monkeypatch):
  def careless(path):
    with zipfile.ZipFile(path) as file:
      pickle.loads(file.read("archive/data.pkl"))

  case = hostile.CASES["os.system, pickle protocol 2"]
  path = hostile.write(case, tmp_path)
  monkeypatch.setitem(hostile.READERS, "model", careless)
  with pytest.raises(AssertionError, match="files have come or gone"):
    hostile.answer(case, path, tmp_path)
