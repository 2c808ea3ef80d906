"""Whole runs in the scenarios whose user has a task of their own."""

import pytest

from bdjax.report import results
from bdjax.runs import settings, task_data
from bdjax.runs.cells import Names

USER = {
  "downstream__name": "synthetic",
  "downstream__train_images": 64,
  "downstream__test_images": 30,
  "defense__clean_rate": 1.0,
  "data__train_images": 96,
  "train__epochs": 1,
  "evaluate__curve_images": 10,
}


def test_transfer_is_scored_in_both_tasks_and_beside_a_clean_model(
  run, config, tmp_path
):
  made = config(
    scenario="transfer", defense__name="ft(epochs=1, part=head)", **USER
  )
  run(made, tmp_path)
  source, user = results.read(tmp_path / "results.jsonl")
  assert source["dataset"] == user["dataset"] == "synthetic -> synthetic"
  assert (source["test_images"], user["test_images"]) == (50, 30)
  assert user["clean_images"] == 64
  assert source["ca_before"] == source["ca"] and "drop" not in source
  assert user["ca_before"] is None and user["der"] is None
  assert user["drop"] == pytest.approx(user["ta"] - user["clean_ta"])
  for name in ("ca", "asr", "ta", "collapse"):
    assert 0 <= user[name] <= 1 and 0 <= user[f"clean_{name}"] <= 1
  assert user["collapse"] >= user["asr"]  # of any class, the target's too
  rows = [row for row in results.read(tmp_path / "curves.jsonl") if "ca" in row]
  assert {row["stage"] for row in rows} == {"train", "ft"}
  assert all("collapse" in row for row in rows)
  models = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("models/*")}
  assert len(models) == 3  # planted, clean, and the clean one adapted
  made["attack"]["name"] = "badnets,clean"
  run(made, tmp_path)
  *_, root, alone = results.read(tmp_path / "results.jsonl")
  assert (root["attack"], alone["attack"]) == ("clean", "clean")
  for name in ("ca", "asr", "ta", "collapse"):
    assert alone[name] == alone[f"clean_{name}"]  # it is its own comparison
  kept = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("models/*")}
  assert models.items() <= kept.items()  # the adapted clean model is shared


def test_encoder_is_planted_and_used(run, config, tmp_path):
  made = config(
    scenario="encoder(epochs=1, batch_size=32)",
    attack__name="badencoder(copies=2)",
    attack__rate=None,
    defense__name="ft(epochs=0)",
    **USER,
  )
  run(made, tmp_path)
  root, tuned = results.read(tmp_path / "results.jsonl")
  assert root["test_images"] == tuned["test_images"] == 30
  assert root["defense"] == "none" and 0 <= root["asr"] <= 1
  assert {"drop", "clean_ca"} <= tuned.keys()
  stages = [row["stage"] for row in results.read(tmp_path / "curves.jsonl")]
  assert stages == ["inject"]


def test_models_as_they_are_found_differ_with_their_user(config):
  def roots(**changes):
    names = Names(settings.plan(config(**changes)))
    return {names.id(cell) for cell in names.cells() if cell.defense is None}

  one = roots(scenario="transfer", **USER)
  other = roots(scenario="transfer", **USER | {"downstream__test_images": 20})
  alone = roots(data__train_images=96, train__epochs=1)
  assert len(one | other | alone) == 3


@pytest.mark.parametrize(
  ("changes", "text"),
  [
    ({"scenario": "transfer"}, "needs the user's data.*downstream.name"),
    ({"downstream__name": "gtsrb"}, "standalone has no second task"),
    (
      {"scenario": "encoder", **USER},
      "badnets needs the victim's logits.*use badencoder",
    ),
    ({"scenario": "transfer,encoder"}, "must be one"),
    ({"scenario": "transfer(head=conv)"}, "transfer.head.*linear, mlp"),
    (
      {"scenario": "transfer", **USER, "downstream__crop": 99},
      "downstream.crop is 99",
    ),
    (
      {"scenario": "transfer", **USER, "defense__batch_size": 65},
      "ft cannot work here: defense.batch_size is 65",
    ),
    (
      {"scenario": "transfer", **USER, "defense__name": "ft,spectral"},
      r"^spectral needs the training set, [^.]* transfer has not: [^.]*\.$",
    ),
    (
      {"scenario": "transfer", **USER, "defense__name": "ft,clp"},
      r"^clp trains nothing, so that the new head [^.]* know nothing: [^.]*\.$",
    ),
  ],
)
def test_bad_configs_get_one_sentence(config, changes, text):
  with pytest.raises(ValueError, match=text):
    settings.plan(config(**changes))


def test_images_of_both_tasks_have_one_size(config, monkeypatch):
  load = task_data._load_all

  def larger(label, section, *rest):
    found = load(label, section, *rest)
    if label == "data":
      return found
    return found._replace(info=found.info._replace(shape=(96, 96, 3)))

  monkeypatch.setattr(task_data, "_load_all", larger)
  with pytest.raises(ValueError, match="96x96.*are 32x32.*synthetic@32"):
    settings.plan(config(scenario="transfer", **USER))
