"""AMT-S against its original, read from files as they are published; and the score that stands on it."""

import jax.numpy as jnp
import numpy as np
import official_weights
import originals
import pytest

from fingerprint.errors import CheckpointError, WeightsMissing
from fingerprint.generation import build, recipes
from fingerprint.generation.frames import Frames
from fingerprint.generation.networks import amt, correspondence

# Values at [4::32, 7::36] between the frames of `originals.pictures(2, 130, 150)`, by networks/AMT-S.py of vbench 0.1.5
# with PyTorch 2.13 on a CPU, weights as `state` gives them; and the length of the whole frame.
ORIGINAL = np.loadtxt(
    [
        "0.86135 0.904896 0.84027 0.848386 0.651467 0.449538 0.736064 0.051372 0.67592 0.575756 0.398063 0.797969",
        "0.734709 0.777481 0.520123 0.559348 0.416215 0.380225 1.0 0.073747 0.42494 0.445748 0.452768 0.440695",
        "0.544441 0.598034 0.17615 0.375006 0.210906 0.650381 1.0 0.169351 0.450223 0.506718 0.420376 0.339956",
        "0.271595 0.431446 0.349052 0.193938 0.083973 0.927273 0.252376 0.259173 0.472664 0.303185 0.727478 0.484211",
    ]
).reshape(4, 4, 3)
LENGTH = 116.8475
# The same as on a GPU of so little memory that motion is estimated at 16/17 of the size.
SMALL_GPU = 2500 * (1 << 20) + 1_480_000
SHRUNK = np.array([0.834741, 0.794783, 0.756169, 0.729914, 0.475575, 0.335484, 0.545006, 0.032798, 0.546846])
SHRUNK_LENGTH = 114.37936
STILL = ("decoder4.convblock.2", "decoder3.convblock.2", "decoder2.convblock.2", "decoder1.convblock.2", "comb_block.2")


def state(still: bool = False):
    """Random weights; `still`: none that move a pixel or change its value."""
    drawn = official_weights.drawn(amt.shapes())
    for name, values in drawn.items():
        if values.ndim == 1 and name.endswith("weight"):
            values *= np.float32(0.25)
        if name == "decoder1.convblock.2.weight":
            values[:, 15:] *= np.float32(0.2)
        if name.startswith("comb_block"):
            values *= np.float32(0.3)
        if still and name.startswith((*STILL, *(f"update{level}.flow_head.2" for level in (4, 3, 2)))):
            values *= 0
    return drawn


def published(path, weights):
    return official_weights.stored(path, weights, "state_dict")


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    return amt.load(published(tmp_path_factory.mktemp("weights") / "amt-s.pth", state()).parent)


def test_the_middle_is_that_of_the_original(params):
    frames = originals.pictures(2, 130, 150)
    found = amt.predicted(params, *frames)
    assert found.shape == (130, 150, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found[4::32, 7::36][:4, :4], ORIGINAL, atol=2e-5)
    assert np.linalg.norm(found) == pytest.approx(LENGTH, rel=1e-6)
    np.testing.assert_array_equal(amt.middle(params, *frames), np.floor(found * np.float32(255)))


@pytest.mark.slow
def test_motion_estimated_at_a_smaller_size(params):
    frames = originals.pictures(2, 130, 150)
    assert amt.shrinkage(130, 150, SMALL_GPU) == 17
    found = amt.predicted(params, *frames, gpu_bytes=SMALL_GPU)
    np.testing.assert_allclose(found[4::32, 7::36].ravel()[:9], SHRUNK, atol=2e-5)
    assert np.linalg.norm(found) == pytest.approx(SHRUNK_LENGTH, rel=2e-6)


def test_the_size_at_which_motion_is_estimated():
    """Divisors that motion_smoothness.py of vbench 0.1.5 pads to, on GPUs of 8, 24 and 80 GiB and on a CPU."""
    sizes = ((512, 512), (1080, 1920), (1440, 2560), (2160, 3840))
    wanted = {8: [16, 22, 30, 45], 24: [16, 16, 21, 32], 80: [16, 16, 16, 23]}
    for memory, divisors in wanted.items():
        assert [amt.shrinkage(*size, memory << 30) for size in sizes] == divisors
    assert {amt.shrinkage(*size) for size in sizes} == {16}


def test_a_transposed_convolution():
    """Against the definition written out: each pixel spreads a square of 4 x 4 over the doubled plane."""
    rng = np.random.default_rng(0)
    x, kernel, bias = rng.normal(size=(1, 3, 4, 5)), rng.normal(size=(5, 6, 4, 4)), rng.normal(size=6)
    wide = np.zeros((2 * 3 + 2, 2 * 4 + 2, 6))
    for row, column in np.ndindex(3, 4):
        spread = np.einsum("c,cokl->klo", x[0, row, column], kernel)
        wide[2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += spread
    params = correspondence.kernels({"a.weight": kernel, "a.bias": bias})
    found = amt._doubled(params, "a", jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found[0], wide[1:-1, 1:-1] + bias, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"comb_block.1.weight": None}, "lacks 1 arrays, comb_block.1.weight"),
        ({"embt": np.ones(1, np.float32)}, "also holds 1 arrays, embt"),
        ({"update4.convc1.weight": np.ones((64, 196, 1, 1), np.float32)}, r"wanted .*\(64, 392, 1, 1\)"),
        ({"comb_block.2.bias": np.array([0, np.inf, 0], np.float32)}, "comb_block.2.bias holds .* not finite"),
    ],
)
def test_another_file_is_refused(tmp_path, changed, says):
    weights = {key: value for key, value in (state() | changed).items() if value is not None}
    published(tmp_path / "amt-s.pth", weights)
    with pytest.raises(CheckpointError, match=says):
        amt.load(tmp_path)


def test_no_file_and_no_checkpoint(tmp_path):
    with pytest.raises(WeightsMissing, match=r"amt-s.pth .*CC BY-NC 4.0.*https://"):
        amt.load(tmp_path)
    official_weights.stored(tmp_path / "amt-s.pth", state())
    with pytest.raises(CheckpointError, match="no state_dict"):
        amt.load(tmp_path)


def test_the_score_of_a_clip(tmp_path):
    """Through the recipe's metric, with weights under which the middle is the mean of the two frames."""
    published(tmp_path / "amt-s.pth", state(still=True))
    (metric,) = build.build_metrics(recipes.recipe("standard", ["motion_smoothness"]), "standard", tmp_path).alone
    rgb = originals.pictures(40, 130, 150)[[0, 20, 5, 39, 10, 30]]  # the last one has no right neighbour
    for piece in (rgb[:2], rgb[2:]):
        metric.update(Frames(piece, *np.zeros((4, len(piece), 1), np.float32), 25.0))
    middle = (rgb[0:4:2].astype(float) + rgb[2:5:2]) / 2
    wanted = 1 - np.abs(np.floor(middle) - rgb[1:4:2]).mean() / 255
    assert metric.end_pair() == pytest.approx(wanted, abs=0.5 / 255)  # whole means may lose one
    assert wanted < 0.97
