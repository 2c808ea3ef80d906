"""The page of claims: what the papers say, and what the records say of it.

A claim is asked of each experiment whose scenario is that of its study, by the
rule of `bdjax.study.claim`. It is reproduced or not where those experiments
that decide it agree so; where none measured a cell, it was not run; else it is
undecided. Other data than the paper's is shown and not counted, and
procedural images are not asked.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from bdjax.archive.experiment import TOY, Experiment
from bdjax.archive.pages import EDITED, anchor, plain, table
from bdjax.methods import specs
from bdjax.report.load import Run
from bdjax.report.results import Record
from bdjax.study import catalog, claim, comparison, verdict
from bdjax.study.claim import Claim, Finding, Part
from bdjax.study.match import Evidence

REPRODUCED, OPPOSED = verdict.REPRODUCED, verdict.REPRODUCED_NOT
OPEN, ABSENT = verdict.OPEN, "not run"
VERDICTS = (REPRODUCED, OPPOSED, OPEN, ABSENT)
SAID = {claim.SUPPORTED: REPRODUCED, claim.OPPOSED: OPPOSED}
CELLS = {
  claim.EVERY: "every cell",
  claim.MOST: "most cells",
  claim.SOME: "some cell",
}
SIGNS = {True: "yes", False: "no", None: "open"}
FOREIGN = "other data than the paper's, hence not counted"
MOST = 40  # answers shown of one experiment (chosen)
# How else the papers' words can be read: what is run -> what it stands for.
READINGS = {
  "from the planted model": ("fmn(start='planted')", "fmn"),
}
INTRODUCTION = f"""{EDITED}

# Claims

Each sentence of the two papers that can be tested, and what
[the results](results.md) say of it. A claim becomes a question to cells of
these tables; the answer to a cell is yes or no where the whole 95 % interval
over seeds lies on one side, else open. A claim about every cell is reproduced
if all of its cells are measured and say yes, and not reproduced by one that
says no; about most cells, by more than half of all, or half; about some, by one
that says yes, or all that say no. Everything else is undecided. One seed has no
interval and decides nothing, nor does a model in which no backdoor was planted
or, but of its accuracy, one that the defense destroyed. Experiments that decide
otherwise leave a claim undecided; those that decide nothing do not count. Other
data than the paper's is shown and not counted. Where a paper says `super_ft` or
`ft` alone, the preset that is nearest to its text stands for it, as in the
studies' pages, but none with further arguments, and where Sha et al. state no
share of the clean images none that has less than all of them. An attack is
met by its name, whatever its arguments and its poison rate. Seconds on a
machine that other work shared are no cost. Forget-Me-Not is asked as training
from scratch; its section 3.2 can also be read to start from the planted model,
`fmn(start='planted')`: what that says, where it was run, stands beside the
verdict and is not counted. Most protocols here are smaller than the papers':
what is not reproduced in one may hold in theirs. One cell is enough against a
claim of every cell, also where its sentence may have been meant in general; and
nothing makes up for how many cells are asked.
"""


class Answer(NamedTuple):
  """What one experiment says of a claim."""

  experiment: Experiment
  finding: Finding
  parts: list[Part]
  whose: str  # whose protocol and data


class Outcome(NamedTuple):
  """A claim and what came of it."""

  claim: Claim
  verdict: str  # one of VERDICTS
  answers: list[Answer]  # of experiments that measured some of it
  others: dict[str, "Outcome"] = {}  # where a reading of `READINGS` says more


def outcomes(experiments: Sequence[Experiment]) -> list[Outcome]:
  """Returns what came of every claim.

  Args:
    experiments: the experiments.
  """
  runs = [(one, _timeless(one)) for one in experiments]
  found = _settled(runs)
  for name, words in READINGS.items():
    reread = [(one, _reread(run, *words)) for one, run in runs]
    for i, other in enumerate(_settled(reread)):
      if _said(other) - _said(found[i]):
        found[i] = found[i]._replace(others=found[i].others | {name: other})
  return found


def _settled(runs: Sequence[tuple[Experiment, Run]]) -> list[Outcome]:
  known = [(one, _gathered(run)) for one, run in runs]
  return [_outcome(one, known) for one in comparison.CLAIMS]


def _reread(run: Run, ran: str, means: str) -> Run:
  """Returns a run in which one regime stands for another, which it drops."""
  (wanted,) = specs.parse(ran)

  def meant(record: Record) -> bool:
    regime = record["regime"]  # None of a clean model's sequel
    return regime is not None and specs.parse(regime) == [wanted]

  def read(records: list[Record]) -> list[Record]:
    return [
      record | {"regime": means} if meant(record) else record
      for record in records
      if meant(record) or record["regime"] != means
    ]

  return run._replace(
    cells=read(run.cells),
    records=read(run.records),
    sequela=read(run.sequela),
    diverged=read(run.diverged),
  )


def _said(one: Outcome) -> set[tuple[str, Part]]:
  """Returns the measured answers of a claim."""
  return {
    (answer.experiment.about["title"], part)
    for answer in one.answers
    for part in answer.parts
    if part.measured
  }


def render(experiments: Sequence[Experiment]) -> str:
  """Returns docs/claims.md.

  Args:
    experiments: the experiments.
  """
  every = outcomes(experiments)
  counts = Counter(one.verdict for one in every)
  tally = ", ".join(f"{counts[word]} {word}" for word in VERDICTS)
  parts = [INTRODUCTION, f"**Of {len(every)} claims: {tally}.**"]
  for paper, title in catalog.PAPERS.items():
    stated = [one for one in every if _paper(one.claim) == paper]
    if stated:
      parts += [f"## {title.partition(':')[0]}", f"{title}.", _overview(stated)]
  parts.append("## Evidence")
  parts += [_evidence(one) for one in every if _shown(one)]
  if not any(map(_shown, every)):
    parts.append("No experiment has measured a cell of any claim yet.")
  return "\n\n".join(parts) + "\n"


def _paper(one: Claim) -> str:
  return catalog.STUDIES[one.studies[0]].paper


def _overview(every: Sequence[Outcome]) -> str:
  lines = [
    [
      _linked(one),
      plain(one.claim.source.partition(", ")[2]),
      plain(f"{one.claim.test} ({CELLS[one.claim.need]})"),
      _verdicts(one),
    ]
    for one in every
  ]
  return table(("claim", "where", "asked as", "verdict"), lines)


def _verdicts(one: Outcome) -> str:
  words = [f"**{one.verdict}**" if one.answers else one.verdict]
  return "; ".join(words + [f"{n}: {o.verdict}" for n, o in one.others.items()])


def _linked(one: Outcome) -> str:
  text = plain(one.claim.sentence)
  return f"[{text}](#{anchor(one.claim.sentence)})" if _shown(one) else text


def _shown(one: Outcome) -> bool:
  return bool(one.answers or one.others)


def _evidence(one: Outcome) -> str:
  head = f"### {plain(one.claim.sentence)}"
  asked = f"{one.claim.source}. Asked of {CELLS[one.claim.need]}"
  asked = f"{asked}: {one.claim.test}"
  parts = [head, f"**{one.verdict}**. {plain(asked)}."]
  parts += map(_answer, one.answers)
  for name, other in one.others.items():
    parts.append(f"Read {name}, not counted: **{other.verdict}**.")
    parts += map(_answer, other.answers)
  return "\n\n".join(parts)


def _answer(one: Answer) -> str:
  finding = one.finding
  title = one.experiment.about["title"]
  head = (
    f"[{plain(title)}](results.md#{anchor(title)}), {one.whose}: "
    f"{SAID.get(finding.status, OPEN)}, {finding.measured} of {finding.of} "
    "cells measured."
  )
  shown = [part for part in one.parts if part.measured]
  lines = [f"- {SIGNS[p.truth]}: {plain(p.what)}" for p in shown[:MOST]]
  if shown[MOST:]:
    lines.append(f"- and {len(shown) - MOST} more")
  return "\n".join([head, "", *lines])


def _timeless(one: Experiment) -> Run:
  """Returns an experiment's run, without costs where they are none."""
  if not one.busy:
    return one.run
  return one.run._replace(
    cells=[record | {"device_hours": None} for record in one.run.cells],
    records=[record | {"device_hours": None} for record in one.run.records],
  )


def _gathered(run: Run) -> dict[str, Evidence]:
  """Returns what a run is for each study whose scenario it has."""
  evidence = {}
  for study in catalog.STUDIES:
    part = _part(run, catalog.scenario(study))
    if part.records:
      evidence[study] = comparison.gather(study, [part])
  return evidence


def _outcome(
  one: Claim, known: Sequence[tuple[Experiment, dict[str, Evidence]]]
) -> Outcome:
  answers = [
    answer
    for experiment, evidence in known
    if (answer := _asked(one, experiment, evidence)) is not None
  ]
  words = {
    SAID.get(answer.finding.status, OPEN)
    for answer in answers
    if answer.whose != FOREIGN
  }
  told = words - {OPEN} or words
  word = told.pop() if len(told) == 1 else OPEN if told else ABSENT
  return Outcome(one, word, answers)


def _asked(
  one: Claim, experiment: Experiment, known: dict[str, Evidence]
) -> Answer | None:
  """Returns what an experiment says; None if it measured nothing of it.

  Studies that the experiment was run for go first.
  """
  wanted = catalog.of(experiment.about["config"])
  for study in sorted(one.studies, key=lambda name: name not in wanted):
    if study not in known:
      continue
    parts = one.parts(known[study])
    finding = claim.settle(one, parts)
    if finding.measured:
      return Answer(experiment, finding, parts, _whose(known[study]))
  return None


def _whose(evidence: Evidence) -> str:
  if evidence.foreign:
    return FOREIGN
  return "the paper's protocol" if evidence.paper else "a protocol of our own"


def _part(run: Run, scenario: str) -> Run:
  """Returns what a run measured in a scenario, on real images."""

  def here(record) -> bool:
    (spec,) = specs.parse(record["scenario"])
    return spec.name == scenario and TOY not in record["dataset"]

  return run._replace(
    cells=list(filter(here, run.cells)),
    records=list(filter(here, run.records)),
    sequela=list(filter(here, run.sequela)),
    diverged=list(filter(here, run.diverged)),
  )
