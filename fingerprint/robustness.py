"""How a released model bears worse videos: degrade the probes of the test split, score the same trials, compare.

Enrolment stays clean, as where somebody is enrolled from good recordings and a doubtful video is bad;
`robustness.degrade_enrolment` degrades both sides. The trials are those of `config.evaluate`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from fingerprint import back_end, embed, parallel, provenance, workdir
from fingerprint.data import degradations
from fingerprint.data.degradations import DegradedSource
from fingerprint.data.record_sources import RecordSource
from fingerprint.errors import ConfigError
from fingerprint.evaluate import open_for
from fingerprint.evaluation_summary import leakage_statement
from fingerprint.reports import robustness as reports
from fingerprint.reports import robustness_document
from fingerprint.reports.robustness_report import Curve, RobustnessReport
from fingerprint.validation import VideoTrials, make_trials, same_people
from fingerprint.verification.degraded import Comparison, EmbeddedVideos

Plan = dict[str, tuple[float, ...]]


def measure(config: ConfigDict, directory: str, model_path: str) -> pathlib.Path:
    """Measure a released model (or the best of a working directory) on degraded videos of `data.test_split`.

    Returns:
        The report's HTML page.

    Raises:
        UnknownName, ConfigError: a degradation or severity that is none; found before anything is read.
        CheckpointError, DatasetError, ProtocolError, RatesError: each says what was found and wanted.
        workdir.Stopped: asked to stop.
    """
    plan = planned(config.robustness.severities.to_dict())
    out = pathlib.Path(directory) / config.robustness.name
    began = time.perf_counter()
    flag = workdir.StopFlag()
    # Several processes must agree on when to stop; they end at once, as nothing is written before the end.
    listening = flag.listening() if parallel.describe()["processes"] == 1 else contextlib.nullcontext()
    with listening:
        options = config.evaluate
        released = embed.open_model(model_path, batch_size=options.batch_size, stride=options.stride)
        source = open_for(released, config, config.data.test_split)
        refuse_unknown_rates(plan, source)
        foreign = same_people(released.document.get("identities", []), source.metadata())
        scored_by = back_end.chosen(config, released)[0]
        subject = VideoTrials(source, make_trials(options, seed=config.seed), foreign, **scored_by)
        probes, rows = to_degrade(subject, both_sides=config.robustness.degrade_enrolment)

        def windows(records: RecordSource, label: str, row: np.ndarray) -> EmbeddedVideos:
            found = released.embedder.split(
                released.params, records, seed=config.seed, label=label, stopped=lambda: flag.is_set
            )
            if flag.is_set:
                raise workdir.Stopped("stopped while measuring; no report was written, the same command starts again")
            return EmbeddedVideos(found.vector, subject.video_of_record[row[found.record]])

        comparison = Comparison(
            windows(source, "clean", np.arange(len(source))),
            len(subject.videos["video_id"]),
            subject.trials,
            probes,
            **scored_by,
            both_sides=config.robustness.degrade_enrolment,
            replicates=config.robustness.replicates,
            seed=config.seed,
        )
        curves = []
        for name, severities in plan.items():
            found = []
            for severity in severities:
                worse = DegradedSource(
                    source, name, severity, landmark_set=released.embedder.landmark_set, seed=config.seed, rows=rows
                )
                label = degradations.get(name).label(severity)
                found.append(row_of(severity, label, comparison.degraded(windows(worse, f"{name} {label}", rows))))
            curves.append(curve_of(name, found))
        if parallel.is_main():
            warnings = [*kept_clean(released, plan), *unaffected(plan, subject.videos["fps"][probes])]
            seconds = time.perf_counter() - began
            report = _compose(config, released, source, subject, comparison, curves, warnings, seconds)
            out.mkdir(parents=True, exist_ok=True)
            written = reports.write(report, out)
            print(f"{report.title}\n{robustness_document.headline(report)}\nReport: {written['html']}", flush=True)
    parallel.barrier("end of robustness")
    return out / "robustness.html"


def planned(severities: dict) -> Plan:
    """Severities by degradation, in the order of reports; a degradation without any is left out.

    Raises:
        UnknownName: no such degradation. ConfigError: no such severity, or nothing to do.
    """
    for name, found in severities.items():
        for severity in found:
            degradations.get(name).check(severity)
    plan = {name: tuple(severities[name]) for name in degradations.names() if severities.get(name)}
    if not plan:
        raise ConfigError(f"no severity of any degradation; known: {', '.join(degradations.names())}")
    return plan


def refuse_unknown_rates(plan: Plan, source: RecordSource) -> None:
    """A frame rate cannot be lowered where it is not known.

    Raises:
        ConfigError: naming a video.
    """
    table = source.metadata()
    asked = [name for name in plan if degradations.get(name).needs_rate]
    unknown = np.flatnonzero(~(table["fps"] > 0))
    if asked and len(unknown):
        raise ConfigError(
            f"{' and '.join(asked)} want the videos' frame rates; that of {table['video_id'][unknown[0]]} and "
            f"{len(unknown) - 1} more records is not known; set their severities to ()"
        )


def to_degrade(subject: VideoTrials, *, both_sides: bool) -> tuple[np.ndarray, np.ndarray]:
    """The probe videos of the trials, and the records to degrade: of probes, with `both_sides` of all in the trials."""
    trials = subject.trials
    probes = np.unique(trials.probe_index)
    videos = probes
    if both_sides:
        enrolled = [row for template in np.unique(trials.template_index) for row in trials.templates[template]]
        videos = np.union1d(probes, enrolled)
    return probes, np.flatnonzero(np.isin(subject.video_of_record, videos))


def row_of(severity: float, label: str, found: dict, detail: str = "") -> dict:
    """A measured row with its severity; `detail`: what else was measured."""
    return {"severity": severity, "label": label, "detail": detail, **found}


def curve_of(name: str, rows: list[dict]) -> Curve:
    """The rows of one degradation of landmarks with what readers must know of it."""
    known = degradations.get(name)
    return Curve(name, known.summary, known.axis, rows)


def unaffected(plan: Plan, fps: Float[np.ndarray, "video"]) -> list[str]:
    """Sentences on videos whose frame rate is not above the one asked for."""
    return [
        f"{name} {degradations.get(name).label(severity)}: {int((fps <= severity).sum())} of {len(fps)} videos have no "
        "higher rate and stay as they are"
        for name, severities in plan.items()
        if degradations.get(name).needs_rate
        for severity in severities
        if severity and (fps <= severity).any()
    ]


def kept_clean(released: embed.ReleasedModel, names: Iterable[str]) -> list[str]:
    """A sentence where a model reads what these degradations leave as it is."""
    stored, spared = released.embedder.layout.stored, [name for name in names if name in degradations.OF_LANDMARKS]
    if not stored or not spared:
        return []
    return [f"{', '.join(spared)}: of landmarks only; the model's {' and '.join(stored)} stayed clean"]


def _compose(config, released, source, subject, comparison, curves, warnings, seconds: float) -> RobustnessReport:
    document, videos, trials = released.document, subject.videos, subject.trials
    both = config.robustness.degrade_enrolment
    return RobustnessReport(
        title=f"Robustness: {document['model']['name']}, {config.data.dataset} {config.data.test_split}",
        clean=comparison.clean(),
        curves=curves,
        data={
            "dataset": config.data.dataset,
            "split": config.data.test_split,
            "videos": len(videos["video_id"]),
            "drivers": len(set(videos["driver"].tolist())),
            "frame rates": sorted(set(np.round(source.metadata()["fps"].astype(float), 2).tolist())),
        },
        model={
            "name": document["model"]["name"],
            "digest": released.digest,
            "directory": str(released.directory),
            "normalization": document["normalization"],
            "channels": list(released.embedder.layout.channels),
            "window": dataclasses.asdict(released.embedder.spec),
        },
        protocol={
            "name": trials.protocol,
            "hash": trials.hash,
            "trials": len(trials),
            "mated": int(trials.mated.sum()),
            "non_mated": int((~trials.mated).sum()),
            "enrolment": "degraded as the probes are" if both else "clean",
            "replicates": config.robustness.replicates,
            "leakage": leakage_statement(document),
        },
        provenance={
            **provenance.collect(config.to_dict(), parallel.describe()),
            "seed": config.seed,
            "seconds": round(seconds, 1),
        },
        warnings=warnings,
        config=config.to_dict(),
    )
