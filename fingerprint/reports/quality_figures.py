"""The figures of a quality run: frames side by side, scores of the videos, and quality beside how much shows."""

from __future__ import annotations

import io
import re

import matplotlib.image
import numpy as np

from fingerprint.reports import wording
from fingerprint.reports.blocks import Drawing
from fingerprint.reports.figures import BLUE, FAINT, INK, VERMILION, as_png, new_figure, panel, plain_label, style_axes
from fingerprint.reports.quality_report import FramePair, QualityReport

_FIGURE_NAME = re.compile(r"quality_(videos|leakage|frame_\d+)")
_GAP = 6
_MOST_GENERATORS = 12


def is_figure_name(name: str) -> bool:
    """A name that a figure of a quality run can have."""
    return bool(_FIGURE_NAME.fullmatch(name))


def draw_all(report: QualityReport) -> list[Drawing]:
    """Every figure, in reading order; what cannot be drawn says why. The one on leakage only where it was measured."""
    found = [_videos(report)]
    if report.leakage:
        found.append(_leakage(report))
    return [*found, *(_frames(number, shown) for number, shown in enumerate(report.worst, start=1))]


def number(value, name: str = "") -> str:
    """A score for reading."""
    if not wording.is_number(value):
        return "n/a"
    size = abs(value)
    decimals = 5 if name == "kid" else 1 if size >= 100 else 2 if size >= 10 else 3
    return f"{value:,.{decimals}f}".replace("-", "−")


def _frames(place: int, shown: FramePair) -> Drawing:
    height = max(shown.reference.shape[0], shown.generated.shape[0])
    sides = [
        np.pad(picture, ((0, height - picture.shape[0]), (0, 0), (0, 0)), constant_values=255)
        for picture in (shown.reference, shown.generated)
    ]
    gap = np.full((height, _GAP, 3), 255, np.uint8)
    buffer = io.BytesIO()
    matplotlib.image.imsave(
        buffer, np.concatenate([sides[0], gap, sides[1]], axis=1), format="png", metadata={"Software": None}
    )
    title = f"{place}. {shown.video} ({shown.generator})"
    caption = f"{shown.metric} {number(shown.value)} at {shown.seconds:.2f} s. Left: reference, right: generated."
    return Drawing(f"quality_frame_{place}", title, caption, f"{title}: {caption}", buffer.getvalue())


def _videos(report: QualityReport) -> Drawing:
    """A row of dots a generator, for each score that videos have."""
    name, title = "quality_videos", "Scores of the videos"
    measured = [
        m for m in report.metrics if m["per_video"] and any(wording.is_number(r.get(m["name"])) for r in report.rows)
    ]
    if not measured:
        return Drawing(name, title, missing="no metric of this run has a value for single videos")
    generators = list(report.values)[:_MOST_GENERATORS]
    figure = new_figure((4.6, 0.6 + len(measured) * (0.75 + 0.22 * len(generators))))
    grid = figure.add_gridspec(len(measured), 1)
    spread = np.random.default_rng(0)
    for place, metric in enumerate(measured):
        axes = style_axes(figure.add_subplot(grid[place, 0]), _label(metric), "")
        for row, generator in enumerate(generators):
            values = [r.get(metric["name"]) for r in report.rows if r["generator"] == generator]
            values = np.array([value for value in values if wording.is_number(value)], np.float64)
            jitter = spread.uniform(-0.18, 0.18, len(values)) if len(values) > 1 else np.zeros(len(values))
            axes.plot(values, row + jitter, "o", color=BLUE, markersize=4, alpha=0.55, markeredgewidth=0)
            if len(values):
                axes.plot([values.mean()] * 2, [row - 0.34, row + 0.34], color=VERMILION, linewidth=2)
        axes.set_yticks(range(len(generators)), [plain_label(generator) for generator in generators])
        axes.set_ylim(len(generators) - 0.5, -0.5)
        axes.margins(x=0.05)
    caption = "A dot is a video, the upright line their mean."
    if len(report.values) > len(generators):
        caption += f" The first {len(generators)} of {len(report.values)} generators."
    return Drawing(name, title, caption, f"{title}: {', '.join(m['title'] for m in measured)}.", as_png(figure))


def _leakage(report: QualityReport) -> Drawing:
    """How well the driver is told, beside the first score that every generator has."""
    name, title = "quality_leakage", "Quality and how much of the driver shows"
    told = {g: e for g, e in report.leakage.items() if wording.is_number(e.get("auc"))}
    metric = next(
        (m for m in report.metrics if told and all(wording.is_number(_value(report, g, m["name"])) for g in told)), None
    )
    if metric is None:
        return Drawing(name, title, missing="no generator has both a score of quality and an AUC")
    figure, axes = panel(_label(metric), "AUC: the driver is told")
    axes.axhline(0.5, color=FAINT, linewidth=1, linestyle=":")
    for generator, entry in told.items():
        x, y = _value(report, generator, metric["name"]), entry["auc"]
        if wording.is_number(entry.get("low")) and wording.is_number(entry.get("high")):
            axes.plot([x, x], [entry["low"], entry["high"]], color=BLUE, linewidth=4, alpha=0.3, solid_capstyle="round")
        axes.plot(x, y, "o", color=BLUE, markersize=7, markeredgecolor="white")
        axes.annotate(plain_label(generator), (x, y), (6, 4), textcoords="offset points", fontsize=8.5, color=INK)
    axes.margins(x=0.2, y=0.2)
    caption = "A dot is a generator, bars are 95 % intervals over identities; 0.5 is guessing."
    return Drawing(name, title, caption, f"{title}: AUC against {metric['title']}.", as_png(figure))


def _value(report: QualityReport, generator: str, name: str):
    return report.values.get(generator, {}).get(name, {}).get("value")


def _label(metric) -> str:
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    better = {"higher": ", higher is better", "lower": ", lower is better"}.get(metric["better"], "")
    return f"{metric['title']}{unit}{better}"
