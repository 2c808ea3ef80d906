"""What Forget-Me-Not claims, as questions to the records.

Section 4.3 takes 50 % ASR as the threshold of a successful attack.
"""

from collections.abc import Callable

from bdjax.study.claim import (
  EVERY,
  MOST,
  Claim,
  Part,
  ask,
  below,
  each,
  places,
  reaches,
  under,
)
from bdjax.study.match import Evidence

ATTACKS = (
  *("blended", "l0_inv", "l2_inv", "trojaning"),
  *("inputaware", "lira", "narcissus"),
)
ABLATED = ATTACKS[:4]
TUNINGS = ("ft(lr=0.01)", "ft(lr=0.05)", "super_ft", "ft_sam", "nad")
PASSES = (  # what passing a test of A.6 means: chosen, in the text's absence
  (below, 2, "neural_cleanse index"),  # the threshold of Neural Cleanse
  (reaches, 50, "fine_pruning asr"),  # FMN's own criterion, as of fine-tuning
  (reaches, 50, "anp asr"),
  (below, 50, "strip detected"),  # half of the triggered images
)
_PASSED = (
  "ASR of 50 or more after Fine-Pruning and ANP; Neural Cleanse's largest "
  "anomaly index below its threshold of 2; STRIP finds less than half of the "
  "triggered images at 10 % false alarms (chosen: the appendix is not at hand)"
)
_FIRST, _MAIN = ("fmn_table1", "fmn_table2"), ("fmn_table2",)


def _asr(*defenses: str) -> tuple[str, ...]:
  return tuple(f"{defense} asr" for defense in defenses)


def _planted(evidence: Evidence) -> list[str]:
  """Returns the rows, without their regime, that Table 1 has."""
  return [
    f"{place}{attack}"
    for place in places(evidence)
    for attack in ATTACKS
    if place == "cifar10 " or not attack.endswith("_inv")
  ]


def _reached(evidence: Evidence) -> list[Part]:
  rows = [f"{row} fmn" for row in _planted(evidence)]
  return [reaches(ask(evidence, row, "none asr"), 90, row) for row in rows]


def _kept_accuracy(evidence: Evidence) -> list[Part]:
  return [
    under(
      ask(evidence, f"{row} conventional", "none ca"),
      ask(evidence, f"{row} fmn", "none ca"),
      f"{row}, CA conventional against fmn",
      room=2,
    )
    for row in _planted(evidence)
  ]


def _ablation(evidence: Evidence) -> list[Part]:
  return [
    under(
      ask(evidence, f"{place}{attack} {part}", column),
      ask(evidence, f"{place}{attack} fmn", column),
      f"{place}{attack}, {column}, {part} alone against both",
    )
    for place in places(evidence)
    for attack in ABLATED
    for part in ("cyclic", "interleave")
    for column in _asr("super_ft", "ft_sam")
  ]


def _unnoticed(regime: str) -> Callable[[Evidence], list[Part]]:
  """Returns the question whether LIRA passes the tests of appendix A.6."""

  def parts(evidence):
    answers = []
    for row in (f"{place}lira {regime}" for place in places(evidence)):
      for judge, limit, column in PASSES:
        what = f"{row}, {column}"
        answers.append(judge(ask(evidence, row, column), limit, what))
    return answers

  return parts


def _as_stealthy(evidence: Evidence) -> list[Part]:
  answers = []
  for place in places(evidence):
    rows = [f"{place}lira {regime}" for regime in ("conventional", "fmn")]
    for judge, _, column in PASSES:
      if not column.endswith("index"):
        usual, fmn = (ask(evidence, row, column) for row in rows)
        pair = (fmn, usual) if judge is below else (usual, fmn)
        order = ("fmn", "conventional")[:: 1 if judge is below else -1]
        what = f"{place}lira, {column}, {' and '.join(order)}"
        answers.append(under(*pair, what, room=5))
  return answers


def _dropped(evidence: Evidence) -> list[Part]:
  return [
    under(
      ask(evidence, f"{place}{attack} fmn", "ft drop"),
      ask(evidence, f"{place}{attack} conventional", "ft drop"),
      f"{place}{attack}, drop after fmn against conventional",
    )
    for place in places(evidence)
    for attack in ("blended", "trojaning")
  ]


CLAIMS = (
  Claim(
    "fmn_asr",
    _FIRST,
    "FMN, section 4.2 and Table 1",
    "Every attack trained with FMN reaches a high success rate.",
    "ASR of 90 or more without any defense",
    _reached,
  ),
  Claim(
    "fmn_ca",
    _MAIN,
    "FMN, section 4.2 and Table 1",
    "Its accuracy is similar to that of conventional training.",
    "CA at most 2 points below that of the conventional model",
    _kept_accuracy,
  ),
  Claim(
    "fmn_badnets",
    _FIRST,
    "FMN, section 4.2",
    "BadNets fails to converge under clean-backdoor interleaving.",
    "ASR below 50 without any defense",
    each(below, 50, "fmn", ("badnets",), "none asr"),
  ),
  Claim(
    "fmn_low_rate",
    _MAIN,
    "FMN, section 4.3 and Table 2",
    "Fine-tuning at .01 cannot effectively remove conventional backdoors.",
    "ASR of 50 or more after it",
    each(reaches, 50, "conventional", ATTACKS, "ft(lr=0.01) asr"),
  ),
  Claim(
    "fmn_removed",
    _MAIN,
    "FMN, section 4.3 and Table 2",
    "Conventional backdoors are mitigated by fine-tuning at .05, "
    "super-fine-tuning, FT-SAM and NAD.",
    "ASR below 50, in most cells: Table 2 has 26 of 28",
    each(below, 50, "conventional", ATTACKS, *_asr(*TUNINGS[1:])),
    MOST,
  ),
  Claim(
    "fmn_kept",
    _MAIN,
    "FMN, abstract and section 4.3",
    "Backdoors trained with FMN bypass fine-tuning defenses.",
    "ASR of 50 or more in every cell; Table 2 itself has one below",
    each(reaches, 50, "fmn", ATTACKS, *_asr(*TUNINGS)),
    EVERY,
  ),
  Claim(
    "fmn_super_ft",
    _MAIN,
    "FMN, section 4.3",
    "All of them remain higher than 80 % under super-fine-tuning.",
    "ASR of 80 or more",
    each(reaches, 80, "fmn", ATTACKS, "super_ft asr"),
  ),
  Claim(
    "fmn_seventy",
    _MAIN,
    "FMN, section 4.3",
    "Most still achieve 70 % under fine-tuning at .05 and NAD.",
    "ASR of 70 or more in most cells; Table 2 has 10 of 14",
    each(reaches, 70, "fmn", ATTACKS, *_asr("ft(lr=0.05)", "nad")),
    MOST,
  ),
  Claim(
    "fmn_ablation",
    ("fmn_table4",),
    "FMN, section 4.5 and Table 4",
    "Both the cyclical rate and the clean epochs are essential.",
    "ASR under super-fine-tuning and FT-SAM lower with either alone",
    _ablation,
  ),
  Claim(
    "fmn_transfer",
    ("fmn_table3",),
    "FMN, section 4.4 and Table 3",
    "After a transfer, triggers cost far more accuracy than conventional ones.",
    "drop in accuracy on triggered images larger than conventional training's",
    _dropped,
  ),
  Claim(
    "fmn_small_drop",
    ("fmn_table3",),
    "FMN, section 4.4",
    "There, conventional backdoors cost less than 8 points.",
    "drop of less than 8 points",
    each(reaches, -8, "conventional", ("blended", "trojaning"), "ft drop"),
  ),
  Claim(
    "fmn_a6",
    ("fmn_a6",),
    "FMN, section 4.6, on appendix A.6",
    "The LIRA model trained with FMN passes all the tests of Neural Cleanse, "
    "Fine-Pruning, ANP and STRIP.",
    _PASSED,
    _unnoticed("fmn"),
  ),
  Claim(
    "fmn_a6_conventional",
    ("fmn_a6",),
    "FMN, section 4.6",
    "So does the LIRA model of conventional training.",
    _PASSED,
    _unnoticed("conventional"),
  ),
  Claim(
    "fmn_a6_stealth",
    ("fmn_a6",),
    "FMN, section 4.6",
    "FMN has no negative impact on stealth.",
    "against conventional training ASR after Fine-Pruning and ANP at most 5 "
    "points lower, and STRIP finds at most 5 points more (an anomaly index has "
    "no such scale, and is not compared)",
    _as_stealthy,
  ),
)
