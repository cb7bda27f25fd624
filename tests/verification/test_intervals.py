"""The identity bootstrap against a plain one, and what its intervals are worth."""

import dataclasses

import numpy as np
import pytest

from fingerprint.errors import RatesError, UnknownName
from fingerprint.verification import calibration, error_rates, intervals


def population(seed, people=12, each=5, spread=1.0):
    """All pairs of videos; every person is easier or harder to recognise in all their trials alike."""
    rng = np.random.default_rng(seed)
    driver = np.repeat(np.arange(people), each)
    first, second = np.triu_indices(len(driver), 1)
    reference, probe = driver[first].astype(np.int32), driver[second].astype(np.int32)
    mated = reference == probe
    ease = rng.normal(scale=spread, size=people)
    scores = rng.normal(size=len(mated)) + np.where(mated, 1.5 + ease[reference] + ease[probe], 0.0)
    return scores, mated, reference, probe


def weighted_curve(scores, mated, trial):
    """The classes count in plain accuracy as in the sample, whatever the weights."""
    return dataclasses.replace(error_rates.DetCurve.from_scores(scores, mated, trial), share=mated.mean())


def plain_bootstrap(scores, mated, reference, probe, name, replicates, seed):
    rng = np.random.default_rng(seed)
    people = len(np.union1d(reference, probe))
    values = []
    for _ in range(replicates):
        weight = rng.multinomial(people, np.full(people, 1 / people))
        trial = (weight[reference] * weight[probe]).astype(float)
        values.append(weighted_curve(scores, mated, trial).metric(name))
    return np.percentile(values, [2.5, 97.5])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", error_rates.CURVE_METRICS)
def test_equals_weighting_every_trial(name, tied):
    scores, mated, reference, probe = population(0, people=7, each=4)
    scores = np.round(scores, 0 if tied else 12)
    found = intervals.bootstrap(scores, mated, reference, probe, replicates=60, seed=3, metrics=(name,))[name]
    assert found.replicates_used == 60
    np.testing.assert_allclose(
        (found.low, found.high), plain_bootstrap(scores, mated, reference, probe, name, 60, 3), atol=1e-12
    )


@pytest.mark.parametrize("name", error_rates.CURVE_METRICS)
def test_tied_groups_alike_in_mixture_stay_apart(name):
    """Two scores, each given by one mated and one non-mated trial, but of different people."""
    scores, mated = np.repeat([1.0, 2.0, 3.0], 4), np.tile([True, True, False, False], 3)
    reference = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0])
    probe = np.array([0, 0, 1, 2, 1, 1, 2, 0, 2, 2, 0, 1])
    found = intervals.bootstrap(scores, mated, reference, probe, replicates=40, seed=1, metrics=(name,))[name]
    assert found.replicates_used < 40
    rng, values = np.random.default_rng(1), []
    for _ in range(40):
        weight = rng.multinomial(3, np.full(3, 1 / 3))
        trial = (weight[reference] * weight[probe]).astype(float)
        if trial[~mated].any():
            values.append(weighted_curve(scores, mated, trial).metric(name))
    np.testing.assert_allclose((found.low, found.high), np.percentile(values, [2.5, 97.5]), atol=1e-12)


def test_rates_of_sums_equal_weighting_every_trial():
    scores, mated, reference, probe = population(1, people=6, each=4)
    scores[::7] = np.nan
    llr = 2 * scores - 1
    found = intervals.bootstrap(
        scores,
        mated,
        reference,
        probe,
        replicates=40,
        seed=5,
        metrics=("fta",),
        llr=llr,
        thresholds={"eer": 0.8},
    )
    rng, rows = np.random.default_rng(5), []
    failed = np.isnan(scores)
    for _ in range(40):
        weight = rng.multinomial(6, np.full(6, 1 / 6))
        trial = (weight[reference] * weight[probe]).astype(float)
        fmr, fnmr = error_rates.DetCurve.from_scores(scores, mated, trial).fmr_fnmr_at(0.8)
        fta = [np.average(failed[side], weights=trial[side]) for side in (mated, ~mated)]
        rows.append(
            {
                "fta": np.average(failed, weights=trial),
                "cllr": error_rates.cllr(llr, mated, trial),
                "act_dcf": error_rates.act_dcf(llr, mated, weights=trial),
                "fmr@threshold:eer": fmr,
                "fnmr@threshold:eer": fnmr,
                "far@threshold:eer": error_rates.far_frr(fmr, fnmr, *fta)[0],
                "frr@threshold:eer": error_rates.far_frr(fmr, fnmr, *fta)[1],
                "accuracy@threshold:eer": 1 - mated[~failed].mean() * fnmr - (~mated[~failed]).mean() * fmr,
                "balanced_accuracy@threshold:eer": 1 - (fmr + fnmr) / 2,
            }
        )
    assert set(found) == set(rows[0])
    for name, interval in found.items():
        expected = np.percentile([row[name] for row in rows], [2.5, 97.5])
        np.testing.assert_allclose((interval.low, interval.high), expected, atol=1e-12)


def test_reproducible_and_independent_of_trial_order_and_codes():
    scores, mated, reference, probe = population(2)
    first = intervals.bootstrap(scores, mated, reference, probe, replicates=50, seed=1)
    assert first == intervals.bootstrap(scores, mated, reference, probe, replicates=50, seed=1)
    assert first != intervals.bootstrap(scores, mated, reference, probe, replicates=50, seed=2)
    order = np.random.default_rng(0).permutation(len(scores))
    moved = [column[order] for column in (scores, mated, 10 * reference + 3, 10 * probe + 3)]
    assert intervals.bootstrap(*moved, replicates=50, seed=1) == first


def test_identities_give_wider_intervals_than_trials_and_cover():
    """How often intervals from 12 people hold the truth of a population with identity effects."""
    truth = np.mean(
        [error_rates.DetCurve.from_scores(*population(seed, people=60)[:2]).auc for seed in range(100, 120)]
    )
    held = {"identities": 0, "trials": 0}
    for seed in range(60):
        scores, mated, reference, probe = population(seed)
        by_person = intervals.bootstrap(scores, mated, reference, probe, replicates=200, seed=0, metrics=("auc",))[
            "auc"
        ]
        rng, values = np.random.default_rng(0), []
        for _ in range(60):
            counts = np.bincount(rng.integers(len(scores), size=len(scores)), minlength=len(scores)).astype(float)
            values.append(error_rates.DetCurve.from_scores(scores, mated, counts).auc)
        low, high = np.percentile(values, [2.5, 97.5])
        assert by_person.high - by_person.low > high - low
        held["identities"] += by_person.low <= truth <= by_person.high
        held["trials"] += low <= truth <= high
    assert held["trials"] <= 40
    assert held["identities"] >= 48


def test_paired_difference():
    scores, mated, reference, probe = population(3)
    trials = (mated, reference, probe)
    for difference in intervals.paired_difference(scores, scores, *trials, replicates=30, seed=0).values():
        assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
        assert difference.replicates_used == 30
    better = scores + 0.3 * mated
    found = intervals.paired_difference(better, scores, *trials, replicates=200, seed=0, metrics=("auc",))["auc"]
    curves = [error_rates.DetCurve.from_scores(s, mated).auc for s in (better, scores)]
    assert found.value == pytest.approx(curves[0] - curves[1])
    assert 0 < found.low < found.value < found.high
    single = intervals.bootstrap(scores, *trials, replicates=200, seed=0, metrics=("auc",))["auc"]
    assert found.high - found.low < (single.high - single.low) / 2


def test_paired_difference_uses_what_both_scored():
    scores, mated, reference, probe = population(4)
    other = scores.copy()
    other[::3] = np.nan
    found = intervals.paired_difference(scores, other, mated, reference, probe, replicates=10, seed=0)
    assert all(difference.value == 0 for difference in found.values())


def test_replicates_without_a_class_are_counted():
    mated = np.array([True, True, False, False])
    people = np.array([0, 1, 0, 1]), np.array([0, 1, 1, 0])
    found = intervals.bootstrap(np.array([1.0, 2, 0, 1]), mated, *people, replicates=200, seed=0, metrics=("auc",))[
        "auc"
    ]
    assert 60 < found.replicates_used < 140  # both people are drawn in half of the replicates
    alone = np.array([0, 0]), np.array([0, 0])
    lone = intervals.bootstrap(np.array([1.0, 0]), mated[1:3], *alone, replicates=5, seed=0, metrics=("auc",))["auc"]
    assert lone.replicates_used == 5


def test_unknown_drivers_keep_their_weight():
    scores, mated, reference, probe = population(5, people=4)
    unknown = np.full(3, -1, np.int32)
    found = intervals.bootstrap(
        np.append(scores, [np.nan] * 3),
        np.append(mated, [True, False, False]),
        np.append(reference, unknown),
        np.append(probe, unknown),
        replicates=30,
        seed=0,
        metrics=("auc", "fta"),
    )
    assert found["auc"] == intervals.bootstrap(scores, mated, reference, probe, replicates=30, seed=0)["auc"]
    assert 0 < found["fta"].low < 3 / len(scores) < found["fta"].high < 0.1


def test_wrong_input_raises():
    scores, mated, reference, probe = population(6, people=3)
    with pytest.raises(UnknownName, match="min_cllr"):
        intervals.bootstrap(scores, mated, reference, probe, seed=0, metrics=("err",))
    with pytest.raises(RatesError, match="no mated"):
        intervals.bootstrap(scores, np.zeros_like(mated), reference, probe, seed=0)
    with pytest.raises(RatesError, match="same trials"):
        intervals.paired_difference(scores, scores[1:], mated, reference, probe, seed=0)
    with pytest.raises(RatesError, match="driver"):
        intervals.bootstrap(scores, mated, reference[1:], probe[1:], seed=0)


def test_calibrated_llr_adds_intervals():
    scores, mated, reference, probe = population(7)
    llr = calibration.fit_linear(scores, mated).llr(scores)
    found = intervals.bootstrap(scores, mated, reference, probe, replicates=100, seed=0, llr=llr)
    assert found["cllr"].low < error_rates.cllr(llr, mated) < found["cllr"].high
    assert set(error_rates.LLR_METRICS) < set(found)


@pytest.mark.parametrize("people", [1, 5, 24, 400])
def test_the_upper_limit_without_errors_is_the_rule_of_three_on_people(people):
    driver = np.repeat(np.arange(people), 7)
    found = intervals.upper_limit(np.zeros(len(driver), bool), driver, driver)
    assert found == pytest.approx(1 - 0.05 ** (1 / people))
    wrong = np.ones(len(driver), bool)
    assert intervals.upper_limit(wrong, driver, driver) == 1


def test_the_upper_limit_counts_people_with_errors():
    reference, probe = np.array([0, 0, 1, 2, 3, 4, 5, 6, 7, 8]), np.array([1, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    wrong = np.zeros(10, bool)
    wrong[:2] = True
    # Clopper and Pearson: two of ten; the chance of at most two errors is 5 % at 0.5069.
    assert intervals.upper_limit(wrong, reference, probe) == pytest.approx(0.5069, abs=1e-4)
    assert intervals.upper_limit(np.zeros(0, bool), np.zeros(0, int), np.zeros(0, int)) == 1


def test_the_upper_limit_holds_for_people_who_differ():
    """No error seen among 12 people: of rates above the limit, at most 5 % of draws look so."""
    rng = np.random.default_rng(0)
    driver = np.repeat(np.arange(12), 10)
    covered = []
    for _ in range(1000):
        prone = rng.random(12) < 0.2
        rate = 0.2 * 0.5
        wrong = (prone[driver]) & (rng.random(len(driver)) < 0.5)
        covered.append(intervals.upper_limit(wrong, driver, driver) >= rate)
    assert np.mean(covered) > 0.95
