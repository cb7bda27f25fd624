"""Measure things side by side: A B A B … in one process, so that a noisy machine is equally noisy to all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

Candidates = dict[str, tuple[Callable[[], object], float]]
Rates = dict[str, list[float]]


def rates(candidates: Candidates, rounds: int) -> Rates:
    """Units a second of each candidate in each round, after one round that is not counted.

    Args:
        candidates: by name, a function that does the work and waits for it, and how many units it does.
    """
    return rates_by_both_clocks(candidates, rounds)[0]


def rates_by_both_clocks(candidates: Candidates, rounds: int) -> tuple[Rates, Rates]:
    """`rates`, and the same over the processor time of this process, which other work on the machine hardly changes."""
    seen: tuple[Rates, Rates] = ({name: [] for name in candidates}, {name: [] for name in candidates})
    for turn in range(rounds + 1):
        for name, (work, units) in candidates.items():
            began = time.perf_counter(), time.process_time()
            work()
            ended = time.perf_counter(), time.process_time()
            for clock, start, end in zip(seen, began, ended, strict=True):
                if turn:
                    clock[name].append(units / (end - start))
    return seen


def ratio(seen: Rates, one: str, other: str) -> dict[str, float]:
    """`one` over `other`: median of the rounds' ratios, and the lowest and highest."""
    return _spread([a / b for a, b in zip(seen[one], seen[other], strict=True)])


def share(seen: Rates, whole: str, without: str) -> dict[str, float]:
    """Share of `whole`'s time that `without` saves: median of the rounds, and the lowest and highest."""
    return _spread([1 - a / b for a, b in zip(seen[whole], seen[without], strict=True)])


def _spread(each: list[float]) -> dict[str, float]:
    return {k: round(v, 2) for k, v in (("median", statistics.median(each)), ("low", min(each)), ("high", max(each)))}


def medians(seen: Rates) -> dict[str, float]:
    """Median rate of each candidate."""
    return {name: round(statistics.median(values), 2) for name, values in seen.items()}
