"""The notebook of docs/ runs from its first cell to its last."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
SHORT = {"train.epochs": 2, "defense.epochs": 1}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
  """Returns its cells of code, run with fewer epochs than it asks for."""
  book = nbformat.read(NOTEBOOK, as_version=4)
  cells = [cell for cell in book.cells if cell.cell_type == "code"]
  for key, epochs in SHORT.items():
    for cell in cells:
      cell.source = re.sub(rf'("{key}": )\d+', rf"\g<1>{epochs}", cell.source)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("JAX_PLATFORMS", "cpu")
    patch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    where = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    NotebookClient(book, timeout=300, resources=where).execute()
  return cells


def data_of(cell, kind):
  return [o["data"][kind] for o in cell.outputs if kind in o.get("data", {})]


def test_it_holds_no_outputs():
  held = json.loads(NOTEBOOK.read_text())["cells"]
  assert not any(cell.get("outputs") for cell in held)


def test_rows_are_of_each_seed_and_defense(cells):
  (table,) = data_of(cells[2], "text/plain")
  assert len(table.splitlines()) == 1 + 2 * 3  # seeds; none and two defenses


def test_the_sweep_has_a_row_for_each_peak(cells):
  (table,) = data_of(cells[3], "text/plain")
  assert re.findall(r"^\d\.\d\d", table, re.M) == [
    "0.03",
    "0.10",
    "0.30",
    "1.00",
  ]


def test_the_plot_is_drawn(cells):
  assert data_of(cells[4], "image/png")


def test_the_report_is_written(cells):
  (path,) = data_of(cells[5], "text/plain")
  assert Path(re.search(r"'(.*)'", path)[1]).name == "report.html"
