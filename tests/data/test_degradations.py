"""Each degradation against its definition; determinism; the table of a degraded source against what embedding sees."""

import numpy as np
import pytest

from fingerprint.data import degradations
from fingerprint.data.degradations import DegradedSource
from fingerprint.data.input_pipeline import evaluation_batches
from fingerprint.errors import ConfigError, UnknownName
from fingerprint.landmarks import topology
from fingerprint.landmarks.windows import WindowSpec
from tests.sources import IMAGE_SIZE, MemorySource, make_source

SET = "avaprintdb109"
WORST = {
    "jitter": 0.1, "pixel_grid": 0.2, "dropped_frames": 0.4, "dropped_bursts": 0.4, "frame_rate": 10.0,
    "frame_rate_resampled": 10.0, "temporal_blur": 9,
}  # fmt: skip
PIXELS = np.array([IMAGE_SIZE[0], IMAGE_SIZE[1], IMAGE_SIZE[0]])


@pytest.fixture(scope="module")
def source():
    """Eight clips of 60 frames, half of them with four frames lost."""
    return make_source(drivers=2, targets=2, clips=2, frames=60, lost_frames=4)


def degrade(source, name, severity, row=0, seed=0):
    return DegradedSource(source, name, severity, landmark_set=SET, seed=seed)[row]


def eye_distance(record):
    left, right = topology.get(SET).inner_eyes
    shown = record["landmarks"][record["frame_mask"]] * PIXELS
    return np.median(np.linalg.norm(shown[:, left] - shown[:, right], axis=1))


def test_the_cases_cover_the_table():
    assert set(WORST) == set(degradations.names())


@pytest.mark.parametrize("name", degradations.names())
def test_severity_zero_is_the_record_bit_for_bit(source, name):
    for row in range(len(source)):
        found, clean = degrade(source, name, 0, row), source[row]
        assert found.keys() == clean.keys()
        for key, value in clean.items():
            np.testing.assert_array_equal(found[key], value, strict=True)


@pytest.mark.parametrize("name", degradations.names())
def test_seed_and_video_decide_and_masked_frames_stay_zero(source, name):
    one, again = (degrade(source, name, WORST[name], row=7) for _ in range(2))
    assert not np.array_equal(one["landmarks"], source[7]["landmarks"])
    assert one["landmarks"].dtype == np.float32
    assert not one["landmarks"][~one["frame_mask"]].any()
    # Alone, in another order and among others: the same.
    alone = DegradedSource(source, name, WORST[name], landmark_set=SET, rows=[7])
    for other in (again, alone[0]):
        np.testing.assert_array_equal(one["landmarks"], other["landmarks"])
        np.testing.assert_array_equal(one["frame_mask"], other["frame_mask"])
    if name in ("jitter", "dropped_frames", "dropped_bursts"):
        other = degrade(source, name, WORST[name], row=7, seed=1)
        assert not np.array_equal(one["landmarks"], other["landmarks"])
        renamed = MemorySource([source[7] | {"video_id": "another"}])
        assert not np.array_equal(one["landmarks"], degrade(renamed, name, WORST[name])["landmarks"])


@pytest.mark.parametrize("severity", [0.005, 0.02, 0.1])
def test_jitter_is_gaussian_in_inner_eye_distances_on_every_axis(source, severity):
    clean = source[0]
    noise = (degrade(source, "jitter", severity)["landmarks"] - clean["landmarks"]) * PIXELS / eye_distance(clean)
    np.testing.assert_allclose(noise.std(axis=(0, 1)), severity, rtol=0.03)
    np.testing.assert_allclose(noise.mean(axis=(0, 1)), 0, atol=0.05 * severity)
    assert np.mean(np.abs(noise) > 2 * severity) == pytest.approx(0.0455, abs=0.01)
    # Every frame has noise of its own.
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.2


def test_a_pixel_grid_is_square_and_of_the_asked_step(source):
    clean, found = source[0], degrade(source, "pixel_grid", 0.1)
    steps = found["landmarks"] * PIXELS / eye_distance(clean) / 0.1
    np.testing.assert_allclose(steps[..., :2], np.rint(steps[..., :2]), atol=1e-3)
    np.testing.assert_array_equal(found["landmarks"][..., 2], clean["landmarks"][..., 2])
    moved = (found["landmarks"] - clean["landmarks"])[..., :2] * PIXELS[:2] / eye_distance(clean)
    assert 0.045 < np.abs(moved).max() <= 0.0501


@pytest.mark.parametrize(("name", "burst"), [("dropped_frames", 1), ("dropped_bursts", degradations.BURST)])
def test_so_many_of_the_frames_with_a_face_are_lost(name, burst):
    source = make_source(drivers=2, targets=1, clips=2, frames=300, lost_frames=20)
    for row in (0, 1):
        before = source[row]["frame_mask"]
        kept = before
        for share in (0.05, 0.2, 0.4, 1.0):
            mask = degrade(source, name, share, row)["frame_mask"]
            assert before.sum() - mask.sum() == round(share * before.sum())
            assert not (mask & ~kept).any()  # what a mild severity loses, a severe one loses too
            kept = mask
    gone = ~degrade(source, name, 0.2, 0)["frame_mask"]
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], gone, [0]]))))[::2]
    if burst == 1:
        assert 1 < runs.mean() < 2
    else:
        assert runs.mean() >= burst - 2 and len(runs) > 1


def test_a_blur_is_the_moving_average_of_the_valid_frames(source):
    lossy = next(row for row in range(len(source)) if not source[row]["frame_mask"].all())
    record, found = source[lossy], degrade(source, "temporal_blur", 5, lossy)
    mask = record["frame_mask"]
    np.testing.assert_array_equal(found["frame_mask"], mask)
    for frame in np.flatnonzero(mask):
        part = slice(max(frame - 2, 0), frame + 3)
        wanted = record["landmarks"][part][mask[part]].mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(found["landmarks"][frame], wanted, rtol=1e-6)


def test_a_blur_keeps_constants_and_straight_motion(source):
    still = MemorySource([source[0] | {"landmarks": np.tile(source[0]["landmarks"][:1], (60, 1, 1))}])
    np.testing.assert_array_equal(degrade(still, "temporal_blur", 15)["landmarks"], still[0]["landmarks"])
    straight = np.arange(60, dtype=np.float32)[:, None, None] * np.ones((60, 109, 3), np.float32)
    moving = MemorySource([source[0] | {"landmarks": straight}])
    np.testing.assert_array_equal(degrade(moving, "temporal_blur", 5)["landmarks"][2:-2], straight[2:-2])


def test_half_the_rate_is_every_second_frame(source):
    clean, found = source[0], degrade(source, "frame_rate", 12.5)
    np.testing.assert_array_equal(found["landmarks"], clean["landmarks"][::2])
    np.testing.assert_array_equal(found["frame_mask"], clean["frame_mask"][::2])
    assert found["fps"] == np.float32(12.5)


@pytest.mark.parametrize(("rate", "frames", "seen"), [(15.0, 36, 59), (8.0, 19, 57), (20.0, 48, 59), (12.5, 30, 59)])
def test_frames_and_time_of_a_lower_rate(source, rate, frames, seen):
    """60 frames at 25 a second last from 0 to 2.36 s: at 15 a second the last falls on 2.333 s, and is held."""
    straight = np.arange(60, dtype=np.float32)[:, None, None] * np.ones((60, 109, 3), np.float32) / 60
    moving = MemorySource([source[0] | {"landmarks": straight, "start_frame": np.int32(50)}])
    slow, back = (degrade(moving, name, rate) for name in ("frame_rate", "frame_rate_resampled"))
    assert len(slow["frame_mask"]) == len(slow["landmarks"]) == frames and slow["fps"] == np.float32(rate)
    assert slow["start_frame"] == round(50 * rate / 25)
    assert len(back["frame_mask"]) == len(back["landmarks"]) == 60 and back["fps"] == 25 and back["start_frame"] == 50
    # Straight motion is what it was at each frame's time.
    np.testing.assert_allclose(60 / 25 * slow["landmarks"][:, 0, 0], np.arange(frames) / rate, atol=1e-5)
    np.testing.assert_allclose(back["landmarks"][:seen], straight[:seen], atol=1e-6)
    np.testing.assert_allclose(back["landmarks"][seen:], slow["landmarks"][-1:].repeat(60 - seen, 0), atol=1e-6)
    assert slow["frame_mask"].all() and back["frame_mask"].all()


@pytest.mark.parametrize("name", ["frame_rate", "frame_rate_resampled"])
def test_a_video_is_not_made_faster(source, name):
    for rate in (25.0, 50.0):
        np.testing.assert_array_equal(degrade(source, name, rate)["landmarks"], source[0]["landmarks"])


def test_resampling_between_lost_frames_gives_no_face(source):
    lossy = next(row for row in range(len(source)) if not source[row]["frame_mask"].all())
    record = source[lossy]
    found = degrade(source, "frame_rate", 20.0, lossy)
    place = np.arange(48) * 1.25
    near = [record["frame_mask"][[int(p), int(np.ceil(p))]].all() for p in place]
    np.testing.assert_array_equal(found["frame_mask"], near)


def test_what_else_is_measured_in_every_frame_goes_along(source):
    extra = np.random.default_rng(0).random((60, 52)).astype(np.float32)
    record = source[0] | {"blendshapes": extra}
    both = MemorySource([record])
    np.testing.assert_array_equal(degrade(both, "frame_rate", 12.5)["blendshapes"], extra[::2])
    np.testing.assert_allclose(degrade(both, "temporal_blur", 3)["blendshapes"][5], extra[4:7].mean(axis=0), rtol=1e-6)
    lost = degrade(both, "dropped_frames", 0.4)
    assert not lost["blendshapes"][~lost["frame_mask"]].any() and lost["blendshapes"][lost["frame_mask"]].all()


@pytest.mark.parametrize("name", degradations.names())
def test_the_table_is_that_of_the_records(source, name):
    worse = DegradedSource(source, name, WORST[name], landmark_set=SET, rows=[1, 3, 6])
    table = worse.metadata()
    assert table["video_id"].tolist() == [source[row]["video_id"] for row in (1, 3, 6)]
    for row in range(3):
        record = worse[row]
        assert table["num_frames"][row] == len(record["frame_mask"]) == len(record["landmarks"])
        assert table["num_valid"][row] == record["frame_mask"].sum()
        assert table["fps"][row] == record["fps"]


@pytest.mark.parametrize(("severity", "windows"), [(25.0, 5), (12.5, 2), (8.0, 0)])
def test_windows_of_a_slower_video_are_fewer(source, severity, windows):
    worse = DegradedSource(source, "frame_rate", severity, landmark_set=SET, rows=[0])
    spec = WindowSpec(20, 10)
    batches = list(
        evaluation_batches(worse, landmark_set=SET, normalization="aspect_corrected", spec=spec, batch_size=8)
    )
    assert sum((batch.record >= 0).sum() for batch in batches) == windows


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("jitter", -0.1), ("jitter", float("nan")), ("jitter", "0.1"), ("jitter", True), ("pixel_grid", float("inf")),
        ("dropped_frames", 1.01), ("dropped_bursts", -0.5), ("frame_rate", -25.0), ("frame_rate_resampled", -1),
        ("temporal_blur", 4), ("temporal_blur", 2.5), ("temporal_blur", -3),
    ],
)  # fmt: skip
def test_severities_that_are_none_are_refused(source, name, severity):
    with pytest.raises(ConfigError, match=f"of {name}; wanted"):
        DegradedSource(source, name, severity, landmark_set=SET)


def test_an_unknown_name_lists_the_known_ones(source):
    with pytest.raises(UnknownName, match="dropped_bursts, dropped_frames, frame_rate"):
        DegradedSource(source, "rain", 0.1, landmark_set=SET)


def test_a_picture_of_unknown_size_counts_as_square(source):
    unknown = MemorySource([source[0] | {"image_size": np.zeros(2, np.int32)}])
    noise = degrade(unknown, "jitter", 0.02)["landmarks"] - unknown[0]["landmarks"]
    np.testing.assert_allclose(noise.std(axis=(0, 1)) / noise.std(), 1, rtol=0.05)


def test_a_track_without_a_face_stays_one(source):
    empty = source[0] | {"landmarks": np.zeros((60, 109, 3), np.float32), "frame_mask": np.zeros(60, bool)}
    for name, severity in WORST.items():
        found = degrade(MemorySource([empty]), name, severity)
        assert not found["frame_mask"].any() and not found["landmarks"].any()
