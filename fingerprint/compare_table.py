"""From the score files and reports of many runs to one table: means over seeds, intervals by people, differences."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fingerprint.errors import RatesError
from fingerprint.reports.comparison_report import ComparisonReport, compose_headline
from fingerprint.verification import intervals, same_trials, score_file
from fingerprint.verification.error_rates import DetCurve
from fingerprint.verification.score_file import ScoreTable

METRICS = ("auc", "eer")


@dataclasses.dataclass(frozen=True)
class RunResult:
    """One run on one test set.

    Attributes:
        system: row of the table. entry, test: what it is made of. seed: of training, None of a model without one.
        fold: None without folds. evaluation: folder with `scores.csv` and `report.json`. title: of the network.
        cost: numbers by name, as far as they were measured. where: the test set, for messages.
    """

    system: str
    entry: str
    test: str
    seed: int | None
    fold: int | None
    evaluation: pathlib.Path
    title: str
    cost: dict[str, float]
    where: str

    @property
    def name(self) -> str:
        return self.system + (f" seed {self.seed}" if self.seed is not None else "")


def tabulate(config: ConfigDict, results: list[RunResult], origin: dict[str, Any]) -> ComparisonReport:
    """The comparison that finished runs amount to.

    Raises:
        RatesError: runs were tested on other trials or other people than the rest, or a score file is damaged.
    """
    tables = on_common_trials(results)
    reports = {id(result): read_report(result) for result in results}
    systems = list(dict.fromkeys(result.system for result in results))
    reference = config.compare.reference or systems[0]
    of = {system: [result for result in results if result.system == system] for system in systems}
    refuse_other_people(of, tables)
    sets = {system: [[tables[id(r)] for r in fold] for fold in by_fold(of[system])] for system in systems}
    paired = intervals.paired(sets, replicates=config.evaluate.replicates, seed=config.seed, metrics=METRICS)
    rows = [
        row_of(system, of[system], tables, reports, paired) | {"difference": differences(paired, system, reference)}
        for system in systems
    ]
    several = len(config.compare.tests) > 1
    return ComparisonReport(
        title=config.compare.title,
        headline=compose_headline(rows, reference),
        provenance=origin,
        protocol=[protocol_of(result, tables) for result in unique_sets(results)],
        reference=reference,
        systems=rows,
        contrasts=contrasts(config, paired) if several else [],
        warnings=warnings_of(rows, tables),
        config=config.to_dict(),
    )


def on_common_trials(results: list[RunResult]) -> dict[int, ScoreTable]:
    """The score table of every result, with the trials that all models of its test set scored."""
    tables = {id(result): score_file.read(result.evaluation / "scores.csv") for result in results}
    for first in unique_sets(results):
        same = [r for r in results if (r.test, r.fold) == (first.test, first.fold)]
        same_trials.refuse_others({r.name: tables[id(r)].hash for r in same}, first.where)
        common = same_trials.scored_by_all([tables[id(r)] for r in same])
        tables |= {id(r): table for r, table in zip(same, common, strict=True)}
    return tables


def unique_sets(results: list[RunResult]) -> list[RunResult]:
    """The first result of every test set and fold."""
    first: dict[tuple, RunResult] = {}
    for result in results:
        first.setdefault((result.test, result.fold), result)
    return list(first.values())


def by_fold(results: list[RunResult]) -> list[list[RunResult]]:
    """Results of one system, those of a fold together."""
    folds = sorted({-1 if r.fold is None else r.fold for r in results})
    return [[r for r in results if (-1 if r.fold is None else r.fold) == fold] for fold in folds]


def refuse_other_people(of: dict[str, list[RunResult]], tables: dict[int, ScoreTable]) -> None:
    """Differences are paired by person: all systems must have been tested on the same people.

    Raises:
        RatesError: they were not; the message says how many who has and the other has not.
    """
    people = {system: {n for r in found for n in tables[id(r)].drivers} for system, found in of.items()}
    first = next(iter(people))
    for system, found in people.items():
        if found != people[first]:
            raise RatesError(
                f"paired differences want the same people: {system} has {len(found - people[first])} drivers that "
                f"{first} has not, and lacks {len(people[first] - found)}; choose test sets of the same people"
            )


def read_report(result: RunResult) -> dict[str, Any]:
    """The run's report.

    Raises:
        RatesError: missing or damaged.
    """
    path = result.evaluation / "report.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RatesError(
            f"{path}: no report ({error}); remove {path.parent.parent / 'run.json'} and run again"
        ) from error


def row_of(system, results, tables, reports, paired: intervals.Paired) -> dict[str, Any]:
    """A row of the table but for its differences."""
    single = [rates_of(tables[id(result)]) for result in results]
    found = [reports[id(result)] for result in results]
    all_rates = {}
    for metric in METRICS:
        rate = paired.rate(system, metric)
        values = [rates[metric] for rates in single]
        by_seed = _means([r.seed for r in results], values)
        all_rates[metric] = dataclasses.asdict(rate) | {"seeds": list(by_seed.values())}
    scored = sum(int((~np.isnan(tables[id(fold[0])].scores)).sum()) for fold in by_fold(results))
    row = {
        "system": system,
        "entry": results[0].entry,
        "test": results[0].test,
        "title": results[0].title,
        "network": found[0]["model"]["name"],
        "dataset": found[0]["data"]["dataset"],
        "reading": found[0]["data"]["reading"],
        "score": found[0]["protocol"]["fusion"],
        "leakage": found[0]["protocol"]["leakage"],
        "window": found[0]["model"]["window"],
        "seeds": list(dict.fromkeys(r.seed for r in results)),
        "trials": sum(len(tables[id(fold[0])]) for fold in by_fold(results)),
        "scored_by_all": scored,
        "fta": float(np.mean([f["acquisition"]["fta"] for f in found])),
        "rates": all_rates,
        "folds": fold_rates(results, single),
        "runs": [
            {
                "seed": r.seed,
                "fold": r.fold,
                **rates,
                "step": f["model"]["trained_step"],
                "digest": f["model"]["digest"],
            }
            for r, rates, f in zip(results, single, found, strict=True)
        ],
        "conditions": conditions_of(found),
        "controls": controls_of(found),
        "cost": cost_of(results, found),
    }
    return row


def rates_of(table: ScoreTable) -> dict[str, float]:
    """The rates of one run on the trials that all scored."""
    curve = DetCurve.from_scores(table.scores, table.mated)
    return {metric: curve.metric(metric) for metric in METRICS}


def fold_rates(results: list[RunResult], single: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Mean over seeds of every fold; empty without folds."""
    if results[0].fold is None:
        return []
    folds = [r.fold for r in results]
    by_metric = {metric: _means(folds, [rates[metric] for rates in single]) for metric in METRICS}
    return [{"fold": fold, **{metric: by_metric[metric][fold] for metric in METRICS}} for fold in sorted(set(folds))]


def _means(keys: list[Any], values: list[float]) -> dict[Any, float]:
    """Mean value of every key, keys in order of appearance."""
    return {
        key: float(np.mean([v for k, v in zip(keys, values, strict=True) if k == key])) for key in dict.fromkeys(keys)
    }


def conditions_of(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean over runs of the rates of every condition and further protocol, where all runs have it."""
    conditions: dict[str, dict[str, float]] = {}
    for name in [row["condition"] for row in found[0]["rates"]]:
        rows = [row["rates"] for report in found for row in report["rates"] if row["condition"] == name]
        for metric in METRICS:
            values = [row[metric]["value"] for row in rows if row.get(metric)]
            if len(values) == len(found) and None not in values:
                conditions.setdefault(name, {})[metric] = float(np.mean(values))
    return conditions


def controls_of(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Every control's mean over runs, with the lowest and the highest run."""
    controls: dict[str, dict[str, float]] = {}
    for name in [control["name"] for control in found[0]["controls"]]:
        rows = [c for report in found for c in report["controls"] if c["name"] == name]
        if name == "target_probe":
            values = [row.get("balanced_accuracy") for row in rows]
            more = {"chance": float(np.mean([row["chance"] for row in rows if "chance" in row] or [np.nan]))}
        else:
            values, more = [row["rates"].get("auc", {}).get("value") for row in rows], {}
        if len(values) == len(found) and None not in values:
            spread = {"mean": float(np.mean(values)), "min": min(values), "max": max(values)}
            controls[name] = spread | {k: v for k, v in more.items() if np.isfinite(v)}
    return controls


def cost_of(results: list[RunResult], found: list[dict[str, Any]]) -> dict[str, float | None]:
    """Mean cost over the runs that measured it."""
    names = {name for result in results for name in result.cost}
    cost = {
        name: float(np.mean([r.cost[name] for r in results if r.cost.get(name) is not None] or [np.nan]))
        for name in names
    }
    return {"parameters": found[0]["model"]["parameters"]} | {
        name: value for name, value in sorted(cost.items()) if np.isfinite(value) and name != "parameters"
    }


def differences(paired: intervals.Paired, system: str, reference: str) -> dict[str, dict[str, float]] | None:
    """The system's rates minus the reference's; None for the reference itself."""
    if system == reference:
        return None
    return {metric: dataclasses.asdict(paired.difference(system, reference, metric)) for metric in METRICS}


def contrasts(config: ConfigDict, paired: intervals.Paired) -> list[dict[str, Any]]:
    """Of several test sets: every entry on each later one minus itself on the first, and, on each, every other entry
    minus the reference's (without one, the first)."""
    first, *others = config.compare.tests
    names = list(config.compare.entries)
    entry = next((name for name in names if config.compare.reference.startswith(f"{name}_on_")), names[0])
    further = [name for name in names if name != entry]
    pairs = [(f"{name}_on_{test}", f"{name}_on_{first}") for name in names for test in others]
    pairs += [(f"{name}_on_{test}", f"{entry}_on_{test}") for test in config.compare.tests for name in further]
    return [
        {"system": system, "minus": minus}
        | {m: dataclasses.asdict(paired.difference(system, minus, m)) for m in METRICS}
        for system, minus in pairs
    ]


def protocol_of(result: RunResult, tables) -> dict[str, Any]:
    """What a test set's trials are."""
    table = tables[id(result)]
    return {
        "test": result.test,
        "fold": result.fold,
        "name": table.protocol,
        "hash": table.hash,
        "trials": len(table),
        "mated": int(table.mated.sum()),
        "scored_by_all": int((~np.isnan(table.scores)).sum()),
        "people": len(table.drivers),
    }


def warnings_of(rows: list[dict[str, Any]], tables: dict[int, ScoreTable]) -> list[str]:
    """What a reader must know before believing the table."""
    found = []
    people = len({name for table in tables.values() for name in table.drivers})
    if people < 20:
        found.append(f"{people} people were tested: intervals over so few are wide, and too narrow if anything.")
    if few := [row["system"] for row in rows if row["seeds"] != [None] and len(row["seeds"]) < 3]:
        found.append(f"Fewer than three seeds: {', '.join(few)}.")
    if any(row["scored_by_all"] < row["trials"] for row in rows):
        row = max(rows, key=lambda r: r["trials"] - r["scored_by_all"])
        found.append(
            f"{row['trials'] - row['scored_by_all']} of {row['trials']} trials are left out for all: one of the models "
            "has no window of a video."
        )
    return found
