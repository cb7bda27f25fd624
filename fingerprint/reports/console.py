"""A report in a few lines for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fingerprint.reports import document, findings, wording

if TYPE_CHECKING:
    from fingerprint.reports.evaluation_report import EvaluationReport

_WIDTH = 100
_MOST_NUMBERS = 6


def summary_lines(report: EvaluationReport, written: Mapping[str, Path] | None = None) -> list[str]:
    """At most 15 lines: title, headline, main numbers, what is behind them, warnings, where the report is.

    Args:
        report: the report.
        written: what `report.write` returned.
    """
    lines = [
        _line(report.title),
        *textwrap.wrap(_clean(report.headline), _WIDTH, max_lines=4, placeholder=" ..."),
    ]
    for number in document.main_numbers(report.rates)[:_MOST_NUMBERS]:
        weak = f"  (fewer than {wording.RULE_OF_30} errors)" if number.muted else ""
        lines.append(f"  {number.label:<38} {f'{number.value} {number.interval}'.strip()}{weak}")
    row = findings.condition(report.rates, "all") or {}
    counts = [
        f"{wording.count(row.get(key))} {key.replace('_', '-')}"
        for key in ("identities", "videos", "mated", "non_mated")
    ]
    lines.append(f"  behind them: {', '.join(counts)} (brackets: 95 % intervals)")
    if report.warnings:
        more = "" if len(report.warnings) == 1 else f" (and {len(report.warnings) - 1} more)"
        lines.append(_line(f"Warning: {report.warnings[0]}", _WIDTH - len(more)) + more)
    lines.append(f"Report: {written['html']}" if written else "Report: not written")
    return lines


def _clean(text: str) -> str:
    """One line without control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in str(text))


def _line(text: str, width: int = _WIDTH) -> str:
    return textwrap.shorten(_clean(text), width, placeholder=" ...")
