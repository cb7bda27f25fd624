"""The figures of a report, one panel a file so that they stay legible on a phone; only this module draws."""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from fingerprint.reports import curves, embedding_map, findings, wording
from fingerprint.reports.blocks import Drawing

if TYPE_CHECKING:
    from fingerprint.reports.evaluation_report import EvaluationReport

INK, FAINT = "#222222", "#9a9a9a"
# Okabe and Ito, Color Universal Design, 2008
BLUE, VERMILION, GREEN = "#0072b2", "#d55e00", "#009e73"
_ORANGE, _SKY, _PURPLE = "#e69f00", "#56b4e9", "#cc79a7"
_COLOURS = (BLUE, VERMILION, GREEN, _ORANGE, _SKY, _PURPLE, INK)
_MARKERS = ("o", "^", "s")
_SIZE = (4.6, 4.0)  # inches; shown at about this width on a phone
_DPI = 170
_NAMED = 14  # identities with a colour and marker of their own
_MAP_POINTS = 1000
_EXAMPLES = 4
_BINS = 60
_PERCENT_TICKS = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)
_FIGURE_NAME = re.compile(
    r"roc|det|scores|training_loss|training_validation|embedding_(driver|target)|attention(_\d+)?|"
    r"identity_(auc|similarity)|identification"
)


def is_figure_name(name: str) -> bool:
    """A name that a figure of a report can have."""
    return bool(_FIGURE_NAME.fullmatch(name))


def draw_all(report: EvaluationReport) -> list[Drawing]:
    """Every figure of the report, in reading order; what cannot be drawn says why."""
    sides = _sides(report)
    curve_figures = [_roc(report, sides), _det(report, sides), _scores(report)]
    return [*curve_figures, *_training(report), *_embeddings(report), *_attention(report)]


def _roc(report, sides) -> Drawing:
    title = "ROC curve"
    if not sides:
        return Drawing("roc", title, missing="no curve, one class has no trial with a score")
    figure, axes = panel("False match rate (%)", "Mated trials accepted (%)")
    axes.plot([0, 100], [0, 100], color=FAINT, linewidth=1, linestyle=":", label="guessing")
    for text, name, colour, style, roc in sides:
        axes.plot(100 * roc.fmr, 100 * roc.tmr, color=colour, linestyle=style, linewidth=1.8, label=text)
        _mark_eer(axes, findings.rate(findings.condition(report.rates, name), "eer"), colour)
    axes.set(xlim=(-1, 101), ylim=(-1, 101), aspect="equal")
    axes.legend(loc="lower right", fontsize=8.5, framealpha=0.9)
    numbers = _numbers_text(report, ("auc", "eer"))
    caption = "Dots are the equal error rates, bars their 95 % intervals from the identity bootstrap." + numbers
    alt = "ROC curve: share of mated trials accepted against false match rate." + numbers
    return Drawing("roc", title, caption, alt, as_png(figure))


def _mark_eer(axes, eer, colour) -> None:
    if eer["value"] is None:
        return
    if eer["low"] is not None and eer["high"] is not None:
        ends = 100 * np.array([eer["low"], eer["high"]])
        axes.plot(ends, 100 - ends, color=colour, linewidth=5, alpha=0.3, solid_capstyle="round")
    axes.plot(
        [100 * eer["value"]],
        [100 - 100 * eer["value"]],
        "o",
        color=colour,
        markeredgecolor="white",
        markersize=8,
    )


def _det(report, sides) -> Drawing:
    title = "DET curve"
    if not sides:
        return Drawing("det", title, missing="no curve, one class has no trial with a score")
    figure, axes = panel("False match rate (%)", "False non-match rate (%)")
    ends = curves.probit(np.array([0.0005, 0.97]))
    axes.plot(ends, ends, color=FAINT, linewidth=1, linestyle=":", label="equal error rates")
    for text, name, colour, style, roc in sides:
        axes.plot(*curves.det_curve(roc), color=colour, linestyle=style, linewidth=1.8, label=text)
        eer = findings.rate(findings.condition(report.rates, name), "eer")["value"]
        if eer is not None:
            axes.plot(
                *2 * [curves.probit(np.array([eer]))],
                "o",
                color=colour,
                markeredgecolor="white",
                markersize=8,
            )
    ticks = curves.probit(np.array(_PERCENT_TICKS))
    labels = [f"{100 * share:g}" for share in _PERCENT_TICKS]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.legend(loc="upper right", fontsize=8.5, framealpha=0.9)
    numbers = _numbers_text(report, ("eer",))
    caption = "Both errors on probit axes; lower left is better. Dots are the equal error rates." + numbers
    alt = "DET curve: false non-match rate against false match rate on probit axes." + numbers
    return Drawing("det", title, caption, alt, as_png(figure))


def _sides(report) -> list[tuple[str, str, str, Any, curves.RocCurve]]:
    """Label, condition, colour, line style and curve of all trials and of those on one face."""
    scores, mated = np.asarray(report.scores, np.float64), np.asarray(report.mated, bool)
    same = np.asarray(report.same_target, bool)
    kinds = [("all trials", "all", BLUE, "-", slice(None))]
    kinds += [("same target (hard)", "same_target", VERMILION, (0, (5, 1.5)), same)]
    found = []
    for text, name, colour, style, chosen in kinds:
        if curves.has_both_classes(scores[chosen], mated[chosen]):
            found.append((text, name, colour, style, curves.roc_curve(scores[chosen], mated[chosen])))
    return found if found and found[0][1] == "all" else []


def _numbers_text(report, names) -> str:
    texts = []
    for name, text in (("all", "All trials"), ("same_target", "Same target")):
        row = findings.condition(report.rates, name)
        found = {rate: findings.rate(row, rate) for rate in names}
        known = [
            f"{wording.label(rate)} {wording.rate(rate, entry)}"
            for rate, entry in found.items()
            if entry["value"] is not None
        ]
        texts += [f"{text}: {', '.join(known)}."] if known else []
    return "".join(f" {text}" for text in texts)


def _scores(report) -> Drawing:
    title = "Scores"
    scores, mated = np.asarray(report.scores, np.float64), np.asarray(report.mated, bool)
    finite = np.isfinite(scores)
    if not finite.any():
        return Drawing("scores", title, missing="no histogram, no trial has a score")
    low, high = scores[finite].min(), scores[finite].max()
    if low == high:
        low, high = low - 0.5, high + 0.5
    figure, axes = panel("Score", f"Trials of the kind (% a bin, {_BINS} bins)")
    kinds = (
        ("mated", mated, BLUE, "-", 0.18),
        ("non-mated", ~mated, _ORANGE, "--", 0.18),
        ("non-mated, same target", ~mated & np.asarray(report.same_target, bool), VERMILION, ":", 0.0),
    )
    for text, chosen, colour, style, fill in kinds:
        counts, edges = np.histogram(scores[finite & chosen], _BINS, (low, high))
        if not counts.sum():
            continue
        share = 100 * counts / counts.sum()
        axes.stairs(share, edges, color=colour, alpha=fill, fill=True)
        axes.stairs(share, edges, color=colour, linestyle=style, linewidth=1.8, label=text)
    marked = [point.get("threshold") for point in report.thresholds.values()]
    marked = [value for value in marked if wording.is_number(value) and low <= value <= high]
    for index, value in enumerate(marked):
        axes.axvline(value, color=INK, linewidth=1, alpha=0.6, label=None if index else "thresholds from validation")
    axes.set_ylim(bottom=0)
    legend_below(axes, columns=2)
    caption = "Each kind sums to 100 %. Apart is good; where the kinds overlap, no threshold tells them apart."
    alt = "Histograms of the scores of mated, non-mated and same-target non-mated trials."
    return Drawing("scores", title, caption, alt, as_png(figure))


def _training(report) -> list[Drawing]:
    loss = _series(report.training, "loss")
    if not loss:
        return [
            Drawing("training_loss", "Training loss", missing="no training log in this run"),
            _validation(report),
        ]
    figure, axes = panel("Training step", "Loss")
    axes.plot(*zip(*loss, strict=True), color=BLUE, linewidth=1.2, marker="o" if len(loss) < 3 else "")
    caption, alt = "Loss of the training batches.", "Training loss by step."
    return [Drawing("training_loss", "Training loss", caption, alt, as_png(figure)), _validation(report)]


def _validation(report) -> Drawing:
    title = "Validation during training"
    series = {name: _series(report.training, f"validation/{name}") for name in ("auc", "eer")}
    if not any(series.values()):
        return Drawing("training_validation", title, missing="no validation log in this run")
    figure, axes = panel("Training step", "AUC and EER on validation identities (0 to 1)")
    for (name, points), colour, style in zip(series.items(), (BLUE, VERMILION), ("-", "--"), strict=True):
        if points:
            line = {"color": colour, "linestyle": style, "marker": "o", "markersize": 4}
            axes.plot(*zip(*points, strict=True), **line, label=wording.label(name))
    chosen = report.model.get("trained_step")
    if wording.is_number(chosen):
        axes.axvline(chosen, color=INK, linewidth=1, linestyle=":", label="step of this model")
    axes.set_ylim(-0.02, 1.02)
    legend_below(axes, columns=3)
    caption = "AUC 0.5 and EER 0.5 are guessing; up is better for AUC, down for EER."
    alt = "AUC and EER on validation identities by training step."
    return Drawing("training_validation", title, caption, alt, as_png(figure))


def _series(rows, key) -> list[tuple[float, float]]:
    points = [(row.get("step"), row.get(key)) for row in rows]
    return sorted((float(point[0]), float(point[1])) for point in points if all(map(wording.is_number, point)))


def _embeddings(report) -> list[Drawing]:
    panels = (("driver", report.embedding_driver), ("target", report.embedding_target))
    titles = {what: f"Embedding map, coloured by {what}" for what, _ in panels}
    reason = "no embeddings in this run"
    if report.embeddings is not None and len(report.embeddings):
        points = np.asarray(report.embeddings, np.float64)
        rows = np.flatnonzero(np.isfinite(points).all(axis=1))
        reason = "fewer than three videos have an embedding"
        if len(rows) >= 3 and np.ptp(points[rows], axis=0).max() < 1e-6:
            reason = "all videos have the same embedding: the network collapsed"
        elif len(rows) >= 3:
            return _maps(points, rows, panels, titles)
    return [Drawing(f"embedding_{what}", title, missing=reason) for what, title in titles.items()]


_WANTED = {
    "driver": "a driver's dots should lie together",
    "target": "an island of one target with several drivers means that the face shows through",
}


def _maps(points, rows, panels, titles) -> list[Drawing]:
    note = ""
    if len(rows) > _MAP_POINTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MAP_POINTS, replace=False))
        note = f" {_MAP_POINTS} videos chosen at random."
    places = embedding_map.tsne(points[rows], seed=0)
    found = []
    for what, names in panels:
        chosen = [str(names[row]) for row in rows]
        figure, axes = panel("t-SNE 1 (no unit)", "t-SNE 2 (no unit)")
        hidden = _scatter(axes, places, chosen)
        caption = f"One dot a video; {_WANTED[what]}.{note} Near is alike; long distances mean little."
        caption += f" Grey: {what}s beyond the {_NAMED} most frequent." if hidden else ""
        alt = f"Map of the embeddings, coloured by {what}."
        found.append(Drawing(f"embedding_{what}", titles[what], caption, alt, as_png(figure)))
    return found


def _scatter(axes, places, names) -> bool:
    ranked = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    shown, names = [name for name, _ in ranked[:_NAMED]], np.array(names, dtype=object)
    rest = ~np.isin(names.astype(str), shown)
    axes.scatter(*places[rest].T, s=12, color="#c8c8c8", linewidths=0)
    for index, name in enumerate(shown):
        colour, marker = _COLOURS[index % len(_COLOURS)], _MARKERS[index // len(_COLOURS)]
        at = places[names == name]
        axes.scatter(
            *at.T, s=20, color=colour, marker=marker, linewidths=0.4, edgecolors="white", label=plain_label(name)
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", "datalim")
    legend_below(axes, columns=4)
    return bool(rest.any())


def _attention(report) -> list[Drawing]:
    if not report.attention:
        return [Drawing("attention", "Attention over time", missing="no attention examples in this run")]
    return [_attention_example(index, example) for index, example in enumerate(report.attention[:_EXAMPLES], start=1)]


def _attention_example(index: int, example) -> Drawing:
    name, title = f"attention_{index}", f"Attention over time: {example.get('video_id', 'unnamed video')}"
    weights = np.asarray(example.get("weights", ()), np.float64).ravel()
    mask = np.asarray(example.get("frame_mask", np.ones(len(weights))), bool).ravel()
    if len(mask) != len(weights) or not (mask & np.isfinite(weights)).any():
        return Drawing(name, title, missing="no valid frame with a weight")
    valid = mask & np.isfinite(weights)
    if not np.ptp(weights[valid]) > 1e-6 * np.abs(weights[valid]).max():
        return Drawing(name, title, missing="all frames have the same weight")
    most = np.argsort(np.where(valid, -weights, np.inf), kind="stable")[: min(3, int(valid.sum()))]
    figure = new_figure((4.6, 3.9))
    grid = figure.add_gridspec(2, 3, height_ratios=(1, 1.15))
    axes = style_axes(figure.add_subplot(grid[0, :]), "Frame", "Attention weight (share)")
    axes.plot(np.arange(len(weights)), np.where(valid, weights, np.nan), color=INK, linewidth=1.2)
    axes.set(xlim=(-1, len(weights)), ylim=(0, 1.25 * weights[valid].max()))
    _shade(axes, ~mask)
    for rank, (frame, colour) in enumerate(zip(most, (VERMILION, BLUE, GREEN), strict=False)):
        axes.plot([frame], [weights[frame]], _MARKERS[rank], color=colour, markersize=7, markeredgecolor="white")
        _face(figure.add_subplot(grid[1, rank]), example, frame, most, colour, rank)
    caption = "The three frames with the most weight, drawn as the landmark graph; grey: frames without a face."
    return Drawing(
        name,
        title,
        caption,
        f"{title}, with the most attended frames drawn as the landmark graph.",
        as_png(figure),
    )


def _shade(axes, masked) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], masked, [False]]).astype(int)))
    for start, stop in edges.reshape(-1, 2):
        axes.axvspan(start - 0.5, stop - 0.5, color="#e4e4e4", linewidth=0)


def _face(axes, example, frame, frames, colour, rank) -> None:
    axes.set_axis_off()
    axes.set_title(f"frame {frame}", fontsize=9, color=colour)
    landmarks = np.asarray(example.get("landmarks", ()), np.float64)
    edges = np.asarray(example.get("edges", ()), np.int64).reshape(-1, 2)
    if landmarks.ndim != 3 or len(landmarks) <= frame or edges.max(initial=-1) >= landmarks.shape[1]:
        axes.text(0.5, 0.5, "no landmarks", ha="center", fontsize=8.5, color=INK, transform=axes.transAxes)
        return
    face = landmarks[frame, :, :2]
    axes.add_collection(LineCollection(face[edges], colors=colour, linewidths=0.5, alpha=0.7))
    axes.plot(*face.T, linestyle="", marker=_MARKERS[rank], color=colour, markersize=2)
    low, high = (limit(landmarks[frames, :, :2], axis=(0, 1)) for limit in (np.nanmin, np.nanmax))
    margin = 0.05 * max(float((high - low).max()), 1e-9)
    axes.set(xlim=(low[0] - margin, high[0] + margin), ylim=(high[1] + margin, low[1] - margin), aspect="equal")


def panel(x_label: str, y_label: str) -> tuple[Figure, Any]:
    """A figure of the report's usual size with one pair of axes."""
    figure = new_figure(_SIZE)
    return figure, style_axes(figure.add_subplot(), x_label, y_label)


def new_figure(size) -> Figure:
    """An empty figure; size in inches, as it is shown on a phone."""
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes, x_label: str, y_label: str):
    """The house's look of axes; returns them."""
    axes.set_xlabel(x_label, fontsize=9.5, color=INK)
    axes.set_ylabel(y_label, fontsize=9.5, color=INK)
    axes.tick_params(labelsize=9, colors=INK, length=3)
    axes.grid(color="#e2e2e2", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    return axes


def legend_below(axes, columns: int) -> None:
    """All that has a label, in so many columns under the figure."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        place = {
            "loc": "outside lower center",
            "fontsize": 8,
            "frameon": False,
            "columnspacing": 1.0,
            "handletextpad": 0.5,
        }
        axes.figure.legend(handles, labels, ncols=columns, **place)


def plain_label(text: str, most: int = 14) -> str:
    """A short label that matplotlib takes literally: no mathematics, not hidden by a leading underscore."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    text = text if len(text) <= most else text[: most - 1] + "…"
    return (" " if text.startswith("_") or not text else "") + text.replace("$", r"\$")


def as_png(figure: Figure) -> bytes:
    """The figure as a PNG file without any date or program in it."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # an identity in a script the font lacks
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
