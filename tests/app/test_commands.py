"""Enrol, verify, identify and calibrate, on track files of made-up faces."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from made_up import LENGTH, save_model, write_track

from fingerprint.app import commands, console, decision
from fingerprint.app import gallery as galleries
from fingerprint.errors import ClaimRefused, FingerprintError, GalleryError

HOW = commands.Acquisition(fps=None, tracks=None, landmark_model=None, processes=1, quiet=True)


def verify(path, claim, gallery, at="eer", how=HOW, report=None):
    return commands.verify(path, claim, gallery, None, at=at, report=report, pictures=False, how=how)


def test_the_right_person_scores_higher(gallery, tracks):
    scores = {
        claim: verify(tracks / "person00" / "take3.track.npz", claim, gallery)["score"]
        for claim in ("ada", "bob", "cyd")
    }
    assert scores["ada"] > max(scores["bob"], scores["cyd"])


def test_the_score_is_that_of_evaluation(gallery, tracks):
    """Mean cosine over all pairs of windows, computed here from the definition."""
    path = tracks / "person01" / "take2.track.npz"
    found = verify(path, "bob", gallery)
    opened, released = commands._open(gallery, None)
    template = opened.template("bob")
    (probe,) = commands._evidence([path], released, HOW)
    by_video = [(template.vectors[template.video == row] @ probe.vectors.T).mean() for row in (0, 1)]
    assert found["score"] == pytest.approx(np.mean(by_video), abs=1e-6)
    assert np.mean(found["window_scores"]) == pytest.approx(found["score"], abs=1e-6)
    calibration = opened.calibration["calibration"]
    line = calibration["scale"] * found["score"] + calibration["offset"]
    assert found["llr"] == pytest.approx(np.clip(line, *calibration["llr_bounds"]))


def test_decision_follows_the_threshold(gallery, tracks):
    found = verify(tracks / "person00" / "take2.track.npz", "ada", gallery)
    assert found["decision"] == ("accepted" if found["score"] >= found["threshold"]["value"] else "rejected")
    low, high = found["threshold"]["fmr_interval"]
    assert 0 <= low <= found["threshold"]["fmr"] <= high <= 1
    point = {**found["threshold"]}
    template = galleries.open_gallery(gallery).template("ada")
    calibration = json.loads(json.dumps(galleries.open_gallery(gallery).calibration))
    _, released = commands._open(gallery, None)
    (probe,) = commands._evidence([tracks / "person00" / "take2.track.npz"], released, HOW)
    for value, wanted in ((found["score"], "accepted"), (np.nextafter(found["score"], 2), "rejected")):
        calibration["thresholds"]["eer"]["threshold"] = value
        assert decision.decide(template, probe, released, calibration, "eer").decision == wanted
    assert point["name"] == "eer"


def test_without_a_threshold_nothing_is_decided(tmp_path, tracks, model):
    folder = tmp_path / "gallery"
    commands.enroll("ada", [tracks / "person00" / "take0.track.npz"], folder, model, add=False, how=HOW)
    found = verify(tracks / "person00" / "take1.track.npz", "ada", folder)
    assert found["decision"] == "undecided" and found["llr"] is None and found["threshold"] is None
    assert any("fingerprint calibrate" in sentence for sentence in found["warnings"])


def test_unknown_person_model_point_and_video_are_refused(gallery, tracks, tmp_path):
    path = tracks / "person00" / "take2.track.npz"
    with pytest.raises(GalleryError, match="eve is not enrolled.*ada, bob, cyd"):
        verify(path, "eve", gallery)
    other = save_model(tmp_path / "other", seed=5)
    with pytest.raises(GalleryError, match="another model"):
        commands.verify(path, "ada", gallery, other, at="eer", report=None, pictures=False, how=HOW)
    with pytest.raises(ClaimRefused, match="no threshold 'fmr=7%'.*eer"):
        verify(path, "ada", gallery, at="fmr=7%")
    with pytest.raises(FingerprintError, match="nothere"):
        verify(tmp_path / "nothere.track.npz", "ada", gallery)


def test_a_folder_or_a_moved_model_is_said(gallery, tracks, tmp_path):
    with pytest.raises(FingerprintError, match="this is a folder"):
        verify(tracks, "ada", gallery)
    folder = tmp_path / "gallery"
    shutil.copytree(gallery, folder)
    document = json.loads((folder / "gallery.json").read_text())
    (folder / "gallery.json").write_text(json.dumps({**document, "model_path": str(tmp_path / "gone")}))
    with pytest.raises(FingerprintError, match="--model says where it is now"):
        verify(tracks / "person00" / "take2.track.npz", "ada", folder)


def test_a_bad_file_ends_an_enrolment_before_the_work(gallery, tracks, tmp_path, monkeypatch):
    (tmp_path / "notes.mp4").write_bytes(b"no video at all")
    monkeypatch.setattr(commands, "_evidence", lambda *_: pytest.fail("videos were extracted first"))
    with pytest.raises(FingerprintError, match="notes.mp4"):
        commands.enroll(
            "anna", [tracks / "person00" / "take3.track.npz", tmp_path / "notes.mp4"], gallery, None, add=True, how=None
        )


def test_too_short_a_clip_gets_no_score(gallery, tmp_path):
    path = write_track(tmp_path / "short.track.npz", 0, 9, frames=LENGTH - 1)
    with pytest.raises(ClaimRefused, match=f"no window of {LENGTH} frames"):
        verify(path, "ada", gallery)


def test_a_video_without_a_face_gets_no_score(gallery, tmp_path):
    path = write_track(tmp_path / "empty.track.npz", 0, 9, frames=60, frame_mask=np.zeros(60, bool))
    with pytest.raises(ClaimRefused, match="no face"):
        verify(path, "ada", gallery)


def _turned(frames, degrees):
    angle = np.radians(degrees)
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    return np.tile(pose, (frames, 1, 1))


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"frames": 25}, "too short: one window"),
        ({"pose": _turned(90, 40)}, "extreme pose"),
        ({"several": np.arange(90) < 45}, "several faces in 50%"),
        ({"frame_mask": np.arange(90) % 3 > 0}, "only 67% of the frames"),
        ({"timestamps": np.cumsum(np.where(np.arange(90) % 4, 1, 3)) * 20_000}, "frame rate varies"),
    ],
)
def test_what_is_wrong_with_a_video_is_said(gallery, tmp_path, changes, warning):
    found = verify(write_track(tmp_path / "odd.track.npz", 0, 7, **{"frames": 90, **changes}), "ada", gallery)
    assert any(warning in sentence for sentence in found["warnings"]), found["warnings"]
    plain = verify(write_track(tmp_path / "plain.track.npz", 0, 7), "ada", gallery)
    assert not any(warning in sentence for sentence in plain["warnings"])


def test_frame_rate_unlike_the_training_data(tmp_path, tracks):
    folder, path = tmp_path / "gallery", write_track(tmp_path / "fast.track.npz", 0, 7, fps=60.0)
    trained = save_model(tmp_path / "model", training={"fps": [24.0, 25.0, 30.0]})
    commands.enroll("ada", [tracks / "person00" / "take0.track.npz"], folder, trained, add=False, how=HOW)
    found = verify(path, "ada", folder)
    assert any("24 to 30; --fps 25 resamples" in sentence for sentence in found["warnings"])
    resampled = verify(path, "ada", folder, how=dataclasses.replace(HOW, fps=25.0))
    assert resampled["evidence"]["fps"] == 25.0
    assert not any("frame rate" in sentence for sentence in resampled["warnings"])


def test_the_enrolled_clip_itself_proves_nothing(gallery, tracks, tmp_path):
    found = verify(tracks / "person00" / "take0.track.npz", "ada", gallery)
    assert any("this very file was enrolled" in sentence for sentence in found["warnings"])
    renamed = write_track(
        tmp_path / "again.track.npz", 0, 0, frames=80, provenance={"file": "again.mp4", "sha256": "7" * 64}
    )
    found = verify(renamed, "ada", gallery)
    assert any("perhaps the same recording" in sentence for sentence in found["warnings"])


def test_identify_finds_the_driver(gallery, tracks):
    found = commands.identify(tracks / "person02" / "take3.track.npz", gallery, None, at="eer", top=2, how=HOW)
    assert found["candidates"][0]["name"] == "cyd" and len(found["candidates"]) == 2
    assert found["driver"] == ("cyd" if found["decision"] == "accepted" else None)
    upper = found["threshold"]["fmr_upper"]
    assert upper > found["threshold"]["fmr"] and found["false_positive_bound"] == pytest.approx(min(1, 3 * upper))


def test_nobody_is_named_below_the_threshold(gallery, tracks, tmp_path):
    folder = tmp_path / "strict"
    shutil.copytree(gallery, folder)
    opened = galleries.open_gallery(folder)
    document = json.loads(json.dumps(opened.calibration))
    document["thresholds"]["eer"]["threshold"] = 1.5
    opened.set_calibration(document)
    found = commands.identify(tracks / "person02" / "take3.track.npz", folder, None, at="eer", top=5, how=HOW)
    assert found["decision"] == "rejected" and found["driver"] is None


def test_a_calibration_can_be_taken_back(tmp_path, tracks, model):
    folder = tmp_path / "gallery"
    commands.enroll("ada", [tracks / "person00" / "take0.track.npz"], folder, model, add=False, how=HOW)
    with pytest.raises(ClaimRefused, match="brings no thresholds"):
        commands.reset_calibration(folder, None)


def test_calibration_warns_of_enrolled_people(gallery, tracks, tmp_path):
    folder = tmp_path / "gallery"
    shutil.copytree(gallery, folder)
    listing = tmp_path / "videos.csv"
    lines = [
        f"{tracks / f'person{person:02d}' / f'take{take}.track.npz'},{'ada' if person == 0 else f'p{person}'}"
        for person in range(12)
        for take in range(4)
    ]
    listing.write_text("\n".join(["file,driver", *lines]))
    found = commands.calibrate(listing, folder, None, source="here", how=HOW)
    assert found["people"] == 12 and found["videos"] == 48
    assert any("enrolled themselves: ada" in sentence for sentence in found["warnings"])
    assert galleries.open_gallery(folder).calibration_id == found["calibration"]


@pytest.mark.parametrize("content", ["", "file\nx.mp4\n", "file,driver,more\na,b,c\n", "file,driver\n"])
def test_a_bad_list_of_videos_is_refused(gallery, tmp_path, content):
    (tmp_path / "videos.csv").write_text(content)
    with pytest.raises(ClaimRefused):
        commands.calibrate(tmp_path / "videos.csv", gallery, None, source="x", how=HOW)


def test_one_person_cannot_calibrate(gallery, tracks, tmp_path):
    shutil.copytree(tracks / "person05", tmp_path / "own" / "person05")
    with pytest.raises(FingerprintError, match="two drivers"):
        commands.calibrate(tmp_path / "own", gallery, None, source="x", how=HOW)


def test_links_out_of_the_calibration_folder_are_refused(gallery, tracks, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "eve").symlink_to(tracks / "person05")
    with pytest.raises(ClaimRefused, match="leads to"):
        commands.calibrate(tmp_path / "own", gallery, None, source="x", how=HOW)


def test_impostors_who_wear_the_face_make_the_trials(gallery, tracks, tmp_path):
    folder = tmp_path / "gallery"
    shutil.copytree(gallery, folder)
    rows = ["file,driver,target"]
    for person in range(6):
        for take in range(4):
            shown = person if take < 2 else (person + take) % 6
            rows.append(f"{tracks / f'person{person:02d}' / f'take{take}.track.npz'},p{person},p{shown}")
    (tmp_path / "videos.csv").write_text("\n".join(rows))
    found = commands.calibrate(tmp_path / "videos.csv", folder, None, source="avatars", how=HOW)
    assert found["protocol"] == "claimed_target"


def test_report_is_a_page(gallery, tracks, tmp_path):
    page = tmp_path / "out.html"
    verify(tracks / "person00" / "take2.track.npz", "ada", gallery, report=page)
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>") and "ada" in text and "http" not in text.split("</style>")[1]


def test_what_the_disk_refuses_is_a_sentence(capsys):
    console.fail(PermissionError(13, "Permission denied", "/read/only"), as_json=True)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"]["message"] == "/read/only: Permission denied"
    assert "Errno" not in printed.err


def test_the_command_line(fingerprint, gallery, tracks):
    probe = tracks / "person00" / "take2.track.npz"
    said = fingerprint("verify", probe, "--claim", "ada", "--gallery", gallery, "--at", "eer", "--json").json
    code = {"accepted": 0, "rejected": 3}[said["decision"]]
    assert code == 0, said["score"]
    plain = fingerprint("verify", probe, "--claim", "ada", FINGERPRINT_GALLERY=str(gallery), expect=code)
    assert f"{said['score']:.4f}" in plain.out and "threshold" in plain.out
    refused = fingerprint("verify", probe, "--claim", "eve", "--gallery", gallery, "--json", expect=1)
    assert refused.json["error"]["type"] == "GalleryError" and "eve" in refused.err
    fingerprint("verify", probe, expect=2)
    listed = fingerprint("gallery", "list", "--gallery", gallery, "--json").json
    assert [person["name"] for person in listed["people"]] == ["ada", "bob", "cyd"]
    assert "landmark_set" in fingerprint("gallery", "info", "--gallery", gallery).out


def test_forgetting_a_person(fingerprint, gallery, tmp_path):
    folder = tmp_path / "gallery"
    shutil.copytree(gallery, folder)
    fingerprint("gallery", "remove", "bob", "--gallery", folder)
    assert [p["name"] for p in fingerprint("gallery", "list", "--gallery", folder, "--json").json["people"]] == [
        "ada",
        "cyd",
    ]
    fingerprint("gallery", "remove", "bob", "--gallery", folder, expect=1)


def test_help_is_quick_and_loads_nothing_heavy():
    import subprocess
    import sys

    script = (
        "import sys\nfrom fingerprint.app import cli\n"
        "print([n for n in ('jax', 'mediapipe', 'matplotlib', 'tensorflow', 'av') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
