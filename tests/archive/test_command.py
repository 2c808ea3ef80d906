"""One command checks records, keeps them, and writes the pages from them."""

import json
import lzma

import pytest

from bdjax.archive import command, experiment
from bdjax.report import commands, results


@pytest.fixture
def docs(tmp_path):
  """Returns an empty folder of docs."""
  (tmp_path / "docs").mkdir()
  return tmp_path / "docs"


@pytest.fixture
def run(docs, invent):
  """Returns what packs folders as an experiment `mine`."""

  def packed(*paths, **given):
    given = {"title": "Mine", "command": [invent.command]} | given
    return command.run(["mine", *map(str, paths)], docs=docs, **given)

  return packed


def test_what_is_packed_is_what_was_measured(
  docs, run, invent, tmp_path, measured
):
  folder = invent.workdir(tmp_path / "run", measured)
  row = {"cell": measured[1]["cell"], "stage": "ft", "epoch": 1, "asr": 0.5}
  results.append(folder / "curves.jsonl", [row], required=results.CURVE)
  said = run(folder, by="A. Name", note="A pilot.")
  assert said[0] == f"packed: 4 cells into {docs / 'results' / 'mine'}"
  (kept,) = experiment.read_all(docs / "results")
  assert kept.run.cells == measured
  assert kept.run.curves == {measured[1]["cell"]: [row]}
  about = kept.about
  assert (about["title"], about["by"], about["note"]) == (
    *("Mine", "A. Name"),
    "A pilot.",
  )
  assert about["commands"] == [invent.command]
  devices = measured[0]["devices"]
  assert about["machine"].startswith(f"{devices} x invented, host cores")
  assert about["config"]["train"]["epochs"] == 2
  assert about["versions"]["jax"] == measured[0]["version_jax"]


def test_pages_are_written_from_what_is_kept(
  docs, run, invent, tmp_path, measured
):
  run(invent.workdir(tmp_path / "run", measured))
  first = {path: path.read_bytes() for path in docs.glob("*.md")}
  assert {path.name for path in first} == {"results.md", "claims.md"}
  assert "badnets" in (docs / "results.md").read_text()
  board = docs.parent / "site" / command.BOARD
  assert "badnets" in board.read_text()
  for path in first:
    path.write_text("edited")
  assert len(command.run([], docs=docs)) == 3
  assert {path: path.read_bytes() for path in first} == first


def test_a_strangers_file_of_records_is_enough(
  docs, run, invent, tmp_path, measured
):
  file = invent.workdir(tmp_path / "run", measured) / "results.jsonl"
  run(file)
  (kept,) = experiment.read_all(docs / "results")
  assert kept.run.cells == measured


@pytest.mark.parametrize(
  ("line", "said"),
  [
    ("{", "line 5 is not a record"),
    ('{"cell": "x"}', "line 5 is not a record: it lacks planted"),
    ('{"cell": NaN}', "NaN is not JSON"),
    ("\udcff", "line 5 is not a record"),
  ],
)
def test_a_file_that_holds_something_else_is_refused(
  docs, run, invent, tmp_path, measured, line, said
):
  file = invent.workdir(tmp_path / "run", measured) / "results.jsonl"
  with file.open("ab") as log:
    log.write(line.encode(errors="surrogateescape") + b"\n")
  with pytest.raises(ValueError) as refused:
    run(file)
  assert said in str(refused.value)
  assert str(refused.value).startswith(str(file))
  assert not (docs / "results").exists()


def test_what_has_no_record_is_said(docs, run, invent, tmp_path, measured):
  folder = invent.workdir(tmp_path / "run", measured[:-1])
  assert run(folder)[0].endswith("mine; 1 more of its commands have no record")
  page = (docs / "results.md").read_text()
  assert "- Not run: 1 cells of these commands\n" in page


def test_folders_that_know_their_commands_need_none_given(
  docs, run, invent, tmp_path, measured
):
  texts = [invent.command.replace("(0, 1)", f"({s},)") for s in (0, 1)]
  for seed, text in enumerate(texts):
    found = [record for record in measured if record["seed"] == seed]
    folder = invent.workdir(tmp_path / f"seed{seed}", found)
    commands.write(folder, [text])
  place = docs / "results" / "mine"
  run(tmp_path / "seed0", command=[])
  assert experiment.read(place).about["commands"] == texts[:1]
  run(tmp_path / "seed0", tmp_path / "seed1", command=[])
  assert experiment.read(place).about["commands"] == texts


def test_a_cell_with_two_results_is_refused(run, invent, tmp_path, measured):
  one = invent.workdir(tmp_path / "one", measured)
  other = invent.workdir(tmp_path / "other", [measured[0] | {"ca": 0.8}])
  with pytest.raises(ValueError, match="^mine: cell .* with ca 0.9 and 0.8"):
    run(one, other)


def test_seeds_are_added_and_none_is_lost(
  docs, run, invent, tmp_path, measured
):
  one = invent.command.replace("(0, 1)", "(0,)")
  first = invent.workdir(tmp_path / "one", measured[:2])
  second = invent.workdir(tmp_path / "two", measured[2:])
  run(first, command=[one], by="A. Name")
  with pytest.raises(ValueError, match="holds 2 cells that are not in what"):
    run(second)
  run(first, second, title=None)
  (kept,) = experiment.read_all(docs / "results")
  assert kept.run.cells == measured
  assert (kept.about["title"], kept.about["by"]) == ("Mine", "A. Name")


@pytest.mark.parametrize(
  ("words", "given", "said"),
  [
    (["mine"], {}, "results takes a name"),
    (["../mine", "run"], {}, "results takes a name"),
    (["mine", "run"], {"title": None}, "the experiment has no title"),
    (["mine", "run"], {"note": "\x1b[31m"}, "--note must be printable text"),
    (["mine", "run"], {"title": "x" * 3000}, "at most 2000 letters"),
    ([], {}, "only with an experiment"),
    (["mine", "absent"], {}, "holds no results"),
  ],
)
def test_what_cannot_be_packed_is_refused_in_a_sentence(
  docs, tmp_path, invent, words, given, said
):
  given = {"title": "Mine", "command": [invent.command]} | given
  with pytest.raises(ValueError, match=said):
    command.run(words, docs=docs, **given)


def test_two_experiments_have_two_titles(docs, run, invent, tmp_path, measured):
  folder = invent.workdir(tmp_path / "run", measured)
  run(folder)
  with pytest.raises(ValueError, match="--title is 'Mine', which .* has"):
    command.run(
      ["other", str(folder)],
      docs=docs,
      title="Mine",
      command=[invent.command],
    )


def test_cells_count_once(docs, run, invent, tmp_path, measured):
  folder = invent.workdir(tmp_path / "run", measured)
  run(folder)
  with pytest.raises(ValueError, match=f"has {len(measured)} of these cells"):
    command.run(
      ["other", str(folder)],
      docs=docs,
      title="Other",
      command=[invent.command],
    )


def test_a_damaged_experiment_is_said(docs, run, invent, tmp_path, measured):
  run(invent.workdir(tmp_path / "run", measured))
  path = docs / "results" / "mine" / "results.jsonl.xz"
  content = path.read_bytes()
  path.write_bytes(content[:-20])
  with pytest.raises(ValueError, match="is cut off or unpacks to more than"):
    experiment.read(path.parent)
  path.write_bytes(content[:40] + b"\0\0\0\0" + content[44:])
  with pytest.raises(ValueError, match="is damaged"):
    experiment.read(path.parent)
  about = path.parent / "experiment.json"
  about.write_text(json.dumps({"title": "Mine"}))
  with pytest.raises(ValueError, match="lacks by: pack the experiment again"):
    experiment.read(path.parent)


def test_a_log_that_unpacks_to_too_much_is_refused(monkeypatch, tmp_path):
  (tmp_path / "results.jsonl.xz").write_bytes(lzma.compress(b" " * 5000))
  about = dict.fromkeys(experiment.NEEDED, "")
  (tmp_path / "experiment.json").write_text(json.dumps(about))
  monkeypatch.setattr(experiment, "LARGEST", 1000)
  with pytest.raises(ValueError, match="unpacks to more than"):
    experiment.read(tmp_path)
