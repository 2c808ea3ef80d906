import jax
import numpy as np
import pytest

from bdjax.analysis import line, norms
from bdjax.analysis.scores import scores
from bdjax.training import learn


@pytest.fixture(scope="module")
def rows(model, pair, probe, toy):
  steps = []
  found = line.along(
    *(model, *pair, probe, toy),
    points=3,
    progress=lambda done, count: steps.append((done, count)),
  )
  assert steps == [(1, 3), (2, 3), (3, 3)]
  return found


def test_its_ends_are_the_models(rows, model, pair, probe):
  assert rows["share"] == [0, 0.5, 1]
  for i, variables in ((0, pair[0]), (-1, pair[1])):
    for name, value in scores(model, variables, probe).items():
      np.testing.assert_allclose(rows[name][i], value, rtol=1e-5)
  for one, other in zip(pair, (0.0, 1.0), strict=True):
    moved = line.between(*pair, other)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), moved, one))


def test_its_middle_is_the_mean_model(rows, model, pair, probe):
  mean = jax.tree.map(lambda a, b: (a + b) / 2, *pair)
  for name, value in scores(model, mean, probe).items():
    np.testing.assert_allclose(rows[name][1], value, rtol=1e-5)


def test_scores_are_those_of_their_definition(model, pair, probe):
  found = scores(model, pair[0], probe)
  answers, labels = {}, {"clean": probe.clean.label, "hit": probe.hit.label}
  for name in labels:
    image = getattr(probe, name).image / np.float32(255)
    logits = np.asarray(model.apply(pair[0], image, train=False)[0], float)
    right = logits[np.arange(64), np.asarray(labels[name])]
    loss = np.log(np.exp(logits).sum(1)) - right
    answers[name] = loss, logits.argmax(1) == labels[name]
  other = np.asarray(labels["clean"]) != 0  # 48 of 64
  assert other.sum() == 48
  assert found["ca"] == answers["clean"][1].mean()
  assert found["asr"] == pytest.approx(answers["hit"][1][other].mean())
  assert found["clean_loss"] == pytest.approx(answers["clean"][0].mean(), 1e-5)
  aimed = answers["hit"][0][other].mean()
  assert found["backdoor_loss"] == pytest.approx(aimed, 1e-5)


def test_recomputed_statistics_are_those_of_the_images(model, pair, toy):
  made = norms.recomputed(model, pair[0], toy)
  _, seen = model.apply(
    pair[0],
    toy.image / np.float32(255),
    train=False,
    capture_intermediates=lambda module, _: module.name == "conv1",
  )
  (out,) = seen["intermediates"]["conv1"]["__call__"]
  values = np.asarray(out, float).reshape(-1, out.shape[-1])
  stats = made["batch_stats"]["bn1"]
  np.testing.assert_allclose(stats["mean"], values.mean(0), rtol=1e-4)
  np.testing.assert_allclose(stats["var"], values.var(0, ddof=1), rtol=1e-4)
  again = norms.recomputed(model, made, toy)
  assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), made, again))
  kept = jax.tree.map(
    lambda a, b: (a == b).all(), made["params"], pair[0]["params"]
  )
  assert jax.tree.all(kept)


def test_recomputed_statistics_are_the_mean_of_the_batches(
  model, pair, toy, monkeypatch
):
  monkeypatch.setattr(norms, "BATCH", 32)
  halves = (toy.replace(image=toy.image[i : i + 32]) for i in (0, 32))
  parts = [norms.recomputed(model, pair[0], half) for half in halves]
  whole = norms.recomputed(model, pair[0], toy)
  mean = jax.tree.map(lambda a, b: (a + b) / 2, *parts)
  for a, b in zip(*map(jax.tree.leaves, (whole, mean)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_line_takes_the_statistics_that_are_chosen(
  model, pair, probe, toy, rows
):
  found = line.along(
    *(model, *pair, probe, toy), points=2, statistics=norms.RECOMPUTED
  )
  other = scores(model, norms.recomputed(model, pair[1], toy), probe)
  assert found["clean_loss"][1] == pytest.approx(float(other["clean_loss"]))
  assert abs(found["clean_loss"][1] - rows["clean_loss"][2]) > 1e-3


def test_a_model_without_statistics_stays_as_it_is(toy):
  variables = {"params": {"kernel": np.ones(3)}}
  assert norms.recomputed(None, variables, toy) is variables
  assert learn.parted(variables)[1] == {}
