"""Inception-2015: numbers that the published graph gave, and the graph itself where PyTorch is installed."""

import numpy as np
import originals
import pytest

from fingerprint.errors import WeightsMissing
from fingerprint.generation.networks import inception

# Every 128th feature of `originals.pictures(2, 96, 128)`, by the published TorchScript graph on the CPU.
PUBLISHED = np.loadtxt(
    [
        "1.24305 0.13115 0.869178 0.0499316 0.0777281 0.554618 0.169914 0.0550755 "
        "0.0138176 0.151053 0.0 0.186477 0.54591 0.554869 0.389467 0.0531509",
        "1.29122 0.10101 0.854711 0.0162754 0.052344 0.622723 0.155146 0.14941 "
        "0.0261033 0.0608843 0.0 0.133 0.550607 0.531178 0.271872 0.107883",
    ]
)
LENGTHS = [18.754438, 18.727024]


@pytest.fixture(scope="module")
def params():
    return inception.load(originals.installed("inception"))


def test_features_are_those_of_the_published_graph(params):
    frames = originals.pictures(2, 96, 128)
    found = inception.features(params, frames)
    assert found.dtype == np.float32 and found.shape == (2, inception.FEATURES)
    np.testing.assert_allclose(found[:, ::128], PUBLISHED, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), LENGTHS, rtol=1e-5)
    padded = inception.features(params, np.concatenate([frames, frames[:1]]), batch=2)
    np.testing.assert_allclose(padded, found[[0, 1, 0]], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(299, 299), (64, 200), (480, 360)])
def test_parity_with_the_published_graph(params, size):
    frames = originals.pictures(3, *size)
    frames[2] = np.random.default_rng(0).integers(0, 256, (*size, 3))
    wanted = originals.inception()(frames)
    found = inception.features(params, frames, batch=3)
    errors = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    assert errors[:2].max() < 2e-5
    assert errors[2] < 1e-4  # noise: PyTorch rounds the places it samples at to float32
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_absent_weights_are_said_in_one_sentence(tmp_path):
    with pytest.raises(WeightsMissing, match=r"inception-2015.npz .*--fetch-weights"):
        inception.load(tmp_path)
