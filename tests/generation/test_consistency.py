"""VBench's arithmetic, by hand on small cases, whatever the pieces the frames come in."""

import itertools

import numpy as np
import pytest

from fingerprint.errors import UnknownName, WeightsMissing
from fingerprint.generation import consistency, recipes
from fingerprint.generation.networks import official, vbench


def clip(frames=12, height=32, width=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def feed(score, frames, piece):
    for start in range(0, len(frames), piece):
        score.update(frames[start : start + piece])
    return score.result()


def written_out(vectors):
    """The published loop, frame by frame."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    total = 0.0
    for i in range(1, len(unit)):
        total += (max(0.0, unit[i] @ unit[i - 1]) + max(0.0, unit[i] @ unit[0])) / 2
    return total / (len(unit) - 1)


@pytest.mark.parametrize("piece", [1, 5, 12])
def test_feature_consistency(piece):
    rng = np.random.default_rng(1)
    table = rng.normal(size=(256, 7))

    def features(frames):
        return table[frames[:, 0, 0, 0]] * 3

    frames = clip()
    found = feed(consistency.FeatureConsistency(features), frames, piece)
    assert found == pytest.approx(written_out(table[frames[:, 0, 0, 0]]), abs=1e-12)


def test_feature_consistency_by_hand():
    vectors = iter([np.array([[1.0, 0], [0, 2], [-1, 0], [1, 0]])])
    score = consistency.FeatureConsistency(lambda frames: next(vectors))
    score.update(clip(4))
    # 0 and 0; then 0 (to [0, 1]) and 0 (-1 is cut); then 0 (-1 is cut) and 1.
    assert score.result() == pytest.approx(0.5 / 3)
    assert np.isnan(consistency.FeatureConsistency(lambda frames: 0).result())


@pytest.mark.parametrize("piece", [1, 2, 9])
def test_motion_smoothness(piece):
    asked = []

    def middle(before, after):
        asked.append((int(before[0, 0, 0]), int(after[0, 0, 0])))
        return ((before.astype(int) + after) // 2).astype(np.uint8)

    values = np.array([0, 12, 20, 30, 44, 200], np.uint8)
    frames = np.broadcast_to(values[:, None, None, None], (6, 8, 8, 3))
    found = feed(consistency.MotionSmoothness(middle), frames, piece)
    assert asked == [(0, 20), (20, 44)]  # the last frame has no right neighbour
    assert found == pytest.approx((255 - (2 + 2) / 2) / 255)
    assert np.isnan(consistency.MotionSmoothness(middle).result())


@pytest.mark.parametrize("count", [3, 4, 5, 8, 9])
def test_motion_smoothness_is_the_published_one(count):
    """`motion_score` of vbench 0.1.5's motion_smoothness.py, line by line."""
    frames = clip(count)

    def middle(before, after):
        return (0.3 * before + 0.6 * after).astype(np.uint8)

    inputs = frames[0::2]
    outputs = [inputs[0]]
    for before, after in itertools.pairwise(inputs):
        outputs += [middle(before, after), after]
    original, interpolated = frames[1::2], outputs[1::2]
    scores = [np.abs(original[i].astype(int) - interpolated[i]).mean() for i in range(len(interpolated))]
    found = feed(consistency.MotionSmoothness(middle), frames, 2)
    assert found == pytest.approx((255.0 - np.mean(scores)) / 255.0, rel=1e-12)


def flow_of(speeds):
    """A flow in which a share of pixels moves by so much, a speed a pair of frames."""
    left = iter(speeds)

    def flow(before, after):
        share, pixels = next(left)
        out = np.zeros((256, 256, 2), np.float32)
        count = int(256 * 256 * share)
        out.reshape(-1, 2)[:count] = np.array([0.6, -0.8]) * pixels
        return out

    return flow


@pytest.mark.parametrize(
    ("speeds", "moves"),
    [
        ([(0.05, 6.1)] * 2 + [(0.05, 5.9)] * 5, 1.0),  # 8 frames: two pairs must move
        ([(0.05, 6.1)] * 1 + [(0.05, 5.9)] * 6, 0.0),
        ([(0.025, 11.0)] * 7, 0.0),  # half of the fastest 5 % stand still: 5.5 on average
        ([(0.025, 13.0)] * 7, 1.0),
    ],
)
def test_dynamic_degree(speeds, moves):
    frames = np.zeros((8, 256, 256, 3), np.uint8)
    assert feed(consistency.DynamicDegree(flow_of(speeds), 8.0), frames, 3) == moves


def test_dynamic_degree_looks_eight_times_a_second():
    seen = []

    def flow(before, after):
        seen.append((int(before[0, 0, 0]), int(after[0, 0, 0])))
        return np.zeros((256, 256, 2))

    frames = np.zeros((10, 256, 256, 3), np.uint8)
    frames[:, 0, 0, 0] = np.arange(10)
    feed(consistency.DynamicDegree(flow, 25.0), frames, 4)
    assert seen == [(0, 3), (3, 6), (6, 9)]
    small = np.zeros((3, 128, 200, 3), np.uint8)  # half the size, half the threshold
    moving = consistency.DynamicDegree(flow_of([(0.05, 3.1)] * 2), 8.0)
    assert feed(moving, small, 1) == 1.0
    slow = consistency.DynamicDegree(flow_of([(0.05, 6.1)] * 2), 4.0)  # half the rate, the same threshold
    assert feed(slow, np.zeros((3, 256, 256, 3), np.uint8), 1) == 1.0


def in_turn(flows):
    left = iter(flows)
    return lambda before, after: next(left)


def published_motion(flows, frames, fps):
    """`infer` of vbench 0.1.5's dynamic_degree.py, line by line."""
    taken = frames[:: max(1, round(fps / 8))]
    threshold, wanted = 6.0 * (min(taken[0].shape[:2]) / 256.0), round(4 * (len(taken) / 16.0))
    count = 0
    for flow in flows[: len(taken) - 1]:
        speeds = np.sqrt(np.square(flow[..., 0]) + np.square(flow[..., 1])).flatten()
        count += np.mean(abs(np.sort(-speeds))[: int(len(speeds) * 0.05)]) > threshold
        if count >= wanted:
            return True
    return False


@pytest.mark.parametrize("fps", [4.0, 7.99, 12.0, 25.0])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 24])
def test_dynamic_degree_is_the_published_one(fps, count):
    rng = np.random.default_rng(count)
    frames = np.zeros((count, 90, 130, 3), np.uint8)
    found = set()
    for scale in (0.0, 0.9, 1.0, 1.1, 3.0):
        flows = rng.normal(size=(count, 96, 136, 2)) * scale * rng.uniform(0.6, 1.4, (count, 1, 1, 1))
        score = consistency.DynamicDegree(in_turn(flows), fps)
        wanted = published_motion(flows, frames, fps)
        assert feed(score, frames, 4) == float(wanted)
        found.add(wanted)
    assert len(found) == 2 or len(frames[:: max(1, round(fps / 8))]) <= 2
    assert np.isnan(consistency.DynamicDegree(lambda before, after: None, fps).result())


def test_mean_score():
    frames = clip(7)
    found = feed(consistency.MeanScore(lambda frames: frames[:, 0, 0, 0].astype(float), 10.0), frames, 3)
    assert found == pytest.approx(frames[:, 0, 0, 0].mean() / 10)


def test_an_absent_network_says_which_file_to_get(tmp_path):
    for name in recipes.CONSISTENCY:
        network = official.FILES[name]
        with pytest.raises(WeightsMissing) as caught:
            vbench.load(name, tmp_path)
        said = str(caught.value)
        assert network.file in said and network.licence in said and network.address in said
    with pytest.raises(UnknownName, match="imaging_quality"):
        vbench.load("image_quality", tmp_path)


def test_programs_of_many_frame_sizes_are_forgotten(monkeypatch):
    cleared = []
    monkeypatch.setattr(vbench.jax, "clear_caches", lambda: cleared.append(None))
    network = vbench._in_few_sizes(lambda *frames: len(frames))
    for side in [*range(8, 24), *range(8, 24)]:
        assert network(np.zeros((2, side, 9, 3)), np.zeros((2, side, 9, 3))) == 2
    assert not cleared
    network(np.zeros((40, 9, 3)))
    network(np.zeros((40, 9, 3)))
    assert len(cleared) == 1
