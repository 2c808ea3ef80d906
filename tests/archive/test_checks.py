"""Records are held against their commands, and against what can be."""

import math

import pytest

from bdjax.archive import checks, commands
from bdjax.report import load

NONE, FT = 0, 1  # places of the cells of a seed in the records


def checked(invent, folder, found, *texts, **options):
  run = load(invent.workdir(folder / "run", found))
  options = {"other_code": False} | options
  return checks.check(run, texts or (invent.command,), **options)


def test_what_a_command_made_is_taken(invent, tmp_path, measured):
  config = checked(invent, tmp_path, measured)
  assert config == commands.parse(invent.command).config
  assert config["train"]["epochs"] == 2


@pytest.mark.parametrize(
  ("place", "changes", "said"),
  [
    (NONE, {"asr": 0.93}, "asr is 0.93, which no number of correct answers"),
    (NONE, {"ra": 40 / 45}, "asr and ra are together above 1"),
    (FT, {"der": 0.5}, "der is 0.5, but its rates before and after give"),
    (FT, {"clean_asr": 0.5}, "clean_asr is 0.5, which no number of correct"),
    (
      FT,
      {"asr_before": 0.8, "der": (0.8 - 5 / 45 + 1) / 2},
      "asr_before is 0.8, but that model's own cell has 0.97777",
    ),
    (FT, {"seconds_train": -1.0}, "seconds_train is -1.0, which is negative"),
    (FT, {"clean_ca": 1.5}, "clean_ca is 1.5, but must lie between 0 and 1"),
    (FT, {"triggered_images": 60}, "60 triggered images of 50"),
    (FT, {"clean_images": 0}, "its defender holds no clean image"),
    (FT, {"config.train.lr": 0.3}, "train.lr is 0.3, but the command's is"),
    (FT, {"attack": "blended"}, "attack is 'blended', but its name says"),
    (FT, {"train_epochs": 100}, "train_epochs is 100, but its name says 2"),
    (FT, {"width": 64}, "its width is 64, but its name says 4"),
    (FT, {"cell": "0" * 16}, "no command makes cell 0000000000000000"),
    (FT, {"fingerprint_test": "f" * 16}, "no command makes cell"),
    (FT, {"fingerprint_train": "f" * 16}, "no command makes cell"),
  ],
)
def test_what_cannot_be_is_refused(
  invent, tmp_path, measured, place, changes, said
):
  measured[place] |= changes
  with pytest.raises(ValueError) as refused:
    checked(invent, tmp_path, measured)
  assert said in str(refused.value)
  assert "\n" not in str(refused.value)


def test_all_keys_that_differ_are_named(invent, tmp_path, measured):
  measured[FT] |= {"config.train.lr": 0.3, "config.data.test_images": 9}
  said = "its data.test_images is 9, but .*; so are others: train.lr[.]$"
  with pytest.raises(ValueError, match=said):
    checked(invent, tmp_path, measured)


def test_a_number_deep_in_a_record_must_be_finite(invent, tmp_path, measured):
  run = load(invent.workdir(tmp_path / "run", measured))
  run.cells[0]["memo.index"] = [0.5, [math.inf]]
  with pytest.raises(ValueError, match="memo.index is inf, which is no number"):
    checks.check(run, [invent.command], other_code=False)


def test_a_record_without_its_config_is_refused(invent, tmp_path, measured):
  bare = [
    {k: v for k, v in record.items() if not k.startswith("config.")}
    for record in measured
  ]
  with pytest.raises(ValueError, match="does not hold its config"):
    checked(invent, tmp_path, bare)


def test_one_seed_is_no_other(invent, tmp_path, measured):
  first, second = measured[FT], measured[FT + 2]
  assert (first["seed"], second["seed"]) == (0, 1)
  for key in checks.OWN:
    second[key] = first[key]
  second["der"] = first["der"]
  with pytest.raises(ValueError, match="seeds 0 and 1 of badnets.*is a copy"):
    checked(invent, tmp_path, measured)


def test_a_cell_has_one_result(measured):
  checks.check_once([*measured, measured[FT] | {"seconds_train": 1.0}], "x")
  other = measured[FT] | {"asr": 0.8}
  with pytest.raises(ValueError, match="^x: cell .* twice, with asr 0.1.* 0.8"):
    checks.check_once([*measured, other], "x")


def test_cells_without_a_record_are_counted(invent, tmp_path, measured):
  run = load(invent.workdir(tmp_path / "run", measured[:-1]))
  assert checks.missing(run, [invent.command]) == 1
  gone = [{"cell": measured[-1]["cell"]}]
  assert checks.missing(run._replace(diverged=gone), [invent.command]) == 0
  seed = [record for record in measured if record["seed"] == 0]
  alone = run._replace(cells=seed)
  assert checks.missing(alone, [invent.command]) == 2


def test_a_seed_counts_once(invent, tmp_path, measured):
  twice = measured[FT] | {"cell": "0" * 16}
  with pytest.raises(ValueError, match="are both seed 0"):
    checked(invent, tmp_path, [*measured, twice], other_code=True)


def test_cells_of_other_code_are_taken_where_that_is_said(
  invent, tmp_path, measured
):
  for record in measured:
    record["cell"] += "'"
    record["config.train.lr"] = 0.3  # a default that has changed since
  config = checked(invent, tmp_path, measured, other_code=True)
  assert config["train"]["lr"] == 0.3
  assert config["data"]["train_images"] == 200
  measured[1]["config.train.lr"] = 0.1
  run = load(invent.workdir(tmp_path / "mixed", measured))
  with pytest.raises(ValueError, match="0.1, but another record's is 0.3"):
    checks.check(run, [invent.command], other_code=True)


def test_every_command_is_needed_and_all_have_one_protocol(
  invent, tmp_path, measured
):
  one = invent.command.replace("(0, 1)", "(0,)")
  two = invent.command.replace("(0, 1)", "(1,)")
  assert checked(invent, tmp_path, measured, one, two)
  run = load(tmp_path / "run")
  with pytest.raises(ValueError, match="no command makes.*seed 1"):
    checks.check(run, [one], other_code=False)
  with pytest.raises(ValueError, match="nothing says how it was measured"):
    checks.check(run, [], other_code=False)
  more = f"{two} --config.evaluate.floor"
  assert checks.check(run, [one, more], other_code=False)
  other = f"{two} --config.evaluate.curve_every=2"
  with pytest.raises(ValueError, match="differ in evaluate.curve_every"):
    checks.check(run, [one, other], other_code=False)
  other = two.replace("epochs=2", "epochs=4")
  with pytest.raises(ValueError, match="differ in train.epochs, 2 and 4"):
    checks.check(run, [one, other], other_code=False)


def test_a_key_of_the_command_line_wins_over_a_preset_as_in_a_run(invent):
  text = invent.command.replace("ft(lr=0.05)", "nad.bb")
  named = commands.parse(text)
  silent = named._replace(overridden=named.overridden - {"defense.epochs"})
  for record in invent.records(text):
    wanted = commands.Cells(named).expected(record)
    assert (wanted["defense"], wanted["seed"]) == (
      record["defense"],
      record["seed"],
    )
    unlike = commands.Cells(silent).expected(record) is None
    assert unlike == (record["defense"] == "nad.bb")


@pytest.mark.parametrize(
  "text",
  [
    "rm -rf runs",
    "uv run python -m bdjax.launch",
    "python -m bdjax.launch --config configs/absent.py",
    "python -m bdjax.launch --config configs/base.py --config.train.epoch=3",
    "python -m bdjax.launch --config configs/base.py --config.train.lr=high",
    "python -m bdjax.launch --config 'configs/base.py",
  ],
)
def test_what_runs_no_config_is_no_command(text):
  with pytest.raises(ValueError, match="is none that runs a config"):
    commands.parse(text)
