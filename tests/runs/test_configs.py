"""What is said of a config whose own program fails."""

import re

import pytest

from bdjax.runs import configs


@pytest.mark.parametrize(
  ("given", "said"),
  [
    (
      "quickstart:attack=lf,attack=sig",
      "the config's argument names attack twice; give several methods as "
      "--config.attack.name=lf,sig.",
    ),
    (
      "papers/fmn_table2:tiny",
      "there is no preset 'tiny': choose one of paper, gpu, small, evidence, "
      "smoke.",
    ),
    (
      "base:attack=bdnets",
      "unknown attack 'bdnets': did you mean badnets or wanet?",
    ),
  ],
)
def test_a_configs_own_sentence_is_all_that_is_said(given, said):
  with pytest.raises(ValueError) as refused:
    configs.read(given)
  assert str(refused.value) == said


@pytest.mark.parametrize(
  ("body", "said"),
  [
    (
      "a, b = argument.split(',')",
      "(ValueError: not enough values to unpack (expected 2, got 1), from "
      "FILE:2)",
    ),
    (
      "return argument + 1",
      '(TypeError: can only concatenate str (not "int") to str, from FILE:2)',
    ),
    ("return nope", "(NameError: name 'nope' is not defined, from FILE:2)"),
  ],
)
def test_what_python_says_of_a_config_comes_with_its_line(body, said, tmp_path):
  file = tmp_path / "own.py"
  file.write_text(f"def get_config(argument=''):\n  {body}\n")
  whole = f"the config cannot be read {said.replace('FILE', str(file))}: it"
  with pytest.raises(ValueError, match=f"^{re.escape(whole)} must") as refused:
    configs.read(f"{file}:x")
  assert "\n" not in str(refused.value)
