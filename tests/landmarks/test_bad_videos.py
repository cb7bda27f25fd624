"""Files that are really bad: each gets its typed reason, the others are extracted all the same."""

import bad_videos
import numpy as np
import pytest

from fingerprint.landmarks import batch, extract, track

FRAMES = 20


@pytest.fixture(scope="module")
def good(shared, tmp_path_factory):
    clip = shared / "data" / "videos" / "talking" / "liveportrait_d10.mp4"
    return bad_videos.cut(clip, tmp_path_factory.mktemp("good") / "good.mp4", FRAMES, every=2)


@pytest.fixture(scope="module")
def pictures(good):
    return bad_videos.pictures(good, FRAMES)


@pytest.fixture(scope="module")
def result(shared, good, pictures, tmp_path_factory):
    """A tree of all that is bad, with good videos among it, extracted: summary, rows of `failures.csv`, its folder."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("out")
    for name, (make, _) in bad_videos.BAD.items():
        make(good, tree / name)
    (tree / ".hidden.mp4").write_bytes(good.read_bytes())
    bad_videos.encode(tree / "too_long.mp4", [*pictures, *pictures[:2]])
    (tree / "upright.mp4").write_bytes(good.read_bytes())
    for turns in (1, 2, 3):
        lying = bad_videos.encode(tree / "lying.tmp", [np.rot90(picture, turns) for picture in pictures])
        bad_videos.rotated(lying, tree / f"rotated_{90 * turns}.mp4", 90 * turns)
        lying.unlink()
    times = np.cumsum([0, *([40] * 9), 200, *([20] * 9)]).tolist()
    bad_videos.encode(tree / "variable_rate.mp4", pictures, times=times)
    model_file = shared / "models" / "face_landmarker.task"
    options = extract.ExtractionOptions(max_frames=FRAMES)
    videos = batch.find_videos([tree, tree / "absent.mp4"])
    summary = batch.extract_all(videos, out, model_file=model_file, options=options, failure_budget=0.5)
    return summary, {row["file"]: row for row in batch.read_failures(out)}, out


WANTED = {name: reason for name, (_, reason) in bad_videos.BAD.items()} | {
    "absent.mp4": "missing",
    "too_long.mp4": "too_long",
}


@pytest.mark.parametrize("name", WANTED)
def test_a_bad_file_is_a_row_with_its_reason(name, result):
    _, rows, out = result
    assert rows[name]["reason"] == WANTED[name] and len(rows[name]["detail"]) > 6
    # Only a video that was read to its end leaves a track file, and one without a face holds no track.
    path = track.track_path(out, name)
    if WANTED[name] == "no_face":
        assert track.read(path).tracks == ()
    else:
        assert not path.exists()


def test_nothing_else_is_a_row_and_all_are_counted(result):
    summary, rows, out = result
    assert set(rows) == set(WANTED) and summary.hidden == 1  # which no other number counts
    assert (summary.files, summary.done, summary.no_face) == (len(WANTED) + 5, 5, 2)
    assert summary.failed == len(WANTED) - 2 and summary.fta_rate == pytest.approx(len(WANTED) / summary.files)
    assert summary.over_budget and not summary.stopped
    assert sum(summary.reasons.values()) == len(WANTED) and summary.reasons["no_face"] == 2
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]


def only_track(out, name) -> track.LandmarkTrack:
    (found,) = track.read(track.track_path(out, name)).tracks
    assert len(found) == FRAMES and found.frame_mask.all()
    return found


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotated_video_is_read_upright(degrees, result):
    _, _, out = result
    upright, turned = only_track(out, "upright.mp4"), only_track(out, f"rotated_{degrees}.mp4")
    assert turned.image_size == upright.image_size
    error = np.abs(turned.landmarks - upright.landmarks)[..., :2]
    assert error.mean() < 0.002 and error.max() < 0.02


def test_a_variable_rate_keeps_its_times(result):
    _, _, out = result
    found = only_track(out, "variable_rate.mp4")
    assert np.diff(found.timestamps).tolist() == [40_000] * 9 + [200_000] + [20_000] * 9
    assert found.fps == pytest.approx(19 / 0.74)
