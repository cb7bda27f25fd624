"""The metrics between frames and numbers: whatever the pieces, one value a set, in memory that does not grow."""

import math
import tracemalloc

import numpy as np
import pytest

from fingerprint.generation import consistency, metrics
from fingerprint.generation.frames import PIECE, Frames
from fingerprint.generation.statistics import FeatureStatistics, frechet_distance

DIM = 6


def frames(count, seed=0, height=8, width=10, face=True):
    rng = np.random.default_rng(seed)
    shows = np.full(count, face) if isinstance(face, bool) else np.asarray(face)
    return Frames(
        rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8),
        np.zeros((count, 478, 3), np.float32),
        rng.random((count, 52)).astype(np.float32),
        shows,
        np.arange(count) / 25,
        25.0,
    )


def features(pictures):
    return pictures.reshape(len(pictures), -1)[:, :DIM].astype(np.float32)


def clip_features(clips):
    return clips.astype(np.float32).mean(axis=(2, 3))[:, :, 0]


def distance(real, made):
    sides = FeatureStatistics(real.shape[1]), FeatureStatistics(made.shape[1])
    for side, values in zip(sides, (real, made), strict=True):
        side.add(values)
    return frechet_distance(*sides)


def test_a_distance_of_sets_sees_all_frames_of_all_videos():
    metric = metrics.FrechetMetric(("fid", "kid"), "face", features)
    pairs = [(frames(16, seed), frames(16, seed + 50)) for seed in range(5)]
    for pair in pairs:
        assert metric.update(*pair) is None and metric.end_pair() == {}
    found = metric.results()
    real, made = (features(np.concatenate([side.rgb for side in sides])) for sides in zip(*pairs, strict=True))
    assert found["fid"].value == pytest.approx(distance(real, made), rel=1e-9)
    assert (found["fid"].count, found["fid"].of, found["fid"].warnings) == (80, "frames", ())
    assert math.isfinite(found["kid"].value) and found["kid"].count == 80
    assert set(metrics.FrechetMetric(("kid",), "face", features).results()) == {"kid"}
    edges = metrics.FrechetMetric(("e_fid",), "face", features, prepare=lambda pictures: pictures // 2)
    edges.update(*pairs[0])
    half = distance(*(features(side.rgb // 2) for side in pairs[0]))
    assert edges.results()["e_fid"].value == pytest.approx(half, rel=1e-9)


def test_few_samples_are_warned_of_and_none_is_no_number():
    metric = metrics.FrechetMetric(("fid", "kid"), "face", features)
    assert all(math.isnan(value.value) for value in metric.results().values())
    metric.update(frames(4), frames(4, 1))
    assert "rank" in metric.results()["fid"].warnings[0]


def test_clips_are_sixteen_frames():
    metric = metrics.ClipMetric("fvd", "face", clip_features)
    for seed in range(3):
        metric.update(frames(PIECE, seed), frames(PIECE, seed + 9))
    metric.update(frames(5), frames(5))
    found = metric.results()["fvd"]
    assert (found.count, found.of) == (3, "clips") and found.value > 0


def test_expressions_are_of_frames_with_both_faces():
    real, made = frames(12, 1, face=[True] * 8 + [False] * 4), frames(12, 2, face=[False] * 2 + [True] * 10)
    metric = metrics.ExpressionMetric("expression_fid", "whole")
    metric.update(real, made)
    found = metric.results()["expression_fid"]
    assert found.count == 6
    expected = distance(real.blendshapes[2:8].astype(float), made.blendshapes[2:8].astype(float))
    assert found.value == pytest.approx(expected, rel=1e-9)


def test_a_video_is_the_mean_of_its_frames_and_a_set_of_its_videos():
    metric = metrics.FrameMetric("ssim", "region", lambda real, made: real.rgb[:, 0, 0, 0] - 1.0 * made.rgb[:, 0, 0, 0])
    long, short = (frames(16, 1), frames(16, 2)), (frames(4, 3), frames(6, 4))
    expected = []
    for pairs in ([long, short], [short]):
        values = []
        for real, made in pairs:
            count = min(len(real), len(made))
            values.extend(real.rgb[:count, 0, 0, 0] - 1.0 * made.rgb[:count, 0, 0, 0])
            np.testing.assert_array_equal(metric.update(real, made)["ssim"], values[-count:])
        expected.append(np.mean(values))
        assert metric.end_pair()["ssim"] == pytest.approx(expected[-1])
    found = metric.results()["ssim"]
    assert found.value == pytest.approx(np.mean(expected)) and (found.count, found.of) == (2, "videos")


def test_a_video_without_a_value_is_told():
    metric = metrics.FrameMetric("csim", "whole", lambda real, made: np.full(len(real), np.nan))
    metric.update(frames(3), frames(3))
    assert math.isnan(metric.end_pair()["csim"])
    assert metric.results()["csim"].warnings == ("1 videos have no value",)


def test_pixels_are_compared_at_the_references_size_and_piece():
    seen = []

    def function(real, made):
        seen.append((real.shape, made.shape))
        return np.full(len(real), np.inf)

    compare = metrics.pixels_of(function, 100.0)
    found = compare(frames(5), frames(5, 1, 20, 30))
    assert found.tolist() == [100.0] * 5 and seen == [((PIECE, 8, 10, 3),) * 2]


def test_cosine_of_pixels():
    real, made = frames(4, 1), frames(4, 2)
    made.rgb[2] = 0
    found = metrics.pixel_cosine(real, made)
    a, b = (side.rgb[0].ravel().astype(float) for side in (real, made))
    assert found[0] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) and found[2] == 0
    assert metrics.pixel_cosine(real, real).tolist() == pytest.approx([1.0] * 4)


def test_published_distances_are_of_single_videos():
    metric = metrics.PublishedFrechet("fid", "first16", features)
    pairs = [(frames(16, 1), frames(16, 2)), (frames(16, 3), frames(9, 4))]
    expected = [distance(features(real.rgb), features(made.rgb)) for real, made in pairs]
    for pair, value in zip(pairs, expected, strict=True):
        metric.update(*pair)
        assert metric.end_pair()["fid"] == pytest.approx(value, rel=1e-9)
    assert metric.results()["fid"].value == pytest.approx(np.mean(expected), rel=1e-9)


def test_the_published_clip_is_filled_with_black():
    metric = metrics.PublishedClip("fvd", "first16", clip_features)
    real, made = frames(16, 1), frames(5, 2)
    metric.update(real, made)
    means = [np.zeros(16), np.zeros(16)]
    for mean, side in zip(means, (real, made), strict=True):
        mean[: len(side)] = side.rgb[..., 0].astype(np.float32).mean(axis=(1, 2))
    expected = np.square(means[1] - means[0]).sum() - 2e-6 * 16
    assert metric.end_pair()["fvd"] == pytest.approx(expected, rel=1e-6)
    metric.update(real, real)
    assert metric.end_pair()["fvd"] == pytest.approx(-3.2e-5, rel=1e-9)


def test_a_consistency_score_is_fresh_for_every_video():
    metric = metrics.ConsistencyMetric(
        "imaging_quality", "whole", lambda fps: consistency.MeanScore(lambda pictures: pictures[:, 0, 0, 0] * fps, 25.0)
    )
    videos = [frames(6, 1), frames(3, 2)]
    for video in videos:
        metric.update(None, video)
        assert metric.end_pair()["imaging_quality"] == pytest.approx(video.rgb[:, 0, 0, 0].mean())
    assert math.isnan(metric.end_pair()["imaging_quality"])
    assert metric.results()["imaging_quality"].count == 2


def test_memory_does_not_grow_with_the_videos():
    kinds = (
        lambda: metrics.FrechetMetric(("fid",), "face", features),
        lambda: metrics.ClipMetric("fvd", "face", clip_features),
        lambda: metrics.ExpressionMetric("expression_fid", "whole"),
    )
    real, made = frames(PIECE, 1), frames(PIECE, 2)
    for kind in kinds:
        metric = kind()
        kept = []
        tracemalloc.start()
        for videos in (50, 450):
            for _ in range(videos):
                metric.update(real, made)
                metric.end_pair()
            kept.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert kept[1] - kept[0] < 100_000, (metric.names, kept)  # kept features would be twice that and more
