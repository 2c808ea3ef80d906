"""What the defense left behind: is the backdoor there, and can it be woken?"""

from collections.abc import Sequence
from typing import Any

from bdjax.report import groups, tables
from bdjax.report.leftovers import Beside
from bdjax.report.results import Record

LESS = "re-activated, less clean"
_FIRST = {"ASR before": "asr_before", "re-activated": "reactivated"}
_CONTROLS = {
  "without trigger": "untriggered",
  "universal": "universal",
  "on the clean model": "on_clean",
}
_LEFT = {"BEC": "bec", "CKA": "cka"}
COLUMNS = (*_FIRST, LESS, *_CONTROLS, *_LEFT)
NOTE = (
  "Re-activation: ASR before is that of the trigger alone; re-activated, with "
  "a small perturbation added that was found for the model. Enough of it fools "
  "any model, so that a re-activated ASR says something only where it is well "
  "above its controls: the ASR of a clean model after the same defense under "
  "the same attack, seed by seed (less clean, in points); of the perturbation "
  "without the trigger; of a universal one, as large and found without the "
  "trigger; of trigger and perturbation on the seed's clean model. BEC, the "
  "backdoor existence coefficient: 0 is the clean model, 100 the planted one. "
  "CKA: how like the planted one it is in the backdoor's neurons. Defenses "
  "that need the training set have no clean model to compare with."
)


def rows(
  records: Sequence[Record], table: tables.Table
) -> list[dict[str, Any]]:
  """Returns a row per model whose backdoor somebody tried to wake.

  Returns:
    Rows: `attack`, `regime`, `model`, `sequel` and `values`, a text in percent
    for each of `COLUMNS`; "–" for what the sequel does not measure.
  """
  found, beside = [], Beside(records)
  for label, cells in groups.grouped(records, table):

    def texts(names, cells=cells):
      return [groups.percent(cells, name) for name in names.values()]

    gain = groups.gain(cells, beside, "reactivated")
    values = [*texts(_FIRST), gain, *texts(_CONTROLS), *texts(_LEFT)]
    found.append(label | {"values": values})
  return found
