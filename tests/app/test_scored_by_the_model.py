"""The application scores as the model does: whole videos, single windows, the line at a comparison's quality."""

import types

import numpy as np
import pytest

from fingerprint.app import calibrate, decision, running
from fingerprint.app.gallery import CALIBRATION_FORMAT, Template, create, open_gallery
from fingerprint.errors import ClaimRefused, GalleryError
from fingerprint.verification.cohort import Cohort
from fingerprint.verification.scoring import Scoring

DOCUMENT = {"landmark_set": "a", "normalization": "b", "window": {}}


def unit(count, seed):
    vectors = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def released(**how):
    cohort = Cohort(unit(12, 5), np.arange(12) // 2, (("x", "c"),))
    spec = types.SimpleNamespace(stride=10, resample=0)
    return types.SimpleNamespace(
        scoring=Scoring(**how),
        cohort=cohort,
        digest="c",
        document=DOCUMENT,
        directory="nowhere",
        embedder=types.SimpleNamespace(spec=spec),
    )


def facts(frames, share):
    return {"sha256": f"{frames:064d}", "seconds": frames / 25, "fps": 25.0, "share_with_face": share}


def evidence(windows, seed, frames=100, share=1.0):
    mask = np.arange(frames) < share * frames
    return types.SimpleNamespace(
        vectors=unit(windows, seed),
        start=10 * np.arange(windows),
        sha256=f"{seed + 1000:064d}",
        seconds=frames / 25,
        warnings=(),
        facts=lambda: facts(frames, share),
        track=types.SimpleNamespace(frame_mask=mask),
    )


TEMPLATE = Template("ada", unit(6, 0), np.repeat(np.arange(2, dtype=np.int32), 3), (facts(80, 1.0), facts(40, 0.5)))


def test_a_video_scores_by_the_models_rule():
    probe = unit(4, 1)
    pairs = (TEMPLATE.vectors.astype(np.float64) @ probe.T.astype(np.float64)).reshape(2, 3, 4)
    assert decision.compare(TEMPLATE, probe, released(over_windows="max")) == pytest.approx(
        pairs.max(axis=(1, 2)).mean()
    )
    whole = released(over_windows="max", norm="z")
    against = [
        np.mean([(TEMPLATE.vectors[TEMPLATE.video == row] @ unit(12, 5)[2 * e : 2 * e + 2].T).max() for row in (0, 1)])
        for e in range(6)
    ]
    wanted = (pairs.max(axis=(1, 2)).mean() - np.mean(against)) / np.std(against)
    assert decision.compare(TEMPLATE, probe, whole) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("how", [{}, {"over_windows": "max"}, {"over_windows": "top_k", "norm": "s"}])
def test_windows_are_scored_as_videos_of_one_window(how):
    probe, model = unit(5, 2), released(**how)
    single = decision.window_scores(TEMPLATE, probe, model)
    assert single == pytest.approx([decision.compare(TEMPLATE, probe[row : row + 1], model) for row in range(5)])
    so_far = decision.running_scores(TEMPLATE, probe, model)
    assert so_far == pytest.approx([decision.compare(TEMPLATE, probe[:count], model) for count in range(1, 6)])


def test_the_ratio_is_read_at_the_quality_of_the_comparison():
    point = {"threshold": 0.0, "validation_fmr": 0.0, "validation_fnmr": 0.1, "identities": 20, "false_matches": 40}
    line = {"scale": 5.0, "offset": 1.0, "quality": [2.0, -3.0]}
    given = {"source": "made up", "thresholds": {"eer": point}, "calibration": line}
    for probe, log_frames, share in ((evidence(4, 1, 50), 50, 0.8333), (evidence(4, 1, 400, 0.25), 100, 0.25)):
        verdict = decision.decide(TEMPLATE, probe, released(), given, "eer")
        # The template has 100 of 120 frames, so the second probe has fewer by their share only.
        wanted = 5 * verdict.score + 1 + 2 * np.log(log_frames) - 3 * share
        assert verdict.llr == pytest.approx(wanted, abs=1e-3)


def test_calibration_is_made_by_the_models_rule():
    videos = []
    for row in range(24):
        person = f"person{row // 4}"
        item = evidence(3 + row % 3, 20 + row, frames=60 + 40 * (row % 5), share=(1.0, 0.7, 0.9)[row % 3])
        item.vectors = item.vectors + 2 * unit(1, row // 4)
        item.vectors /= np.linalg.norm(item.vectors, axis=1, keepdims=True)
        videos.append((calibrate.Labelled(None, person, person), item))
    plain, other = (
        calibrate.calibrate(videos, released(**how), source="made up")
        for how in ({}, {"over_windows": "min", "norm": "s", "calibration": "quality"})
    )
    assert plain["calibration"]["quality"] == [] and plain["calibration"]["window"] is not None
    assert len(other["calibration"]["quality"]) == 2 and any(other["calibration"]["quality"])
    assert other["calibration"]["window"] is None
    assert other["thresholds"]["eer"]["threshold"] != plain["thresholds"]["eer"]["threshold"]


def test_a_stream_wants_a_score_that_comes_by_window():
    for how, words in (({"over_windows": "max"}, "highest cosine"), ({"norm": "z"}, "z-norm")):
        with pytest.raises(ClaimRefused, match=f"{words}.*verify without --stream"):
            running.sequential_test(None, released(**how), 0.1, 0.1)
    with pytest.raises(ClaimRefused, match="calibration of single windows"):
        running.sequential_test(None, released(), 0.1, 0.1)


def test_a_gallery_keeps_weights_of_quality_and_refuses_others(tmp_path):
    calibration = {
        "format": CALIBRATION_FORMAT, "source": "x", "model": "c", **DOCUMENT,
        "thresholds": {}, "calibration": {"scale": 1.0, "offset": 0.0, "quality": [0.5, 0.25]},
    }  # fmt: skip
    create(tmp_path / "gallery", released(), calibration)
    assert open_gallery(tmp_path / "gallery").calibration == calibration
    for weights in ([0.5], [0.5, "a"], "ab"):
        damaged = {**calibration, "calibration": {**calibration["calibration"], "quality": weights}}
        with pytest.raises(GalleryError, match="quality"):
            create(tmp_path / "other", released(), damaged)
