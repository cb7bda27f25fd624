"""Which videos a calibration is made from, and what a decision makes of it."""

import math
import types

import numpy as np
import pytest

from fingerprint.app import calibrate, decision
from fingerprint.app.gallery import Template
from fingerprint.errors import ClaimRefused
from fingerprint.verification.scoring import Scoring

PLAIN = types.SimpleNamespace(scoring=Scoring(), cohort=None)


def csv_of(tmp_path, text):
    path = tmp_path / "videos.csv"
    path.write_text(text)
    return path


def test_a_csv_names_files_from_its_own_folder_or_anywhere(tmp_path):
    text = "file,driver,target\na.mp4,ada,\n/far/b.mp4,bob,ada\n\n../c.mp4,cyd,cyd\n"
    found = calibrate.find(csv_of(tmp_path, text))
    assert [str(item.path) for item in found] == [f"{tmp_path}/a.mp4", "/far/b.mp4", f"{tmp_path}/../c.mp4"]
    assert [(item.driver, item.target) for item in found] == [("ada", "ada"), ("bob", "ada"), ("cyd", "cyd")]
    assert calibrate.find(csv_of(tmp_path, "driver,file\nada,a.mp4\n"))[0].target == "ada"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("file,driver\na.mp4,ada\nb.mp4\n", "line 3: 1 cells; wanted 2"),
        ("file,driver\na.mp4,ada,ada\n", "line 2: 3 cells; wanted 2"),
        ("file,driver,target\na.mp4,ada\n", "line 2: 2 cells; wanted 3"),
        ("file,person\na.mp4,ada\n", "wanted file, driver"),
        ("file,file,driver\na.mp4,b.mp4,ada\n", "wanted file, driver"),
        ("", "wanted file, driver"),
        ("file,driver\n", "no video"),
        ("file,driver\na.mp4,../ada\n", "person"),
        ('file,driver\n"a.mp4,ada\n', "not a readable CSV"),
    ],
)
def test_a_csv_of_another_form_is_refused(tmp_path, text, wanted):
    with pytest.raises(ClaimRefused, match=wanted):
        calibrate.find(csv_of(tmp_path, text))


def unit(count, seed):
    vectors = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def template(videos=2):
    kept = tuple({"sha256": f"{row:064d}"} for row in range(videos))
    return Template("ada", unit(3 * videos, 0), np.repeat(np.arange(videos, dtype=np.int32), 3), kept)


def probe(windows):
    return types.SimpleNamespace(vectors=unit(windows, 1), sha256="f" * 64, seconds=2.0, warnings=())


def calibration(**changes):
    point = {"threshold": 0.0, "validation_fmr": 0.0, "validation_fnmr": 0.1, "identities": 20, "false_matches": 40}
    return {
        "source": "made up",
        "thresholds": {"eer": {**point, **changes.pop("point", {})}},
        "calibration": {"scale": 5.0, "offset": 1.0, **changes.pop("line", {})},
        **changes,
    }


def warnings(given, windows=5, videos=2):
    return " ".join(decision.decide(template(videos), probe(windows), PLAIN, given, "eer").warnings)


def test_likelihood_ratios_stay_within_their_bounds():
    score = decision.compare(template(), probe(5).vectors, PLAIN)
    plain = decision.decide(template(), probe(5), PLAIN, calibration(), "eer")
    assert plain.llr == pytest.approx(5 * score + 1) and not plain.warnings
    for sign, bound in ((1, math.log(41)), (-1, -math.log(11))):
        line = {"scale": 0.0, "offset": sign * 222.0, "llr_bounds": [-math.log(11), math.log(41)]}
        held = decision.decide(template(), probe(5), PLAIN, calibration(line=line), "eer")
        assert held.llr == pytest.approx(bound)
        assert f"bounded by the number of development trials: log LR {bound:+.2f}" in held.warnings[0]
    within = decision.decide(template(), probe(5), PLAIN, calibration(line={"llr_bounds": [-50.0, 50.0]}), "eer")
    assert within.llr == pytest.approx(plain.llr) and not within.warnings


def test_few_people_behind_a_calibration_are_said():
    assert "stands on 7 people; fewer than 8" in warnings(calibration(point={"identities": 7}))
    assert "people" not in warnings(calibration(point={"identities": 8}))
    assert "people" not in warnings(calibration(point={"identities": None}))


def test_too_short_is_what_is_shorter_than_the_development_videos():
    known = calibration(evidence={"windows": [6.0, 9.0, 12.0], "enrolment_clips": 1})
    assert "too short: 5 windows" in warnings(known) and "too short" not in warnings(known, windows=6)
    short = calibration(evidence={"windows": [1.0, 1.0, 2.0], "enrolment_clips": 1})
    assert "too short" not in warnings(short, windows=1)
    old = calibration()
    assert "too short: 2 windows" in warnings(old, windows=2) and "too short" not in warnings(old, windows=3)


def test_fewer_enrolled_videos_than_in_development_are_said():
    known = calibration(evidence={"windows": [1.0, 1.0, 2.0], "enrolment_clips": 2})
    assert "enrolled from one video only; the error rates are of people enrolled from 2" in warnings(known, videos=1)
    assert "enrolled from" not in warnings(known, videos=2) and "enrolled from" not in warnings(calibration(), videos=1)


def test_a_stream_without_digest_or_windows_raises_no_doubt():
    enrolled = template()
    assert not list(decision.recording_doubts(enrolled, None, np.zeros(0)))
    assert not list(decision.recording_doubts(enrolled, None, unit(3, 7)))
    assert "perhaps the same" in next(decision.recording_doubts(enrolled, None, enrolled.vectors[:1]))
    assert "this very file" in next(decision.recording_doubts(enrolled, f"{1:064d}", np.zeros(0)))


def test_upper_limits_are_passed_on():
    point = decision.operating_point(calibration(point={"validation_fmr_upper": 0.14}), "eer")
    assert point["fmr_upper"] == 0.14 and point["fnmr_upper"] is None


def test_a_models_calibration_keeps_what_its_evidence_was():
    spec = {"landmark_set": "a", "normalization": "b", "window": {}}
    evidence = {"windows": [1.0, 2.0, 3.0], "enrolment_clips": 1}
    document = {**spec, "thresholds": {}, "calibration": {}, "evidence": evidence}
    released = types.SimpleNamespace(document=document, digest="c")
    assert decision.model_calibration(released)["evidence"] == evidence


def test_a_calibration_says_how_much_its_videos_had():
    counts = [3, 4, 5, 6] * 4
    videos = []
    for row, windows in enumerate(counts):
        label = calibrate.Labelled(None, f"person{row // 4}", f"person{row // 4}")
        item = types.SimpleNamespace(vectors=unit(windows, row), start=10 * np.arange(windows), sha256=f"{row:064d}")
        videos.append((label, item))
    spec = types.SimpleNamespace(stride=10)
    released = types.SimpleNamespace(
        digest="c",
        document={"landmark_set": "a", "normalization": "b", "window": {}},
        embedder=types.SimpleNamespace(spec=spec),
        **vars(PLAIN),
    )
    document = calibrate.calibrate(videos, released, source="made up")
    low, median, high = document["evidence"]["windows"]
    assert 3 <= low < median < high <= 6 and document["evidence"]["enrolment_clips"] == 1
    points = document["thresholds"]["eer"]
    bounds = [-math.log(points["mated"] + 1), math.log(points["non_mated"] + 1)]
    assert document["calibration"]["llr_bounds"] == pytest.approx(bounds)
