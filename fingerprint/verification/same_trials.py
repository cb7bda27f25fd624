"""Score tables of several models over one trial list: that they are, and which trials all of them scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from fingerprint.errors import RatesError
from fingerprint.verification.score_file import ScoreTable


def refuse_others(hashes: Mapping[str, str], where: str) -> None:
    """Refuse models that were not tested on the same trials.

    Args:
        hashes: of the trial list, by model. where: names the test set in the message.

    Raises:
        RatesError: more than one hash; the message says who has which.
    """
    by_hash: dict[str, list[str]] = {}
    for name, found in hashes.items():
        by_hash.setdefault(found, []).append(name)
    if len(by_hash) > 1:
        groups = "; ".join(f"{', '.join(names)}: {found[:12]}" for found, names in by_hash.items())
        raise RatesError(
            f"{where}: wanted one trial list for all entries, found {len(by_hash)} ({groups}); the entries' data sets "
            "must hold the same videos (driver, target, clip), read with the same data.reenact_targets"
        )


def scored_by_all(tables: Sequence[ScoreTable]) -> list[ScoreTable]:
    """The tables with every trial left out (NaN) that one of them could not score.

    Args:
        tables: over one trial list, in any order of trials.
    """
    orders = [_order(table) for table in tables]
    scored = np.stack([~np.isnan(table.scores[order]) for table, order in zip(tables, orders, strict=True)])
    missing = ~scored.all(axis=0)
    found = []
    for table, order in zip(tables, orders, strict=True):
        scores = table.scores.copy()
        scores[order[missing]] = np.nan
        found.append(dataclasses.replace(table, scores=scores))
    return found


def _order(table: ScoreTable) -> Int[np.ndarray, " trial"]:
    """An order of the trials that does not depend on how the table came by its codes."""
    names = ["+".join(table.videos[row] for row in rows) for rows in table.templates]
    rank = np.empty(len(names), np.int64)
    rank[np.argsort(names, kind="stable")] = np.arange(len(names))
    video = np.empty(len(table.videos), np.int64)
    video[np.argsort(table.videos, kind="stable")] = np.arange(len(table.videos))
    return np.lexsort((video[table.probe_index], rank[table.template_index]))
