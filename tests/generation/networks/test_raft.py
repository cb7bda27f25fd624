"""RAFT against its original, read from files as they are published; and the score that stands on it."""

import numpy as np
import official_weights
import originals
import pytest

from fingerprint.errors import CheckpointError, WeightsMissing
from fingerprint.generation import build, recipes
from fingerprint.generation.frames import Frames
from fingerprint.generation.networks import raft

# Flow at [4::32, 7::36] of `originals.pictures(2, 130, 150)` by core/raft.py of vbench 0.1.5 with PyTorch 2.13 on a
# CPU, weights as `state` gives them; and the length of the whole flow.
ORIGINAL = np.loadtxt(
    [
        "-3.25468 -3.17907 -3.22015 -5.97728 -4.08159 -7.57494 -4.53418 -3.57295 -2.73644 -1.81603",
        "-8.23147 -7.82247 -13.03958 -10.27948 -11.46302 -12.38645 -9.84113 -8.95182 -5.97532 -2.65014",
        "-8.98944 -9.01227 -21.75105 -8.95452 -15.55719 -10.14495 -18.61046 -6.42365 -7.69818 0.31455",
        "-8.85881 -10.72196 -24.87374 -9.13868 -21.96484 -7.76899 -18.74804 -7.77868 -6.89322 2.26853",
        "-3.04915 -4.41754 -6.52162 -2.97817 -6.76793 -3.28097 -6.40551 -2.88393 -2.56792 0.23157",
    ]
).reshape(5, 5, 2)
LENGTH = 2368.6516


def state():
    drawn = official_weights.drawn(raft.shapes())
    for name in drawn:
        if ".norm3." in name:  # the same layer under a second name
            drawn[name] = drawn[name.replace("norm3", "downsample.1")]
        if "flow_head.conv2" in name:
            drawn[name] *= np.float32(0.1)
    return drawn


def published(path, changed=()):
    whole = state() | {"cnet.norm1.num_batches_tracked": np.array(7)} | dict(changed)
    return official_weights.stored(path, {f"module.{key}": value for key, value in whole.items() if value is not None})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return published(tmp_path_factory.mktemp("weights") / "raft-things.pth").parent


@pytest.fixture(scope="module")
def params(folder):
    return raft.load(folder)


def test_flow_is_that_of_the_original(params):
    found = raft.flow(params, *originals.pictures(2, 130, 150))
    assert found.shape == (136, 152, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found[4::32, 7::36], ORIGINAL, rtol=1e-4, atol=1e-4)
    assert np.linalg.norm(found) == pytest.approx(LENGTH, rel=2e-6)


def test_the_file_is_read_as_published(params):
    drawn = state()
    assert sum(value.size for key, value in drawn.items() if ".norm" not in key) > 5_000_000
    kernel = drawn["update_block.gru.convz2.weight"]
    assert kernel.shape == (128, 384, 5, 1)
    np.testing.assert_array_equal(params["update_block.gru.convz2.kernel"], kernel.transpose(2, 3, 1, 0))
    at = "cnet.layer2.0.downsample"
    weight, bias, mean, variance = (
        drawn[f"{at}.1.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    x = np.random.default_rng(0).normal(size=64)
    once = drawn[f"{at}.0.weight"][:, :, 0, 0] @ x + drawn[f"{at}.0.bias"]
    wanted = (once - mean) / np.sqrt(variance + 1e-5) * weight + bias
    found = x @ params[f"{at}.0.kernel"][0, 0] + params[f"{at}.0.bias"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_each_pixel_is_a_mean_of_nine_places():
    """Against the definition written out, pixel by pixel."""
    rng = np.random.default_rng(0)
    motion, mask = rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 4, 9 * 64))
    found = np.asarray(raft._upsampled(motion.astype(np.float32), mask.astype(np.float32)))
    wide = np.pad(8 * motion, ((1, 1), (1, 1), (0, 0)))
    for row, column in np.ndindex(24, 32):
        y, x = row // 8, column // 8
        share = np.exp(mask[y, x].reshape(9, 8, 8)[:, row % 8, column % 8])
        nine = wide[y : y + 3, x : x + 3].reshape(9, 2)
        np.testing.assert_allclose(found[row, column], share @ nine / share.sum(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"update_block.mask.2.bias": None}, "lacks 1 arrays, update_block.mask.2.bias"),
        ({"fnet.norm1.weight": np.ones(64, np.float32)}, "also holds 1 arrays, fnet.norm1.weight"),
        ({"fnet.conv1.weight": np.ones((64, 3, 3, 3), np.float32)}, r"fnet.conv1.weight is .*wanted .*\(64, 3, 7, 7\)"),
        ({"fnet.conv2.bias": np.full(256, np.nan, np.float32)}, "fnet.conv2.bias holds .* not finite"),
        ({"fnet.conv2.bias": np.ones(256, np.int64)}, "fnet.conv2.bias is int64"),
    ],
)
def test_another_file_is_refused(tmp_path, changed, says):
    published(tmp_path / "raft-things.pth", changed)
    with pytest.raises(CheckpointError, match=says):
        raft.load(tmp_path)


def test_no_file_and_no_checkpoint(tmp_path):
    with pytest.raises(WeightsMissing, match=r"raft-things.pth .*BSD-3-Clause.*https://"):
        raft.load(tmp_path)
    (tmp_path / "raft-things.pth").write_bytes(b"<html>")
    with pytest.raises(CheckpointError):
        raft.load(tmp_path)


@pytest.mark.parametrize(("head", "moves"), [(1.0, 1.0), (0.0, 0.0)])
def test_the_score_of_a_clip(tmp_path, head, moves):
    """Through the recipe's metric; with a flow head of zeros nothing moves."""
    name = "update_block.flow_head.conv2"
    published(
        tmp_path / "raft-things.pth", {f"{name}.{end}": head * state()[f"{name}.{end}"] for end in ("weight", "bias")}
    )
    (metric,) = build.build_metrics(recipes.recipe("standard", ["dynamic_degree"]), "standard", tmp_path).alone
    rgb = originals.pictures(5, 130, 150)
    for piece in (rgb[:2], rgb[2:]):
        metric.update(Frames(piece, *np.zeros((4, len(piece), 1), np.float32), 16.0))
    assert metric.end_pair() == moves
