"""AUC against severity: a panel for every degradation, and all of them in one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fingerprint.reports import wording
from fingerprint.reports.blocks import Drawing
from fingerprint.reports.figures import BLUE, FAINT, INK, VERMILION, as_png, new_figure, panel, style_axes

if TYPE_CHECKING:
    from fingerprint.reports.robustness_report import Curve, RobustnessReport

_COLUMNS = 2
_FEW = "dots are means, dashes below them what one video in twenty does not reach"
_PANEL = (3.6, 3.0)  # inches


def draw_all(report: RobustnessReport) -> list[Drawing]:
    """A figure for every degradation."""
    return [_one(report, curve) for curve in report.curves]


def draw_together(report: RobustnessReport) -> bytes:
    """All degradations side by side, on one scale, as PNG."""
    rows = -(-len(report.curves) // _COLUMNS)
    figure = new_figure((_COLUMNS * _PANEL[0], rows * _PANEL[1]))
    for index, curve in enumerate(report.curves):
        axes = style_axes(figure.add_subplot(rows, _COLUMNS, index + 1), curve.axis, _quantity(report))
        _curve(axes, report, curve)
    return as_png(figure)


def _one(report, curve: Curve) -> Drawing:
    title = curve.name.replace("_", " ").capitalize()
    figure, axes = panel(curve.axis, _quantity(report))
    _curve(axes, report, curve)
    values, _, _ = _values(report, curve)
    text = ", ".join(
        f"{row['label']}: {'n/a' if np.isnan(value) else f'{value:.3f}'}"
        for row, value in zip(curve.rows, values[1:], strict=True)
    )
    lines = "dashed the clean videos, dotted guessing, the band 95 % intervals" if report.clean["rates"] else _FEW
    caption = f"{curve.summary} {_quantity(report)} at {text}; {lines}."
    return Drawing(curve.name, title, caption, f"{_quantity(report)} against severity; {text}.", as_png(figure))


def _quantity(report) -> str:
    return "AUC" if report.clean["rates"] else "Cosine to the clean embedding"


def _values(report, curve: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, low and high, the clean one first; NaN where there is none."""
    if report.clean["rates"]:
        entries = [wording.entry(row["rates"].get("auc")) for row in (report.clean, *curve.rows)]
        found = [(entry["value"], entry["low"], entry["high"]) for entry in entries]
    else:
        found = [(1.0, 1.0, 1.0)]
        for row in curve.rows:
            close = row["similarity"]
            found.append((close["mean"], close["low"], None) if close else (None, None, None))
    return tuple(np.array(found, np.float64).T)


def _curve(axes, report, curve: Curve) -> None:
    value, low, high = _values(report, curve)
    place = np.arange(len(value))
    rates = bool(report.clean["rates"])
    axes.axhline(value[0], color=INK, linewidth=1, linestyle="--")
    if rates:
        axes.axhline(0.5, color=FAINT, linewidth=1, linestyle=":")
        axes.fill_between(place, low, high, color=BLUE, alpha=0.18, linewidth=0)
    else:
        axes.plot(place[1:], low[1:], color=BLUE, linewidth=0, marker="_", markersize=9)
    axes.plot(place, value, color=BLUE, linewidth=1.8, marker="o", markersize=5, markeredgecolor="white")
    reach = [part for other in report.curves for part in _values(report, other)[:2]]
    bottom = np.nanmin(np.concatenate([*reach, [0.45 if rates else 0.9]])) - 0.03
    axes.set_ylim(bottom, 1.03)
    for at, row in enumerate(curve.rows, start=1):
        if row["failed"]:
            text = f"{wording.number('fta', row['fta'])}\nlost"
            axes.annotate(
                text, (at, bottom), (0, 3), textcoords="offset points", ha="center", fontsize=7.5, color=VERMILION
            )
    labels = [row["label"].replace(" %", "").replace(" frames/s", "").replace(" frames", "") for row in curve.rows]
    axes.set_xticks(place, ["clean", *labels])
    axes.set_xlim(-0.4, len(value) - 0.6)
