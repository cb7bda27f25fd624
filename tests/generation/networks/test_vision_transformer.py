"""DINO and CLIP: numbers that the original code gave for the same weights, and the official files they come in."""

import dataclasses
import hashlib
import math

import numpy as np
import originals
import pytest
from torch_pickles import write, write_torchscript, write_weights

from fingerprint.errors import CheckpointError, WeightsMissing
from fingerprint.generation import build, consistency, recipes
from fingerprint.generation.frames import Frames
from fingerprint.generation.networks import official, vision_transformer
from fingerprint.generation.networks.vision_transformer import ARCHITECTURES, Architecture

SMALL = {
    "subject_consistency": Architecture("dino", 128, 2, 16, side=48),
    "background_consistency": Architecture("clip", 128, 2, 8, 24, side=32),
    "aesthetic_quality": Architecture("clip", 128, 3, 7, 40, side=28),
}
SIZES = ((48, 48), (90, 160), (133, 101), (28, 32))

# Every 16th feature (CLIP: every 4th) of two frames of `originals.pictures` at each of SIZES, by VBench 0.1.5's
# transforms (PyTorch 2.13's `interpolate` behind them) and facebookresearch/dino's VisionTransformer at 04c0ad95, or
# openai-clip 1.0.1's, both with the weights of `drawn`.
PUBLISHED = {
    "subject_consistency": [
        [
            [1.56283, -0.470397, -0.860087, -2.36592, 0.282307, -2.13182, -0.841127, -2.90502],
            [1.81807, -0.3223, -0.692261, -1.8802, 0.345861, -2.17593, -1.00966, -2.88314],
        ],
        [
            [1.34707, -0.284166, -1.20807, -1.53641, 0.251508, -1.70115, -1.07553, -3.25703],
            [1.2863, -0.371553, -1.139, -1.27847, 0.230234, -1.73682, -1.09878, -3.24424],
        ],
        [
            [1.90941, -0.322336, -0.55027, -1.53011, 0.133957, -1.75657, -0.945592, -2.99056],
            [1.99503, -0.320352, -0.456358, -1.32505, 0.13412, -1.93718, -1.0334, -3.002],
        ],
        [
            [1.76533, -0.22973, -0.747744, -1.96359, -0.00437917, -2.1815, -1.12354, -2.83839],
            [1.9148, -0.190843, -0.854679, -2.08674, -0.174121, -2.50315, -1.30284, -2.91656],
        ],
    ],
    "background_consistency": [
        [
            [-0.29386, -10.3593, 4.18191, -8.75278, 4.01757, 9.21904],
            [-0.992522, -10.8664, 4.17941, -9.47181, 2.81374, 10.4156],
        ],
        [
            [-1.01348, -8.28595, 3.91006, -9.70106, 2.98966, 10.3153],
            [-1.09582, -8.77453, 3.42161, -9.76951, 3.549, 10.0305],
        ],
        [
            [-0.68909, -8.81975, 3.78484, -9.99947, 3.4132, 9.47429],
            [-0.628512, -8.6445, 4.38063, -10.1486, 3.16561, 9.7013],
        ],
        [
            [0.293316, -9.93529, 3.82069, -8.27736, 3.75382, 10.0499],
            [-0.345557, -11.0515, 3.58602, -8.6493, 3.5211, 11.7798],
        ],
    ],
    "aesthetic_quality": [
        [
            [-9.26867, 4.90169, -0.232094, -0.579715, -0.659533, -5.58517, -1.49082, 7.54657, 2.77558, 7.17742],
            [-9.26935, 4.81942, -0.100651, -0.999769, -0.304744, -5.7609, -2.16139, 7.61636, 3.41305, 7.45567],
        ],
        [
            [-7.37141, 4.59684, -0.183198, -2.10207, 0.498903, -5.81175, -2.69113, 6.95125, 3.7096, 5.14796],
            [-7.30063, 4.58785, -0.205259, -2.02201, 0.43554, -5.74778, -2.74253, 6.87722, 3.68606, 5.29758],
        ],
        [
            [-7.76851, 4.45265, 0.783689, -2.09717, 0.26916, -6.07805, -2.63837, 7.12252, 3.7722, 5.23348],
            [-7.61097, 4.50028, 0.587397, -2.4115, 0.274123, -6.06178, -2.57567, 7.01026, 3.6172, 5.39876],
        ],
        [
            [-9.24961, 4.92454, -0.267575, 0.0487543, -0.112807, -4.84875, -1.48676, 7.26776, 2.99786, 6.64904],
            [-8.9272, 4.92619, 0.199056, 0.29089, -0.0674944, -4.65766, -1.64829, 7.27131, 3.00823, 6.9343],
        ],
    ],
}
# LAION's linear head on the features of unit length.
SCORES = [
    [-1.67058, -1.71347],
    [-1.79971, -1.80619],
    [-1.79947, -1.81284],
    [-1.63506, -1.61981],
]


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights at which every part of the network counts."""
    rng, out = np.random.default_rng(7), {}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape, np.float32)
        if name.startswith(("pos", "cl")):
            values /= 4
        elif len(shape) in (2, 4):
            values *= 2 / np.float32(math.sqrt(math.prod(shape[1:])))
        elif name.endswith("weight"):
            values = 1 + values / 10
        out[name] = values
    return out


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder with official files of small networks."""
    for score, architecture in SMALL.items():
        monkeypatch.setitem(ARCHITECTURES, score, architecture)
        published = official.FILES[score]
        path, weights = tmp_path / published.file, drawn(architecture.shapes())
        if architecture.family == "dino":
            write_weights(path, weights)
            continue
        visual = {f"visual.{name}": value.astype(np.float16) for name, value in weights.items()}
        write_torchscript(path, visual | {"visual.seen": np.array(3), "positional_embedding": np.zeros((7, 5))})
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setitem(official.FILES, score, dataclasses.replace(published, sha256=sha256))
    write_weights(tmp_path / "sa_0_4_vit_l_14_linear.pth", drawn({"weight": (1, 40), "bias": (1,)}))
    return tmp_path


@pytest.mark.parametrize("score", SMALL)
def test_features_are_those_of_the_published_code(installed, score):
    params, architecture = vision_transformer.load(score, installed), SMALL[score]
    for size, wanted in zip(SIZES, PUBLISHED[score], strict=True):
        found = vision_transformer.features(params, architecture, originals.pictures(2, *size))
        assert found.dtype == np.float32 and found.shape == (2, architecture.output or architecture.width)
        step = 4 if architecture.output else 16
        np.testing.assert_allclose(found[:, ::step], wanted, rtol=2e-5, atol=2e-5)


def test_scores_are_those_of_the_published_code(installed):
    params, architecture = vision_transformer.load("aesthetic_quality", installed), SMALL["aesthetic_quality"]
    for size, wanted in zip(SIZES, SCORES, strict=True):
        found = vision_transformer.aesthetic_scores(params, architecture, originals.pictures(2, *size))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("score", ["subject_consistency", "background_consistency"])
def test_frames_do_not_depend_on_their_neighbours_in_a_batch(installed, score):
    params, frames = vision_transformer.load(score, installed), originals.pictures(5, 60, 90)
    whole = vision_transformer.features(params, SMALL[score], frames, batch=5)
    found = vision_transformer.features(params, SMALL[score], frames, batch=2)
    np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-5)


def test_the_official_arrays_are_as_many_as_published():
    """Parameters of DINO's ViT-B/16 (timm: 85.8 M) and of the part of CLIP's ViT-B/32 and ViT-L/14 that sees."""
    counts = [sum(map(math.prod, a.shapes().values())) for a in ARCHITECTURES.values()]
    assert counts == [85_798_656, 87_849_216, 303_966_208]
    dino, base, large = (a.shapes() for a in ARCHITECTURES.values())
    assert dino["pos_embed"] == (1, 197, 768) and dino["blocks.11.attn.qkv.weight"] == (2304, 768)
    assert base["proj"] == (768, 512) and base["transformer.resblocks.11.attn.in_proj_weight"] == (2304, 768)
    assert base["conv1.weight"] == (768, 3, 32, 32) and large["positional_embedding"] == (257, 1024)
    assert large["transformer.resblocks.23.mlp.c_fc.weight"] == (4096, 1024) and large["proj"] == (1024, 768)


def test_whole_scores_through_the_recipe(installed):
    definitions = recipes.recipe("standard", list(SMALL))
    made = build.build_metrics(definitions, "standard", installed)
    assert made.skipped == {} and len(made.alone) == 3
    pictures = originals.pictures(6, 90, 160)
    clip = Frames(
        pictures,
        np.zeros((6, 478, 3), np.float32),
        np.zeros((6, 52), np.float32),
        np.ones(6, bool),
        np.arange(6) / 25,
        25,
    )
    found = {}
    for metric in made.alone:
        metric.update(clip)
        found[metric.name] = metric.end_pair()
    for score in ("subject_consistency", "background_consistency"):
        vectors = vision_transformer.features(vision_transformer.load(score, installed), SMALL[score], pictures)
        again = consistency.FeatureConsistency(lambda frames, vectors=vectors: vectors)
        again.update(pictures)
        assert found[score] == pytest.approx(again.result(), abs=1e-5) and 0 < found[score] < 1
    params = vision_transformer.load("aesthetic_quality", installed)
    scores = vision_transformer.aesthetic_scores(params, SMALL["aesthetic_quality"], pictures)
    assert found["aesthetic_quality"] == pytest.approx(scores.mean() / 10, abs=1e-5)


def test_absent_weights_are_said_in_one_sentence(installed):
    for score in SMALL:
        wanted = official.FILES[score]
        (installed / wanted.file).rename(installed / "away")
        with pytest.raises(WeightsMissing) as caught:
            vision_transformer.load(score, installed)
        said = str(caught.value)
        assert score in said and wanted.file in said and wanted.licence in said and wanted.address in said
        without = build.build_metrics(recipes.recipe("standard", score), "standard", installed)
        assert not without and without.skipped == {score: said}
        (installed / "away").rename(installed / wanted.file)
    (installed / "sa_0_4_vit_l_14_linear.pth").unlink()
    with pytest.raises(
        WeightsMissing, match=r"sa_0_4_vit_l_14_linear\.pth is not there: aesthetic_quality .*MIT.*LAION"
    ):
        vision_transformer.load("aesthetic_quality", installed)


def test_another_archive_of_clip_is_refused(installed, monkeypatch):
    path = installed / "ViT-B-32.pt"
    path.write_bytes((installed / "ViT-L-14.pt").read_bytes())
    with pytest.raises(CheckpointError, match=r"ViT-B-32.pt has SHA-256 .*, wanted .*get it anew from https"):
        vision_transformer.load("background_consistency", installed)
    anyone = dataclasses.replace(official.FILES["background_consistency"], sha256="")
    monkeypatch.setitem(official.FILES, "background_consistency", anyone)
    with pytest.raises(CheckpointError, match=r"ViT-B-32.pt: .* wanted floats of shape"):
        vision_transformer.load("background_consistency", installed)
    write_torchscript(path, {"visual.proj": np.zeros((128, 24), np.float32)})
    with pytest.raises(CheckpointError, match=r"ViT-B-32.pt lacks 31 arrays, class_embedding among them"):
        vision_transformer.load("background_consistency", installed)
    write(path, b"\x80\x02}X\x06\0\0\0visualK\x07s.")
    with pytest.raises(CheckpointError, match="visual is int, wanted a TorchScript module"):
        vision_transformer.load("background_consistency", installed)


def _broken():
    good = drawn(SMALL["subject_consistency"].shapes())
    return {
        "lacks 1 arrays, blocks.1.attn.qkv.bias": {k: v for k, v in good.items() if k != "blocks.1.attn.qkv.bias"},
        "also holds 1 arrays, head.weight": good | {"head.weight": np.zeros((3, 128), np.float32)},
        r"norm.bias is float32 .64,., wanted floats of shape .128,.": good | {"norm.bias": np.zeros(64, np.float32)},
        "norm.bias is int64": good | {"norm.bias": np.zeros(128, np.int64)},
        "norm.bias holds values that are not finite": good | {"norm.bias": np.full(128, np.nan, np.float32)},
    }


@pytest.mark.parametrize("message", _broken())
def test_other_weights_in_dino_s_place_are_refused(installed, message):
    path = write_weights(installed / "dino_vitbase16_pretrain.pth", _broken()[message])
    with pytest.raises(CheckpointError, match=f"{path.name}.*{message}"):
        vision_transformer.load("subject_consistency", installed)


def test_another_head_is_refused(installed):
    write_weights(installed / "sa_0_4_vit_l_14_linear.pth", drawn({"weight": (1, 512), "bias": (1,)}))
    with pytest.raises(
        CheckpointError, match=r"linear.pth: weight is float32 .1, 512., wanted floats of shape .1, 40."
    ):
        vision_transformer.load("aesthetic_quality", installed)
