"""The figures of a comparison: error against cost, rates with their intervals, controls."""

from __future__ import annotations

import numpy as np

from fingerprint.reports import wording
from fingerprint.reports.blocks import Drawing
from fingerprint.reports.comparison_report import ComparisonReport, frontier
from fingerprint.reports.figures import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    VERMILION,
    as_png,
    new_figure,
    panel,
    plain_label,
    style_axes,
)

_COSTS = {
    "operations_per_window": "Operations a window",
    "ms_per_window": "Embedding, ms a window",
    "parameters": "Parameters",
    "train_processor_seconds": "Training, processor seconds",
}
_LABEL = 26
_CONTROLS = {
    "shuffled_frames": ("frames shuffled", VERMILION),
    "static_frame": ("one frame", GREEN),
    "static_shape": ("mean faces alone", FAINT),
}


def draw_all(found: ComparisonReport) -> list[Drawing]:
    """Every figure, in reading order; what cannot be drawn says why."""
    return [_dots(found), *(_pareto(found, cost, text) for cost, text in _COSTS.items()), _controls(found)]


def _pareto(found: ComparisonReport, cost: str, text: str) -> Drawing:
    title, name = f"Error against cost: {text.lower()}", f"pareto_{cost}"
    rows = [row for row in found.systems if row["cost"].get(cost)]
    if not rows:
        return Drawing(name, title, missing="no system's cost of this kind was measured")
    costs, errors = [row["cost"][cost] for row in rows], [row["rates"]["eer"]["value"] for row in rows]
    best = frontier(costs, errors)
    figure, axes = panel(text, "EER (%)")
    axes.set_xscale("log")
    axes.set_xlim(min(costs) / 3, max(costs) * 6)  # room for names
    axes.step([costs[i] for i in best], [100 * errors[i] for i in best], where="post", color=BLUE, linewidth=1.2)
    for index, row in enumerate(rows):
        entry = row["rates"]["eer"]
        colour = BLUE if index in best else FAINT
        bar = 100 * np.array([[entry["value"] - entry["low"]], [entry["high"] - entry["value"]]])
        axes.errorbar(
            costs[index],
            100 * entry["value"],
            yerr=np.maximum(bar, 0),
            fmt="o",
            color=colour,
            linewidth=1,
            markersize=6,
        )
        place = {"xytext": (6, 5 if index % 2 else -11), "textcoords": "offset points", "fontsize": 8, "color": INK}
        axes.annotate(plain_label(row["system"], _LABEL), (costs[index], 100 * entry["value"]), **place)
    numbers = "; ".join(f"{rows[i]['system']} {wording.number('eer', errors[i])}" for i in best)
    caption = (
        f"Lower left is better. The line joins the systems that no other beats in both: {numbers}. Bars: intervals."
    )
    return Drawing(name, title, caption, f"{title}. On the frontier: {numbers}.", as_png(figure))


def _dots(found: ComparisonReport) -> Drawing:
    rows = found.systems[::-1]
    figure = new_figure((4.6, 1.2 + 0.34 * len(rows)))
    axes = style_axes(figure.add_subplot(), "AUC", "")
    for place, row in enumerate(rows):
        entry = row["rates"]["auc"]
        axes.plot([entry["low"], entry["high"]], [place, place], color=BLUE, linewidth=1.6)
        axes.plot(entry["seeds"], [place] * len(entry["seeds"]), "o", color=VERMILION, markersize=3, zorder=3)
        axes.plot([entry["value"]], [place], "D", color=BLUE, markersize=6)
    axes.axvline(0.5, color=FAINT, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(rows)), [plain_label(row["system"], _LABEL) for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    caption = "Diamonds: means over seeds, with 95 % intervals over people. Small dots: single seeds. Dotted: guessing."
    alt = "AUC of every system: " + "; ".join(
        f"{row['system']} {wording.rate('auc', row['rates']['auc'])}" for row in found.systems
    )
    return Drawing("rates", "AUC with intervals", caption, alt, as_png(figure))


def _controls(found: ComparisonReport) -> Drawing:
    title = "Controls"
    names = [name for name in _CONTROLS if any(name in row["controls"] for row in found.systems)]
    if not names:
        return Drawing("controls", title, missing="no controls were run")
    rows = found.systems[::-1]
    figure = new_figure((4.6, 1.5 + 0.22 * (1 + len(names)) * len(rows)))
    axes = style_axes(figure.add_subplot(), "AUC", "")
    height = 0.8 / (1 + len(names))
    for place, row in enumerate(rows):
        bars = [("the system", BLUE, row["rates"]["auc"]["value"])]
        bars += [(*_CONTROLS[name], row["controls"][name]["mean"]) for name in names if name in row["controls"]]
        for number, (text, colour, value) in enumerate(bars):
            axes.barh(
                place + 0.4 - (number + 0.5) * height, value, height, color=colour, label=text if not place else None
            )
    axes.axvline(0.5, color=INK, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(rows)), [plain_label(row["system"], _LABEL) for row in rows])
    axes.set_xlim(0, 1)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    caption = (
        "AUC of each system and of what is left when order, motion or the network is taken away. Dotted: guessing."
    )
    alt = "AUC of systems and controls: " + "; ".join(
        ", ".join(
            [
                row["system"],
                *(f"{_CONTROLS[n][0]} {row['controls'][n]['mean']:.3f}" for n in names if n in row["controls"]),
            ]
        )
        for row in found.systems
    )
    return Drawing("controls", title, caption, alt, as_png(figure))
