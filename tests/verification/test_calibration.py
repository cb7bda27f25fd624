import numpy as np
import pytest

from fingerprint.errors import RatesError
from fingerprint.verification import calibration, error_rates


def gaussian(count=40_000, seed=0, share=0.2):
    rng = np.random.default_rng(seed)
    mated = rng.random(count) < share
    return rng.normal(np.where(mated, 0.7, 0.1), 0.2), mated


@pytest.mark.parametrize("prior", [0.01, 0.5])
def test_recovers_the_line_of_gaussian_scores(prior):
    scores, mated = gaussian()
    fitted = calibration.fit_linear(scores, mated, prior=prior)
    # log N(s; 0.7, 0.2) - log N(s; 0.1, 0.2) = 15 s - 6
    assert fitted.scale == pytest.approx(15, rel=0.06)
    assert fitted.offset == pytest.approx(-6, rel=0.06)
    llr = fitted.llr(scores)
    assert error_rates.cllr(llr, mated) == pytest.approx(
        error_rates.DetCurve.from_scores(scores, mated).min_cllr, abs=0.01
    )


def test_equals_scikit_learn_without_penalty():
    linear = pytest.importorskip("sklearn.linear_model")
    scores, mated = gaussian(2_000)
    share = np.where(mated, 0.5 / mated.sum(), 0.5 / (~mated).sum()) * len(mated)
    oracle = linear.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1_000).fit(scores[:, None], mated, share)
    fitted = calibration.fit_linear(scores, mated)
    assert fitted.scale == pytest.approx(oracle.coef_[0, 0], rel=1e-3)
    assert fitted.offset == pytest.approx(oracle.intercept_[0], rel=1e-3)


def test_weights_equal_repetition_and_nan_is_left_out():
    scores, mated = gaussian(300)
    weights = np.random.default_rng(1).integers(0, 3, 300)
    weighted = calibration.fit_linear(
        np.append(scores, np.nan), np.append(mated, True), weights=np.append(weights, 1.0)
    )
    repeated = calibration.fit_linear(np.repeat(scores, weights), np.repeat(mated, weights))
    assert weighted.scale == pytest.approx(repeated.scale)
    assert weighted.offset == pytest.approx(repeated.offset)


@pytest.mark.parametrize("gap", [1e-6, 0.1, 1e3])
def test_separable_scores_stay_finite(gap):
    scores = np.array([0.0, 0.1, 0.1 + gap, 0.2 + gap])
    mated = np.array([False, False, True, True])
    fitted = calibration.fit_linear(scores, mated)
    assert np.isfinite([fitted.scale, fitted.offset]).all() and fitted.scale > 0
    assert np.all((fitted.llr(scores) > 0) == mated)


def test_constant_and_inverted_scores():
    mated = np.array([True, False, False])
    assert calibration.fit_linear(np.full(3, 0.4), mated) == calibration.LinearCalibration(0.0, 0.0)
    scores, mated = gaussian(2_000)
    assert calibration.fit_linear(-scores, mated).scale < 0


def test_json_round_trip_is_exact():
    fitted = calibration.LinearCalibration(15.1 / 3, -1e-17)
    assert calibration.LinearCalibration.from_json(fitted.to_json()) == fitted
    for text in (
        "",
        "{}",
        '{"scale": 1, "offset": 2, "format": "other"}',
        fitted.to_json().replace("-1e-17", "NaN"),
    ):
        with pytest.raises(RatesError, match="calibration"):
            calibration.LinearCalibration.from_json(text)


def test_thresholds_carry_their_rates():
    scores, mated = gaussian(5_000)
    found = calibration.thresholds(scores, mated)
    assert set(found) == {"eer", "fmr=10%", "fmr=1%", "fmr=0.1%"}
    curve = error_rates.DetCurve.from_scores(scores, mated)
    for fmr in (0.1, 0.01, 0.001):
        assert fmr - 1 / (~mated).sum() < curve.fmr_fnmr_at(found[f"fmr={100 * fmr:g}%"])[0] <= fmr
    fmr, fnmr = curve.fmr_fnmr_at(found["eer"])
    assert fmr <= fnmr
    assert fmr == pytest.approx(curve.eer, abs=0.005) and fnmr == pytest.approx(curve.eer, abs=0.005)


def test_wrong_input_raises():
    with pytest.raises(RatesError, match="both classes"):
        calibration.fit_linear(np.array([0.1, 0.2]), np.array([True, True]))
    with pytest.raises(RatesError, match="prior"):
        calibration.fit_linear(np.array([0.1, 0.2]), np.array([True, False]), prior=1.0)


def test_ratios_are_held_to_what_trials_can_bear():
    """One more non-mated trial among the mated ones would leave a ratio of n + 1 at most."""
    low, high = calibration.llr_bounds(mated=10, non_mated=40)
    assert (low, high) == pytest.approx((-np.log(11), np.log(41)))
    assert calibration.llr_bounds(0, 0) == (0, 0)


def of_several_lengths(count=30_000, seed=0):
    """Scores that lie higher and further apart the longer the videos are."""
    rng = np.random.default_rng(seed)
    mated, log_frames = rng.random(count) < 0.3, rng.uniform(np.log(50), np.log(1000), count)
    measures = np.stack([log_frames, rng.uniform(0.5, 1, count)], axis=1)
    spread = log_frames / 5
    return spread * (rng.normal(size=count) + 2 * mated + log_frames), mated, measures


def test_quality_measures_improve_calibration_where_scores_hang_on_length():
    scores, mated, measures = of_several_lengths()
    half = np.arange(len(scores)) % 2 == 0
    fitted = calibration.fit_linear(scores[half], mated[half], measures=measures[half])
    plain = calibration.fit_linear(scores[half], mated[half])
    found, without = (
        error_rates.cllr(line.llr(scores[~half], measures[~half]), mated[~half]) for line in (fitted, plain)
    )
    assert found < without - 0.1
    assert fitted.quality[0] < -1, "a long video must score higher to say the same"
    assert abs(fitted.quality[1]) < 0.3, "the share of frames says nothing here"


def test_quality_without_weight_is_the_line_alone():
    scores, mated, measures = of_several_lengths(2_000)
    plain = calibration.fit_linear(scores, mated)
    same = calibration.LinearCalibration(plain.scale, plain.offset, (0.0, 0.0))
    np.testing.assert_array_equal(same.llr(scores, measures), plain.llr(scores))
    constant = calibration.fit_linear(scores, mated, measures=np.full((2_000, 2), 0.7))
    assert constant == same
    tied = calibration.fit_linear(np.full(2_000, 0.4), mated, measures=measures)
    assert tied == calibration.LinearCalibration(0.0, 0.0, (0.0, 0.0))


def test_quality_is_kept_asked_for_and_checked():
    fitted = calibration.LinearCalibration(2.0, -1.0, (0.5, 1 / 3))
    assert calibration.LinearCalibration.from_json(fitted.to_json()) == fitted
    old = calibration.LinearCalibration.from_dict({"scale": 2.0, "offset": -1.0})
    assert old.quality == () and old.llr(np.ones(1), np.ones((1, 2))) == [1.0]
    assert fitted.llr(np.array([1.0]), np.array([[2.0, 3.0]])) == pytest.approx([3.0])
    with pytest.raises(RatesError, match="wants 2 quality measures a trial, found none"):
        fitted.llr(np.ones(1))
    with pytest.raises(RatesError, match="no finite measures"):
        calibration.fit_linear(np.array([0.1, 0.2]), np.array([True, False]), measures=np.full((2, 2), np.nan))


def test_separable_measures_stay_finite():
    mated = np.arange(20) % 2 == 0
    measures = np.stack([mated, np.linspace(0, 1, 20)], axis=1).astype(float)
    fitted = calibration.fit_linear(np.linspace(0, 1, 20), mated, measures=measures)
    assert np.isfinite([fitted.scale, fitted.offset, *fitted.quality]).all()
