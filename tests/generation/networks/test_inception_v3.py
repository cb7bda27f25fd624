"""torchvision's Inception v3: numbers that its own code gave for weights drawn at random."""

import dataclasses

import numpy as np
import official_weights
import originals
import pytest

from fingerprint.errors import CheckpointError, WeightsMissing
from fingerprint.generation.networks import inception_v3, official

WANTED = official.FILES["inception_v3"]

# Every 128th feature of `originals.pictures(2, 96, 128)`, as torchvision 0.29.2 (`inception_v3`, `fc` the identity, not
# `transform_input`; `Resize((299, 299))`, `ToTensor`, `Normalize`), PyTorch 2.13.0 and Pillow 11.2.1 give them for the
# weights `drawn` below.
PUBLISHED = np.loadtxt(
    [
        "11.1439 0.196377 0 0 0.263265 0 1.91042 19.3243 14.5066 0 0.0487754 1.33817 0 0.226747 5.85483 3.51736",
        "11.2507 0.218736 0 0 0.279682 0 1.89427 19.5496 14.5229 0 0.0349857 1.34107 0 0.231435 5.87758 3.68069",
    ]
)
LENGTHS = [413.2615, 416.0368]


@pytest.fixture(scope="module")
def state():
    return official_weights.drawn(inception_v3.shapes(), gain=1.5)


@pytest.fixture(scope="module")
def stored(state, tmp_path_factory):
    """A folder with the official file, but for the weights; with arrays that are not used, as the official one has."""
    more = {"fc.weight": np.ones((1000, 2048), np.float32), "AuxLogits.fc.bias": np.ones(1000, np.float32)}
    more["Conv2d_1a_3x3.bn.num_batches_tracked"] = np.zeros(1, np.int64)
    path = tmp_path_factory.mktemp("weights") / WANTED.file
    official_weights.stored(path, state | more)
    return path.parent


def test_features_are_those_of_torchvision(stored, monkeypatch):
    monkeypatch.setitem(official.FILES, "inception_v3", dataclasses.replace(WANTED, sha256=""))
    params = inception_v3.load(stored)
    frames = originals.pictures(2, 96, 128)
    found = inception_v3.features(params, np.concatenate([frames, frames[:1]]))
    assert found.dtype == np.float32 and found.shape == (3, inception_v3.FEATURES)
    np.testing.assert_allclose(found[:2, ::128], PUBLISHED, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found[:2], axis=1), LENGTHS, rtol=1e-5)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-4, atol=1e-5)


def test_another_file_is_refused(stored, tmp_path):
    with pytest.raises(
        WeightsMissing, match=rf"wants {WANTED.file} as published \(BSD-3-Clause\), from {WANTED.address}"
    ):
        inception_v3.load(tmp_path)
    with pytest.raises(CheckpointError, match=r"wanted 0cc3c7bd: get it anew"):
        inception_v3.load(stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("Mixed_7c.branch_pool.bn.bias"), "lacks 1 arrays, Mixed_7c.branch_pool.bn.bias"),
        (lambda state: state.update(other=np.zeros(3)), "also holds 1 arrays, other"),
        (
            lambda state: state.update({"Conv2d_1a_3x3.bn.bias": np.zeros(31)}),
            r"\(31,\), wanted floats of shape \(32,\)",
        ),
        (lambda state: state.update({"Conv2d_1a_3x3.bn.bias": np.zeros(32, int)}), "int64"),
        (lambda state: state.update({"Conv2d_1a_3x3.bn.bias": np.full(32, np.nan)}), "not finite"),
    ],
)
def test_weights_of_another_network_are_refused(state, tmp_path, change, message):
    state = dict(state)
    change(state)
    with pytest.raises(CheckpointError, match=message):
        inception_v3.arranged(tmp_path / WANTED.file, state)
    with pytest.raises(CheckpointError, match="holds list"):
        inception_v3.arranged(tmp_path / WANTED.file, [])
