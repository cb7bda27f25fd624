"""Running verification: windows as they become complete, a decision as soon as there is enough."""

import dataclasses

import numpy as np
import pytest
from made_up import LENGTH, STRIDE, write_track

from fingerprint.app import commands, running
from fingerprint.errors import ClaimRefused
from fingerprint.landmarks import track
from fingerprint.landmarks.extract import FaceFrame

HOW = commands.Acquisition(fps=None, tracks=None, landmark_model=None, processes=1, quiet=True)


def faces(path, **changes):
    """The frames of a track file, as a live source gives them."""
    (found,) = track.read(path).tracks
    for index in range(len(found)):
        there = bool(found.frame_mask[index])
        face = FaceFrame(
            index=index,
            timestamp_us=int(found.timestamps[index]),
            image_size=found.image_size,
            landmarks=found.landmarks[index] if there else None,
            blendshapes=found.blendshapes[index] if there else None,
            pose=found.pose[index] if there else None,
            several=False,
            new_face=None,
        )
        yield dataclasses.replace(face, **{name: value(index) for name, value in changes.items()})


@pytest.fixture(scope="module")
def opened(gallery):
    found, released = commands._open(gallery, None, batch_size=1)
    return found, released


def run(opened, path, claim="ada", fmr=1e-9, fnmr=1e-9, max_seconds=1e9, seen=None, **changes):
    gallery, released = opened
    seen = running.Seen() if seen is None else seen
    test = running.sequential_test(gallery.calibration, released, fmr, fnmr)
    return list(
        running.verify_running(
            faces(path, **changes), released, gallery.template(claim), test, (640, 480), max_seconds, seen
        )
    )


def test_windows_score_as_in_a_whole_video(opened, gallery, tracks):
    path = tracks / "person00" / "take3.track.npz"
    whole = commands.verify(path, "ada", gallery, None, at="eer", report=None, pictures=False, how=HOW)
    moments = run(opened, path)
    np.testing.assert_allclose([m.window_score for m in moments], whole["window_scores"], atol=1e-5)
    assert moments[-1].running_score == pytest.approx(whole["score"], abs=1e-5)
    (found,) = track.read(path).tracks
    ends = LENGTH - 1 + STRIDE * np.arange(len(moments))
    np.testing.assert_allclose([m.seconds for m in moments], found.timestamps[ends] / 1e6)
    np.testing.assert_allclose([m.begin for m in moments], found.timestamps[ends - LENGTH + 1] / 1e6)


def test_evidence_adds_up_by_the_calibration(opened, tracks):
    moments = run(opened, tracks / "person00" / "take3.track.npz")
    calibration = running.sequential_test(opened[0].calibration, opened[1], 0.1, 0.1).calibration
    for count, moment in enumerate(moments, start=1):
        scores = np.array([m.window_score for m in moments[:count]])
        assert moment.llr == pytest.approx(calibration.llr(scores)) and moment.windows == count
        assert moment.effective == pytest.approx(calibration.effective(count)) and moment.effective <= count


def test_the_first_bound_decides(opened, tracks):
    test = running.sequential_test(opened[0].calibration, opened[1], 0.4, 0.4)
    decided = set()
    for person in range(6):
        moments = run(opened, tracks / f"person{person:02d}" / "take3.track.npz", fmr=0.4, fnmr=0.4)
        crossed = [m for m in moments if not test.lower < m.llr < test.upper]
        if crossed:
            wanted = "accepted" if crossed[0].llr > 0 else "rejected"
            assert next(m for m in moments if m.decision) is crossed[0] and crossed[0].decision == wanted
            decided.add(wanted)
        else:
            assert not any(m.decision for m in moments)
    assert decided == {"accepted", "rejected"}


def test_another_face_starts_anew(opened, tracks):
    path = tracks / "person00" / "take3.track.npz"
    moments = run(opened, path, new_face=lambda index: 45 if index == 55 else None)
    # Windows end at frames 19, 29, 39, 49; then the new face's first one, of frames 45 to 64.
    assert [m.restarted for m in moments[:5]] == [False] * 4 + [True]
    (found,) = track.read(path).tracks
    assert moments[4].begin == pytest.approx(found.timestamps[45] / 1e6) and moments[4].windows == 1


def test_each_new_face_halves_the_asked_rates(opened, tracks):
    path, test = (
        tracks / "person00" / "take3.track.npz",
        running.sequential_test(opened[0].calibration, opened[1], 0.4, 0.4),
    )
    moments = run(opened, path, fmr=0.4, fnmr=0.4, new_face=lambda index: 45 if index == 55 else None)
    after = moments[[m.restarted for m in moments].index(True) :]
    halved = running.SequentialTest(test.calibration, fmr=0.2, fnmr=0.2)
    crossed = [m for m in after if not halved.lower < m.llr < halved.upper]
    assert [m for m in after if m.decision][:1] == crossed[:1]


def test_a_window_in_which_time_jumps_is_left_out(opened, tmp_path):
    times = np.cumsum(np.where(np.arange(90) == 45, 1_000_000, 40_000))
    seen = running.Seen()
    moments = run(opened, write_track(tmp_path / "pause.track.npz", 0, 7, timestamps=times - times[0]), seen=seen)
    plain = run(opened, write_track(tmp_path / "plain.track.npz", 0, 7))
    assert all(m.seconds - m.begin < 1 for m in moments) and len(moments) + seen.gaps == len(plain) and seen.gaps == 2
    assert any("gap in time" in sentence for sentence in seen.doubts(opened[1].document))


def test_what_is_wrong_with_a_stream_is_said(opened, tmp_path):
    pose = np.tile(np.diag([1, 1, -1, 1]).astype(np.float32), (90, 1, 1))
    seen = running.Seen()
    run(opened, write_track(tmp_path / "odd.track.npz", 0, 7, pose=pose), seen=seen, several=lambda index: index < 45)
    said = " ".join(seen.doubts({**opened[1].document, "training": {"fps": [50.0, 50.0, 50.0]}}))
    assert "extreme pose" in said and "several faces in 50%" in said and "frame rate unlike" in said
    quiet = running.Seen()
    run(opened, write_track(tmp_path / "plain.track.npz", 0, 7), seen=quiet)
    assert list(quiet.doubts(opened[1].document)) == []


def test_lost_frames_make_no_window(opened, tmp_path):
    mask = np.ones(90, bool)
    mask[20:60] = False
    moments = run(opened, write_track(tmp_path / "lost.track.npz", 0, 7, frame_mask=mask))
    # Windows start at 0, 10, ..., 70; wanted 10 of 20 frames.
    valid = [mask[start : start + LENGTH].sum() for start in range(0, 71, STRIDE)]
    assert len(moments) == sum(np.array(valid) >= LENGTH // 2)


def test_it_gives_up_after_a_time(opened, tracks):
    path = tracks / "person00" / "take3.track.npz"
    assert run(opened, path, max_seconds=1.5)[-1].seconds <= 1.5 < run(opened, path)[-1].seconds


def test_without_a_calibration_of_windows_it_is_refused(opened):
    gallery, released = opened
    with pytest.raises(ClaimRefused, match="fingerprint calibrate"):
        running.sequential_test(None, released, 0.01, 0.05)
    line = {**gallery.calibration["calibration"], "window": None}
    with pytest.raises(ClaimRefused, match="fingerprint calibrate"):
        running.sequential_test({**gallery.calibration, "calibration": line}, released, 0.01, 0.05)
    window = {**gallery.calibration["calibration"]["window"], "stride": STRIDE + 1}
    line = {**gallery.calibration["calibration"], "window": window}
    with pytest.raises(ClaimRefused, match="calibrate again"):
        running.sequential_test({**gallery.calibration, "calibration": line}, released, 0.01, 0.05)
