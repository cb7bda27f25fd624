import json

import numpy as np
import pytest
from made_up_videos import reenactments

from fingerprint.errors import RatesError
from fingerprint.verification import calibration, error_rates, protocols, rates_table, score_file

ROWS = ["all", "same_target", "cross_target", "same_sentence", "different_sentence"]


def scored(videos=None, rule=protocols.all_pairs, seed=0):
    videos = reenactments(people=5, clips=6) if videos is None else videos
    found = rule(videos, seed=0)
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=len(found)) + 2 * found.mated + found.conditions["same_target"]
    return videos, found, scores


def test_rows_of_a_score_file_and_of_a_trial_list_are_equal(tmp_path):
    videos, found, scores = scored()
    scores[::11] = np.nan
    fitted, fixed = calibration.fit_linear(scores, found.mated), calibration.thresholds(scores, found.mated)
    options = {"calibration": fitted, "thresholds": fixed, "replicates": 20, "seed": 0}
    rows = rates_table.report_rates(found, scores, **options)
    score_file.write(tmp_path / "scores.csv", found, videos, scores)
    assert rates_table.report_rates(score_file.read(tmp_path / "scores.csv"), **options) == rows
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert [row["condition"] for row in rows] == ROWS


def test_rows_hold_the_rates_of_their_trials():
    _, found, scores = scored()
    rows = {row["condition"]: row for row in rates_table.report_rates(found, scores, replicates=30, seed=0)}
    flags = found.conditions
    for name, chosen in (
        ("all", np.ones(len(found), bool)),
        ("same_target", flags["same_target"]),
        ("cross_target", ~flags["same_target"]),
        ("same_sentence", flags["same_sentence"]),
        ("different_sentence", ~flags["same_sentence"]),
    ):
        row, mated = rows[name], found.mated[chosen]
        curve = error_rates.DetCurve.from_scores(scores[chosen], mated)
        assert (row["mated"], row["non_mated"]) == (mated.sum(), (~mated).sum())
        assert (row["identities"], row["videos"], row["reason"]) == (5, 90, None)
        assert set(row["rates"]) == {*error_rates.CURVE_METRICS, "fta"}
        for metric in error_rates.CURVE_METRICS:
            rate = row["rates"][metric]
            assert rate["value"] == curve.metric(metric)
            assert rate["low"] <= rate["high"]
            assert rate["unreliable"] == (rate["errors"] < 30)
        assert row["rates"]["auc"]["low"] < row["rates"]["auc"]["value"] < row["rates"]["auc"]["high"]


def test_carried_over_thresholds_and_failures():
    _, found, scores = scored()
    mated = found.mated
    scores[np.flatnonzero(mated)[:40]] = np.nan
    row = rates_table.report_rates(found, scores, thresholds={"eer": 1.5}, replicates=10, seed=0)[0]
    rates = row["rates"]
    with np.errstate(invalid="ignore"):
        false, rejected = (scores[~mated] >= 1.5).sum(), (~(scores[mated] >= 1.5)).sum()
    assert rates["far@threshold:eer"]["value"] == pytest.approx(false / (~mated).sum())
    assert rates["frr@threshold:eer"]["value"] == pytest.approx(rejected / mated.sum())
    assert rates["far@threshold:eer"]["errors"] == false and rates["frr@threshold:eer"]["errors"] == rejected
    assert rates["fnmr@threshold:eer"]["errors"] == rejected - 40
    assert rates["fnmr@threshold:eer"]["value"] == pytest.approx((rejected - 40) / (mated.sum() - 40))
    assert rates["fta"]["value"] == row["fta"] == pytest.approx(40 / len(scores))
    assert rates["fta"]["errors"] == 40
    assert (row["fta_mated"], row["fta_non_mated"]) == (pytest.approx(40 / mated.sum()), 0.0)


def test_conditions_without_a_class_are_listed_without_numbers():
    videos = reenactments()
    videos["sentence"] = np.full(60, "")
    _, found, scores = scored(videos, protocols.claimed_target)
    rows = {row["condition"]: row for row in rates_table.report_rates(found, scores, replicates=0, seed=0)}
    assert list(rows) == ROWS
    assert rows["cross_target"]["reason"] == "no mated trial" and rows["cross_target"]["rates"] == {}
    assert rows["same_sentence"]["reason"] == rows["different_sentence"]["reason"] == "no sentence is known"
    assert rows["same_target"]["rates"]["eer"]["low"] is None
    failed = np.where(found.mated, np.nan, scores)
    row = rates_table.report_rates(found, failed, replicates=0, seed=0)[0]
    assert row["reason"] == f"none of {found.mated.sum()} mated trials has a score"
    assert row["fta_mated"] == 1.0 and row["rates"] == {}


def test_missing_videos_count_as_failures(tmp_path):
    videos = reenactments()
    ids = videos["video_id"]
    (tmp_path / "pairs.csv").write_text(
        f"enrol,test,label\n{ids[0]},{ids[1]},1\n{ids[0]},{ids[30]},0\n{ids[0]},gone,1\n{ids[2]},{ids[1]},1\n"
    )
    found = protocols.pairs_csv(tmp_path / "pairs.csv", videos)
    rows = rates_table.report_rates(found, np.array([0.9, 0.1, 0.8]), thresholds={"eer": 0.5}, replicates=5, seed=0)
    assert rows[0]["videos"] == 4
    assert (rows[0]["mated"], rows[0]["fta"], rows[0]["fta_mated"]) == (3, 0.25, pytest.approx(1 / 3))
    assert rows[0]["rates"]["frr@threshold:eer"]["value"] == pytest.approx(1 / 3)
    assert sum(row["mated"] for row in rows[1:3]) == 2  # nothing is known of the missing video's face
    score_file.write(tmp_path / "scores.csv", found, videos, np.array([0.9, 0.1, 0.8]))
    again = rates_table.report_rates(
        score_file.read(tmp_path / "scores.csv"), thresholds={"eer": 0.5}, replicates=5, seed=0
    )
    assert again == rows


def test_warnings_travel_with_the_row():
    _, found, scores = scored()
    fitted = calibration.fit_linear(-scores, found.mated)
    row = rates_table.report_rates(found, -scores, calibration=fitted, replicates=5, seed=0)[0]
    assert any("below 0.5" in warning for warning in row["warnings"])
    assert any("slope" in warning for warning in row["warnings"])
    assert {"cllr", "act_dcf"} <= set(row["rates"])
    collapsed = rates_table.report_rates(found, np.zeros(len(found)), replicates=5, seed=0)[0]
    assert collapsed["rates"]["eer"] == {
        "value": 0.5,
        "low": 0.5,
        "high": 0.5,
        "errors": 210,
        "unreliable": False,
    } | {"errors": int(found.mated.sum()) // 2}
    few = reenactments(people=2, clips=3, targets=1)
    rows = rates_table.report_rates(*scored(few)[1:], replicates=50, seed=0)
    assert any("replicates skipped" in warning for warning in rows[0]["warnings"])


def test_scores_belong_to_a_trial_list_only(tmp_path):
    videos, found, scores = scored()
    table = score_file.ScoreTable.from_trials(found, videos["video_id"], scores)
    with pytest.raises(RatesError, match="brings its scores"):
        rates_table.report_rates(table, scores, seed=0)
    with pytest.raises(RatesError, match="wants scores"):
        rates_table.report_rates(found, seed=0)


def test_rows_of_one_corpus_where_there_are_two():
    videos = reenactments(people=6, clips=4)
    home = np.where(np.isin(videos["target"], ["P00", "P01", "P02"]), "A", "B")
    _, found, scores = scored(videos | {"corpus": home}, protocols.claimed_target)
    scores += 3 * ~found.conditions["single_corpus"] * ~found.mated  # impostors from elsewhere look right
    rows = {row["condition"]: row for row in rates_table.report_rates(found, scores, replicates=5, seed=0)}
    assert list(rows) == [*ROWS, "single_corpus", "cross_corpus"]
    single = found.conditions["single_corpus"]
    assert rows["single_corpus"]["non_mated"] == (single & ~found.mated).sum() == 3 * 2 * 4 * 4
    assert rows["cross_corpus"]["non_mated"] == (~single).sum() and rows["cross_corpus"]["mated"] == found.mated.sum()
    assert rows["single_corpus"]["rates"]["auc"]["value"] > 0.8 > rows["cross_corpus"]["rates"]["auc"]["value"]
    assert "Left out" not in rows["single_corpus"]["description"]
    videos["corpus"] = np.where(videos["target"] == "P05", "", home)
    _, found, scores = scored(videos, protocols.claimed_target)
    rows = {row["condition"]: row for row in rates_table.report_rates(found, scores, replicates=0, seed=0)}
    unknown = int((~found.conditions["home_corpora_known"]).sum())
    assert unknown and f"Left out: {unknown} trials" in rows["single_corpus"]["description"]
    only = rates_table.report_rates(found, scores, replicates=0, seed=0, conditions=("all",))
    assert only == [rows["all"]]


def test_accuracy_at_carried_and_at_best_thresholds():
    _, found, scores = scored()
    scores[::7] = np.nan
    rates = rates_table.report_rates(found, scores, thresholds={"eer": 1.5}, replicates=10, seed=0)[0]["rates"]
    known = ~np.isnan(scores)
    scores, mated = scores[known], found.mated[known]

    def accuracies(threshold):
        right = (scores >= threshold) == mated
        return right.mean(), (right[mated].mean() + right[~mated].mean()) / 2

    carried = [rates[f"{name}@threshold:eer"] for name in ("accuracy", "balanced_accuracy")]
    assert [rate["value"] for rate in carried] == pytest.approx(accuracies(1.5))
    assert all(rate["low"] <= rate["value"] <= rate["high"] for rate in carried)
    best = max((accuracies(threshold) for threshold in scores), key=lambda pair: pair[1])
    assert [rates[f"{name}@youden"]["value"] for name in ("accuracy", "balanced_accuracy")] == pytest.approx(best)
