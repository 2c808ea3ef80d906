import importlib.util

import numpy as np
import pytest

from bdjax.analysis import features


def test_principal_axes_by_hand():
  along = np.array([-2.0, -1.0, 0.0, 3.0])
  across = np.array([0.1, -0.3, 0.2, 0.0])  # centred, and of no correlation
  across -= along * (along @ across) / (along @ along)
  points = 7 + along[:, None] * [0.6, 0.8] + across[:, None] * [0.8, -0.6]
  found = features.principal(points)
  np.testing.assert_allclose(found[:, 0], along, atol=1e-9)
  np.testing.assert_allclose(found[:, 1], across, atol=1e-9)


def test_the_share_of_images_among_the_wanted_class():
  clean = np.array([[0.0], [0.1], [0.2], [0.3], [0.4], [9.0], [9.1], [9.2]])
  label = np.array([1, 1, 1, 0, 0, 0, 0, 0])
  hit = np.array([[0.0], [9.0]])
  # Near 0: three of five are of class 1. Near 9: .3 and .4 besides, all 0.
  assert features.drawn_in(clean, label, hit, np.array([1, 1])) == 0.5
  assert features.drawn_in(clean, label, hit, np.array([1, 0])) == 1.0
  assert features.drawn_in(clean, label, hit, np.array([0, 1])) == 0.0


def test_classes_of_too_few_images_tell_nothing():
  clean = np.array([[0.0], [0.1], [5.0], [5.1], [5.2], [5.3]])
  label = np.array([1, 1, 0, 0, 0, 0])  # two images cannot be most of five
  hit = np.array([[0.0], [5.0]])
  assert features.drawn_in(clean, label, hit, np.array([1, 1])) is None
  assert features.drawn_in(clean, label, hit, np.array([1, 0])) == 1.0
  assert features.drawn_in(clean, label, hit, np.array([0, 1])) == 1.0


def test_triggered_images_of_the_target_are_left_out(model, pair, probe):
  found = features.seen(model, pair[0], probe, embedding="pca", seed=0)
  assert np.shape(found["clean"]) == (64, 2)
  assert np.shape(found["hit"]) == (48, 2) and found["wanted"] == [0] * 48
  assert found["label"] == probe.clean.label.tolist()
  assert 0 <= found["drawn_in"] <= 1


def test_tsne_keeps_groups_together_and_repeats_itself():
  pytest.importorskip("sklearn")
  rng = np.random.default_rng(0)
  points = rng.normal(size=(40, 5)) + np.repeat([[0], [50]], 20, axis=0)
  found = features.flat(points, "tsne", seed=1)
  np.testing.assert_array_equal(found, features.flat(points, "tsne", seed=1))
  near = np.linalg.norm(found[:, None] - found[None], axis=-1)
  np.fill_diagonal(near, np.inf)
  assert ((near.argmin(1) < 20) == (np.arange(40) < 20)).all()


def test_without_scikit_learn_the_remedy_is_said(monkeypatch):
  features.check("pca")
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  features.check("pca")
  with pytest.raises(ValueError, match="--extra analysis.*--embedding=pca"):
    features.check("tsne")
