"""The metrics between frames and numbers: whatever the pieces, one value a set, in memory that does not grow."""

import math
import tracemalloc

import numpy as np
import pytest

from fingerprint.generation import consistency, metrics
from fingerprint.generation.frames import PIECE, Frames
from fingerprint.generation.statistics import FeatureStatistics, frechet_distance

DIM = 6
ARRAYS = ("rgb", "landmarks", "blendshapes", "shows_face", "seconds")


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


def counted(metric, real, made):
    """The metric's values of videos of either side."""
    sides = metric.side(), metric.side()
    for side, videos in zip(sides, (real, made), strict=True):
        for video in videos:
            side.update(video)
            side.end_video()
    return metric.results(*sides)


def test_a_distance_of_sets_sees_all_frames_of_all_videos():
    metric = metrics.FrechetMetric(("fid", "kid"), "face", features)
    videos = [frames(16, seed) for seed in range(9)], [frames(13, seed + 50) for seed in range(5)]
    found = counted(metric, *videos)
    real, made = (features(np.concatenate([video.rgb for video in side])) for side in videos)
    assert found["fid"].value == pytest.approx(distance(real, made), rel=1e-9)
    assert (found["fid"].count, found["fid"].of, found["fid"].warnings) == (65, "frames", ())
    assert math.isfinite(found["kid"].value) and found["kid"].count == 65 and found["kid"].spread > 0
    assert set(counted(metrics.FrechetMetric(("kid",), "face", features), *videos)) == {"kid"}
    edges = metrics.FrechetMetric(("e_fid",), "face", features, prepare=lambda pictures: pictures // 2)
    half = distance(*(features(side[0].rgb // 2) for side in videos))
    assert counted(edges, *(side[:1] for side in videos))["e_fid"].value == pytest.approx(half, rel=1e-9)


def test_a_network_is_given_many_frames_at_a_time():
    sizes = []

    def noting(pictures):
        sizes.append(len(pictures))
        return features(pictures)

    side = metrics.FrechetMetric(("fid",), "face", noting).side()
    for seed in range(9):
        side.update(frames(16, seed))
    assert sizes == [64, 64] and side.statistics().count == 144 and sizes[2:] == [16]


def test_few_samples_are_warned_of_and_none_is_no_number():
    metric = metrics.FrechetMetric(("fid", "kid"), "face", features)
    assert all(math.isnan(value.value) for value in metric.results(metric.side(), metric.side()).values())
    assert "rank" in counted(metric, [frames(4)], [frames(4, 1)])["fid"].warnings[0]


def test_clips_are_sixteen_frames_of_one_video():
    metric = metrics.ClipMetric("fvd", "face", clip_features)
    long = frames(40, 7)
    pieces = [Frames(*(getattr(long, name)[start : start + 11] for name in ARRAYS), 25.0) for start in range(0, 40, 11)]
    side, whole = metric.side(), metric.side()
    for number in range(10):
        for piece in pieces:
            side.update(piece)
        side.end_video()  # 8 frames are left over
        for start in (0, 16):
            whole.update(Frames(*(getattr(long, name)[start : start + 16] for name in ARRAYS), 25.0))
        assert number or side.statistics().count == 2
    found = metric.results(side, whole)["fvd"]
    assert (found.count, found.of) == (20, "clips") and found.value == pytest.approx(0, abs=1e-6)
    made = [frames(PIECE, seed + 9) for seed in range(3)]
    assert counted(metric, [frames(PIECE, seed) for seed in range(5)], made)["fvd"].count == 3


def test_expressions_are_of_frames_with_a_face():
    real, made = frames(12, 1, face=[True] * 8 + [False] * 4), frames(20, 2, face=[False] * 2 + [True] * 18)
    found = counted(metrics.ExpressionMetric("expression_fid", "track"), [real], [made])["expression_fid"]
    assert found.count == 18
    expected = distance(real.blendshapes[:8].astype(float), made.blendshapes[2:].astype(float))
    assert found.value == pytest.approx(expected, rel=1e-9)


def test_a_video_is_the_mean_of_its_frames():
    metric = metrics.FrameMetric("ssim", "region", lambda real, made: real.rgb[:, 0, 0, 0] - 1.0 * made.rgb[:, 0, 0, 0])
    long, short = (frames(16, 1), frames(16, 2)), (frames(4, 3), frames(6, 4))
    for pairs in ([long, short], [short]):
        values = []
        for real, made in pairs:
            count = min(len(real), len(made))
            values.extend(real.rgb[:count, 0, 0, 0] - 1.0 * made.rgb[:count, 0, 0, 0])
            np.testing.assert_array_equal(metric.update(real, made), values[-count:])
        assert metric.end_pair() == pytest.approx(np.mean(values))


def test_a_video_without_a_value_has_none():
    metric = metrics.FrameMetric("csim", "identity", lambda real, made: np.full(len(real), np.nan))
    metric.update(frames(3), frames(3))
    assert math.isnan(metric.end_pair())


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
    for real, made in ((frames(16, 1), frames(16, 2)), (frames(16, 3), frames(9, 4))):
        metric.update(real, made)
        assert metric.end_pair() == pytest.approx(distance(features(real.rgb), features(made.rgb)), rel=1e-9)
    assert math.isnan(metric.end_pair())


def test_the_published_clip_is_filled_with_black():
    metric = metrics.PublishedClip("fvd", "first16", clip_features)
    real, made = frames(16, 1), frames(5, 2)
    metric.update(real, made)
    means = [np.zeros(16), np.zeros(16)]
    for mean, side in zip(means, (real, made), strict=True):
        mean[: len(side)] = side.rgb[..., 0].astype(np.float32).mean(axis=(1, 2))
    expected = np.square(means[1] - means[0]).sum() - 2e-6 * 16
    assert metric.end_pair() == pytest.approx(expected, rel=1e-6)
    metric.update(real, real)
    assert metric.end_pair() == pytest.approx(-3.2e-5, rel=1e-9)


def test_a_consistency_score_is_fresh_for_every_video():
    metric = metrics.AloneMetric(
        "imaging_quality", "alone", lambda fps: consistency.MeanScore(lambda pictures: pictures[:, 0, 0, 0] * fps, 25.0)
    )
    for video in (frames(6, 1), frames(3, 2)):
        metric.update(video)
        assert metric.end_pair() == pytest.approx(video.rgb[:, 0, 0, 0].mean())
    assert math.isnan(metric.end_pair())


def test_memory_does_not_grow_with_the_videos():
    kinds = (
        metrics.FrechetMetric(("fid", "kid"), "face", features),
        metrics.ClipMetric("fvd", "face", clip_features),
        metrics.ExpressionMetric("expression_fid", "track"),
    )
    video = frames(PIECE, 1)
    for metric in kinds:
        side, kept = metric.side(), []
        tracemalloc.start()
        for videos in (150, 450):
            for _ in range(videos):
                side.update(video)
                side.end_video()
            side.statistics()
            kept.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert kept[1] - kept[0] < 30_000, (metric.names, kept)  # 7,200 kept features would be 350,000 and more
