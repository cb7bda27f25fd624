"""Sections of a report on single people: each against their own impostors, and finding them in a gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fingerprint.reports import wording
from fingerprint.reports.blocks import Bullets, Cell, Details, Drawing, Pictures, Table, Text
from fingerprint.reports.cells import RULE, gap_cell, rate_cell, words

if TYPE_CHECKING:
    from fingerprint.reports.evaluation_report import EvaluationReport

FIGURES = ("identity_auc", "identity_similarity", "identification")
_LONG_TABLE = 20  # people; more are behind a summary


def people(report: EvaluationReport, drawings: Sequence[Drawing]) -> list:
    """Blocks: the mean AUC over people by condition, the figures, and a row a person."""
    rows = report.per_identity.get("people") or []
    if not rows:
        return [Text("No rates of single people in this run.")]
    lead = "Each claimed person against their own impostors; the mean counts every person alike."
    if report.per_identity.get("protocol") == "claimed_target":
        lead += " In this protocol it is the published per-target AUC."
    blocks = [Text(lead), *_means(report), Pictures(tuple(d for d in drawings if d.name.startswith("identity_")))]
    table = Table(
        ("Person", "AUC", "Mated trials", "Non-mated trials", "Mean mated score", "Mean non-mated score"),
        tuple(
            (
                Cell(str(row["identity"])),
                Cell(wording.number("auc", row["auc"])),
                *(Cell(wording.count(row[key])) for key in ("mated", "non_mated")),
                *(Cell(f"{row[key]:.3f}") for key in ("mated_mean", "non_mated_mean")),
            )
            for row in rows
        ),
        "People, the least well told apart first",
    )
    blocks.append(Details(f"All {len(rows)} people", (table,)) if len(rows) > _LONG_TABLE else table)
    left_out = report.per_identity.get("left_out") or {}
    reasons = list(left_out.values())
    if reasons:
        texts = (f"{wording.count(reasons.count(reason))}: {reason}" for reason in sorted(set(reasons)))
        blocks.append(Bullets(tuple(texts), "People left out"))
    return blocks


def _means(report) -> list:
    rows = [row for row in report.rates if wording.entry(row.get("identity_auc"))["value"] is not None]
    if not rows:
        return []
    table = Table(
        ("Condition", "AUC, mean over people", "People", "Left out", "AUC, pooled"),
        tuple(
            (
                Cell(words(row.get("condition"))),
                rate_cell("auc", row["identity_auc"]),
                Cell(wording.count(row["identity_auc"].get("identities"))),
                Cell(wording.count(sum((row["identity_auc"].get("left_out") or {}).values()))),
                rate_cell("auc", (row.get("rates") or {}).get("auc")),
            )
            for row in rows
        ),
        "Mean AUC over people by condition; 95 % intervals redraw people",
    )
    blocks: list = [table]
    if any(cell.muted for row in table.rows for cell in row):
        blocks.append(Text(f"Greyed and marked †: {RULE}.", muted=True))
    gap = report.per_identity.get("unseen_minus_seen")
    if not isinstance(gap, Mapping):
        return blocks
    text = "Generators that training did not see minus those it saw, mean AUC over people"
    return [*blocks, Table(("", ""), ((Cell(text), gap_cell(gap)),))]


def identification(report: EvaluationReport, drawings: Sequence[Drawing]) -> list:
    """Blocks: what was searched, DIR at each FAR, the figure."""
    found = report.identification
    if not found.get("entries"):
        return [Text(f"Not measured: {found.get('reason') or 'not asked for in this run'}.")]
    clips = found["enrolment_clips"]
    lead = (
        f"Of {wording.count(found['people'])} people, {wording.count(found['enrolled'])} are enrolled with "
        f"{clips} clip{'s' * (clips > 1)} of their own face, the others are strangers: mean over "
        f"{wording.count(found['halves'])} random halves, {wording.count(found['probes'])} probes each "
        f"({wording.count(found['without_score'])} without a score, left out). Guessing finds at most the share FAR."
    )
    rows = tuple(
        (
            Cell(wording.share(entry["far"])),
            rate_cell("dir", entry),
            Cell(str(entry.get("reason") or "")),
        )
        for entry in found["entries"]
    )
    table = Table(("FAR", "DIR, rank 1", "Remark"), rows, "DIR at FAR; errors: false alarms behind the threshold")
    blocks = [Text(lead), table]
    if any(row[1].muted for row in rows):
        blocks.append(Text(f"Greyed and marked †: {RULE}.", muted=True))
    notes = tuple(map(str, found.get("notes") or ()))
    blocks += [Bullets(notes, "Notes")] if notes else []
    return [*blocks, Pictures(tuple(drawing for drawing in drawings if drawing.name == "identification"))]
