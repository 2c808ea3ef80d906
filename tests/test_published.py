"""The papers' numbers: each file is well formed and names what exists."""

import csv
import inspect
from pathlib import Path

import pytest

from bdjax import data
from bdjax.methods import registry, specs
from bdjax.runs import methods
from bdjax.training.regimes import REGIMES

FOLDER = Path(__file__).parents[1] / "docs" / "published"
COLUMNS = ["paper", "table", "row", "column", "value", "note"]
CELLS = {
  "fmn_table1": 42,
  "fmn_table2": 168,
  "fmn_table3": 16,
  "fmn_table4": 48,
  "sha_table1": 6,
  "sha_fig2": 4,
  "sha_fig3": 13,
  "sha_fig4": 6,
  "sha_fig5": 7,
  "sha_fig6": 4,
  "sha_fig13": 2,
  "sha_fig15": 4,
}
RANGES = {
  "ca": (0, 100),
  "asr": (0, 100),
  "ta": (0, 100),
  "drop": (-100, 100),
  "gpu_hours": (0, 2),
}
SETTINGS = {"epoch=1", "epoch=3", "epoch=20", "source=introduction"}
SPOTS = [
  ("fmn_table1", "imagenet10 lira fmn", "none ca", 88.60),
  ("fmn_table1", "celeba8 inputaware fmn", "none asr", 98.45),
  ("fmn_table2", "blended conventional", "super_ft asr", 18.58),
  ("fmn_table2", "l0_inv fmn", "nad asr", 49.56),
  ("fmn_table2", "lira fmn", "ft(lr=0.05) asr", 82.30),
  ("fmn_table2", "narcissus fmn", "ft_sam ca", 90.42),
  ("fmn_table3", "trojaning clean", "ft ta", 79.98),
  ("fmn_table4", "trojaning interleave", "super_ft asr", 39.86),
  ("fmn_table4", "trojaning cyclic", "super_ft asr", 68.64),
  ("sha_table1", "latent conventional", "super_ft asr", 9.9),
  ("sha_fig4", "cifar10 blended conventional", "super_ft asr", 8.1),
  ("sha_fig6", "cifar100 badnets conventional", "super_ft gpu_hours", 0.147),
]


def read(name: str) -> list[dict[str, str]]:
  with (FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
    return list(csv.DictReader(file))


def values(name: str) -> dict[tuple[str, str], float]:
  cells = ((c["row"], c["column"], c["value"]) for c in read(name))
  return {(row, column): float(v) for row, column, v in cells if v}


def test_the_files_are_those_expected():
  assert {path.stem for path in FOLDER.glob("*.csv")} == set(CELLS)


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_is_whole_and_there_once(name):
  cells = read(name)
  assert len(cells) == CELLS[name]
  assert len({(cell["row"], cell["column"]) for cell in cells}) == len(cells)
  for cell in cells:
    assert list(cell) == COLUMNS and None not in cell.values()
    assert f"{cell['paper']}_{cell['table']}" == name


@pytest.mark.parametrize("name", CELLS)
def test_values_are_numbers_in_range_or_dashes(name):
  for cell in read(name):
    low, high = RANGES[cell["column"].split(" ")[-1]]
    if cell["value"]:
      assert low <= float(cell["value"]) <= high, cell
    else:
      assert cell["note"].startswith("dash"), cell


@pytest.mark.parametrize("name", CELLS)
def test_rows_name_datasets_attack_and_regime(name):
  models = {"clean"} if name == "fmn_table3" else set()
  for row in {cell["row"] for cell in read(name)} - {"all"}:
    *places, attack, regime = row.split(" ")
    assert set(places) <= set(data.names()) and len(places) <= 2, row
    assert attack in registry.names("attacks"), row
    assert regime in REGIMES.keys() | models, row


@pytest.mark.parametrize("name", CELLS)
def test_columns_name_defense_settings_and_metric(name):
  for column in {cell["column"] for cell in read(name)}:
    defense, *settings, metric = column.split(" ")
    assert set(settings) <= SETTINGS and metric in RANGES, column
    if defense != "none":
      (spec,) = specs.parse(defense)
      make = registry.get("defenses", spec.name)
      presets = registry.presets("defenses", spec.name)
      assert spec.preset is None or spec.preset in presets, column
      known = {*inspect.signature(make).parameters, *methods.DEFENDER}
      assert set(spec.args) <= known, column


@pytest.mark.parametrize("name", [n for n in CELLS if n.startswith("sha_fig")])
def test_what_no_table_prints_is_marked_as_prose(name):
  assert all(cell["note"].startswith("prose: ") for cell in read(name))


@pytest.mark.parametrize("name, row, column, value", SPOTS)
def test_spots_are_as_printed(name, row, column, value):
  assert values(name)[row, column] == value


def test_dashes_are_the_invisible_attacks_beyond_cifar10():
  dashes = {c["row"] for c in read("fmn_table1") if not c["value"]}
  places, names = ("celeba8", "imagenet10"), ("l0_inv", "l2_inv")
  assert dashes == {f"{p} {n} fmn" for p in places for n in names}


def test_tables_1_and_2_agree_on_undefended_models():
  second = values("fmn_table2")
  own = {k: v for k, v in values("fmn_table1").items() if "cifar10" in k[0]}
  assert len(own) == 14
  for (row, column), value in own.items():
    assert second[row.removeprefix("cifar10 "), column] == value


@pytest.mark.parametrize("attack", ["blended", "trojaning"])
@pytest.mark.parametrize("regime", ["conventional", "fmn"])
def test_printed_drops_are_differences_to_the_clean_model(attack, regime):
  found = values("fmn_table3")
  drop = (
    found[f"{attack} {regime}", "ft ta"] - found[f"{attack} clean", "ft ta"]
  )
  assert found[f"{attack} {regime}", "ft drop"] == pytest.approx(drop)
