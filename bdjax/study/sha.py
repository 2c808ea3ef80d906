"""What Sha et al. claim of fine-tuning, as questions to the records.

They give no threshold. Here a backdoor is removed below 20 % ASR, and an attack
succeeds from 50 % on.
"""

import math
from collections.abc import Callable

from bdjax.report.curves import timeline
from bdjax.study import match, measured, published
from bdjax.study.claim import (
  MOST,
  SOME,
  Claim,
  Part,
  ask,
  below,
  each,
  gaps,
  places,
  reaches,
  under,
)
from bdjax.study.match import Evidence

GONE, ALIVE = 20, 50
ANOMALY = 2  # the index from which Neural Cleanse tells a class apart
ATTACKS = ("badnets", "blended", "inputaware", "lf", "wanet")
TIMED = ATTACKS[:2]  # the text gives hours of these
OTHERS = (
  *("abl", "activation_clustering", "fine_pruning"),
  *("nad", "neural_cleanse", "spectral"),
)
USUAL = "conventional"


def rows(evidence: Evidence) -> list[str]:
  """Returns the rows of a study's attacks on every dataset measured."""
  attacks = TIMED if evidence.study == "sha_fig6" else ATTACKS
  return [f"{p}{a} {USUAL}" for p in places(evidence) for a in attacks]


def _sooner(evidence: Evidence) -> list[Part]:
  """Asks whether super-fine-tuning forgets in fewer epochs, seed by seed.

  What never forgets counts as forgetting in the epoch after the last.
  """
  answers = []
  for row in rows(evidence):
    fast, slow = (_forgotten(evidence, row, d) for d in ("super_ft", "ft"))
    seeds = fast.keys() & slow.keys()
    if seeds:
      late = 1 + _last(evidence, row)
      gap = measured.estimate(
        {k: min(fast[k], late) - min(slow[k], late) for k in sorted(seeds)}
      )
      truth = True if gap.high < 0 else False if gap.low > 0 else None
      words = " and ".join(map(_epochs, (fast, slow)))
      answers.append(Part(f"{row}: epochs {words}", truth))
    else:
      answers.append(Part(row, None, measured=False))
  return answers


def _last(evidence: Evidence, row: str) -> int:
  """Returns the last epoch of the row's tunings that was probed."""
  cells = [
    published.cell(evidence.study, row, f"{name} asr")
    for name in ("super_ft", "ft")
  ]
  curves = (
    evidence.run.curves.get(record["cell"], [])
    for cell in cells
    for record in match.records(evidence, cell)
  )
  return max(max(timeline(rows), default=0) for rows in curves)


def _epochs(forgotten: dict[int, float]) -> str:
  """Returns the epochs of seeds; one if all have the same."""
  words = ["none" if e == math.inf else f"{e:g}" for e in forgotten.values()]
  return "/".join(words if len(set(words)) > 1 else words[:1])


def _forgotten(evidence: Evidence, row: str, defense: str) -> dict[int, float]:
  """Returns the epoch of each seed; none where a claim may not ask."""
  if ask(evidence, row, f"{defense} asr") is None:
    return {}
  cell = published.cell(evidence.study, row, f"{defense} asr")
  known = {
    record["seed"]: measured.forgets(record, cell, evidence.run, below=GONE)
    for record in match.records(evidence, cell)
  }
  return {seed: epoch for seed, epoch in known.items() if epoch is not None}


def _extreme(metric: str, *, least: bool) -> Callable[[Evidence], list[Part]]:
  """Returns the question whether super-fine-tuning leads all other defenses."""

  def parts(evidence):
    answers = []
    for row in rows(evidence):
      tuned = ask(evidence, row, f"super_ft {metric}")
      rivals = {d: ask(evidence, row, f"{d} {metric}") for d in OTHERS}
      known = {d: r for d, r in rivals.items() if r is not None}
      part = Part(f"{row}, {metric}", None, measured=False)
      if tuned is not None and known:
        sign = 1 if least else -1
        best = min(known, key=lambda d: sign * known[d].mean)
        duels = {
          d: under(
            *((tuned, rival) if least else (rival, tuned)),
            f"{row}, {metric} of super_ft and {d}",
          )
          for d, rival in known.items()
        }
        truths = {duel.truth for duel in duels.values()}
        truth = False if False in truths else None if None in truths else True
        if truth and len(known) < len(rivals):
          truth = None  # an absent rival might lead
        part = duels[best]._replace(truth=truth)
      answers.append(part)
    return answers

  return parts


def _dearest(evidence: Evidence) -> list[Part]:
  """Asks whether Neural Cleanse takes longest."""
  answers = []
  for row in rows(evidence):
    cleansing = ask(evidence, row, "neural_cleanse gpu_hours")
    rivals = [d for d in (*OTHERS, "super_ft") if d != "neural_cleanse"]
    known = [ask(evidence, row, f"{d} gpu_hours") for d in rivals]
    known = [reading for reading in known if reading is not None]
    part = Part(row, None, measured=False)
    if cleansing is not None and known:
      top = max(known, key=lambda reading: reading.mean)
      part = under(top, cleansing, f"{row}, hours of the dearest other defense")
      if part.truth and len(known) < len(rivals):
        part = part._replace(truth=None)
    answers.append(part)
  return answers


_FT, _SUPER, _CA = "ft asr", "super_ft asr", "super_ft ca"
_MOVED, _ALONE = ("sha_fig3",), ("sha_fig4", "sha_fig5")

CLAIMS = (
  Claim(
    "sha_encoder",
    ("sha_fig2",),
    "Sha et al., section 5.1 and Figure 2",
    "Fine-tuning the whole model always removes an encoder's backdoor within "
    "one epoch.",
    "ASR below 20 after epoch 1",
    each(below, GONE, USUAL, ("badencoder",), "ft.encoder epoch=1 asr"),
  ),
  Claim(
    "sha_encoder_end",
    ("sha_fig2",),
    "Sha et al., introduction",
    "With the whole model tuned, the backdoor cannot survive.",
    "ASR below 20 at the end",
    each(below, GONE, USUAL, ("badencoder",), "ft.encoder asr"),
  ),
  Claim(
    "sha_transfer",
    _MOVED,
    "Sha et al., section 5.2 and Figure 3",
    "In a transfer, conventional fine-tuning mitigates backdoors in most "
    "cases.",
    "collapse below 50 at the end, in most cells",
    each(below, ALIVE, USUAL, ATTACKS, _FT),
    MOST,
  ),
  Claim(
    "sha_transfer_super",
    _MOVED,
    "Sha et al., introduction and section 5.2",
    "There, super-fine-tuning removes all backdoors.",
    "collapse below 20 at the end",
    each(below, GONE, USUAL, ATTACKS, _SUPER),
  ),
  Claim(
    "sha_transfer_ca",
    _MOVED,
    "Sha et al., section 5.2",
    "There, super-fine-tuning yields better accuracy than fine-tuning.",
    "CA higher at the end",
    gaps(USUAL, ATTACKS, "ft ca", _CA),
  ),
  Claim(
    "sha_sooner",
    ("sha_fig3",),
    "Sha et al., section 5.2 and Figure 3",
    "Super-fine-tuning reaches a lower ASR within fewer epochs, in most cases.",
    "fewer epochs until the ASR is below 20, of a model that is "
    "not destroyed, than with fine-tuning",
    _sooner,
    MOST,
  ),
  Claim(
    "sha_ft_fails",
    ("sha_fig4",),
    "Sha et al., sections 3.2 and 5.3",
    "Standalone, conventional fine-tuning does not always work.",
    "ASR of 50 or more left in some cell",
    each(reaches, ALIVE, USUAL, ATTACKS, _FT),
    SOME,
  ),
  Claim(
    "sha_super_asr",
    _ALONE,
    "Sha et al., section 6 and Figure 4",
    "Super-fine-tuning can still remove the backdoors of the standalone "
    "scenario.",
    "ASR below 20 at the end",
    each(below, GONE, USUAL, ATTACKS, _SUPER),
  ),
  Claim(
    "sha_super_ca",
    _ALONE,
    "Sha et al., section 5.3",
    "It maintains the model's utility.",
    "CA less than 3 points below that before",
    gaps(USUAL, ATTACKS, "none ca", _CA, room=3),
  ),
  Claim(
    "sha_lowest_asr",
    ("sha_fig5",),
    "Sha et al., section 5.4 and Figures 5, 7, 8",
    "In general it achieves the lowest ASR of all defenses.",
    "ASR below that of the best other of six, in most cells",
    _extreme("asr", least=True),
    MOST,
  ),
  Claim(
    "sha_highest_ca",
    ("sha_fig5",),
    "Sha et al., section 5.4 and Figures 5, 7, 8",
    "In general it maintains the highest accuracy of all defenses.",
    "CA above that of the best other of six, in most cells",
    _extreme("ca", least=False),
    MOST,
  ),
  Claim(
    "sha_abl",
    ("sha_fig5",),
    "Sha et al., introduction",
    "ABL fails in mitigating most attacks.",
    "ASR of 50 or more after it, in most cells",
    each(reaches, ALIVE, USUAL, ATTACKS, "abl asr"),
    MOST,
  ),
  Claim(
    "sha_neural_cleanse",
    ("sha_fig5",),
    "Sha et al., section 5.4",
    "Neural Cleanse does not detect Input-aware, LF and WaNet.",
    "largest anomaly index below its threshold of 2",
    each(below, ANOMALY, USUAL, ATTACKS[2:], "neural_cleanse index"),
  ),
  Claim(
    "sha_cheapest",
    ("sha_fig5", "sha_fig6"),
    "Sha et al., section 5.4 and Figure 6",
    "Super-fine-tuning costs least of all defenses.",
    "hours of training below those of the cheapest other of six",
    _extreme("gpu_hours", least=True),
  ),
  Claim(
    "sha_dearest",
    ("sha_fig6",),
    "Sha et al., section 5.4",
    "Neural Cleanse costs most.",
    "hours of training above those of every other",
    _dearest,
  ),
)
