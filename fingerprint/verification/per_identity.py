"""Error rates of each person apart: AUC against their own impostors, and how alike their videos score.

In `claimed_target` a person's AUC is the published per-target AUC: self-reenactments of t against cross-reenactments
with target t, and its mean over people is the number that systems are compared by (arXiv 2305.03713). Unlike the
pooled AUC it never compares scores of two claimed people, so people whose scores all lie higher do not cost anything.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.errors import RatesError
from fingerprint.verification.error_rates import DetCurve
from fingerprint.verification.score_file import ScoreTable

_CELLS = 1 << 22  # numbers of one step of the bootstrap


@dataclasses.dataclass(frozen=True)
class PerIdentity:
    """Rates of each claimed person, and their mean.

    Attributes:
        identities: names of those with both classes, sorted.
        auc: of each.
        mated: trials with a score. non_mated: the same of impostors.
        mated_mean: mean score. non_mated_mean: the same of impostors.
        left_out: why, by name.
        mean: of `auc`; NaN without anybody.
        draws: the mean of each bootstrap replicate; NaN where nobody was left in it. Replicates of two calls with one
            table and seed draw the same people, so their differences are paired.
    """

    identities: tuple[str, ...]
    auc: Float[np.ndarray, " person"]
    mated: Int[np.ndarray, " person"]
    non_mated: Int[np.ndarray, " person"]
    mated_mean: Float[np.ndarray, " person"]
    non_mated_mean: Float[np.ndarray, " person"]
    left_out: dict[str, str]
    draws: Float[np.ndarray, " replicate"]

    @property
    def mean(self) -> float:
        return float(self.auc.mean()) if len(self.auc) else float("nan")

    def summary(self) -> dict[str, Any]:
        """JSON-able: value, low, high (95 %; None where there is none), identities, left_out (people by reason)."""
        reasons = list(self.left_out.values())
        return {
            "value": self.mean if len(self.auc) else None,
            **_interval(self.draws),
            "identities": len(self.auc),
            "left_out": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        }

    def rows(self) -> list[dict[str, Any]]:
        """JSON-able: a row a person, those with the lowest AUC first."""
        names = ("auc", "mated", "non_mated", "mated_mean", "non_mated_mean")
        columns = [getattr(self, name).tolist() for name in names]
        rows = [
            {"identity": identity, **dict(zip(names, values, strict=True))}
            for identity, *values in zip(self.identities, *columns, strict=True)
        ]
        return sorted(rows, key=lambda row: (row["auc"], row["identity"]))


def measure(
    table: ScoreTable, chosen: Bool[np.ndarray, " trial"] | None = None, *, replicates: int = 1000, seed: int
) -> PerIdentity:
    """AUC and mean scores of each claimed person (the reference's driver) on the chosen trials.

    In `all_pairs` with single videos, where it is only the order of ids which side is the reference, a non-mated
    trial counts for both of its people.

    The bootstrap draws people with replacement; weights multiply per person. A claimed person weighs in the mean, and
    each of their impostors in that person's AUC, as often as they were drawn; a person all of whose impostors were
    missed is left out of that replicate. Simulated 95 % intervals held the truth in 93 % of cases with 16 people and in
    94 % with 35.

    Args:
        table: scores; NaN: not acquired, left out.
        chosen: these trials alone.
        replicates: of the bootstrap over all people with trials in `table`; 0: none.
        seed: of the bootstrap.
    """
    chosen = np.ones(len(table), bool) if chosen is None else chosen
    people = np.union1d(table.reference_driver, table.probe_driver)
    people = people[people >= 0]
    keep = chosen & ~np.isnan(table.scores) & (table.reference_driver >= 0) & (table.probe_driver >= 0)
    scores, mated = table.scores[keep], table.mated[keep]
    claimed, other = table.reference_driver[keep], table.probe_driver[keep]
    if is_symmetric(table):
        turned = ~mated
        scores, mated = np.append(scores, scores[turned]), np.append(mated, mated[turned])
        claimed, other = np.append(claimed, other[turned]), np.append(other, claimed[turned])
    order = np.argsort(claimed, kind="stable")
    scores, mated, claimed, other = scores[order], mated[order], claimed[order], other[order]
    bounds = np.searchsorted(claimed, np.append(people, people.max(initial=0) + 1))
    asked = np.union1d(table.reference_driver[chosen], table.probe_driver[chosen][table.mated[chosen]])
    if is_symmetric(table):
        asked = np.union1d(asked, table.probe_driver[chosen])
    found, pairs, left_out = [], [], {}
    for person, start, stop in zip(people, bounds[:-1], bounds[1:], strict=True):
        part = slice(start, stop)
        if reason := _why_not(mated[part]):
            if person in asked:
                left_out[table.drivers[person]] = reason
            continue
        wins, impostor, counts = _wins(scores[part], mated[part], other[part])
        pairs.append((np.full(len(wins), len(found)), np.searchsorted(people, impostor), wins, counts))
        sides = [scores[part][side].mean() for side in (mated[part], ~mated[part])]
        auc = DetCurve.from_scores(scores[part], mated[part]).auc
        found.append((person, auc, mated[part].sum(), (~mated[part]).sum(), *sides))
    columns = list(zip(*found, strict=True)) or [()] * 6
    codes = np.array(columns[0], int)
    draws = _draws(np.searchsorted(people, codes), pairs, len(people), replicates, seed)
    return PerIdentity(
        tuple(table.drivers[person] for person in codes),
        np.array(columns[1], float),
        *(np.array(column, int) for column in columns[2:4]),
        *(np.array(column, float) for column in columns[4:]),
        left_out,
        draws,
    )


def is_symmetric(table: ScoreTable) -> bool:
    """Reference and probe could change places: every trial compares two single videos."""
    return table.protocol == "all_pairs" and all(len(rows) == 1 for rows in table.templates)


def difference(first: PerIdentity, second: PerIdentity) -> dict[str, Any]:
    """Mean of the first minus that of the second, JSON-able: value, low, high (95 %, paired replicates).

    Raises:
        RatesError: replicates of different number, which are not paired, or nobody on a side.
    """
    if len(first.draws) != len(second.draws):
        raise RatesError(f"a paired difference wants equal replicates, found {len(first.draws)}, {len(second.draws)}")
    if not len(first.auc) or not len(second.auc):
        raise RatesError(f"a difference wants people on both sides, found {len(first.auc)} and {len(second.auc)}")
    return {"value": first.mean - second.mean, **_interval(first.draws - second.draws)}


def _why_not(mated) -> str:
    if not mated.any():
        return "no mated trial with a score"
    return "" if not mated.all() else "no non-mated trial with a score"


def _wins(scores, mated, other):
    """By impostor: share of mated trials above each of their trials, ties half, summed; their codes and trials."""
    genuine, impostor = np.sort(scores[mated]), scores[~mated]
    above = 2 * len(genuine) - np.searchsorted(genuine, impostor) - np.searchsorted(genuine, impostor, side="right")
    codes, place = np.unique(other[~mated], return_inverse=True)
    return np.bincount(place, above / (2 * len(genuine))), codes, np.bincount(place)


def _draws(claimed, pairs, people: int, replicates: int, seed: int) -> Float[np.ndarray, " replicate"]:
    if not pairs or not replicates:
        return np.full(replicates, np.nan)
    person, impostor, wins, counts = (np.concatenate(column) for column in zip(*pairs, strict=True))
    starts = np.searchsorted(person, np.arange(len(claimed)))
    weights = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=replicates)
    means = np.empty(replicates)
    step = max(1, _CELLS // len(person))
    for first in range(0, replicates, step):
        drawn = weights[first : first + step]
        total = np.add.reduceat(drawn[:, impostor] * counts, starts, axis=1)
        won = np.add.reduceat(drawn[:, impostor] * wins, starts, axis=1)
        weight = drawn[:, claimed] * (total > 0)
        auc = won / np.maximum(total, 1)
        with np.errstate(invalid="ignore"):
            means[first : first + step] = (weight * auc).sum(axis=1) / weight.sum(axis=1)
    return means


def _interval(draws) -> dict[str, float | None]:
    draws = draws[~np.isnan(draws)]
    low, high = np.percentile(draws, [2.5, 97.5]).tolist() if len(draws) else (None, None)
    return {"low": low, "high": high}
