"""95 % intervals of error rates by resampling identities, not trials.

Trials share people: with 20 identities, nominal 95 % intervals from resampled trials cover the truth about a
third of the time. Here each replicate draws a multinomial weight per driver, and a trial weighs the product
of the weights of its two drivers. Scores are sorted and grouped once; a replicate is one weighted pass over
them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.errors import RatesError
from fingerprint.verification import error_rates
from fingerprint.verification.score_file import ScoreTable

DEFAULT_METRICS = ("auc", "eer", *(error_rates.fnmr_name(fmr) for fmr in error_rates.FMR_TARGETS), "min_dcf")
THRESHOLD_RATES = ("fmr", "fnmr", "far", "frr", *error_rates.ACCURACIES)


@dataclasses.dataclass(frozen=True)
class Interval:
    """Percentile interval from the replicates that had both classes; NaN where none had."""

    low: float
    high: float
    replicates_used: int


@dataclasses.dataclass(frozen=True)
class Difference:
    """A rate of system a minus that of system b on the trials both scored, with its paired interval."""

    value: float
    low: float
    high: float
    replicates_used: int


def threshold_rate_name(rate: str, threshold: str) -> str:
    """Name of a rate at a carried-over threshold: ("far", "fmr=1%") -> "far@threshold:fmr=1%"."""
    return f"{rate}@threshold:{threshold}"


def bootstrap(
    scores: Float[np.ndarray, " trial"],
    mated: Bool[np.ndarray, " trial"],
    reference_driver: Int[np.ndarray, " trial"],
    probe_driver: Int[np.ndarray, " trial"],
    *,
    replicates: int = 1000,
    seed: int,
    metrics: Sequence[str] = DEFAULT_METRICS,
    llr: Float[np.ndarray, " trial"] | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> dict[str, Interval]:
    """Percentile 95 % intervals from an identity bootstrap.

    Args:
        scores: NaN where acquisition failed.
        mated: class of each trial.
        reference_driver: identity codes; -1: unknown, never resampled.
        probe_driver: the same of the probe.
        replicates: number of resamples.
        seed: of the multinomial weights; equal seeds and identities give equal weights.
        metrics: names of `error_rates.CURVE_METRICS`, "fnmr@fmr=X%" of any X, or "fta".
        llr: log likelihood ratios of the trials; adds `error_rates.LLR_METRICS`.
        thresholds: fixed thresholds by name; adds `THRESHOLD_RATES` of each under `threshold_rate_name`.

    Raises:
        RatesError: as `error_rates.DetCurve.from_scores`.
        UnknownName: an unknown metric.
    """
    people = _People(reference_driver, probe_driver)
    curve_names = [name for name in metrics if name != "fta"]
    curves = _Curves(scores, mated, people)
    sums = _Sums(scores, mated, people, llr, thresholds or {})
    whole = curves.curve(np.ones(people.pairs))
    for name in curve_names:
        whole.metric(name)
    rows: list[list[float]] = []
    names = [*curve_names, *sums.names(with_fta="fta" in metrics)]
    for weights in people.replicates(replicates, seed):
        curve = curves.curve(weights)
        if curve is None:
            continue
        linear = sums.rates(weights)
        rows.append([linear[name] if name in linear else curve.metric(name) for name in names])
    return {name: Interval(*_percentiles(values)) for name, values in _columns(names, rows).items()}


def upper_limit(
    wrong: Bool[np.ndarray, " trial"],
    reference_driver: Int[np.ndarray, " trial"],
    probe_driver: Int[np.ndarray, " trial"],
    confidence: float = 0.95,
) -> float:
    """One-sided upper limit of an error rate where resampling shows none: no error was seen, or people are few.

    The people count, not their trials: a person is wrong where any of their trials is. Of n people with no error
    the limit is 1 - 0.05^(1/n), about 3 / n (rule of three). Conservative: one error in many trials counts as a
    person's. People of unknown identity (-1) count as one; without any trial the limit is 1.

    Args:
        wrong: trials of one class that were decided wrongly.
        reference_driver: identity codes. probe_driver: the same of the probe.

    Source: Clopper and Pearson, Biometrika 26, 1934; Hanley and Lippman-Hand, JAMA 249, 1983 (rule of three).
    """
    people = len(np.union1d(reference_driver, probe_driver))
    erring = len(np.union1d(reference_driver[wrong], probe_driver[wrong]))
    if erring >= people:
        return 1.0
    ways = [math.lgamma(people + 1) - math.lgamma(k + 1) - math.lgamma(people - k + 1) for k in range(erring + 1)]
    low, high = erring / people, 1.0
    for _ in range(50):
        rate = (low + high) / 2
        chance = sum(
            math.exp(way + k * math.log(rate) + (people - k) * math.log1p(-rate)) for k, way in enumerate(ways)
        )
        low, high = (rate, high) if chance > 1 - confidence else (low, rate)
    return high


def paired_difference(
    scores_a: Float[np.ndarray, " trial"],
    scores_b: Float[np.ndarray, " trial"],
    mated: Bool[np.ndarray, " trial"],
    reference_driver: Int[np.ndarray, " trial"],
    probe_driver: Int[np.ndarray, " trial"],
    *,
    replicates: int = 1000,
    seed: int,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> dict[str, Difference]:
    """Rates of system a minus those of system b, from the same replicates on the trials that both scored.

    Raises:
        RatesError: different lengths, or no trial of a class that both scored.
        UnknownName: an unknown metric.
    """
    scores_a, scores_b = np.asarray(scores_a, np.float64), np.asarray(scores_b, np.float64)
    if scores_a.shape != scores_b.shape:
        raise RatesError(
            f"a paired difference wants the same trials, found {scores_a.shape} and {scores_b.shape} scores"
        )
    people = _People(reference_driver, probe_driver)
    both = ~np.isnan(scores_a) & ~np.isnan(scores_b)
    first, second = (_Curves(np.where(both, scores, np.nan), mated, people) for scores in (scores_a, scores_b))

    def differences(weights) -> list[float] | None:
        a, b = first.curve(weights), second.curve(weights)
        return None if a is None else [a.metric(name) - b.metric(name) for name in metrics]

    values = dict(zip(metrics, differences(np.ones(people.pairs)), strict=True))
    rows = [row for weights in people.replicates(replicates, seed) if (row := differences(weights)) is not None]
    columns = _columns(metrics, rows)
    return {name: Difference(values[name], *_percentiles(columns[name])) for name in metrics}


@dataclasses.dataclass(frozen=True, eq=False)
class Paired:
    """Rates of several systems from the same replicates: people are drawn by name, once for all systems.

    Attributes:
        values: rate on all people by system and metric. draws: of every replicate; NaN where a class was empty.
    """

    values: dict[str, dict[str, float]]
    draws: dict[str, dict[str, Float[np.ndarray, " replicate"]]]

    def rate(self, system: str, metric: str) -> Difference:
        """A system's rate with its interval."""
        return self._spread(self.values[system][metric], self.draws[system][metric])

    def difference(self, a: str, b: str, metric: str) -> Difference:
        """The rate of system a minus that of system b with its paired interval; exactly zero where they are one."""
        draws = self.draws[a][metric] - self.draws[b][metric]
        return self._spread(self.values[a][metric] - self.values[b][metric], draws)

    @staticmethod
    def _spread(value: float, draws: Float[np.ndarray, " replicate"]) -> Difference:
        return Difference(value, *_percentiles(draws[~np.isnan(draws)]))


def paired(
    systems: Mapping[str, Sequence[Sequence[ScoreTable]]],
    *,
    replicates: int = 1000,
    seed: int,
    metrics: Sequence[str] = ("auc", "eer"),
) -> Paired:
    """Rates of systems that were each trained several times, whose trials may differ but whose people are the same.

    A system's rate is the mean over its test sets (the folds of its people, else one) of the mean over its runs there
    (seeds): rates are averaged, never scores, which are on one scale within a run only. A replicate draws everybody's
    weight by name, and all runs of all systems are weighed by it.

    Args:
        systems: score tables by system, test set and run.

    Raises:
        RatesError: no trial of a class in one of the tables.
        UnknownName: an unknown metric.
    """
    names = sorted({name for sets in systems.values() for runs in sets for table in runs for name in table.drivers})
    place = {name: index for index, name in enumerate(names)}

    def prepared(table: ScoreTable) -> tuple[_People, _Curves]:
        code = np.array([*(place[name] for name in table.drivers), -1])  # the last: of an unknown driver
        people = _People(code[table.reference_driver], code[table.probe_driver])
        return people, _Curves(table.scores, table.mated, people)

    ready = {name: [[prepared(table) for table in runs] for runs in sets] for name, sets in systems.items()}

    def rates(weights: Float[np.ndarray, " name"]) -> list[list[float]]:
        return [_mean_rates(sets, weights, metrics) for sets in ready.values()]

    whole = rates(np.ones(len(names)))
    rng = np.random.default_rng(seed)
    even = np.full(len(names), 1 / max(len(names), 1))
    rows = [rates(rng.multinomial(len(names), even).astype(np.float64)) for _ in range(replicates if names else 0)]
    table = np.array(rows, np.float64).reshape(len(rows), len(ready), len(metrics))
    return Paired(
        {name: dict(zip(metrics, found, strict=True)) for name, found in zip(ready, whole, strict=True)},
        {name: dict(zip(metrics, table[:, index].T, strict=True)) for index, name in enumerate(ready)},
    )


def _mean_rates(sets: list[list[tuple[_People, _Curves]]], weights, metrics: Sequence[str]) -> list[float]:
    """Mean over the test sets of the mean over their runs; NaN where a class is without weight."""
    means = []
    for runs in sets:
        curves = [curves.curve(people.pair_weights(weights)) for people, curves in runs]
        if any(curve is None for curve in curves):
            return [math.nan] * len(metrics)
        means.append(np.mean([[curve.metric(name) for name in metrics] for curve in curves], axis=0))
    return np.mean(means, axis=0).tolist()


class _People:
    """Pairs of drivers that occur, and the weights of those pairs in each replicate."""

    def __init__(self, reference_driver, probe_driver):
        reference_driver, probe_driver = np.asarray(reference_driver), np.asarray(probe_driver)
        if reference_driver.shape != probe_driver.shape or reference_driver.ndim != 1:
            raise RatesError(
                f"one reference and one probe driver a trial wanted, found {reference_driver.shape} and "
                f"{probe_driver.shape}"
            )
        keys, self.pair = np.unique(_pair_keys(reference_driver, probe_driver), return_inverse=True)
        drivers = np.union1d(reference_driver, probe_driver)
        self.drivers = drivers[drivers >= 0]
        # unknown drivers (-1) take the last weight, which is always 1
        span = max(int(drivers.max(initial=0)) + 2, 1)
        place = np.append(np.searchsorted(self.drivers, np.arange(span - 1)), len(self.drivers))
        self.reference, self.probe = place[keys // span - 1], place[keys % span - 1]
        self.pairs = len(keys)

    def replicates(self, count: int, seed: int) -> Iterator[Float[np.ndarray, " pair"]]:
        number = len(self.drivers)
        rng = np.random.default_rng(seed)
        for _ in range(count if number else 0):
            yield self._of_pairs(rng.multinomial(number, np.full(number, 1 / number)).astype(np.float64))

    def pair_weights(self, weights: Float[np.ndarray, " code"]) -> Float[np.ndarray, " pair"]:
        """Weights of the pairs from those of all driver codes, of whom some may not occur here."""
        return self._of_pairs(weights[self.drivers])

    def _of_pairs(self, weights: Float[np.ndarray, " driver"]) -> Float[np.ndarray, " pair"]:
        weights = np.append(weights, 1.0)
        return weights[self.reference] * weights[self.probe]


def _pair_keys(reference_driver, probe_driver) -> Int[np.ndarray, " trial"]:
    span = int(max(reference_driver.max(initial=0), probe_driver.max(initial=0))) + 2
    return (reference_driver.astype(np.int64) + 1) * span + probe_driver + 1


class _Curves:
    """Sorted scores, so that pair weights become a DET curve without sorting again.

    Neighbouring groups of one class only lie on a straight piece of the curve whatever the weights: merging
    them leaves every rate as it is and the curve much shorter.
    """

    def __init__(self, scores, mated, people: _People):
        scores, mated, _ = error_rates.checked(scores, mated)
        if scores.shape != people.pair.shape:
            raise RatesError(f"one driver a score wanted, found {people.pair.shape} and {scores.shape}")
        order = np.argsort(scores, kind="stable")
        order = order[: len(order) - int(np.isnan(scores).sum())]
        scores, mated, pair = scores[order], mated[order], people.pair[order]
        for side, name in ((mated, "mated"), (~mated, "non-mated")):
            if not side.any():
                raise RatesError(f"no {name} trial among {len(scores)} trials with a score")
        starts = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
        share = np.add.reduceat(mated, starts, dtype=np.int64) / np.diff(np.append(starts, len(scores)))
        mixed = (share > 0) & (share < 1)
        starts = starts[np.append(True, (share[1:] != share[:-1]) | mixed[1:])]
        self._runs = scores[starts]
        below = np.append(starts, len(scores))
        self._share = float(mated.mean())
        self._sides = [(pair[side], np.append(0, np.cumsum(side))[below]) for side in (mated, ~mated)]

    def curve(self, pair_weights) -> error_rates.DetCurve | None:
        """The curve under these weights, or None where a class has none."""
        below = []
        for pair, bounds in self._sides:
            sums = np.zeros(len(pair) + 1)
            np.cumsum(pair_weights[pair], out=sums[1:])
            if sums[-1] <= 0:
                return None
            below.append(sums[bounds])
        return error_rates.DetCurve(self._runs, *below, share=self._share)


class _Sums:
    """Rates that are ratios of sums over trials: sums per pair of drivers are enough for every replicate."""

    def __init__(self, scores, mated, people: _People, llr, thresholds: Mapping[str, float]):
        scores, mated = np.asarray(scores, np.float64), np.asarray(mated)
        acquired = ~np.isnan(scores)
        self._thresholds, self._share = tuple(thresholds), float(mated[acquired].mean())
        self._llr = llr is not None
        columns = {"all": np.ones(len(scores)), "acquired": acquired}
        if llr is not None:
            columns["cost"] = acquired * error_rates.llr_costs(np.where(acquired, llr, 0.0), mated)
            columns["wrong"] = acquired & ((llr >= error_rates.bayes_threshold()) != mated)
        for name, threshold in thresholds.items():
            columns[_wrong_at(name)] = acquired & ((scores >= threshold) != mated)
        self._columns = tuple(columns)
        self._tables = [
            np.stack([np.bincount(people.pair, side * column, people.pairs) for column in columns.values()], axis=1)
            for side in (mated, ~mated)
        ]

    def names(self, with_fta: bool) -> list[str]:
        found = ["fta"] if with_fta else []
        found += error_rates.LLR_METRICS if self._llr else ()
        return found + [threshold_rate_name(rate, name) for name in self._thresholds for rate in THRESHOLD_RATES]

    def rates(self, pair_weights) -> dict[str, float]:
        m, n = (dict(zip(self._columns, pair_weights @ table, strict=True)) for table in self._tables)
        rates = {"fta": 1 - (m["acquired"] + n["acquired"]) / (m["all"] + n["all"])}
        if self._llr:
            rates["cllr"] = (m["cost"] / m["acquired"] + n["cost"] / n["acquired"]) / 2
            miss, false, default = error_rates.dcf_weights()
            rates["act_dcf"] = (miss * m["wrong"] / m["acquired"] + false * n["wrong"] / n["acquired"]) / default
        for name in self._thresholds:
            wrong = _wrong_at(name)
            fmr, fnmr = n[wrong] / n["acquired"], m[wrong] / m["acquired"]
            far, frr = error_rates.far_frr(fmr, fnmr, 1 - m["acquired"] / m["all"], 1 - n["acquired"] / n["all"])
            right = error_rates.accuracies(fmr, fnmr, self._share)
            for rate, value in zip(THRESHOLD_RATES, (fmr, fnmr, far, frr, *right), strict=True):
                rates[threshold_rate_name(rate, name)] = value
        return rates


def _wrong_at(threshold: str) -> str:
    return f"wrong at {threshold}"


def _columns(names, rows) -> dict[str, Float[np.ndarray, " replicate"]]:
    table = np.array(rows, np.float64).reshape(len(rows), len(names))
    return {name: table[:, index] for index, name in enumerate(names)}


def _percentiles(values: Float[np.ndarray, " replicate"]) -> tuple[float, float, int]:
    if not len(values):
        return float("nan"), float("nan"), 0
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high), len(values)
