"""What the site says of methods is what the code says."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from bdjax.methods import registry, signature
from bdjax.report import results
from bdjax.runs import methods

DOCS = Path(__file__).parents[2] / "docs"


def load():
  path = DOCS / "method_pages.py"
  sys.path.insert(0, str(DOCS))  # as conf.py does
  spec = importlib.util.spec_from_file_location("method_pages", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


pages = load()


def test_formulas_become_code_lists_end_and_papers_are_linked():
  text = (
    "See arXiv 1234.56789: minimize\n\n  a * b\n    + c\n\nover x.\nWhere:\n"
    "- one,\n  and more\n- two.\nPresets: none."
  )
  paper = "[1234.56789](https://arxiv.org/abs/1234.56789)"
  assert pages.prose(text).split("\n") == [
    *(f"See arXiv {paper}: minimize", "", "", "```text", "a * b", "  + c", ""),
    *("```", "over x.", "Where:", "- one,", "  and more", "- two.", ""),
    "Presets: none.",
  ]


def test_words_in_brackets_are_no_html():
  assert pages.prose("PATH/<class> `x<y>`") == "PATH/&lt;class> `x<y>`"


def test_a_formula_at_the_end_is_closed():
  assert pages.prose("So:\n\n  x").endswith("```text\nx\n```")


def test_arguments_are_those_of_the_signature():
  @signature.validated
  def make(*, rate: signature.Rate = 0.1, num_classes: signature.Count = 10):
    """Returns nothing.

    Args:
      rate: share | of
        all.
      num_classes: given.

    Returns:
      rate: not this.
    """

  assert pages.arguments(make).split("\n") == [
    "| argument | default | may be | meaning |",
    "| --- | --- | --- | --- |",
    "| `rate` | `0.1` | a number between 0 and 1 (excluded); may be swept "
    "| share \\| of all. |",
  ]


@pytest.mark.parametrize("kind", ["attacks", "defenses"])
def test_every_method_is_there_with_source_arguments_and_presets(kind):
  page = pages.fill((DOCS / f"{kind}.md").read_text())
  _, *found = re.split(r"^## (\w+)$", page, flags=re.MULTILINE)
  parts = dict(zip(found[::2], found[1::2], strict=True))
  assert list(parts) == registry.names(kind)
  for name, part in parts.items():
    module = registry.module(kind, name)
    for paper in pages.PAPER.findall(module.__doc__):
      assert f"(https://arxiv.org/abs/{paper})" in part
    for argument in signature.arguments(module.make).values():
      row = f"| `{argument.name}` | `{argument.default!r}` |"
      assert (row in part) == (argument.name not in methods.GIVEN)
    for preset in registry.presets(kind, name):
      assert f"- `{name}.{preset}`: " in part


def test_every_metric_of_a_record_is_explained():
  page = (DOCS / "methods.md").read_text()
  wanted = (*results.METRICS, *results.FOUND, *results.ELSEWHERE)
  for name in (*wanted, *results.COSTS):
    assert f"`{name}`" in page, name


def test_all_that_is_to_be_written_is_written():
  for page in DOCS.glob("*.md"):
    assert "<!-- generated" not in pages.fill(page.read_text())


def test_an_unknown_kind_is_refused():
  with pytest.raises(ValueError, match="did you mean attacks"):
    pages.fill("<!-- generated: atacks -->")


def test_rooms_stand_above_what_they_import_and_arrows_are_not_repeated():
  rooms = pages.rooms
  graph = {"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": {"a"}}
  assert rooms.floors(graph) == [["a"], ["b", "d"], ["c"]]
  assert rooms.direct(graph) == graph | {"c": {"b"}}
  with pytest.raises(ValueError, match=r"\['b', 'c'\] import each other"):
    rooms.floors({"a": set(), "b": {"c"}, "c": {"b"}})
  drawn = rooms.picture()
  assert "\n\n" not in drawn  # which would end it in a page
  assert all(f"<!-- {room} -->" in drawn for room in rooms.graph())
