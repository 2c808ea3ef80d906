"""What the pages say of records is what the records say."""

import re

import pytest

from bdjax.archive import board, claims, commands, experiment, pages, rows
from bdjax.report import load, results, sequela

SEEDS = (0, 1)


def twice(invent, attack, regime, defense, asr, **changes):
  """Returns records of two seeds with the given success rates."""
  return [
    invent.record(attack, regime, defense, seed, asr=value, **changes)
    for seed, value in zip(SEEDS, asr, strict=True)
  ]


@pytest.fixture
def kept(invent, tmp_path):
  """Returns an experiment: planted, tuned by a seed alone, and destroyed."""
  return invent.keep(
    tmp_path / "results" / "mine",
    [
      *twice(invent, "blended", "fmn", "none", (0.98, 0.99)),
      *twice(
        *(invent, "blended", "fmn", "super_ft.fmn", (0.90, 0.92)),
        clean_asr=0.05,
        der=0.53,
      ),
      invent.record("blended", "fmn", "ft(lr=0.05)", 1, asr=0.3),
      *twice(invent, "blended", "fmn", "clp", (0.1, 0.2), ca=0.3),
      *twice(
        *(invent, "wanet", "conventional", "super_ft.fmn", (0.1, 0.1)),
        asr_before=0.4,
      ),
    ],
    title="Blended <b>| under FMN",
    note="A *pilot*.",
    by="A. Name",
  )


def lines(text):
  """Returns the cells of the rows of the tables that a page has."""
  found = [line for line in text.splitlines() if line.startswith("|")]
  return [line[2:-2].split(" | ") for line in found]


def test_an_interval_is_students_over_seeds_and_one_seed_has_none(kept):
  found = {row.names["defense"]: row for row in rows.rows(kept)[:4]}
  # 90 and 92: t(.975, 1) = 12.706, times a standard error of 1, cut at 100
  assert rows.span(found["super_ft.fmn"].asr) == "91.0 [78.3, 100.0]"
  assert rows.span(found["super_ft.fmn"].floor) == "5.0 [5.0, 5.0]"
  assert rows.span(found["ft(lr=0.05)"].asr) == "30.0"
  assert rows.by_seed(found["super_ft.fmn"].asr) == "90.0, 92.0"
  assert found["none"].der is None and found["super_ft.fmn"].der
  assert found["ft(lr=0.05)"].seeds == [1]


def test_what_cannot_judge_a_defense_is_marked(kept):
  marks = {
    (r.names["attack"], r.names["defense"]): r.mark for r in rows.rows(kept)
  }
  assert marks.pop(("blended", "clp")) == "destroyed"
  assert marks.pop(("wanet", "super_ft.fmn")) == "attack failed"
  assert marks.pop(("wanet", "none")) == "attack failed"
  assert set(marks.values()) == {""}
  judged = {row.mark: row.der is not None for row in rows.rows(kept)[1:]}
  assert judged == {"": True, "destroyed": False, "attack failed": False}


def test_a_page_has_every_row_after_its_undefended_model(kept):
  text = pages.render([kept])
  wanted = [
    "none",
    "super_ft.fmn",
    "ft(lr=0.05)",
    "clp",
    "none",
    "super_ft.fmn",
  ]
  text = text.replace("\N{NO-BREAK SPACE}", " ")
  shown = [cells for cells in lines(text) if len(cells) == 7][2:]
  assert [cells[1].strip("`") for cells in shown] == wanted
  assert shown[1][3] == "91.0 [78.3, 100.0]<br>90.0, 92.0"
  assert shown[2][3] == "30.0"
  assert shown[3][3].endswith("<br>**destroyed**")
  assert (shown[1][5], shown[2][5]) == ("2", "1: 1")


def test_a_page_says_how_it_was_measured(kept, invent):
  text = pages.render([kept])
  assert "python -m bdjax.launch --config configs/base.py" in text
  assert "resnet9 of width 24 on 20,000 images of cifar10, 80 epochs" in text
  assert "0.1 device hours of training, on 1 x invented" in text
  assert "By: A. Name" in text
  assert r"## Blended &lt;b&gt;\| under FMN" in text
  assert "A \\*pilot\\*." in text
  assert "(#blended-b-under-fmn)" in text


def test_a_machine_that_was_shared_has_no_seconds(invent, tmp_path):
  found = twice(invent, "blended", "fmn", "ft", (0.1, 0.2))
  for busy, told in ((False, "36"), (True, "–")):
    kept = invent.keep(tmp_path / f"busy {busy}", found, busy=busy)
    text = pages.render([kept])
    (line,) = [cells for cells in lines(text) if cells[1] == "`ft`"]
    assert line[-1] == told
    assert ("other work shared the machine" in text) == busy


def test_who_holds_more_images_is_said_where_defenders_differ(invent, tmp_path):
  found = twice(invent, "blended", "fmn", "ft", (0.1, 0.2))
  alike = invent.keep(tmp_path / "alike", found)
  assert "2,500 clean images" not in pages.render([alike]).split("### ")[1]
  found += twice(
    *(invent, "blended", "fmn", "super_ft.fmn", (0.1, 0.2)), clean_images=4000
  )
  kept = invent.keep(tmp_path / "unlike", found)
  names = [cells[1] for cells in lines(pages.render([kept]))]
  assert names[-2:] == [
    "`ft`<br>2,500 clean images",
    "`super_ft.fmn`<br>4,000 clean images",
  ]
  assert "<small>4,000 clean images</small>" in board.render([kept])


def test_seeds_that_diverged_are_kept_and_counted(invent, tmp_path):
  names = ("blended", "fmn", "ft(lr=0.05)")
  gone = [invent.record(*names, seed) for seed in (0, 2, 3)]
  folder = invent.workdir(tmp_path / "run", [invent.record(*names, 0)])
  path = folder / "diverged.jsonl"
  results.append(path, gone, required=results.DIVERGED)
  place = tmp_path / "results" / "mine"
  about = invent.keep(tmp_path / "other", [invent.record(*names, 0)]).about
  experiment.write(place, about, load(folder))
  kept = experiment.read(place)
  (row,) = [r for r in rows.rows(kept) if r.names["defense"] == names[2]]
  assert (row.seeds, row.diverged) == ([0], 2)  # seed 0 has a result
  text = pages.render([kept])
  assert "1<br>2 diverged |" in text
  assert "Diverged, and in no mean: cifar10, resnet9, blended, fmn" in text
  assert "2 diverged</small>" in board.render([kept])


def test_what_defenses_leave_has_a_title_over_each_column(invent, tmp_path):
  record = invent.record("lf", "fmn", "ft", 0)
  folder = invent.workdir(tmp_path / "run", [record])
  rates = dict.fromkeys((*sequela.RATES, "members", "others"), 0.5)
  leaks = {
    f"{attack}.{group}.{rate}": value
    for attack in sequela.ATTACKS
    for group in sequela.GROUPS
    for rate, value in rates.items()
  }
  areas = {name: 0.5 for name in sequela.RELAPSE.values()}
  areas |= {"epochs_to_90": None}
  answers = [
    record | {"cell": kind, "sequel": kind, "kind": kind} | more
    for kind, more in (
      *(("membership", leaks), ("retuning", areas)),
      ("qra", {"asr_before": 0.1, "reactivated": 0.75}),
    )
  ]
  path = folder / "sequela.jsonl"
  results.append(path, answers, required=results.SEQUEL)
  one = invent.keep(tmp_path / "other", [record])
  text = pages.render([one._replace(run=load(folder))])
  tables = re.split(r"\n\n", text.partition("### What defenses leave")[2])
  tables = [part for part in tables if part.startswith("|")]
  assert len(tables) == 3
  for table in tables:
    assert len({line.count(" | ") for line in table.splitlines()}) == 1
  assert "| 10.0 | 75.0 | – |" in tables[-1]


def test_pages_without_experiments_say_so():
  assert "No experiment is here yet." in pages.render([])
  assert "No experiment is here yet." in board.render([])
  text = claims.render([])
  assert "No experiment has measured a cell of any claim yet." in text
  assert {one.verdict for one in claims.outcomes([])} == {"not run"}


def test_the_board_has_all_without_scripts_and_nothing_from_elsewhere(kept):
  text = board.render([kept])
  body = text.partition("<script>")[0]
  found = re.findall(r"<tr data-dataset.*?</tr>", body, re.DOTALL)
  defenses = [re.search(r'"defense">(.*?)<', row)[1] for row in found]
  assert defenses == [  # an undefended model, then by success rate
    *("none", "ft(lr=0.05)", "super_ft.fmn", "clp"),  # clp destroyed it
    *("none", "super_ft.fmn"),
  ]
  assert 'data-key="91.0000">91.0<small>[78.3, 100.0]</small>' in found[2]
  assert 'data-key="30.0000">30.0</td>' in found[1]
  assert ">Blended &lt;b&gt;| under FMN</a>" in found[0]
  assert '<form class="choose" hidden>' in body
  assert not re.search(r"(src|href)=\"?(https?:)?//", text)


def test_the_board_says_what_was_not_checked(invent, tmp_path):
  found = twice(invent, "blended", "fmn", "none", (0.98, 0.99))
  for other in (False, True):
    place = tmp_path / f"other {other}"
    kept = invent.keep(place, found, other_code=other, by="A. Name")
    text = board.render([kept])
    assert (board.UNCHECKED in text) == other and "by A. Name" in text


def test_equal_protocols_alone_have_equal_names(invent, tmp_path):
  def named(name, **changes):
    record = invent.record("blended", "fmn", "none", 0, **changes)
    about = {"title": name}
    if name == "faster":
      config = dict(invent.keep(tmp_path / "results" / "x", [record]).about)
      train = config["config"]["train"] | {"lr": 0.3}
      about["config"] = config["config"] | {"train": train}
    one = invent.keep(tmp_path / "results" / name, [record], **about)
    return rows.protocol(one)

  first = named("first")
  assert first == named("second")
  assert first != named("faster")
  assert first != named("elsewhere", fingerprint_test="f" * 16)
  assert first.startswith("own: 20,000 images, resnet9 of width 24, 80 epochs")


def test_an_experiment_of_two_studies_has_one_protocol(invent, tmp_path):
  record = invent.record("blended", "fmn", "none", 0)
  config = commands.parse(invent.command).config
  config["study"] = "fmn_table2,fmn_table4"
  one = invent.keep(tmp_path / "results" / "x", [record], config=config)
  assert rows.protocol(one).startswith("own: 20,000 images")
  assert claims.outcomes([one])


@pytest.mark.parametrize("dataset", ["cifar10", "synthetic"])
def test_rates_on_drawn_shapes_are_said_to_be_such(dataset, invent, tmp_path):
  cells = twice(invent, "blended", "fmn", "none", (0.9, 1.0), dataset=dataset)
  text = pages.render([invent.keep(tmp_path / "results" / "one", cells)])
  assert ("say nothing of photographs" in text) == (dataset == "synthetic")


def test_an_encoder_that_classifies_nothing_has_no_row(invent, tmp_path):
  before = dict.fromkeys(("ca_before", "asr_before", "ra_before", "der"))
  cell = {"scenario": "encoder", **before}
  found = [
    invent.record("badencoder", "conventional", "ft.encoder", seed, **cell)
    for seed in (0, 1)
  ]
  kept = invent.keep(tmp_path / "results" / "one", found)
  (row,) = rows.rows(kept)
  assert row.names["defense"] == "ft.encoder" and row.seeds == [0, 1]
