"""Measure things side by side: A B A B … in one process, so that a noisy machine is equally noisy to all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def rates(candidates: dict[str, tuple[Callable[[], object], float]], rounds: int) -> dict[str, list[float]]:
    """Units a second of each candidate in each round, after one round that is not counted.

    Args:
        candidates: by name, a function that does the work and waits for it, and how many units it does.
    """
    seen: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(rounds + 1):
        for name, (work, units) in candidates.items():
            began = time.perf_counter()
            work()
            if turn:
                seen[name].append(units / (time.perf_counter() - began))
    return seen


def ratio(seen: dict[str, list[float]], one: str, other: str) -> dict[str, float]:
    """`one` over `other`: median of the rounds' ratios, and the lowest and highest."""
    each = [a / b for a, b in zip(seen[one], seen[other], strict=True)]
    return {k: round(v, 2) for k, v in (("median", statistics.median(each)), ("low", min(each)), ("high", max(each)))}


def medians(seen: dict[str, list[float]]) -> dict[str, float]:
    """Median rate of each candidate."""
    return {name: round(statistics.median(values), 2) for name, values in seen.items()}
