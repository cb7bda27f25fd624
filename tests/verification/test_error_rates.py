"""Error rates against their definitions, written out in quadratic time."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fingerprint.errors import RatesError, UnknownName
from fingerprint.verification import error_rates
from fingerprint.verification.error_rates import DetCurve

few_values = st.sampled_from([-2.0, -0.5, 0.0, 0.1, 0.3, 1.0, 7.5])


@st.composite
def scored(draw, most=12):
    count = draw(st.integers(2, most))
    scores = draw(st.lists(st.one_of(few_values, st.floats(-3, 3, width=32)), min_size=count, max_size=count))
    mated = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    mated[0], mated[1] = True, False
    return np.array(scores), np.array(mated)


def points(scores, mated):
    """(FMR, FNMR, threshold) of every threshold that makes a difference, lowest first."""
    thresholds = [*sorted(set(scores.tolist())), np.inf]
    return [(np.mean(scores[~mated] >= t), np.mean(scores[mated] < t), t) for t in thresholds]


def brute_eer(curve):
    for (fmr, fnmr), (next_fmr, next_fnmr) in itertools.pairwise(curve):
        if fmr - fnmr >= 0 >= next_fmr - next_fnmr:
            share = (fmr - fnmr) / ((fmr - fnmr) - (next_fmr - next_fnmr))
            return fmr + share * (next_fmr - fmr)
    raise AssertionError


def brute_hull_eer(curve):
    """On the hull, the crossing is the lowest one of any chord between two points."""
    found = 1.0
    for (a_fmr, a_fnmr), (b_fmr, b_fnmr) in itertools.product(curve, curve):
        above, below = a_fmr - a_fnmr, b_fmr - b_fnmr
        if above >= 0 >= below:
            share = above / (above - below) if above > below else 0.0
            found = min(found, a_fmr + share * (b_fmr - a_fmr))
    return found


def brute_isotonic(scores, mated):
    """Share of mated trials by the max-min formula of isotonic regression, one value a trial."""
    values = sorted(set(scores.tolist()))

    def mean(low, high):
        return np.mean(mated[(scores >= low) & (scores <= high)])

    return np.array(
        [max(min(mean(low, high) for high in values if high >= s) for low in values if low <= s) for s in scores]
    )


@settings(deadline=None, max_examples=200)
@given(scored())
def test_every_rate_equals_its_definition(trials):
    scores, mated = trials
    curve, found = DetCurve.from_scores(scores, mated), points(scores, mated)
    pairs = [(fmr, fnmr) for fmr, fnmr, _ in found]
    np.testing.assert_allclose(curve.fmr, [fmr for fmr, _ in pairs])
    np.testing.assert_allclose(curve.fnmr, [fnmr for _, fnmr in pairs])
    assert curve.eer == pytest.approx(brute_eer(pairs))
    assert curve.eer_rocch == pytest.approx(brute_hull_eer(pairs))
    wins = [(m > n) + 0.5 * (m == n) for m in scores[mated] for n in scores[~mated]]
    assert curve.auc == pytest.approx(np.mean(wins))
    assert curve.min_dcf() == pytest.approx(min(0.99 * fmr + 0.01 * fnmr for fmr, fnmr in pairs) / 0.01)
    assert curve.min_dcf(0.5, 1, 3) == pytest.approx(min(1.5 * fmr + 0.5 * fnmr for fmr, fnmr in pairs) / 0.5)
    posterior = brute_isotonic(scores, mated)
    ratio = np.sum(mated) / np.sum(~mated)
    with np.errstate(divide="ignore"):
        llr = np.log(posterior) - np.log1p(-posterior) - np.log(ratio)
    assert curve.min_cllr == pytest.approx(error_rates.cllr(llr, mated), abs=1e-12)


@settings(deadline=None, max_examples=200)
@given(scored(), st.one_of(st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3, 1 / 3, 0.5, 0.7, 1.0]), st.floats(0, 1)))
def test_threshold_meets_the_fmr_and_is_the_tightest(trials, fmr):
    scores, mated = trials
    curve = DetCurve.from_scores(scores, mated)
    threshold = curve.threshold_at_fmr(fmr)
    assert np.isfinite(threshold)
    assert np.mean(scores[~mated] >= threshold) <= fmr
    assert np.mean(scores[mated] < threshold) == pytest.approx(curve.fnmr_at_fmr(fmr))
    assert curve.fnmr_at_fmr(fmr) == pytest.approx(min(f for got, f, _ in points(scores, mated) if got <= fmr))
    lower = scores[scores < threshold]
    if len(lower):
        assert np.mean(scores[~mated] >= lower.max()) > fmr
    assert curve.fmr_fnmr_at(threshold) == (
        pytest.approx(np.mean(scores[~mated] >= threshold)),
        pytest.approx(np.mean(scores[mated] < threshold)),
    )


@settings(deadline=None)
@given(scored(), st.data())
def test_weights_equal_repetition(trials, data):
    scores, mated = trials
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(scores), max_size=len(scores))))
    weights[:2] += 1
    weighted = DetCurve.from_scores(scores, mated, weights.astype(float))
    repeated = DetCurve.from_scores(np.repeat(scores, weights), np.repeat(mated, weights))
    for name in error_rates.CURVE_METRICS:
        assert weighted.metric(name) == repeated.metric(name)
    assert weighted.threshold_at_fmr(0.1) == repeated.threshold_at_fmr(0.1)
    args = np.repeat(scores, weights), np.repeat(mated, weights)
    assert error_rates.cllr(scores, mated, weights) == pytest.approx(error_rates.cllr(*args))
    assert error_rates.act_dcf(scores, mated, weights=weights) == pytest.approx(error_rates.act_dcf(*args))


@settings(deadline=None)
@given(scored(40), st.randoms(use_true_random=False))
def test_order_increasing_maps_and_class_exchange_change_nothing(trials, random):
    scores, mated = trials
    curve = DetCurve.from_scores(scores, mated)
    order = list(range(len(scores)))
    random.shuffle(order)
    groups = np.unique(scores)
    variants = [(scores[order], mated[order]), (np.searchsorted(groups, scores) ** 3.0, mated)]
    for variant in variants:
        again = DetCurve.from_scores(*variant)
        for name in error_rates.CURVE_METRICS:
            assert again.metric(name) == curve.metric(name)
    exchanged = DetCurve.from_scores(-scores, ~mated)
    assert exchanged.eer == pytest.approx(curve.eer)
    assert exchanged.eer_rocch == pytest.approx(curve.eer_rocch)
    assert exchanged.auc == pytest.approx(curve.auc)
    assert curve.eer_rocch <= curve.eer + 1e-12


@pytest.mark.parametrize("reverse", [False, True])
def test_constant_scores_are_chance(reverse):
    mated = np.arange(50) < 7
    curve = DetCurve.from_scores(np.full(50, 0.3), mated[::-1] if reverse else mated)
    assert (curve.eer, curve.eer_rocch, curve.auc, curve.min_dcf(), curve.min_cllr) == (
        0.5,
        0.5,
        0.5,
        1.0,
        1.0,
    )
    assert curve.fnmr_at_fmr(0.1) == 1.0
    assert curve.warnings == ()


def test_fmr_that_can_be_met_exactly_is_met():
    for count in range(1, 130):
        scores = np.append(np.arange(count, dtype=float), 0.5)
        curve = DetCurve.from_scores(scores, np.arange(count + 1) == count)
        for accepted in range(count + 1):
            point = curve.point_at_fmr(accepted / count)
            assert curve.non_mated - curve.non_mated_below[point] == accepted
            below = np.nextafter(accepted / count, -1)
            if accepted:
                point = curve.point_at_fmr(below)
                assert curve.non_mated - curve.non_mated_below[point] == accepted - 1


def test_inverted_scores_warn():
    mated = np.array([True, False, True, False])
    curve = DetCurve.from_scores(np.array([0.0, 1.0, 0.1, 2.0]), mated)
    assert curve.eer == 1.0
    assert len(curve.warnings) == 1 and "below 0.5" in curve.warnings[0]


def test_nan_scores_are_left_out_and_counted():
    scores, mated = (
        np.array([0.9, np.nan, 0.1, np.nan, np.nan, 0.2]),
        np.array([True, True, False, False, False, False]),
    )
    assert DetCurve.from_scores(scores, mated).eer == 0.0
    assert error_rates.fta(scores, mated) == (0.5, 0.5)
    assert error_rates.far_frr(0.1, 0.2, 0.5, 0.25) == (pytest.approx(0.075), pytest.approx(0.6))


@pytest.mark.parametrize(
    ("scores", "mated", "words"),
    [
        ([0.1, 0.2], [True, True], "non-mated weight 0"),
        ([0.1, 0.2], [False, False], "mated weight 0"),
        ([0.1, np.nan], [True, False], "non-mated weight 0"),
        ([np.nan, np.nan], [True, False], "none of 2"),
        ([], [], "none of 0"),
        ([0.1, np.inf], [True, False], "1 of 2 scores are infinite"),
        ([0.1], [True, False], r"\(1,\), \(2,\)"),
    ],
)
def test_scores_without_an_answer_raise(scores, mated, words):
    with pytest.raises(RatesError, match=words):
        DetCurve.from_scores(np.array(scores, float), np.array(mated, bool))


def test_wrong_arguments_raise():
    with pytest.raises(RatesError, match="dtype bool"):
        DetCurve.from_scores(np.array([0.1, 0.2]), np.array([1, 0]))
    curve = DetCurve.from_scores(np.array([0.0, 1.0]), np.array([False, True]))
    with pytest.raises(UnknownName, match="eer_rocch"):
        curve.metric("err")
    with pytest.raises(RatesError, match="between 0 and 1"):
        curve.fnmr_at_fmr(1.1)
    with pytest.raises(RatesError, match="p_target"):
        curve.min_dcf(p_target=0)
    with pytest.raises(RatesError, match="both classes"):
        error_rates.cllr(np.array([1.0]), np.array([True]))


def test_llr_rates_of_known_cases():
    rng = np.random.default_rng(0)
    mated = np.arange(40_000) % 2 == 0
    ideal = rng.normal(
        np.where(mated, 2.0, -2.0), 2.0
    )  # log likelihood ratio of N(2, 4) to N(-2, 4) is the value itself
    curve = DetCurve.from_scores(ideal, mated)
    assert error_rates.cllr(ideal, mated) == pytest.approx(curve.min_cllr, abs=0.005)
    assert error_rates.act_dcf(ideal, mated) == pytest.approx(curve.min_dcf(), abs=0.05)
    for worse in (3 * ideal, ideal + 1, -ideal):
        assert error_rates.cllr(worse, mated) > DetCurve.from_scores(worse, mated).min_cllr + 0.02
        assert error_rates.act_dcf(worse, mated) >= DetCurve.from_scores(worse, mated).min_dcf()
    assert error_rates.cllr(np.zeros(4), mated[:4]) == 1.0
    assert error_rates.cllr(np.where(mated, np.inf, -np.inf), mated) == 0.0


@settings(deadline=None)
@given(scored(30))
def test_min_cllr_is_a_lower_bound(trials):
    scores, mated = trials
    assert DetCurve.from_scores(scores, mated).min_cllr <= error_rates.cllr(scores, mated) + 1e-12


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40).filter(
        lambda g: any(map(any, g))
    )
)
def test_pooling_in_passes_equals_pooling_one_by_one(groups):
    mated, non_mated = np.array(groups, float).T
    fast = error_rates.pool_adjacent_violators(mated, non_mated)
    passes, error_rates._VECTOR_PASSES = error_rates._VECTOR_PASSES, 0
    try:
        slow = error_rates.pool_adjacent_violators(mated, non_mated)
    finally:
        error_rates._VECTOR_PASSES = passes
    np.testing.assert_array_equal(fast, slow)


def test_pooling_stays_linear_where_passes_would_not_end():
    # each pass merges one more group into the last: only the pass limit keeps this fast
    mated = np.append(np.arange(1.0, 20_000), 0)
    segments = error_rates.pool_adjacent_violators(mated, np.append(np.arange(20_000.0, 1, -1), 40_000.0 * 20_000))
    assert segments[0].sum() == mated.sum()
    assert np.all(np.diff(segments[0] / (segments[0] + segments[1])) > 0)


def test_auc_against_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    mated = rng.random(500) < 0.2
    scores = np.round(rng.normal(size=500) + mated, 1)
    assert DetCurve.from_scores(scores, mated).auc == pytest.approx(metrics.roc_auc_score(mated, scores))


def test_summary_counts_errors_and_greys_out():
    rng = np.random.default_rng(2)
    mated = np.arange(2_000) < 500
    scores = rng.normal(np.where(mated, 1.0, -1.0))
    rates = error_rates.summarize(scores, mated, llr=scores)
    assert set(rates) == {*error_rates.CURVE_METRICS, *error_rates.LLR_METRICS}
    threshold = DetCurve.from_scores(scores, mated).threshold_at_fmr(0.01)
    behind = min((scores[mated] < threshold).sum(), (scores[~mated] >= threshold).sum())
    assert rates["fnmr@fmr=1%"].errors_behind == behind == 15
    assert rates["fnmr@fmr=1%"].unreliable
    assert rates["eer"].errors_behind == int(rates["eer"].value * 500)
    assert not rates["eer"].unreliable
    assert rates["act_dcf"].errors_behind == min((scores[mated] < 4.595).sum(), (scores[~mated] >= 4.595).sum())
