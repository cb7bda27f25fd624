"""The figures of a verification: score and evidence over time, attention with its frames, place on the calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fingerprint.reports import wording
from fingerprint.reports.blocks import Drawing
from fingerprint.reports.figures import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    VERMILION,
    as_png,
    legend_below,
    new_figure,
    panel,
    style_axes,
)
from fingerprint.reports.verification_document import crossing

if TYPE_CHECKING:
    from fingerprint.reports.verification_report import VerificationReport

_COLUMNS = 3  # pictures side by side
_MOST_PICTURES = 6
_WHAT_ATTENTION_IS = (
    "Attention is the weight that the network gives to a frame when it sums up a window: it says which moments went "
    "into the score, not why, and is no measure of how telling they are."
)
_MOST_POINTS = 4000  # of a line: no screen shows more


def draw_all(report: VerificationReport) -> dict[str, Drawing]:
    """Every figure by name; what cannot be drawn says why. "sequential" only where a running test was made."""
    found = [_score(report), _attention(report), _calibration(report)]
    if report.sequential is not None:
        found.append(_sequential(report))
    return {drawing.name: drawing for drawing in found}


def _score(report) -> Drawing:
    name, title = "score_over_time", "Score over time"
    score = np.asarray(report.window_score, np.float64)
    if not np.isfinite(score).any():
        return Drawing(name, title, missing="no window of this video has a score")
    start, end = (np.asarray(x, np.float64) for x in (report.window_start_s, report.window_end_s))
    figure, axes = panel("Time in the video (s)", "Score")
    shown = _thinned(len(score))
    axes.hlines(score[shown], start[shown], end[shown], color=BLUE, linewidth=2.4, alpha=0.35, label="one window")
    axes.plot(
        end, report.running_score, color=INK, linewidth=1.6, marker="o" if len(score) < 40 else None, markersize=3.5,
        label="score so far",
    )  # fmt: skip
    words = _threshold_line(axes.axhline, report.threshold)
    axes.margins(x=0.03, y=0.12)
    legend_below(axes, columns=3)
    caption = (
        "Each bar is one window, as long as it lasts. The line is the score of all windows so far; its end is the "
        f"score, {report.running_score[-1]:.3f}.{words}"
    )
    return Drawing(name, title, caption, f"{title}: window scores and the score so far.{words}", as_png(figure))


def _sequential(report) -> Drawing:
    name, title = "sequential", "Evidence over time"
    found = report.sequential
    seconds, llr = (np.asarray(found.get(key, ()), np.float64) for key in ("seconds", "llr"))
    if not len(llr) or seconds.shape != llr.shape:
        return Drawing(name, title, missing="the running test saw no window")
    figure, axes = panel("Time in the video (s)", "Log likelihood ratio so far")
    axes.axhspan(found["upper"], found["upper"] + 1e6, color=GREEN, alpha=0.1, linewidth=0)
    axes.axhspan(found["lower"] - 1e6, found["lower"], color=VERMILION, alpha=0.1, linewidth=0)
    axes.axhline(found["upper"], color=GREEN, linewidth=1.4, linestyle="--", label="accept")
    axes.axhline(found["lower"], color=VERMILION, linewidth=1.4, linestyle=":", label="reject")
    axes.axhline(0, color=FAINT, linewidth=0.8)
    axes.plot(seconds, llr, color=INK, linewidth=1.6, marker="o" if len(llr) < 40 else None, markersize=3.5)
    reach = [found["lower"], found["upper"], *llr[np.isfinite(llr)]]
    room = 0.12 * (max(reach) - min(reach))
    axes.set_ylim(min(reach) - room, max(reach) + room)
    words = "Neither bound was reached."
    if (first := crossing(found)) is not None:
        side = "accept" if llr[first] >= found["upper"] else "reject"
        colour = GREEN if side == "accept" else VERMILION
        axes.plot(seconds[first], llr[first], "D", color=colour, markersize=8, markeredgecolor="white", label="decided")
        words = f"The bound to {side} was reached after {seconds[first]:.1f} s."
    legend_below(axes, columns=3)
    rates = " and ".join(f"{rate.upper()} {wording.number(rate, found.get(rate))}" for rate in ("fmr", "fnmr"))
    caption = f"Wald's test, asked for {rates}; overlapping windows count only for what they add. {words}"
    return Drawing(name, title, caption, f"{title}: log likelihood ratio between two bounds. {words}", as_png(figure))


def _attention(report) -> Drawing:
    name, title = "attention", "Attention over time"
    time, weight = (np.asarray(x, np.float64) for x in (report.frame_time_s, report.frame_attention))
    known = np.isfinite(weight)
    if not known.any():
        return Drawing(name, title, missing="no frame lies in a window")
    # pictures stand in the order of time; where there are too many, those with most weight stay
    pictures = sorted(report.pictures, key=lambda picture: -picture[1])[:_MOST_PICTURES]
    pictures = sorted(pictures, key=lambda picture: picture[0])
    rows = -(-len(pictures) // _COLUMNS)
    figure = new_figure((4.6, 2.5 + 1.65 * rows))
    grid = figure.add_gridspec(1 + rows, _COLUMNS, height_ratios=(2.5, *[1.65] * rows))
    axes = style_axes(figure.add_subplot(grid[0, :]), "Time in the video (s)", "Mean weight in a window (%)")
    shown = _thinned(len(time))
    axes.plot(time[shown], 100 * weight[shown], color=BLUE, linewidth=1.2)
    axes.set_ylim(0, 125 * weight[known].max() or 1)
    axes.margins(x=0.02)
    for index, (at, value, rgb) in enumerate(pictures):
        mark = chr(ord("A") + index)
        axes.plot(at, 100 * value, "o", color=VERMILION, markersize=5, markeredgecolor="white")
        axes.annotate(mark, (at, 100 * value), (0, 6), textcoords="offset points", ha="center", fontsize=9, color=INK)
        frame = figure.add_subplot(grid[1 + index // _COLUMNS, index % _COLUMNS])
        frame.imshow(rgb, interpolation="lanczos")
        frame.set_axis_off()
        frame.set_title(f"{mark}: {at:.2f} s", fontsize=9, color=INK)
    even = "The weights are the same in every frame." if np.ptp(weight[known]) <= 1e-6 * weight[known].max() else ""
    below = "Below, the frames that weigh most, some time apart." if pictures else "No pictures were kept."
    caption = " ".join(filter(None, [below, "Gaps: frames in no window, or without a face.", even, _WHAT_ATTENTION_IS]))
    return Drawing(name, title, caption, f"{title}, with the frames that weigh most.", as_png(figure))


def _calibration(report) -> Drawing:
    name, title = "calibration", "Place of the score among development scores"
    found = report.calibration
    if found is None:
        return Drawing(name, title, missing="no calibration goes with this model or gallery")
    sides = {side: np.asarray(found.get(f"{side}_quantiles") or (), np.float64) for side in ("mated", "non_mated")}
    values = np.concatenate([*sides.values(), [] if report.score is None else [report.score]])
    if not len(values):
        return Drawing(name, title, missing="the calibration kept no development scores")
    low, high = values.min(), values.max()
    room = 0.06 * max(high - low, 1e-6)
    reach = np.linspace(low - room, high + room, 200)
    bounds = found.get("llr_bounds") or (-np.inf, np.inf)

    def ratio(score):
        return np.clip(found["scale"] * score + found["offset"], *bounds)

    figure = new_figure((4.6, 4.6))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.2, 1))
    style_axes(upper, "", "Log likelihood ratio")
    upper.plot(reach, ratio(reach), color=INK, linewidth=1.6)
    upper.axhline(0, color=FAINT, linewidth=0.8)
    style_axes(lower, "Score", "Development scores\n(density)").set_yticks([])
    for side, colour in (("non_mated", VERMILION), ("mated", BLUE)):
        if len(sides[side]) > 1:
            edges, density = _density(sides[side])
            label = "mated (same driver)" if side == "mated" else "non-mated (someone else)"
            lower.stairs(density, edges, fill=True, facecolor=(*_rgb(colour), 0.25), edgecolor=colour, label=label)
    _threshold_line(upper.axvline, report.threshold)
    words = _threshold_line(lower.axvline, report.threshold)
    if report.score is not None:
        place = float(ratio(report.score))
        upper.plot(report.score, place, "D", color=GREEN, markersize=9, markeredgecolor="white")
        lower.axvline(report.score, color=GREEN, linewidth=2, label="this video")
        words = f" This video: score {report.score:.3f}, log likelihood ratio {place:+.2f}.{words}"
    upper.set_xlim(reach[0], reach[-1])
    legend_below(lower, columns=2)
    caption = (
        "Above, how a score becomes a log likelihood ratio; below, how scores of comparisons with known answer lay, "
        f"from their quantiles.{words}"
    )
    return Drawing(name, title, caption, f"{title}.{words}", as_png(figure))


def _density(quantiles) -> tuple[np.ndarray, np.ndarray]:
    """A histogram of scores that lie evenly between their quantiles."""
    edges = np.linspace(quantiles[0], quantiles[-1], 17)
    if not edges[-1] > edges[0]:
        edges = quantiles[0] + np.linspace(-1e-3, 1e-3, 17)
    below = np.interp(edges, quantiles, np.linspace(0, 1, len(quantiles)))
    return edges, np.diff(below) / np.diff(edges)


def _threshold_line(draw, threshold) -> str:
    if threshold is None or not wording.is_number(threshold.get("value")):
        return ""
    draw(threshold["value"], color=VERMILION, linewidth=1.4, linestyle="--", label="threshold")
    return f" Dashed: the threshold, {threshold['value']:.3f}."


def _thinned(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).astype(int))


def _rgb(colour: str) -> tuple[float, float, float]:
    return tuple(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
