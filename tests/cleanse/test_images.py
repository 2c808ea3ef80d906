"""Folders of a stranger's images: whose class is which, and what is too much.

All are read without a model.
"""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from bdjax.cleanse import folders, pictures


def fill(folder, names, count=2, size=(8, 8)):
  for name in names:
    (folder / name).mkdir(parents=True)
    for i in range(count):
      Image.new("RGB", size, (10 * i, 0, 0)).save(folder / name / f"{i}.png")
  return folder


def test_sorted_names_are_the_classes(tmp_path):
  fill(tmp_path, ["cat", "ant", ".hidden"])
  (tmp_path / "readme.txt").write_text("beside the folders")
  files, names, told = folders.clean(tmp_path, num_classes=2)
  assert names == ("ant", "cat") and "sorted" in told
  assert files.labels.tolist() == [0, 0, 1, 1]
  assert [p.parent.name for p in files.paths] == ["ant", "ant", "cat", "cat"]


def test_numbers_are_the_classes_and_not_sorted_as_text(tmp_path):
  fill(tmp_path, [str(i) for i in range(11)])
  files, names, told = folders.clean(tmp_path, num_classes=11)
  assert names == tuple(str(i) for i in range(11)) and "numbers" in told
  assert [int(p.parent.name) for p in files.paths] == files.labels.tolist()


def test_listed_names_give_the_order(tmp_path):
  fill(tmp_path / "x", ["ant", "cat"])
  listed = tmp_path / "names"
  for text in ("cat\nant\n", '["cat", "ant"]'):
    listed.write_text(text)
    names = folders.names_in(listed)
    files, called, told = folders.clean(
      tmp_path / "x", num_classes=2, names=names
    )
    assert called == ("cat", "ant") and "--class_order" in told
    assert files.paths[0].parent.name == "cat"


@pytest.mark.parametrize(
  ("names", "classes", "text"),
  [
    (["a", "b", "c"], 2, r"has 3 folders \(a, b, c\), but the model 2 classes"),
    (["1", "2"], 2, "numbered up to 2, but the model's 2 classes are 0 to 1"),
    (["0", "00"], 2, "once each"),
    (["0", "1"], 3, "class 2 has 0 images"),
    ([], 2, "holds no folders"),
  ],
)
def test_other_classes_than_the_models(tmp_path, names, classes, text):
  fill(tmp_path, names)
  with pytest.raises(ValueError, match=text):
    folders.clean(tmp_path, num_classes=classes)


def test_a_class_of_one_image_is_refused(tmp_path):
  fill(tmp_path, ["a", "b"])
  (tmp_path / "b" / "1.png").unlink()
  with pytest.raises(ValueError, match=r"class 1 \(b\) has 1 images"):
    folders.clean(tmp_path, num_classes=2)


def test_classes_that_are_not_listed_are_refused(tmp_path):
  fill(tmp_path, ["a", "b"])
  for names, text in ((("a", "c"), "does not list"), (("a",), "lists 1 names")):
    with pytest.raises(ValueError, match=text):
      folders.clean(tmp_path, num_classes=2, names=names)


@pytest.mark.parametrize(
  "text", ["", "a\na\n", '{"a": 0}', "[1, 2]", '["a"', "[" * 9999]
)
def test_names_that_make_no_list_are_refused(tmp_path, text):
  (tmp_path / "names").write_text(text)
  with pytest.raises(ValueError, match="names"):
    folders.names_in(tmp_path / "names")


def test_suspected_images_may_tell_their_classes_or_not(tmp_path):
  fill(tmp_path / "x", ["cat"])
  files = folders.suspicious(tmp_path / "x", ("ant", "cat"))
  assert files.labels.tolist() == [1, 1]
  flat = folders.suspicious(tmp_path / "x" / "cat", ("ant", "cat"))
  assert flat.labels.tolist() == [folders.UNKNOWN] * 2
  with pytest.raises(ValueError, match="folder cat, which is none"):
    folders.suspicious(tmp_path / "x", ("ant", "dog"))


def test_suspected_images_may_be_of_numbered_classes(tmp_path):
  fill(tmp_path, ["1", "0"])
  files = folders.suspicious(tmp_path, ("ant", "cat"))
  assert files.labels.tolist() == [0, 0, 1, 1]
  assert [p.parent.name for p in files.paths] == ["0", "0", "1", "1"]
  assert folders.suspicious(tmp_path, ("1", "0")).paths[0].parent.name == "1"


def test_numbers_of_named_classes_are_said_to_count_from_zero(tmp_path):
  """Folders 1 and 2 of three classes may be numbered from 1."""
  fill(tmp_path, ["1", "2"])
  files = folders.suspicious(tmp_path, ("ant", "cat", "dog"))
  assert files.labels.tolist() == [1, 1, 2, 2]
  assert files.notes == (
    f"The folders of {tmp_path} are taken for the classes of these numbers, "
    "counted from 0: 1 is cat, 2 is dog.",
  )
  assert folders.suspicious(tmp_path, ("00", "01", "02")).notes == ()


@pytest.mark.parametrize(
  ("names", "text"),
  [
    (["0", "1", "2", "3"], "has the folder 3, which is none of the classes"),
    (["0", "cat"], "named by classes and others by their numbers, such as 0"),
  ],
)
def test_the_folder_that_is_no_class_is_named(tmp_path, names, text):
  fill(tmp_path, names)
  with pytest.raises(ValueError, match=text):
    folders.suspicious(tmp_path, ("ant", "cat", "dog"))


def test_suspected_images_need_not_be_of_every_class(tmp_path):
  fill(tmp_path, ["cat"])
  (tmp_path / "ant").mkdir()
  files = folders.suspicious(tmp_path, ("ant", "cat"))
  assert files.labels.tolist() == [1, 1]


def test_numbers_may_stand_for_listed_names(tmp_path):
  fill(tmp_path, ["1", "0"])
  files, called, _ = folders.clean(
    tmp_path, num_classes=2, names=("cat", "ant")
  )
  assert called == ("cat", "ant")
  assert [p.parent.name for p in files.paths] == ["0", "0", "1", "1"]


def test_gtsrb_s_test_images_lie_flat_beside_their_table(tmp_path):
  fill(tmp_path, ["x"], count=4)
  rows = ["Filename;Width;ClassId", "0.png;8;1", "1.png;8;0"]
  rows += ["2.png;8;1", "3.png;8;0", "4.png;8;9"]  # a row without its image
  (tmp_path / "x" / "GT-final_test.csv").write_text("\n".join(rows))
  files, names, told = folders.clean(tmp_path / "x", num_classes=2)
  assert (names, told) == (("0", "1"), "by the folders' numbers")
  assert [p.name for p in files.paths] == ["1.png", "3.png", "0.png", "2.png"]
  assert files.labels.tolist() == [0, 0, 1, 1]
  known = ("ant", "cat")
  assert folders.suspicious(tmp_path / "x", known).labels.tolist() == [
    0,
    0,
    1,
    1,
  ]


def test_an_empty_class_is_named_and_stray_files_are_counted(tmp_path):
  fill(tmp_path, ["a", "b"])
  (tmp_path / "a" / "Thumbs.db").write_bytes(b"")
  (tmp_path / ".ipynb_checkpoints").mkdir()
  files, _, _ = folders.clean(tmp_path, num_classes=2)
  assert len(files.paths) == 4
  assert files.notes == (
    f"Skipped in {tmp_path}, as no images of a class: 1 .ipynb_checkpoints, "
    "1 Thumbs.db.",
  )
  (tmp_path / "void").mkdir()
  with pytest.raises(ValueError, match="class 'void', which holds no images"):
    folders.clean(tmp_path, num_classes=2)


def test_names_may_begin_with_a_mark_and_are_read_from_files_alone(tmp_path):
  (tmp_path / "names").write_bytes("\ufeffant\r\ncat\r\n".encode())
  assert folders.names_in(tmp_path / "names") == ("ant", "cat")
  os.mkfifo(tmp_path / "pipe")
  with pytest.raises(ValueError, match="it is no regular file"):
    folders.names_in(tmp_path / "pipe")


def test_no_more_files_than_allowed_are_listed(tmp_path, monkeypatch):
  fill(tmp_path, ["a", "b"], count=3)
  monkeypatch.setattr(folders, "FILES", 5)
  with pytest.raises(ValueError, match="more than 5, the most that are read"):
    folders.clean(tmp_path, num_classes=2)


def test_a_folder_among_images_is_refused(tmp_path):
  fill(tmp_path, ["a", "b"])
  (tmp_path / "a" / "deep").mkdir()
  with pytest.raises(ValueError, match="deep is not an image file"):
    folders.clean(tmp_path, num_classes=2)


def test_images_of_one_size_tell_it_and_others_do_not(tmp_path):
  files, _, _ = folders.clean(
    fill(tmp_path / "x", ["a", "b"], size=(6, 8)), num_classes=2
  )
  assert folders.common_shape(files.paths) == (8, 6, 3)
  Image.new("RGB", (9, 9)).save(files.paths[-1])
  with pytest.raises(ValueError, match="differ in size .* give --image_size"):
    folders.common_shape(files.paths)


def test_images_are_resized_as_a_whole_and_made_colour(tmp_path):
  path = tmp_path / "gray.png"
  Image.fromarray(np.array([[0, 200]], np.uint8)).save(path)
  (image,), _ = pictures.read([path], (1, 1, 3))
  assert image.tolist() == [[[100, 100, 100]]]


def bomb(side: int) -> bytes:
  """Returns a small PNG file whose header claims an enormous image."""

  def chunk(kind, body):
    crc = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

  header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
  body = zlib.compress(bytes(10_000), 9)
  parts = chunk(b"IHDR", header), chunk(b"IDAT", body), chunk(b"IEND", b"")
  return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# An EPS file would be given to another program; its reader is never asked.
BAD = {
  "text.png": (b"no image", "no image of a format that is read"),
  "empty.png": (b"", "no image of a format that is read"),
  "program.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no image of a format"),
  "bomb.png": (bomb(60_000), "more pixels than the 16777216 that are"),
  "larger.png": (bomb(6_000), "more pixels than the 16777216 that are"),
  "cut.png": (bomb(8)[:50], "is damaged"),
  "short.png": (bomb(2_000), "is damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_in_one_sentence(tmp_path, name):
  content, text = BAD[name]
  (tmp_path / name).write_bytes(content)
  with pytest.raises(ValueError, match=text) as caught:
    pictures.read([tmp_path / name], (8, 8, 3))
  assert name in str(caught.value)
  assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_too_long_is_not_opened(tmp_path):
  path = tmp_path / "long.png"
  with open(path, "wb") as file:
    file.truncate(pictures.LIMITS.weight + 1)  # no block of it is written
  with pytest.raises(ValueError, match="bytes, more than the 67108864"):
    pictures.size(path)


def test_all_images_together_are_bounded():
  with pytest.raises(ValueError, match="give at most 14266 of them"):
    pictures.check_room(20_000, (224, 224, 3))
  pictures.check_room(14_266, (224, 224, 3))


def test_strange_names_are_printed_as_ascii(tmp_path):
  path = tmp_path / "a\nb\x1b[31m.png"
  path.write_bytes(b"")
  with pytest.raises(ValueError, match=r"a\\nb\\x1b\[31m.png is damaged"):
    pictures.size(path)
