"""The content of a comparison as sections of plain blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fingerprint.reports import strict_json, wording
from fingerprint.reports.blocks import Bullets, Cell, Code, Details, Document, Drawing, Pictures, Section, Table, Text
from fingerprint.reports.comparison_report import ComparisonReport

_CONTROLS = {
    "shuffled_frames": "frames shuffled, AUC",
    "static_frame": "one frame of each window, AUC",
    "static_shape": "mean faces alone, AUC",
    "length_and_rate": "length and rate alone, AUC",
    "target_probe": "face shown, guessed",
}
_COSTS = {
    "parameters": "Parameters",
    "operations_per_window": "Operations a window",
    "ms_per_window": "Embedding, ms a window",
    "train_seconds": "Training, s",
    "train_processor_seconds": "Training, processor s",
}


def build(found: ComparisonReport, drawings: Sequence[Drawing]) -> Document:
    """The comparison's content, in reading order."""
    parts = [
        ("table", "", _table(found)),
        ("figures", "Figures", [Pictures(tuple(drawings))]),
        ("controls", "Controls", _controls(found)),
        ("cost", "Cost", _cost(found)),
        *([("contrasts", "Between test sets", _contrasts(found))] if found.contrasts else []),
        *([("folds", "Folds", _folds(found))] if any(row["folds"] for row in found.systems) else []),
        ("conditions", "Conditions", _conditions(found)),
        ("runs", "Runs", _runs(found)),
        ("protocol", "Protocol", _protocol(found)),
        (
            "warnings",
            "Warnings",
            [Bullets(tuple(found.warnings), mark="warning")] if found.warnings else [Text("None.")],
        ),
        ("provenance", "Provenance", [Table(("", ""), _facts(found.provenance))]),
        ("config", "Configuration", [Details("The whole configuration", (Code(_json(found.config)),))]),
    ]
    return Document(found.title, found.headline, tuple(Section(a, title, tuple(blocks)) for a, title, blocks in parts))


def _table(found: ComparisonReport) -> list:
    header = (
        "System",
        "AUC",
        "EER",
        f"AUC minus {found.reference}",
        f"EER minus {found.reference}",
        "AUC of seeds",
        "FTA",
    )
    rows = tuple(_row(row) for row in found.systems)
    first = found.protocol[0]
    trials = (
        f"{wording.count(first['trials'])} trials ({wording.count(first['mated'])} mated), {first['people']} people"
    )
    sets = f" on each of {len(found.protocol)} test sets; the first" if len(found.protocol) > 1 else ""
    text = (
        f"Protocol {first['name']}{sets}: {trials}. Rates are means over the seeds of training, on the trials that all "
        "systems scored. Brackets hold 95 % intervals from resampling people, the same ones in all systems, so that "
        "differences are paired; greyed differences include zero. They know of other people, not of other seeds: the "
        "lowest and the highest seed stand beside them."
    )
    blocks = [Table(header, rows), Text(text, muted=True)]
    if found.warnings:
        blocks.append(Text("This comparison raised warnings; they stand in their own section below."))
    return blocks


def _row(row: dict[str, Any]) -> tuple[Cell, ...]:
    def rate(metric: str) -> Cell:
        return Cell(wording.number(metric, row["rates"][metric]), wording.interval(metric, row["rates"][metric]))

    def lead(metric: str) -> Cell:
        if row["difference"] is None:
            return Cell("reference", muted=True)
        entry = row["difference"][metric]
        number, _, interval = wording.difference(entry).partition(" ")
        return Cell(number, interval, muted=not (entry["low"] > 0 or entry["high"] < 0))

    seeds = [wording.number("auc", value) for value in row["rates"]["auc"]["seeds"]]
    spread = f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else seeds[0]
    number = "restored" if row["seeds"] == [None] else f"{len(seeds)} seeds" if len(seeds) > 1 else "1 seed"
    fta = Cell(wording.number("fta", row["fta"]))
    return (Cell(row["system"]), rate("auc"), rate("eer"), lead("auc"), lead("eer"), Cell(spread, number), fta)


def _controls(found: ComparisonReport) -> list:
    names = [name for name in _CONTROLS if any(name in row["controls"] for row in found.systems)]
    if not names:
        return [Text("No controls were run.")]
    header = ("System", "AUC", *(_CONTROLS[name] for name in names))
    rows = []
    for row in found.systems:
        cells = [Cell(row["system"]), Cell(wording.number("auc", row["rates"]["auc"]))]
        for name in names:
            control = row["controls"].get(name)
            if control is None:
                cells.append(Cell("not measurable", muted=True))
                continue
            kind = "balanced_accuracy" if name == "target_probe" else "auc"
            spread = f"{wording.number(kind, control['min'])} to {wording.number(kind, control['max'])}"
            if "chance" in control:
                spread = f"chance {wording.number('chance', control['chance'])}"
            cells.append(Cell(wording.number(kind, control["mean"]), spread))
        rows.append(tuple(cells))
    text = (
        "Means over the runs, with the lowest and the highest run. A system that loses nothing when its frames are "
        "shuffled does not read their order; what one frame or the mean face gives is not motion."
    )
    return [Table(header, tuple(rows)), Text(text, muted=True)]


def _cost(found: ComparisonReport) -> list:
    names = [name for name in _COSTS if any(name in row["cost"] for row in found.systems)]
    rows = tuple(
        (Cell(row["system"]), Cell(row["title"]), *(Cell(_short(row["cost"].get(name))) for name in names))
        for row in found.systems
    )
    text = (
        "Training with validation, compilation and reading, on the machine named under Provenance (processor seconds: "
        "of all its cores). Operations: XLA's count for one window, a multiply-add is two. Embedding: the network "
        "alone, the best of five batches of 32 windows."
    )
    return [Table(("System", "What it is", *(_COSTS[name] for name in names)), rows), Text(text, muted=True)]


def _short(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _contrasts(found: ComparisonReport) -> list:
    header = ("System", "Minus", "AUC", "EER")
    rows = tuple(
        (
            *(Cell(row[name]) for name in ("system", "minus")),
            *(Cell(wording.difference(row[metric])) for metric in ("auc", "eer")),
        )
        for row in found.contrasts
    )
    return [
        Table(header, rows),
        Text(
            "The same model on two test sets of the same people, and two models on one test set; paired by person.",
            muted=True,
        ),
    ]


def _folds(found: ComparisonReport) -> list:
    numbers = [fold["fold"] for fold in found.systems[0]["folds"]]
    rows = []
    for row in found.systems:
        cells = [
            Cell(wording.number("auc", fold["auc"]), f"EER {wording.number('eer', fold['eer'])}")
            for fold in row["folds"]
        ]
        rows.append((Cell(row["system"]), *cells))
    text = "AUC and EER of each fold, means over seeds. Everybody is tested once; rates are averaged over folds."
    return [Table(("System", *(f"Fold {number}" for number in numbers)), tuple(rows)), Text(text, muted=True)]


def _conditions(found: ComparisonReport) -> list:
    names = list(dict.fromkeys(name for row in found.systems for name in row["conditions"]))
    rows = []
    for row in found.systems:
        cells = [
            Cell(wording.number("auc", entry["auc"]), f"EER {wording.number('eer', entry['eer'])}")
            if entry
            else Cell("n/a")
            for entry in (row["conditions"].get(name) for name in names)
        ]
        rows.append((Cell(row["system"]), *cells))
    text = "Means over runs, each on all trials it scored; intervals stand in the runs' own reports."
    return [Table(("System", *(name.replace("_", " ") for name in names)), tuple(rows)), Text(text, muted=True)]


def _runs(found: ComparisonReport) -> list:
    rows = tuple(
        (
            Cell(row["system"]),
            Cell("restored" if run["seed"] is None else str(run["seed"])),
            Cell("" if run["fold"] is None else str(run["fold"])),
            Cell(wording.number("auc", run["auc"])),
            Cell(wording.number("eer", run["eer"])),
            Cell(str(run["step"])),
            Cell(str(run["digest"])[:12]),
        )
        for row in found.systems
        for run in row["runs"]
    )
    return [Details("Every run", (Table(("System", "Seed", "Fold", "AUC", "EER", "Step", "Model"), rows),))]


def _protocol(found: ComparisonReport) -> list:
    header = ("Test set", "Protocol", "Trials", "Mated", "Scored by all", "People", "Hash")
    rows = tuple(
        (
            Cell(
                " ".join(filter(None, [row["test"], "" if row["fold"] is None else f"fold {row['fold']}"]))
                or "all entries'"
            ),
            Cell(row["name"]),
            *(Cell(wording.count(row[name])) for name in ("trials", "mated", "scored_by_all", "people")),
            Cell(row["hash"][:12]),
        )
        for row in found.protocol
    )
    said = []
    for name, title in (("score", "Score"), ("leakage", "Leakage")):
        values = {row["system"]: row[name] for row in found.systems}
        alike = len(set(values.values())) == 1
        said += [f"{title}: {row}." for row in ([next(iter(values.values()))] if alike else [])]
        said += [] if alike else [f"{title}, {system}: {value}." for system, value in values.items()]
    return [Table(header, rows), Bullets(tuple(said))]


def _facts(facts: dict[str, Any]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (Cell(str(name).replace("_", " ")), Cell(wording.value_text(strict_json.plain(value))))
        for name, value in facts.items()
    )


def _json(value: Any) -> str:
    return strict_json.dumps(value, indent=2).rstrip()
