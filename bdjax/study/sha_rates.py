"""What Sha et al.'s supplement claims of data, rates and further attacks.

Thresholds as in `bdjax.study.sha`.
"""

from bdjax.study.claim import (
  MOST,
  Claim,
  Part,
  ask,
  below,
  each,
  gaps,
  reaches,
  under,
)
from bdjax.study.match import Evidence
from bdjax.study.sha import ALIVE, ATTACKS, GONE, USUAL, rows

_HARD = ("blended", "lf")  # by supplement A.4
_SUPER = "super_ft asr"


def _slower_rates(evidence: Evidence) -> list[Part]:
  """Asks whether a larger rate leaves less of a backdoor."""
  rates = ("0.0001", "0.001", "0.1")
  return [
    under(
      ask(evidence, row, f"ft(lr={high}) asr"),
      ask(evidence, row, f"ft(lr={low}) asr"),
      f"{row}, ASR at rate {high} and {low}",
    )
    for row in rows(evidence)
    for low, high in zip(rates, rates[1:], strict=False)
  ]


def _flat(evidence: Evidence) -> list[Part]:
  """Asks whether ASRs at two ends of LR MAX1 are near, both ways."""
  answers = []
  for row in rows(evidence):
    one, other = (
      ask(evidence, row, f"super_ft(lr_max1={rate}) asr")
      for rate in ("0.1", "0.5")
    )
    ways = [
      under(low, high, f"{row}, ASR at LR MAX1 .1 and .5", room=10)
      for low, high in ((one, other), (other, one))
    ]
    truths = [way.truth for way in ways]
    truth = False if False in truths else None if None in truths else True
    answers.append(ways[0]._replace(truth=truth))
  return answers


CLAIMS = (
  Claim(
    "sha_more_attacks",
    ("sha_table1",),
    "Sha et al., supplement A.3 and Table 1",
    "Super-fine-tuning works against IMC, Latent and Handcrafted, too.",
    "ASR below 20",
    each(below, GONE, USUAL, ("imc", "latent", "handcrafted"), _SUPER),
  ),
  Claim(
    "sha_fifth",
    ("sha_fig13",),
    "Sha et al., supplement A.4 and Figure 13",
    "A fifth of the clean data suffices in most cases.",
    "ASR below 20, in most cells",
    each(below, GONE, USUAL, ATTACKS, "super_ft(clean_rate=0.2) asr"),
    MOST,
  ),
  Claim(
    "sha_tenth",
    ("sha_fig13",),
    "Sha et al., supplement A.4",
    "A tenth does not with LR MAX1 .1, especially for Blended and LF.",
    "ASR of 50 or more",
    each(reaches, ALIVE, USUAL, _HARD, "super_ft(clean_rate=0.1) asr"),
  ),
  Claim(
    "sha_tenth_ca",
    ("sha_fig13",),
    "Sha et al., supplement A.4",
    "Accuracy stays high from a tenth to all of the data.",
    "CA with a tenth less than 5 points below that with all",
    gaps(
      USUAL,
      ATTACKS,
      "super_ft(clean_rate=1.0) ca",
      "super_ft(clean_rate=0.1) ca",
      room=5,
    ),
  ),
  Claim(
    "sha_higher_rate",
    ("sha_fig15",),
    "Sha et al., supplement A.4 and Figure 15",
    "With a tenth of the data, LR MAX1 .3 mitigates almost all attacks.",
    "ASR below 20, in most cells",
    each(below, GONE, USUAL, ATTACKS, "super_ft(lr_max1=0.3) asr"),
    MOST,
  ),
  Claim(
    "sha_rate_needed",
    ("sha_fig15",),
    "Sha et al., supplement A.4",
    "There, the higher rate is needed: with .1 backdoors remain.",
    "ASR of Blended and LF of 50 or more",
    each(reaches, ALIVE, USUAL, _HARD, "super_ft(lr_max1=0.1) asr"),
  ),
  Claim(
    "sha_higher_rate_ca",
    ("sha_fig15",),
    "Sha et al., supplement A.4",
    "It costs little accuracy.",
    "CA less than 5 points below that with .1 (the text has 3.8)",
    gaps(
      USUAL,
      ATTACKS,
      "super_ft(lr_max1=0.1) ca",
      "super_ft(lr_max1=0.3) ca",
      room=5,
    ),
  ),
  Claim(
    "sha_flat",
    ("sha_fig15",),
    "Sha et al., supplement A.2, against A.4",
    "From .1 to .5, LR MAX1 does not change much.",
    "ASRs at .1 and .5 within 10 points",
    _flat,
  ),
  Claim(
    "sha_small_rate",
    ("sha_fig14",),
    "Sha et al., supplement A.4 and Figure 14",
    "At a small rate the ASR of conventional fine-tuning stays high.",
    "ASR of 50 or more at rate .0001",
    each(reaches, ALIVE, USUAL, ATTACKS, "ft(lr=0.0001) asr"),
  ),
  Claim(
    "sha_large_rate",
    ("sha_fig14",),
    "Sha et al., supplement A.4",
    "At rate .1 a backdoor is removed within one epoch.",
    "ASR below 20 after epoch 1",
    each(below, GONE, USUAL, ATTACKS, "ft(lr=0.1) epoch=1 asr"),
  ),
  Claim(
    "sha_rates",
    ("sha_fig14",),
    "Sha et al., supplement A.4",
    "Larger rates mitigate more.",
    "ASR at .1 below that at .001, and this below that at .0001",
    _slower_rates,
  ),
  Claim(
    "sha_rates_ca",
    ("sha_fig14",),
    "Sha et al., supplement A.4",
    "Larger rates cost accuracy.",
    "CA at .1 below that at .0001",
    gaps(USUAL, ATTACKS, "ft(lr=0.1) ca", "ft(lr=0.0001) ca"),
  ),
)
