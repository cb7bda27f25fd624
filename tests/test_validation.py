"""Operating points: thresholds with intervals from people, calibration of videos and windows; all of it JSON."""

import dataclasses
import json
import math

import numpy as np
import pytest

from fingerprint import validation
from fingerprint.embed import WindowEmbeddings
from fingerprint.errors import RatesError
from fingerprint.verification import intervals, protocols, scoring
from fingerprint.verification.sequential import WindowCalibration
from tests.sources import make_source

VIDEOS, WINDOWS, STRIDE = 6, 12, 5


def made_up(people, seed=0):
    """Trials of every video with every other, and unit embeddings of windows that lean towards their person."""
    rng = np.random.default_rng(seed)
    driver = np.repeat(np.arange(people), VIDEOS)
    rows = np.arange(people * VIDEOS)
    table = {name: np.array([f"{name}{row}" for row in rows]) for name in ("video_id", "clip_id")}
    table |= {name: np.array([f"P{person:02d}" for person in driver]) for name in ("driver", "target")}
    table |= {name: np.full(len(rows), text) for name, text in (("generator", "ORIG"), ("corpus", "x"))}
    table["sentence"] = np.full(len(rows), "")
    trials = protocols.get("all_pairs")(table, seed=0, enrolment_clips=1)
    videos = rng.normal(size=(people, 24))[driver] + 1.3 * rng.normal(size=(len(rows), 24))
    vectors = np.repeat(videos, WINDOWS, axis=0)
    vectors += rng.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    video, start = np.repeat(rows, WINDOWS), np.tile(STRIDE * np.arange(WINDOWS), len(rows))
    return trials, (vectors.astype(np.float32), video, start, len(rows), trials)


def points_of(people, seed=0, **options):
    trials, windows = made_up(people, seed)
    scores = scoring.score(scoring.Scoring(), windows[0], windows[1], windows[3], trials)
    single = scoring.window_scores(*windows, stride=STRIDE, seed=0)
    who = {"reference_driver": trials.reference_driver, "probe_driver": trials.probe_driver}
    options = {"seed": 3, "windows": single, **who, **options}
    return trials, scores, validation.operating_points(scores, trials.mated, **options)


def test_each_threshold_says_what_is_behind_it():
    trials, scores, points = points_of(12)
    for name in ("eer", "fmr=10%", "fmr=1%"):
        point = points["thresholds"][name]
        accepted = scores >= point["threshold"]
        assert point["false_matches"] == (accepted & ~trials.mated).sum()
        assert point["false_non_matches"] == (~accepted & trials.mated).sum()
        assert point["validation_fmr"] == pytest.approx(point["false_matches"] / (~trials.mated).sum())
        assert (point["identities"], point["mated"] + point["non_mated"]) == (12, len(trials))
        spread = intervals.bootstrap(
            scores, trials.mated, trials.reference_driver, trials.probe_driver, seed=3, metrics=(),
            thresholds={name: point["threshold"]},
        )  # fmt: skip
        for rate in ("fmr", "fnmr"):
            low, high = point[f"validation_{rate}_interval"]
            expected = spread[intervals.threshold_rate_name(rate, name)]
            assert (low, high) == (expected.low, expected.high)
            assert low <= point[f"validation_{rate}"] <= high and low < high
            assert point[f"validation_{rate}_upper"] == high


def test_no_interval_where_people_or_errors_are_too_few():
    _, _, few = points_of(validation._LEAST_IDENTITIES - 1)
    _, _, enough = points_of(validation._LEAST_IDENTITIES)
    point = few["thresholds"]["fmr=10%"]
    assert point["validation_fmr_interval"] is None
    assert point["validation_fmr"] < point["validation_fmr_upper"] <= 1
    assert enough["thresholds"]["fmr=10%"]["validation_fmr_interval"] is not None
    mated = np.arange(400) % 4 == 0
    driver = np.arange(400) % 20
    perfect = validation.operating_points(
        np.where(mated, 0.9, 0.1) + 1e-3 * np.arange(400) / 400,
        mated,
        reference_driver=driver,
        probe_driver=driver,
        seed=0,
    )
    point = perfect["thresholds"]["eer"]
    assert point["validation_fmr"] == 0 and point["validation_fmr_interval"] is None
    # every fourth person, of twenty, is in mated trials alone
    assert point["validation_fmr_upper"] == pytest.approx(1 - 0.05 ** (1 / 15))
    assert point["validation_fnmr_upper"] == pytest.approx(1 - 0.05 ** (1 / 5))
    # apart or not, no ratio beyond what 100 and 300 trials can bear
    assert perfect["calibration"]["llr_bounds"] == pytest.approx([-math.log(101), math.log(301)])
    unknown = np.full(400, -1)
    nobody = validation.operating_points(
        np.random.default_rng(0).normal(size=400), mated, reference_driver=unknown, probe_driver=unknown, seed=0
    )
    assert nobody["thresholds"]["eer"]["identities"] == 0
    assert nobody["thresholds"]["eer"]["validation_fmr_interval"] is None
    assert nobody["thresholds"]["eer"]["validation_fmr_upper"] == 1


def test_the_calibration_places_scores_and_windows():
    trials, scores, points = points_of(12)
    found = points["calibration"]
    assert found["scale"] > 0
    for side, name in ((trials.mated, "mated_quantiles"), (~trials.mated, "non_mated_quantiles")):
        assert found[name][0] == scores[side].min() and found[name][-1] == scores[side].max()
        assert found[name][20] == pytest.approx(np.median(scores[side])) and len(found[name]) == 41
    window = WindowCalibration.from_dict(found["window"])
    assert window.stride == STRIDE and window.scale > 0
    # windows of one video share its embedding, so ever more of them are worth only a few
    assert 1 < window.effective(WINDOWS) < WINDOWS / 2
    assert points_of(12, windows=None)[2]["calibration"]["window"] is None


def test_all_of_it_is_json_and_repeats():
    _, scores, points = points_of(9)
    assert json.loads(json.dumps(points, allow_nan=False)) == points
    assert points_of(9)[2] == points
    assert points_of(9, seed=4)[2]["thresholds"] != points["thresholds"]
    assert np.isfinite(scores).all()


def test_failures_to_acquire_are_left_out():
    trials, windows = made_up(10)
    lost = windows[1] != 3
    scores = scoring.score(scoring.Scoring(), windows[0][lost], windows[1][lost], windows[3], trials)
    who = {"reference_driver": trials.reference_driver, "probe_driver": trials.probe_driver}
    point = validation.operating_points(scores, trials.mated, seed=0, **who)["thresholds"]["eer"]
    assert point["mated"] + point["non_mated"] == np.isfinite(scores).sum() < len(trials)


def test_one_class_alone_is_refused():
    driver = np.arange(20)
    with pytest.raises(RatesError, match="both classes"):
        validation.operating_points(
            np.zeros(20), np.ones(20, bool), reference_driver=driver, probe_driver=driver, seed=0
        )


def test_window_scores_average_to_the_scores_of_their_trials():
    trials, windows = made_up(5)
    order = np.random.default_rng(0).permutation(len(windows[0]))
    mixed = (*(column[order] for column in windows[:3]), *windows[3:])
    found = scoring.window_scores(*mixed, stride=STRIDE, seed=0, most_trials=40)
    chosen = np.unique(found.trial)
    assert np.bincount(trials.mated[chosen].astype(int)).tolist() == [40, 40]
    scores = scoring.score(scoring.Scoring(), windows[0], windows[1], windows[3], trials)
    means = np.bincount(found.trial, found.score)[chosen] / np.bincount(found.trial)[chosen]
    assert means == pytest.approx(scores[chosen], abs=1e-9)
    assert (found.mated == trials.mated[found.trial]).all()
    assert found.position[found.trial == chosen[0]].tolist() == list(range(WINDOWS))
    again = scoring.window_scores(*mixed, stride=STRIDE, seed=0, most_trials=40)
    other = scoring.window_scores(*mixed, stride=STRIDE, seed=1, most_trials=40)
    assert (again.trial == found.trial).all() and (np.unique(other.trial) != chosen).any()


def test_window_scores_leave_out_trials_without_a_window():
    trials, (vectors, video, start, count, _) = made_up(5)
    video = np.where(video == 2, -1, video)
    found = scoring.window_scores(vectors, video, start, count, trials, stride=STRIDE, seed=0)
    scores = scoring.score(scoring.Scoring(), vectors, video, count, trials)
    assert np.isnan(scores).any() and np.isfinite(scores[found.trial]).all() and np.isfinite(found.score).all()
    none = scoring.window_scores(vectors, np.full_like(video, -1), start, count, trials, stride=STRIDE, seed=0)
    assert len(none.score) == len(none.trial) == 0
    assert np.isnan(scoring.score(scoring.Scoring(), vectors, np.full_like(video, -1), count, trials)).all()


def test_records_of_one_video_take_their_places_in_it():
    source = make_source(drivers=4, targets=1, clips=4, frames=20)
    cut = []
    for record in source.records:
        half = {"landmarks": record["landmarks"][:10], "frame_mask": record["frame_mask"][:10]}
        cut += [{**record, **half}, {**record, **half, "window_index": np.int32(1), "start_frame": np.int32(10)}]
    subject = validation.VideoTrials(type(source)(cut), _pairs, scoring=scoring.Scoring())
    vectors = np.random.default_rng(0).normal(size=(len(cut), 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = np.arange(len(cut))
    windows = WindowEmbeddings(vectors, np.ones((len(cut), 10)), rows, np.zeros(len(cut), int), 0.0)
    found = subject.operating_points(windows, stride=10, seed=0)["calibration"]["window"]
    evidence = subject.operating_points(windows, stride=10, seed=0)["evidence"]
    assert evidence == {"windows": [2.0, 2.0, 2.0], "enrolment_clips": 1}
    assert found is not None and len(found["correlation"]) == 2, "the second record is one window after the first"


def _pairs(videos):
    return protocols.get("all_pairs")(videos, seed=0, enrolment_clips=1)


def test_the_points_say_how_much_their_trials_had_to_go_by():
    trials, (_, video, _, count, _) = made_up(5)
    # Video 0 lost all windows, video 1 all but one.
    video = np.where((video == 0) | ((video == 1) & (np.arange(len(video)) % WINDOWS > 0)), -1, video)
    found = validation.evidence_of(video, count, trials)
    probes = np.array([1] + [WINDOWS] * (count - 2))
    assert found == {"windows": np.quantile(probes, (0.05, 0.5, 0.95)).tolist(), "enrolment_clips": 1}
    assert points_of(5, evidence=found)[2]["evidence"] == found
    pairs = dataclasses.replace(trials, templates=tuple((row, (row + 1) % count) for row in range(count)))
    assert validation.evidence_of(video, count, pairs)["enrolment_clips"] == 2
    assert validation.evidence_of(np.full_like(video, -1), count, trials) is None


def test_frame_rates_are_of_videos_and_known_ones():
    metadata = {"video_id": np.array(["a", "a", "a", "b", "c", "d"]), "fps": np.float32([25, 25, 25, 30, 0, 50])}
    assert validation.frame_rates(metadata) == [25, 30, 50]
    assert validation.frame_rates({"video_id": np.array(["a"]), "fps": np.float32([0])}) is None
