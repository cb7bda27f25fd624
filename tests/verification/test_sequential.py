"""Running verification on simulated scores whose dependence is known: the asked error rates hold, sums alone fail."""

import functools
import json
import math
from typing import NamedTuple

import numpy as np
import pytest

from fingerprint.errors import RatesError
from fingerprint.verification import sequential
from fingerprint.verification.sequential import SequentialTest, WindowCalibration, fit_windows

GAP, BETWEEN, PHI = 1.5, 0.1, 0.8  # distance of the classes in standard deviations; share between trials; AR(1)


def simulated(trials, windows, seed, gap=GAP, between=BETWEEN, phi=PHI):
    """Scores [trial, window] around 0.3 with standard deviation 0.1, every second trial mated."""
    rng = np.random.default_rng(seed)
    mated = np.arange(trials) % 2 == 0
    noise = rng.normal(size=(trials, windows))
    for window in range(1, windows):
        noise[:, window] = phi * noise[:, window - 1] + math.sqrt(1 - phi**2) * noise[:, window]
    scores = math.sqrt(between) * rng.normal(size=(trials, 1)) + math.sqrt(1 - between) * noise
    return 0.3 + 0.1 * (scores + gap * (mated[:, None] - 0.5)), mated


def columns(scores, mated):
    trials, windows = scores.shape
    trial = np.repeat(np.arange(trials), windows)
    return scores.ravel(), mated[trial], trial, np.tile(np.arange(windows), trials)


@functools.cache
def fitted():
    return fit_windows(*columns(*simulated(2000, 100, seed=1)), stride=10)


class Path(NamedTuple):
    """A test along a whole video; `windows`: how many the decision took."""

    effective: np.ndarray
    llr: np.ndarray
    decision: str | None
    windows: int | None


def run(test, scores):
    """All windows of a video at once, for speed; the same as pushing them one by one."""
    effective = test.calibration.effective_counts(len(scores))
    llr = effective * np.cumsum(test.calibration.llr_of_windows(scores)) / np.arange(1, len(scores) + 1)
    crossed = np.flatnonzero((llr >= test.upper) | (llr <= test.lower))
    if not len(crossed):
        return Path(effective, llr, None, None)
    first = int(crossed[0])
    return Path(effective, llr, "accept" if llr[first] >= test.upper else "reject", first + 1)


def errors(test, scores, mated):
    """Shares of non-mated trials accepted, of mated ones rejected, and windows to the end of each trial."""
    paths = [run(test, row) for row in scores]
    decisions = np.array([path.decision or "" for path in paths])
    length = np.array([path.windows or scores.shape[1] for path in paths])
    return np.mean(decisions[~mated] == "accept"), np.mean(decisions[mated] == "reject"), length


def independent(scale=1.0, offset=0.0):
    return WindowCalibration(scale, offset, (1.0, 0.0), 1)


def test_the_fit_finds_line_and_correlations():
    found = fitted()
    # log N(s; 0.375, 0.1) - log N(s; 0.225, 0.1) = 15 s - 4.5
    assert found.scale == pytest.approx(15, rel=0.05) and found.offset == pytest.approx(-4.5, rel=0.05)
    lags = np.arange(100)
    known = BETWEEN + (1 - BETWEEN) * PHI**lags
    assert np.abs(np.array(found.correlation) - known).max() < 0.02
    assert found.correlation[60] > 0.07, "evidence must saturate at what trials have in common"
    assert len(found.correlation) == 100 and found.stride == 10


@pytest.mark.parametrize("asked", [0.05, 0.02])
def test_asked_error_rates_hold_where_windows_depend_on_each_other(asked):
    scores, mated = simulated(4000, 200, seed=2)
    margin = 2.6 * math.sqrt(asked / 2000)
    fmr, fnmr, _ = errors(SequentialTest(fitted(), asked, asked), scores, mated)
    assert max(fmr, fnmr) <= asked + margin
    # the same test that takes windows for independent
    naive = WindowCalibration(fitted().scale, fitted().offset, (1.0, 0.0), 10)
    fmr, fnmr, _ = errors(SequentialTest(naive, asked, asked), scores, mated)
    assert min(fmr, fnmr) > 2 * (asked + margin)


def test_decides_sooner_than_a_test_of_fixed_length_with_the_same_errors():
    scores, mated = simulated(4000, 200, seed=3)
    fmr, fnmr, length = errors(SequentialTest(fitted(), 0.05, 0.05), scores, mated)
    llr = fitted().effective_counts(200) * np.cumsum(fitted().llr_of_windows(scores), axis=1) / np.arange(1, 201)
    as_good = [
        window
        for window in range(200)
        if np.mean(llr[~mated, window] >= 0) <= fmr and np.mean(llr[mated, window] < 0) <= fnmr
    ]
    needed = as_good[0] + 1 if as_good else 200
    assert length.mean() < 0.7 * needed


def test_independent_windows_give_walds_own_test():
    gap = 0.4
    test = SequentialTest(independent(10 * gap, -3 * gap), fmr=0.01, fnmr=0.1)
    assert test.upper == pytest.approx(math.log(0.9 / 0.01)) and test.lower == pytest.approx(math.log(0.1 / 0.99))
    scores, mated = simulated(3000, 400, seed=4, gap=gap, between=0, phi=0)
    path = run(test, scores[0])
    assert path.llr == pytest.approx(np.cumsum(test.calibration.llr_of_windows(scores[0])))
    fmr, fnmr, length = errors(test, scores, mated)
    assert fmr <= 0.01 + 2.6 * math.sqrt(0.01 / 1500) and fnmr <= 0.1 + 2.6 * math.sqrt(0.1 / 1500)
    # Wald's average sample number, without the overshoot of about 0.58 standard deviations of a window's ratio
    expected = (0.9 * (test.upper + 0.58 * gap) + 0.1 * test.lower) / (gap**2 / 2)
    assert length[mated].mean() == pytest.approx(expected, rel=0.08)


def test_pushing_one_by_one_equals_running_along():
    scores, _ = simulated(30, 120, seed=5)
    decided = 0
    for row in scores:
        path = run(SequentialTest(fitted(), 0.05, 0.05), row)
        test = SequentialTest(fitted(), 0.05, 0.05)
        states = [test.push(score) for score in row]
        assert [state.llr for state in states] == pytest.approx(path.llr)
        assert [state.effective for state in states] == pytest.approx(path.effective)
        assert states[-1].llr == pytest.approx(fitted().llr(row)) and states[-1].windows == len(row)
        first = next((state.windows for state in states if state.decision), None)
        assert (states[-1].decision, first) == (path.decision, path.windows)
        decided += path.decision is not None
    assert decided > 20


def test_a_decision_stands():
    test = SequentialTest(independent(), 0.05, 0.05)
    assert [test.push(score).decision for score in (1.0, 3.0, -50.0)] == [None, "accept", "accept"]


def test_effective_counts_are_those_of_the_definition():
    calibration = WindowCalibration(1.0, 0.0, (1.0, 0.6, 0.35, 0.2), 5)
    rho = np.array(calibration.correlation)
    for count in (1, 2, 3, 7, 40):
        distance = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
        assert calibration.effective(count) == pytest.approx(count**2 / rho[np.minimum(distance, 3)].sum())
    assert calibration.effective(0) == 0 and calibration.effective(1) == 1
    assert calibration.effective(100_000) == pytest.approx(1 / 0.2, rel=1e-3)
    assert WindowCalibration(1.0, 0.0, (1.0,), 5).effective(50) == pytest.approx(1)


def test_order_of_windows_and_names_of_trials_do_not_matter():
    scores, mated, trial, position = columns(*simulated(40, 30, seed=6))
    whole = fit_windows(scores, mated, trial, position, stride=4)
    order = np.random.default_rng(0).permutation(len(scores))
    moved = fit_windows(scores[order], mated[order], 1000 - 7 * trial[order], position[order] + 3, stride=4)
    assert moved.correlation == pytest.approx(whole.correlation) and moved.scale == pytest.approx(whole.scale)
    wider = fit_windows(2 * scores + 1, mated, trial, position, stride=4)
    assert wider.correlation == pytest.approx(whole.correlation) and wider.scale == pytest.approx(whole.scale / 2)


def test_every_trial_counts_once():
    """Many windows of one odd trial must not draw the line to it."""
    scores, mated, trial, position = columns(*simulated(60, 10, seed=7))
    odd = np.full(2000, 0.2) + 0.01 * np.random.default_rng(0).normal(size=2000)  # a mated trial like non-mated ones
    row = fit_windows(
        np.append(scores, odd), np.append(mated, np.full(2000, True)), np.append(trial, np.full(2000, 60)),
        np.append(position, np.arange(2000)), stride=1,
    )  # fmt: skip
    plain = fit_windows(scores, mated, trial, position, stride=1)
    assert row.scale == pytest.approx(plain.scale, rel=0.2)
    assert len(row.correlation) == len(plain.correlation) == 10


def test_gaps_leave_correlations_as_they_are():
    scores, mated, trial, position = columns(*simulated(1000, 60, seed=8))
    kept = np.random.default_rng(1).random(len(scores)) < 0.9
    thinned = fit_windows(scores[kept], mated[kept], trial[kept], position[kept], stride=1)
    assert thinned.correlation[:6] == pytest.approx(fitted().correlation[:6], abs=0.04)


def test_one_window_a_trial_counts_as_wholly_dependent():
    found = fit_windows(*columns(*simulated(40, 1, seed=9)), stride=1)
    assert found.correlation == (1.0,) and found.effective(10) == pytest.approx(1)
    constant = fit_windows(np.ones(400), *columns(*simulated(40, 10, seed=9))[1:], stride=1)
    assert constant.llr(np.ones(9)) == 0 and constant.effective(10) == pytest.approx(1)


def test_json_returns_the_same_and_damage_is_refused():
    kept = json.loads(json.dumps(fitted().to_dict(), allow_nan=False))
    assert WindowCalibration.from_dict(kept) == fitted()
    for damage in (
        {"format": "something else"},
        {"scale": math.nan},
        {"offset": None},
        {"stride": 0},
        {"correlation": []},
        {"correlation": [0.9, 0.5]},
        {"correlation": [1.0, 0.5, 0.6]},
        {"correlation": [1.0, -0.1]},
        {"correlation": [1.0, math.nan]},
        {"correlation": "x"},
        {"correlation": 3},
    ):
        with pytest.raises(RatesError):
            WindowCalibration.from_dict({**kept, **damage})
    for other in ({}, {"format": kept["format"]}, [], None, "text"):
        with pytest.raises(RatesError, match="window calibration wants"):
            WindowCalibration.from_dict(other)


def test_scores_that_are_no_numbers_are_refused():
    test = SequentialTest(independent(), 0.05, 0.05)
    for call in (test.push, lambda score: fitted().llr([0.1, score])):
        for score in (math.nan, math.inf):
            with pytest.raises(RatesError, match="finite"):
                call(score)
    assert test.push(0.5).windows == 1, "a refused score leaves no trace"


@pytest.mark.parametrize(("fmr", "fnmr"), [(0, 0.1), (0.1, 0), (0.5, 0.5), (1.2, 0.1), (math.nan, 0.1)])
def test_impossible_error_rates_are_refused(fmr, fnmr):
    with pytest.raises(RatesError, match="FMR and FNMR"):
        SequentialTest(independent(), fmr, fnmr)


def test_too_little_to_fit_is_refused():
    scores, mated, trial, position = columns(*simulated(40, 5, seed=10))
    with pytest.raises(RatesError, match="20 mated and 0 non-mated"):
        fit_windows(scores[mated], mated[mated], trial[mated], position[mated], stride=1)
    few = trial < 2 * sequential._LEAST_TRIALS - 1
    with pytest.raises(RatesError, match="10 mated and 9 non-mated"):
        fit_windows(scores[few], mated[few], trial[few], position[few], stride=1)
    with pytest.raises(RatesError, match="0 mated and 0 non-mated"):
        fit_windows(*(np.zeros(0, kind) for kind in (float, bool, int, int)), stride=1)
    with pytest.raises(RatesError, match="stand at a place"):
        fit_windows(scores, mated, trial, np.zeros_like(position), stride=1)
    with pytest.raises(RatesError, match="another class than their trial"):
        fit_windows(scores, mated, trial // 2, np.arange(len(scores)), stride=1)
    with pytest.raises(RatesError, match="wanted, found"):
        fit_windows(scores, mated[:-1], trial, position, stride=1)
