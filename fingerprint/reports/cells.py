"""Cells of a report's tables: a rate with its interval, a difference, a name in words."""

from __future__ import annotations

from typing import Any

from fingerprint.reports import wording
from fingerprint.reports.blocks import Cell

RULE = f"fewer than {wording.RULE_OF_30} errors stand behind the rate, so it is not to be relied on (rule of 30)"


def rate_cell(name: str, value: Any) -> Cell:
    """Value, and below it its interval and the errors behind it; greyed where they are few or there is no value."""
    entry = wording.entry(value)
    if entry["value"] is None:
        return Cell("n/a", muted=True)
    weak = wording.unreliable(entry)
    sub = ", ".join(text for text in (wording.interval(name, entry), wording.errors_behind(entry)) if text)
    return Cell(wording.number(name, entry) + (" †" if weak else ""), sub, weak)


def gap_cell(value: Any) -> Cell:
    """A signed difference, and below it its interval."""
    text, _, spread = wording.difference(value).partition(" ")
    return Cell(text, spread, muted=text == "n/a")


def words(name: Any) -> str:
    """A name without underscores."""
    return str(name if name is not None else "unnamed").replace("_", " ")
