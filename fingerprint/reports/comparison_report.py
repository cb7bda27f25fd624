"""What a comparison of systems hands to the reports room."""

from __future__ import annotations

import dataclasses
from typing import Any

from fingerprint.reports import wording


@dataclasses.dataclass(frozen=True)
class ComparisonReport:
    """One table of several systems. An entry is `{value, low, high}`, of a rate with `seeds` (one value a seed).

    Attributes:
        title: of the page.
        headline: one sentence, from `compose_headline`.
        provenance: versions, git commit, config hash, command, devices, created (ISO time).
        protocol: a row a test set and fold: test, fold, name, hash, trials, mated, scored_by_all, people, fusion,
            leakage.
        reference: the system that differences are taken against.
        systems: a row each: system, entry, test, title, network, dataset, reading, window, seeds, trials,
            scored_by_all, fta, rates (entries auc, eer), difference (entries, system minus reference; None for the
            reference), folds, runs, conditions (mean rates by condition), controls (mean, min, max by control), cost
            (numbers by name).
        contrasts: differences between two rows, on one test set or of one entry: system, minus, auc, eer.
        warnings: sentences.
        config: the whole configuration.
    """

    title: str
    headline: str
    provenance: dict[str, Any]
    protocol: list[dict[str, Any]]
    reference: str
    systems: list[dict[str, Any]]
    contrasts: list[dict[str, Any]]
    warnings: list[str]
    config: dict[str, Any]


def compose_headline(systems: list[dict[str, Any]], reference: str) -> str:
    """The best system by AUC, and whether its lead over the reference is more than its interval."""
    best = max(systems, key=lambda row: row["rates"]["auc"]["value"])
    head = f"{best['system']} has the highest AUC, {wording.spoken('auc', best['rates']['auc'])}"
    if best["system"] == reference:
        behind = [row for row in systems if row["difference"] and row["difference"]["auc"]["high"] < 0]
        return f"{head}; {len(behind)} of the other {len(systems) - 1} are behind it by more than their intervals."
    lead = best["difference"]["auc"]
    sure = "more than the interval" if lead["low"] > 0 else "not more than the interval"
    return f"{head}; its lead over {reference}, {wording.difference(lead)}, is {sure}."


def frontier(cost: list[float], error: list[float]) -> list[int]:
    """The Pareto frontier: rows that no other row beats in one of cost and error without losing in the other.

    Returns:
        Rows by rising cost; of equal rows all.
    """
    rows = range(len(cost))

    def beaten(i: int) -> bool:
        return any(
            cost[j] <= cost[i] and error[j] <= error[i] and (cost[j] < cost[i] or error[j] < error[i]) for j in rows
        )

    return sorted((i for i in rows if not beaten(i)), key=lambda i: (cost[i], error[i]))
