"""MUSIQ against its original, read from a file as it is published; and the score that stands on it."""

import dataclasses
import hashlib

import numpy as np
import official_weights
import originals
import pytest

from fingerprint.errors import CheckpointError, WeightsMissing
from fingerprint.generation import build, recipes
from fingerprint.generation.frames import Frames
from fingerprint.generation.networks import musiq, official

NAME = "musiq_spaq_ckpt-358bb6af.pth"
# Scores of frames 0, 3 and 6 of `originals.pictures(7, *size)` by MUSIQ of pyiqa 0.1.16, prepared as vbench 0.1.5 does
# it, with PyTorch 2.13 on a CPU and `originals.musiq_weights()`.
ORIGINAL = {(45, 70): [33.834877, 33.244022, 35.594471], (600, 180): [35.510864, 34.441429, 34.033501]}


def pictures(size):
    return originals.pictures(7, *size)[::3]


def known_by(patch, digest):
    """As if the publisher named that digest."""
    network = dataclasses.replace(official.FILES["imaging_quality"], sha256=digest)
    patch.setitem(official.FILES, "imaging_quality", network)


@pytest.fixture(scope="module")
def state():
    return originals.musiq_weights()


@pytest.fixture(scope="module")
def published(state, tmp_path_factory):
    """A file as it is published, and the first digits of its digest."""
    path = official_weights.stored(tmp_path_factory.mktemp("weights") / NAME, state)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()[:8]


@pytest.fixture(scope="module")
def params(published):
    path, digest = published
    with pytest.MonkeyPatch.context() as patch:
        known_by(patch, digest)
        return musiq.load(path.parent)


@pytest.mark.parametrize("size", ORIGINAL)
def test_scores_are_those_of_the_original(params, size):
    found = musiq.scores(params, pictures(size), batch=2)
    assert found.dtype == np.float32 and found.shape == (3,)
    np.testing.assert_allclose(found, ORIGINAL[size], rtol=1e-5)


def test_the_file_is_read_as_published(state, params):
    assert len(state) == 248 and sum(values.size for values in state.values()) == 27_125_825
    block = "transformer_encoder.transformer.encoderblock_13"
    key = state[f"{block}.attention.key.weight"]
    np.testing.assert_array_equal(params["blocks.attention.qkv.weight"][13, :, 384:768], key.T)
    np.testing.assert_array_equal(params["blocks.mlp.fc1.bias"][13], state[f"{block}.mlp.fc1.bias"])
    kernel = np.asarray(params["block1.conv2.kernel"])
    np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-7)
    spread = state["block1.conv2.weight"].std((1, 2, 3), ddof=1)
    np.testing.assert_allclose(kernel.std((0, 1, 2), ddof=1), spread / (spread + 1e-5), rtol=1e-5)


def test_places_on_the_grid():
    """Few patches lie far apart on it, many share a place."""
    found = musiq.hashed((1, 2 * 32, 13 * 32 - 31, 3)).reshape(2, 13)
    assert found[0].tolist() == [0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9]
    assert (found[1] - found[0] == 50).all()


FIRST = np.ones((64, 3, 7, 7), np.float32)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"head.bias": None}, "lacks 1 arrays, head.bias"),
        ({"head.1.weight": np.ones(1)}, "also holds 1 arrays, head.1.weight"),
        ({}, r"conv_root.weight is float32 \(1,\), wanted floats of shape \(64, 3, 7, 7\)"),
        ({"conv_root.weight": FIRST.astype(np.int64)}, "conv_root.weight is int64"),
        ({"conv_root.weight": FIRST * np.nan}, "conv_root.weight holds .* not finite"),
    ],
)
def test_another_file_is_refused(tmp_path, monkeypatch, changed, says):
    known_by(monkeypatch, "")
    arrays = dict.fromkeys(musiq.shapes(), np.ones(1, np.float32)) | changed
    arrays = {f"module.{name}": values for name, values in arrays.items() if values is not None}
    official_weights.stored(tmp_path / NAME, arrays)
    with pytest.raises(CheckpointError, match=says):
        musiq.load(tmp_path)


def test_a_file_of_another_digest_or_none(tmp_path):
    assert official.FILES["imaging_quality"].sha256 == "358bb6af"
    with pytest.raises(WeightsMissing, match=rf"{NAME} .*Apache-2.0.*https://"):
        musiq.load(tmp_path)
    (tmp_path / NAME).write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match="has SHA-256 .* wanted"):
        musiq.load(tmp_path)


def test_the_score_of_a_clip(published, monkeypatch):
    """Through the recipe's metric, in pieces of any size."""
    path, digest = published
    known_by(monkeypatch, digest)
    (metric,) = build.build_metrics(recipes.recipe("standard", "imaging_quality"), "standard", path.parent).alone
    rgb = pictures((45, 70))
    for piece in (rgb[:1], rgb[1:]):
        metric.update(Frames(piece, *np.zeros((4, len(piece), 1), np.float32), 25.0))
    assert metric.end_pair() == pytest.approx(np.mean(ORIGINAL[45, 70]) / 100, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(256, 256), (720, 1280), (640, 360), (301, 517), (40, 37)])
def test_parity_with_the_original(state, params, size):
    frames = np.concatenate([pictures(size), np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)])
    np.testing.assert_allclose(musiq.scores(params, frames), originals.musiq(state)(frames), rtol=1e-4)
