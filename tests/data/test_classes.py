"""Which files of a folder are images of which class, and what is skipped."""

import numpy as np
import pytest
from PIL import Image

from bdjax import data
from bdjax.data import classes
from bdjax.machine import notes

HEAD = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"


def paint(path, value=0, kind=None):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new("RGB", (4, 4), (value,) * 3).save(path, kind)


def tree(folder, names=("a", "b"), count=2):
  for name in names:
    for i in range(count):
      paint(folder / name / f"{i}.png", i)
  return folder


@pytest.fixture
def said(monkeypatch):
  """Returns the list of the notes that are said."""
  sentences = []
  monkeypatch.setattr(notes, "say", sentences.append)
  return sentences


LEFT = [
  *(".DS_Store", ".hidden.png", "Thumbs.db", "THUMBS.DB", "desktop.ini"),
  *("._0.png", "labels.csv", "readme.txt", "notes.MD", "boxes.json", "a.xml"),
  *("0.png.bak", "0.png.crdownload"),
]


@pytest.mark.parametrize("name", LEFT)
def test_files_that_systems_leave_are_skipped_and_counted(tmp_path, name):
  (tree(tmp_path) / "a" / name).write_bytes(b"no image")
  contents = classes.contents(tmp_path)
  assert [p.name for p in contents.groups["a"]] == ["0.png", "1.png"]
  assert contents.skipped.total() == 1
  (sentence,) = contents.remark(tmp_path)
  assert sentence.startswith(
    f"Skipped in {tmp_path}, as no images of a class: 1"
  )


@pytest.mark.parametrize(
  "name", [".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir", "lost+found"]
)
def test_folders_that_systems_leave_are_no_classes(tmp_path, name, said):
  for place in (tmp_path, tree(tmp_path, count=3) / "a"):
    paint(place / name / "0.png")
  info = data.info(f"image_folder:{tmp_path}")
  assert info.class_names == ("a", "b") and info.num_classes == 2
  assert said == [f"Skipped in {tmp_path}, as no images of a class: 2 {name}."]


def test_kinds_are_counted_and_files_beside_the_folders_too(tmp_path):
  tree(tmp_path)
  paint(tmp_path / "loose.png")
  for i in range(3):
    (tmp_path / "a" / f"{i}.txt").write_text("")
  start = f"Skipped in {tmp_path}, as no images of a class: 3 .txt, "
  (sentence,) = classes.contents(tmp_path).remark(tmp_path)
  assert sentence == f"{start}1 beside the folders."
  for i in range(6):
    (tmp_path / f".{i}").write_text("")
  (sentence,) = classes.contents(tmp_path).remark(tmp_path)
  assert sentence.startswith(start) and sentence.endswith(", 3 others.")


def test_nothing_is_said_of_a_folder_of_images(tmp_path):
  assert classes.contents(tree(tmp_path)).remark(tmp_path) == []


@pytest.mark.parametrize("place", ["", "train", "test"])
def test_an_empty_class_is_refused_by_its_name(tmp_path, place):
  tree(tmp_path / "train") if place else tree(tmp_path)
  tree(tmp_path / "test") if place else None
  (tmp_path / place / "void").mkdir()
  (tmp_path / place / "void" / "readme.txt").write_text("nothing yet")
  with pytest.raises(ValueError, match="class 'void', which holds no images"):
    data.load(f"image_folder:{tmp_path}", "test", cache_dir=tmp_path / "c")


def test_a_class_may_be_called_train(tmp_path):
  name = f"image_folder:{tree(tmp_path, ('car', 'plane', 'train', 'test'))}"
  assert data.info(name).class_names == ("car", "plane", "test", "train")


def test_train_is_no_class_where_it_holds_classes_or_lies_alone(tmp_path):
  tree(tmp_path / "a" / "train")
  paint(tmp_path / "a" / "meta" / "0.png")
  info = data.info(f"image_folder:{tmp_path / 'a'}")
  assert info.class_names == ("a", "b")
  tree(tmp_path / "b", ("train", "test"))  # of which nobody says the classes
  with pytest.raises(ValueError, match="train holds no images in folders of"):
    data.info(f"image_folder:{tmp_path / 'b'}")


def test_a_folder_in_a_class_is_refused(tmp_path):
  paint(tree(tmp_path) / "a" / "deep" / "0.png")
  with pytest.raises(ValueError, match="deep is not an image file"):
    data.info(f"image_folder:{tmp_path}")


def test_a_file_that_is_no_image_is_named_and_not_dropped(tmp_path):
  paint(tree(tmp_path) / "a" / "5.tif", kind="TIFF")
  with pytest.raises(ValueError, match="5.tif is damaged, or no image of a fo"):
    for split in data.SPLITS:
      data.load(f"image_folder:{tmp_path}", split, cache_dir=tmp_path / "c")


def test_an_ending_does_not_matter(tmp_path):
  paint(tree(tmp_path) / "a" / "5", kind="PNG")
  paint(tmp_path / "b" / "5.pgm", kind="PNG")
  splits = [
    data.load(f"image_folder:{tmp_path}", s, cache_dir=tmp_path / "c")
    for s in data.SPLITS
  ]
  assert sum(split.size for split in splits) == 6


def test_what_is_done_to_images_is_said(tmp_path, said):
  image = Image.fromarray(np.full((4, 4), 514, np.uint16))
  image.save(tree(tmp_path) / "a" / "deep.png")
  loaded = data.load(f"image_folder:{tmp_path}", cache_dir=tmp_path / "c")
  assert 2 in np.asarray(loaded.image)
  assert [s[:44] for s in said] == [
    "Gray images of 16 bits: 1 of 4, first " + str(tmp_path)[:6]
  ]


@pytest.mark.parametrize(
  ("folders", "known", "expected"),
  [
    (["cat", "ant"], ["ant", "cat"], {"cat": 1, "ant": 0}),
    (["1", "0"], ["ant", "cat"], {"1": 1, "0": 0}),
    (["00001"], ["ant", "cat"], {"00001": 1}),
    (["14", "2"], ["00002", "00014"], {"14": 1, "2": 0}),
    # names go before numbers: in ImageFolder's order 10 is the third
    (["10"], ["0", "1", "10", "2"], {"10": 2}),
    (["2"], ["ant", "cat"], {}),
    (["dog", "0"], ["ant", "cat"], {}),
    (["ant", "1"], ["ant", "cat"], {"ant": 0}),  # by two ways at once: refused
    (["1", "01"], ["ant", "cat"], {}),  # twice the same
    (["1" * 20], ["ant", "cat"], {}),
    (["٣"], ["0", "1", "2", "3"], {}),
  ],
)
def test_folders_are_named_or_numbered(folders, known, expected):
  assert classes.indices(folders, known) == expected


def gtsrb(folder):
  """Lays out GTSRB as its archives do: a table in each class; flat tests."""
  for c in range(3):
    place = folder / "train" / f"{c:05d}"
    for i in range(2):
      paint(place / f"0000{i}_00000.ppm", 10 * c + i)
    (place / f"GT-{c:05d}.csv").write_text(HEAD)
  for i in range(3):
    paint(folder / "test" / f"{i:05d}.ppm", 100 + i)
  rows = "".join(f"{i:05d}.ppm;4;4;0;0;4;4;{2 - i}\n" for i in range(3))
  (folder / "test" / "GT-final_test.csv").write_text(HEAD + rows)
  return folder


def test_gtsrb_is_read_as_it_is_laid_out(tmp_path):
  name = f"image_folder:{gtsrb(tmp_path)}"
  assert data.info(name).class_names == ("00000", "00001", "00002")
  train, test = (
    data.load(name, s, cache_dir=tmp_path / "c") for s in data.SPLITS
  )
  assert np.asarray(train.image)[:, 0, 0, 0].tolist() == [0, 1, 10, 11, 20, 21]
  assert train.label.tolist() == [0, 0, 1, 1, 2, 2]
  assert np.asarray(test.image)[:, 0, 0, 0].tolist() == [102, 101, 100]
  assert test.label.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
  ("table", "words"),
  [
    ("Filename;ClassId\n00000.ppm;0\n", "no class for 00001.ppm"),
    (
      "Filename;ClassId\n"
      + "".join(f"0000{i}.ppm;1\n" for i in (0, 1, 2))
      + "00002.ppm;2\n",
      "two classes for 00002.ppm",
    ),
    ("Filename;Width\n00000.ppm;3\n", "holds no images in folders of classes"),
    ("Filename;ClassId\n00000.ppm\n", "holds no images in folders of classes"),
    ("\xff", "holds no images in folders of classes"),
  ],
)
def test_a_table_that_does_not_tell_is_refused(tmp_path, table, words):
  (gtsrb(tmp_path) / "test" / "GT-final_test.csv").write_text(table, "latin-1")
  with pytest.raises(ValueError, match=words):
    data.load(f"image_folder:{tmp_path}", "test", cache_dir=tmp_path / "c")


def test_a_table_may_begin_with_a_mark_and_have_spaces(tmp_path):
  rows = "".join(f"0000{i}.ppm, 2\n" for i in range(3))
  path = gtsrb(tmp_path) / "test" / "GT-final_test.csv"
  path.write_text("\ufeffFilename, ClassId\n" + rows, "utf-8")
  test = data.load(f"image_folder:{tmp_path}", "test", cache_dir=tmp_path / "c")
  assert test.label.tolist() == [2, 2, 2]


def test_too_few_images_to_divide_are_refused(tmp_path):
  tree(tmp_path, count=2)
  with pytest.raises(ValueError, match="has 4 images, too few to divide"):
    data.info(f"image_folder:{tmp_path}")


def test_a_class_that_a_division_leaves_out_is_said(tmp_path, said):
  tree(tmp_path / "x", names="a", count=9)
  paint(tmp_path / "x" / "b" / "0.png", 9)
  parts = [
    data.load(f"image_folder:{tmp_path / 'x'}", s, cache_dir=tmp_path / "c")
    for s in data.SPLITS
  ]
  (lacking,) = [part for part in parts if 1 not in part.label.tolist()]
  split = data.SPLITS[0 if lacking is parts[0] else 1]
  assert set(said) == {
    f"Dividing {tmp_path / 'x'} leaves no {split} images of b: give more, or "
    "divide them yourself into train and test."
  }


def test_tables_that_differ_are_refused(tmp_path):
  table = "Filename,ClassId\n00001.ppm,2\n"
  (gtsrb(tmp_path) / "test" / "mine.csv").write_text(table)
  with pytest.raises(ValueError, match="two classes for 00001.ppm"):
    data.load(f"image_folder:{tmp_path}", "test", cache_dir=tmp_path / "c")


def test_a_table_that_cannot_be_read_is_no_other_table(tmp_path, monkeypatch):
  """Nobody may then think that the images' classes are not told."""
  table = gtsrb(tmp_path) / "test" / "GT-final_test.csv"

  def regular(path):
    raise PermissionError(13, "Permission denied", str(path))

  monkeypatch.setattr(classes.storage, "regular", regular)
  with pytest.raises(ValueError, match=r"cannot be read \(Permission denied\)"):
    classes.contents(table.parent)
