"""Several systems over one draw of people: differences, pairing by name, and what the trials must have in common."""

import dataclasses

import numpy as np
import pytest

from fingerprint.errors import RatesError
from fingerprint.verification import intervals, protocols, same_trials
from fingerprint.verification.error_rates import DetCurve
from fingerprint.verification.score_file import ScoreTable
from tests.verification.made_up_videos import reenactments


def table(seed, people=6, strength=1.0, offset=0, **changes):
    """Made-up scores of an all-pairs trial list; people are P<offset> on."""
    videos = reenactments(people + offset, clips=3, targets=1)
    kept = np.isin(videos["driver"], [f"P{number:02d}" for number in range(offset, people + offset)])
    videos = {name: column[kept] for name, column in videos.items()}
    trials = protocols.get("all_pairs")(videos, seed=0, enrolment_clips=1, max_trials=None)
    scores = np.random.default_rng(seed).normal(size=len(trials)) + strength * trials.mated
    return dataclasses.replace(ScoreTable.from_trials(trials, videos["video_id"], scores), **changes)


def plain_rate(found, weight, name):
    """A rate with every trial weighed by the product of its people's weights."""
    of = {person: w for person, w in weight.items()}
    weights = np.array(
        [
            of[found.drivers[r]] * of[found.drivers[p]]
            for r, p in zip(found.reference_driver, found.probe_driver, strict=True)
        ]
    )
    return DetCurve.from_scores(found.scores, found.mated, weights.astype(float)).metric(name)


def test_differences_equal_a_plain_bootstrap_of_people():
    """Two systems, two folds, two seeds each: rates are averaged over seeds and folds within each replicate."""
    systems = {
        "a": [[table(0), table(1)], [table(2, offset=6), table(3, offset=6)]],
        "b": [[table(4, strength=2), table(5, strength=2)], [table(6, offset=6), table(7, offset=6)]],
    }
    found = intervals.paired(systems, replicates=25, seed=3)
    names = [f"P{number:02d}" for number in range(12)]
    rng, rows = np.random.default_rng(3), []
    for _ in range(25):
        weight = dict(zip(names, rng.multinomial(12, np.full(12, 1 / 12)), strict=True))
        mean = [np.mean([[plain_rate(t, weight, "auc") for t in runs] for runs in sets]) for sets in systems.values()]
        rows.append(mean[1] - mean[0])
    difference = found.difference("b", "a", "auc")
    np.testing.assert_allclose([difference.low, difference.high], np.percentile(rows, [2.5, 97.5]), atol=1e-12)
    everybody = dict.fromkeys(names, 1)
    value = [np.mean([[plain_rate(t, everybody, "eer") for t in runs] for runs in sets]) for sets in systems.values()]
    assert found.difference("b", "a", "eer").value == pytest.approx(value[1] - value[0], abs=1e-12)
    assert found.rate("a", "eer").value == pytest.approx(value[0], abs=1e-12)


def test_one_system_of_one_run_has_the_interval_of_its_own_report():
    one = table(0)
    found = intervals.paired({"a": [[one]]}, replicates=50, seed=1).rate("a", "eer")
    own = intervals.bootstrap(
        one.scores, one.mated, one.reference_driver, one.probe_driver, replicates=50, seed=1, metrics=("eer",)
    )["eer"]
    assert (found.low, found.high, found.replicates_used) == (own.low, own.high, own.replicates_used)


def test_identical_systems_differ_by_exactly_nothing():
    found = intervals.paired({"a": [[table(0)]], "b": [[table(0)]]}, replicates=20, seed=0)
    for metric in ("auc", "eer"):
        difference = found.difference("a", "b", metric)
        assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_people_are_paired_by_name_not_by_code():
    """The same scores under other codes, and beside people who are in neither, are the same system."""
    one = table(0)
    order = np.argsort([-ord(name[-1]) for name in one.drivers])
    code = np.append(np.argsort(order), -1).astype(np.int32)
    other = dataclasses.replace(
        one,
        drivers=tuple(one.drivers[i] for i in order),
        reference_driver=code[one.reference_driver],
        probe_driver=code[one.probe_driver],
    )
    found = intervals.paired({"a": [[one]], "b": [[other]]}, replicates=20, seed=0).difference("a", "b", "auc")
    assert (found.low, found.high) == (0.0, 0.0)


def test_a_replicate_without_a_class_counts_for_no_system():
    found = intervals.paired({"a": [[table(0, people=2)]]}, replicates=60, seed=0)
    used = found.rate("a", "auc").replicates_used
    assert used == 60 - int(np.isnan(found.draws["a"]["auc"]).sum()) and 0 < used < 60


def test_other_trials_are_refused_by_name():
    with pytest.raises(RatesError, match=r"test set x: .*found 2 \(one, three: aa; two: bb\)"):
        same_trials.refuse_others({"one": "aa", "two": "bb", "three": "aa"}, "test set x")
    same_trials.refuse_others({"one": "aa", "two": "aa"}, "test set x")


def test_a_trial_that_one_could_not_score_is_left_out_for_all():
    """Tables in another order of trials, templates and videos."""
    one, two = table(0), table(1)
    order = np.random.default_rng(0).permutation(len(two))
    videos = np.random.default_rng(1).permutation(len(two.videos))
    templates = np.random.default_rng(2).permutation(len(two.templates))
    place, rank = np.argsort(videos), np.argsort(templates)
    mixed = dataclasses.replace(
        two,
        scores=two.scores[order],
        mated=two.mated[order],
        videos=tuple(two.videos[i] for i in videos),
        templates=tuple(tuple(place[row] for row in two.templates[i]) for i in templates),
        template_index=rank[two.template_index[order]],
        probe_index=place[two.probe_index[order]],
    )
    lost_one, lost_two = 5, 7
    one.scores[lost_one] = np.nan
    mixed.scores[np.flatnonzero(order == lost_two)] = np.nan
    found = same_trials.scored_by_all([one, mixed])
    assert np.flatnonzero(np.isnan(found[0].scores)).tolist() == [lost_one, lost_two]
    assert sorted(order[np.isnan(found[1].scores)].tolist()) == [lost_one, lost_two]
