"""Scores with degraded probes against their definition, and what is counted."""

import dataclasses

import numpy as np
import pytest

from fingerprint.verification import error_rates, intervals, protocols
from fingerprint.verification.degraded import Comparison, EmbeddedVideos
from fingerprint.verification.error_rates import DetCurve
from fingerprint.verification.scoring import Scoring, score
from fingerprint.verification.trials import subset

PEOPLE, CLIPS, WINDOWS = 10, 4, 3


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def videos():
    number = PEOPLE * CLIPS
    driver = np.repeat([f"P{i:02d}" for i in range(PEOPLE)], CLIPS)
    ids = np.array([f"v{i:03d}" for i in range(number)])
    constant = {"generator": "ORIG", "corpus": "made up", "sentence": ""}
    return {"video_id": ids, "clip_id": ids, "driver": driver, "target": driver} | {
        name: np.full(number, value) for name, value in constant.items()
    }


@pytest.fixture(scope="module")
def trials(videos):
    """The first two clips of everybody are enrolled, so that not every video is a probe."""
    found = protocols.get("all_pairs")(videos, seed=0, enrolment_clips=1)
    keep = (found.probe_index % CLIPS >= 2) & np.array(
        [found.templates[t][0] % CLIPS < 2 for t in found.template_index]
    )
    return subset(found, keep)


def windows(noise, seed=1, missing=()):
    """Windows around a direction of each person; `missing`: videos without any."""
    centre = np.random.default_rng(0).standard_normal((PEOPLE, 8))
    video = np.repeat(np.arange(PEOPLE * CLIPS), WINDOWS)
    vector = centre[video // CLIPS] + noise * np.random.default_rng(seed).standard_normal((len(video), 8))
    kept = ~np.isin(video, missing)
    return EmbeddedVideos(unit(vector)[kept].astype(np.float32), video[kept])


def comparison(trials, **options):
    probes = np.unique(trials.probe_index)
    return Comparison(
        windows(0.8), PEOPLE * CLIPS, trials, probes, **{"replicates": 50, "seed": 3, "scoring": Scoring(), **options}
    ), probes


def only(found, rows):
    kept = np.isin(found.video, rows)
    return EmbeddedVideos(found.vector[kept], found.video[kept])


def scores_by_hand(trials, reference, probe):
    means = [np.array([f.vector[f.video == v].mean(axis=0) for v in range(PEOPLE * CLIPS)]) for f in (reference, probe)]
    rows = [t[0] for t in trials.templates]
    return np.array(
        [means[0][rows[t]] @ means[1][p] for t, p in zip(trials.template_index, trials.probe_index, strict=True)]
    )


def test_only_probes_are_degraded(trials):
    compare, probes = comparison(trials)
    worse = windows(2.0, seed=2)
    row = compare.degraded(only(worse, probes))
    by_hand = scores_by_hand(trials, windows(0.8), worse)
    wanted = error_rates.DetCurve.from_scores(by_hand, trials.mated)
    assert row["rates"]["auc"]["value"] == pytest.approx(wanted.auc) and row["rates"]["eer"]["value"] == wanted.eer
    assert row["trials"] == len(trials) and row["identities"] == PEOPLE
    clean = scores_by_hand(trials, windows(0.8), windows(0.8))
    who = (trials.mated, trials.reference_driver, trials.probe_driver)
    gap = intervals.paired_difference(by_hand, clean, *who, replicates=50, seed=3, metrics=("auc", "eer"))
    for name in ("auc", "eer"):
        found = row["difference"][name]
        assert [found[key] for key in ("value", "low", "high")] == pytest.approx(
            [gap[name].value, gap[name].low, gap[name].high]
        )
    assert row["difference"]["auc"]["value"] < 0 < row["difference"]["eer"]["value"]


def test_both_sides(trials):
    compare, probes = comparison(trials, both_sides=True)
    worse = windows(2.0, seed=2)
    wanted = error_rates.DetCurve.from_scores(scores_by_hand(trials, worse, worse), trials.mated)
    assert compare.degraded(worse)["rates"]["auc"]["value"] == pytest.approx(wanted.auc)
    assert compare.degraded(worse)["videos"] == len(probes)


def test_unchanged_videos_change_nothing(trials):
    compare, probes = comparison(trials)
    clean, same = compare.clean(), compare.degraded(only(windows(0.8), probes))
    assert clean["rates"] == same["rates"]
    assert {tuple(gap.values()) for gap in same["difference"].values()} == {(0.0, 0.0, 0.0)}
    assert same["similarity"] == {"mean": pytest.approx(1), "low": pytest.approx(1)}
    assert clean["difference"] == {} and clean["similarity"] is None


def test_similarity_is_the_cosine_of_mean_embeddings(trials):
    compare, probes = comparison(trials)
    worse = windows(2.0, seed=2)
    means = [[unit(f.vector[f.video == v].mean(axis=0)) for v in probes] for f in (windows(0.8), worse)]
    cosine = np.einsum("vd,vd->v", *map(np.array, means))
    found = compare.degraded(only(worse, probes))["similarity"]
    assert found["mean"] == pytest.approx(cosine.mean()) and found["low"] == pytest.approx(np.quantile(cosine, 0.05))


def test_lost_videos_are_counted_and_leave_the_rates(trials):
    compare, probes = comparison(trials)
    gone = probes[:5]
    row = compare.degraded(only(windows(2.0, seed=2, missing=gone), probes))
    assert (row["videos"], row["failed"], row["fta"]) == (len(probes), 5, 5 / len(probes))
    assert row["trials"] == int((~np.isin(trials.probe_index, gone)).sum())
    assert row["windows"] == WINDOWS * (len(probes) - 5) and row["difference"]["auc"]["low"] is not None
    none = compare.degraded(EmbeddedVideos(np.zeros((0, 8), np.float32), np.zeros(0, int)))
    assert none["fta"] == 1 and none["rates"] == {} == none["difference"] and none["similarity"] is None
    assert none["reason"]


def test_few_people_give_no_interval(videos, trials):
    few = np.isin(trials.reference_driver, range(7)) & np.isin(trials.probe_driver, range(7))
    compare, probes = comparison(subset(trials, few))
    row = compare.degraded(only(windows(2.0, seed=2), probes))
    assert row["identities"] == 7 and row["rates"]["auc"]["low"] is None and row["difference"]["auc"]["high"] is None


def test_without_trials_the_embeddings_are_compared():
    compare = Comparison(windows(0.8), PEOPLE * CLIPS, None, np.arange(PEOPLE * CLIPS), scoring=Scoring())
    row = compare.degraded(windows(1.0, seed=2))
    assert row["rates"] == {} and "too few people" in row["reason"] and 0 < row["similarity"]["mean"] < 1
    assert compare.clean()["videos"] == PEOPLE * CLIPS


def test_scores_are_those_of_the_models_back_end(trials):
    for scoring in (Scoring(), Scoring(over_windows="max", similarity="squared_euclidean")):
        compare, probes = comparison(trials, scoring=scoring)
        worse = windows(2.0, seed=2)
        found = compare.degraded(only(worse, probes))["rates"]["auc"]["value"]
        clean = windows(0.8)
        vectors = np.concatenate([clean.vector, worse.vector])
        video = np.concatenate([clean.video, worse.video + PEOPLE * CLIPS])
        moved = dataclasses.replace(trials, probe_index=trials.probe_index + PEOPLE * CLIPS)
        by_hand = score(scoring, vectors, video, 2 * PEOPLE * CLIPS, moved)
        assert found == pytest.approx(DetCurve.from_scores(by_hand, trials.mated).auc)
