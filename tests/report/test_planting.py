"""Curves of a training in which a backdoor is planted."""

from bdjax.report.curves import planting


def rows(values, turns=0):
  """Return rows with ASRs, and with the turn of each epoch, if any."""
  return [
    {"stage": "train", "epoch": i + 1, "asr": asr}
    | ({"turn": f"{i % turns + 1}/{turns}"} if turns else {})
    for i, asr in enumerate(values)
  ]


def test_epochs_are_apart_by_the_half_of_their_turns():
  curves = {"a": rows([0.1, 0.2, 0.3, 0.4], turns=4)}
  poisoned = planting(["a"], curves, "asr", clean=False)
  clean = planting(["a"], curves, "asr", clean=True)
  assert poisoned.epoch.tolist() == [1, 2] and clean.epoch.tolist() == [3, 4]
  assert clean.mean.tolist() == [0.3, 0.4] and clean.sd is None


def test_without_turns_no_epoch_is_clean():
  curves = {"a": rows([0.2, 0.4]), "b": rows([0.4, 0.8])}
  found = planting(["a", "b"], curves, "asr", clean=False)
  assert found.epoch.tolist() == [1, 2]
  assert found.mean.round(6).tolist() == [0.3, 0.6]
  assert planting(["a", "b"], curves, "asr", clean=True) is None
  assert planting(["a", "c"], curves, "asr", clean=False) is None


def test_adaptive_begins_with_its_clean_epochs():
  curves = {"a": rows([0.1, 0.2, 0.3, 0.4], turns=4)}
  how = {"regime": "adaptive(defense='ft', turn=2)"}
  clean = planting(["a"], curves, "asr", clean=True, **how)
  poisoned = planting(["a"], curves, "asr", clean=False, **how)
  assert clean.epoch.tolist() == [1, 2] and poisoned.epoch.tolist() == [3, 4]
  alone = {"a": rows([0.2, 0.4])}
  assert planting(["a"], alone, "asr", clean=True, **how) is None
