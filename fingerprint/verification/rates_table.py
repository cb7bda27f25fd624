"""The table of error rates of a report: a row a condition, a rate with its interval and what is behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from fingerprint.errors import RatesError
from fingerprint.verification import error_rates, intervals, per_identity
from fingerprint.verification.calibration import LinearCalibration
from fingerprint.verification.score_file import ScoreTable
from fingerprint.verification.trials import TrialList

_DESCRIPTIONS = {
    "all": "All trials.",
    "same_target": "Mated and non-mated trials that show the same face: the impostor wears the claimed face.",
    "cross_target": "Reference and probe show different faces: the driver is followed onto another face.",
    "same_sentence": "Reference and probe say the same sentence.",
    "different_sentence": "Reference and probe say different sentences.",
    "single_corpus": "All drivers and targets of a trial are from one corpus: no recording gives anybody away.",
    "cross_corpus": "The same mated trials against impostors with whom a second corpus comes in: recordings may tell.",
}


def report_rates(
    table: ScoreTable | TrialList,
    scores: Float[np.ndarray, " trial"] | None = None,
    *,
    calibration: LinearCalibration | None = None,
    thresholds: Mapping[str, float] | None = None,
    replicates: int = 1000,
    seed: int,
    conditions: Sequence[str] | None = None,
) -> list[dict]:
    """Error rates of every condition, ready for JSON.

    Args:
        table: a score table, or a trial list with `scores`.
        scores: of a trial list.
        calibration: fitted on development identities; adds cllr and act_dcf.
        thresholds: fixed on development identities, by name; adds fmr, fnmr, far and frr at each
            (`intervals.threshold_rate_name`).
        replicates: of the identity bootstrap; 0: no intervals.
        seed: of the bootstrap.
        conditions: these alone; None: all that apply.

    Returns:
        One dict a condition with condition, description, reason (None, or why there are no numbers),
        identities, videos, mated, non_mated, fta, fta_mated, fta_non_mated (shares of trials without a
        score; None for an empty class), warnings, identity_auc (`per_identity.PerIdentity.summary`) and rates: by
        name, each with value, low, high (95 %; None without interval), errors, unreliable.

    Raises:
        RatesError: a trial list without scores, or a score table with them.
    """
    table = _as_table(table, scores)
    return [
        _row(name, table, chosen, reason, calibration, dict(thresholds or {}), replicates, seed)
        for name, chosen, reason in _conditions(table)
        if conditions is None or name in conditions
    ]


def _as_table(table, scores) -> ScoreTable:
    if isinstance(table, ScoreTable):
        if scores is not None:
            raise RatesError("a score table brings its scores; scores are given with a trial list only")
        return table
    if scores is None:
        raise RatesError("a trial list wants scores")
    rows = max(max(max(template) for template in table.templates), int(table.probe_index.max(initial=0))) + 1
    return ScoreTable.from_trials(table, [f"row {row}" for row in range(rows)], scores)


def _conditions(table: ScoreTable) -> list[tuple[str, Bool[np.ndarray, " trial"], str]]:
    """Name, trials and the reason to give should the condition be empty."""
    known = (table.reference_driver >= 0) & (table.probe_driver >= 0)
    spoken = known & table.conditions["sentence_known"]
    target, sentence = table.conditions["same_target"], table.conditions["same_sentence"]
    no_sentence = "" if spoken.any() else "no sentence is known"
    at_home, single = table.conditions["home_corpora_known"], table.conditions["single_corpus"]
    corpora = [("single_corpus", single, ""), ("cross_corpus", at_home & (table.mated | ~single), "")]
    return [
        ("all", np.ones(len(table), bool), ""),
        ("same_target", known & target, ""),
        ("cross_target", known & ~target, ""),
        ("same_sentence", spoken & sentence, no_sentence),
        ("different_sentence", spoken & ~sentence, no_sentence),
        *(corpora if (at_home & ~single).any() else ()),
    ]


def _row(name, table: ScoreTable, chosen, reason, calibration, thresholds, replicates, seed) -> dict:
    mated, scores = table.mated[chosen], table.scores[chosen]
    failed = np.isnan(scores)
    if not reason:
        reason = _why_empty(mated, failed)
    row = {
        "condition": name,
        "description": _DESCRIPTIONS[name],
        "reason": reason or None,
        "identities": _identities(table, chosen),
        "videos": _videos(table, chosen),
        "mated": int(mated.sum()),
        "non_mated": int((~mated).sum()),
        "fta": _share(failed),
        "fta_mated": _share(failed[mated]),
        "fta_non_mated": _share(failed[~mated]),
        "warnings": [],
        "identity_auc": per_identity.measure(table, chosen, replicates=replicates, seed=seed).summary(),
        "rates": {},
    }
    if name == "single_corpus" and (strangers := int((~table.conditions["home_corpora_known"]).sum())):
        row["description"] += f" Left out: {strangers} trials with somebody of unknown corpus."
    if reason:
        return row
    measures = None if table.measures is None else table.measures[chosen]
    llr = None if calibration is None else calibration.llr(scores, measures)
    rates = _rates(scores, mated, llr, thresholds)
    spread: dict[str, intervals.Interval] = {}
    if replicates:
        spread = intervals.bootstrap(
            scores,
            mated,
            table.reference_driver[chosen],
            table.probe_driver[chosen],
            replicates=replicates,
            seed=seed,
            metrics=(*error_rates.CURVE_METRICS, "fta"),
            llr=llr,
            thresholds=thresholds,
        )
    row["rates"] = {key: _entry(rate, spread.get(key)) for key, rate in rates.items()}
    row["warnings"] = _warnings(scores, mated, spread, replicates, calibration)
    return row


def _rates(scores, mated, llr, thresholds) -> dict[str, error_rates.Rate]:
    rates = error_rates.summarize(scores, mated, llr)
    curve = error_rates.DetCurve.from_scores(scores, mated)
    failed = np.isnan(scores)
    fta_mated, fta_non_mated = error_rates.fta(scores, mated)
    for name, threshold in thresholds.items():
        fmr, fnmr = curve.fmr_fnmr_at(threshold)
        far, frr = error_rates.far_frr(fmr, fnmr, fta_mated, fta_non_mated)
        false, missed = round(fmr * curve.non_mated), round(fnmr * curve.mated)
        found = {"fmr": (fmr, false), "fnmr": (fnmr, missed), "far": (far, false)}
        found["frr"] = (frr, missed + int(failed[mated].sum()))
        for rate, (value, errors) in found.items():
            rates[intervals.threshold_rate_name(rate, name)] = error_rates.make_rate(value, errors)
        for rate, value in curve.accuracies(fmr, fnmr).items():
            rates[intervals.threshold_rate_name(rate, name)] = error_rates.make_rate(value, min(false, missed))
    rates["fta"] = error_rates.make_rate(failed.mean(), failed.sum())
    return rates


def _entry(rate: error_rates.Rate, interval: intervals.Interval | None) -> dict:
    known = interval is not None and interval.replicates_used > 0
    return {
        "value": rate.value,
        "low": interval.low if known else None,
        "high": interval.high if known else None,
        "errors": rate.errors_behind,
        "unreliable": rate.unreliable,
    }


def _warnings(scores, mated, spread, replicates, calibration) -> list[str]:
    warnings = list(error_rates.DetCurve.from_scores(scores, mated).warnings)
    skipped = replicates - min((interval.replicates_used for interval in spread.values()), default=replicates)
    if skipped:
        warnings.append(f"{skipped} of {replicates} bootstrap replicates skipped: a class had no trial left")
    if calibration is not None and calibration.scale <= 0:
        warnings.append(
            f"the calibration's slope is {calibration.scale:.4g}: higher scores do not speak for the driver"
        )
    return warnings


def _why_empty(mated, failed) -> str:
    for side, name in ((mated, "mated"), (~mated, "non-mated")):
        if not side.any():
            return f"no {name} trial"
        if failed[side].all():
            return f"none of {int(side.sum())} {name} trials has a score"
    return ""


def _share(failed) -> float | None:
    return float(failed.mean()) if len(failed) else None


def _identities(table: ScoreTable, chosen) -> int:
    present = np.zeros(len(table.drivers) + 1, bool)
    present[table.reference_driver[chosen]] = True
    present[table.probe_driver[chosen]] = True
    return int(present[:-1].sum())


def _videos(table: ScoreTable, chosen) -> int:
    """Distinct videos of these trials; pairs of missing videos count as trials, but show no video."""
    chosen = chosen & (table.reference_driver >= 0)
    present = np.zeros(len(table.videos), bool)
    present[table.probe_index[chosen]] = True
    for template in np.unique(table.template_index[chosen]):
        present[list(table.templates[template])] = True
    return int(present.sum())
