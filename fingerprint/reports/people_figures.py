"""Figures of single people: AUC and mean scores of each, and open-set identification."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fingerprint.reports import wording
from fingerprint.reports.blocks import Drawing
from fingerprint.reports.figures import BLUE, FAINT, INK, VERMILION, as_png, legend_below, panel, plain_label

if TYPE_CHECKING:
    from fingerprint.reports.evaluation_report import EvaluationReport

_NAMED = 24  # people whose names fit under a figure


def draw_all(report: EvaluationReport) -> list[Drawing]:
    """The figures in reading order; what cannot be drawn says why."""
    return [_auc(report), _similarity(report), _identification(report)]


def _auc(report) -> Drawing:
    title, rows = "AUC of each person", report.per_identity.get("people") or []
    if not rows:
        return Drawing("identity_auc", title, missing="no rates of single people in this run")
    figure, axes = _by_person(rows, "AUC against own impostors (0 to 1)")
    values = np.array([row["auc"] for row in rows])
    axes.axhline(0.5, color=FAINT, linewidth=1, linestyle=":", label="guessing")
    axes.axhline(values.mean(), color=INK, linewidth=1, label=f"mean {values.mean():.3f}")
    axes.plot(np.arange(len(rows)), values, "o", color=BLUE, markersize=4)
    axes.set_ylim(min(0.0, values.min()) - 0.02, 1.02)
    legend_below(axes, columns=2)
    caption = f"{len(rows)} people, the least well told apart first."
    alt = f"AUC of {len(rows)} people, sorted; lowest {values.min():.3f}, highest {values.max():.3f}."
    return Drawing("identity_auc", title, caption, alt, as_png(figure))


def _similarity(report) -> Drawing:
    title, rows = "Mean score of each person", report.per_identity.get("people") or []
    if not rows:
        return Drawing("identity_similarity", title, missing="no rates of single people in this run")
    figure, axes = _by_person(rows, "Mean score")
    place = np.arange(len(rows))
    sides = [np.array([row[key] for row in rows]) for key in ("mated_mean", "non_mated_mean")]
    axes.vlines(place, *sides, color=FAINT, linewidth=1)
    axes.plot(place, sides[0], "o", color=BLUE, markersize=4, label="own videos (mated)")
    axes.plot(place, sides[1], "^", color=VERMILION, markersize=4, label="impostors (non-mated)")
    legend_below(axes, columns=2)
    caption = (
        "In the order of the figure of AUC. Where impostors lie as high as others' own videos, no one threshold fits."
    )
    alt = f"Mean mated and non-mated score of {len(rows)} people."
    return Drawing("identity_similarity", title, caption, alt, as_png(figure))


def _by_person(rows, label: str):
    named = len(rows) <= _NAMED
    figure, axes = panel("Person" if named else "Person, by rank of AUC", label)
    if named:
        names = [plain_label(str(row["identity"]), most=10) for row in rows]
        axes.set_xticks(np.arange(len(rows)), names, rotation=90, fontsize=7)
    return figure, axes


def _identification(report) -> Drawing:
    title, found = "Open-set identification", report.identification
    points = [(point["far"], point["value"]) for point in found.get("curve") or () if point["value"] is not None]
    if not points:
        reason = str(found.get("reason") or "").rstrip(".") or "not asked for in this run"
        return Drawing("identification", title, missing=f"no curve, {reason}")
    figure, axes = panel("False alarm rate, strangers (%)", "DIR, enrolled people found (%)")
    far, rate = 100 * np.array(points).T
    axes.plot(far, far, color=FAINT, linewidth=1, linestyle=":", label="most that guessing gives")
    axes.plot(far, rate, color=BLUE, linewidth=1.8, label=f"{found['enrolled']} enrolled")
    for entry in found["entries"]:
        if entry["value"] is None:
            continue
        if entry["low"] is not None:
            axes.plot(2 * [100 * entry["far"]], [100 * entry["low"], 100 * entry["high"]], color=BLUE, alpha=0.4, lw=4)
        axes.plot([100 * entry["far"]], [100 * entry["value"]], "o", color=BLUE, markeredgecolor="white", markersize=8)
    axes.set(xscale="log", ylim=(-1, 101))
    legend_below(axes, columns=2)
    known = [entry for entry in found["entries"] if entry["value"] is not None]
    texts = [f"DIR {wording.rate('dir', entry)} at FAR {wording.share(entry['far'])}" for entry in known]
    caption = "Dots and bars: the rates of the table with their 95 % intervals. " + "; ".join(texts) + "."
    return Drawing("identification", title, caption, f"DIR against FAR. {'; '.join(texts)}.", as_png(figure))
