"""What an evaluation tells the report: of the data, the model, the protocol, failures, and examples."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from fingerprint import metrics_log, parallel, provenance
from fingerprint.errors import ArrayRefused
from fingerprint.landmarks import normalize, topology, windows
from fingerprint.reports import findings
from fingerprint.reports.evaluation_report import EvaluationReport
from fingerprint.validation import VideoTrials
from fingerprint.verification import intervals


def compose(
    config, released, source, subject: VideoTrials, plain, table, measured, points, durations, directory
) -> EvaluationReport:
    """Gather what the report shows; `measured`: rates, controls, per_identity, identification."""
    rates = measured["rates"]
    metadata, videos, trials, document = source.metadata(), subject.videos, subject.trials, released.document
    spec, layout = released.embedder.spec, released.embedder.layout
    covered = np.bincount(subject.video_of_record[plain.record], minlength=len(videos["video_id"])) > 0
    reasons = failure_reasons(videos, covered, spec)
    origin = provenance.collect(config.to_dict(), parallel.describe())
    others = config.data.reenact_targets
    reading = f"reenacted in landmark space onto {others} other faces" if others else "as recorded"
    reading = "anonymised in landmark space onto one face" if config.data.anonymise else reading
    means = video_means(plain.vector, subject.video_of_record[plain.record], len(covered))
    return EvaluationReport(
        title=config.evaluate.title
        or f"{document['model']['name']}, {config.data.dataset} {config.data.test_split}, {reading}",
        headline=findings.compose_headline(rates, measured["controls"]),
        provenance={**origin, "seed": config.seed, "durations": durations},
        data={
            "dataset": config.data.dataset,
            "split": config.data.test_split,
            "reading": reading,
            "landmark_set": document["landmark_set"],
            "records": len(source),
            "videos": len(covered),
            "windows": len(plain.vector),
            "drivers": len(set(videos["driver"].tolist())),
            "targets": len(set(videos["target"].tolist())),
            "generators": sorted(set(metadata["generator"].tolist())),
            "corpora": sorted(set(metadata["corpus"].tolist())),
            "frame_rates": sorted(set(np.round(metadata["fps"].astype(float), 2).tolist())),
        },
        model={
            "name": document["model"]["name"],
            "parameters": released.num_parameters,
            "landmark_set": document["landmark_set"],
            "normalization": document["normalization"],
            "channels": list(layout.channels),
            "normalization_removes": sorted(normalize.get(document["normalization"]).removes - layout.brings_back),
            "window": dataclasses.asdict(spec),
            "trained_step": document.get("step"),
            "digest": released.digest,
            "directory": str(released.directory),
            "options": document["model"],
        },
        protocol={
            "name": trials.protocol,
            "hash": trials.hash,
            "seed": trials.seed,
            "templates": len(trials.templates),
            "trials": len(trials),
            "mated": int(trials.mated.sum()),
            "non_mated": int((~trials.mated).sum()),
            "enrolment_clips": config.evaluate.enrolment_clips,
            "fusion": subject.scoring.describe(),
            "notes": list(trials.notes),
            "leakage": leakage_statement(document),
        },
        acquisition={
            "videos": len(covered),
            "failed": int((~covered).sum()),
            "fta": float((~covered).mean()),
            "reasons": reasons,
        },
        **measured,
        thresholds=_thresholds(points, rates),
        training=metrics_log.read(directory)
        if released.directory.is_relative_to(pathlib.Path(directory).absolute())
        else [],
        warnings=sorted({w for row in rates for w in row["warnings"]}),
        scores=table.scores,
        mated=table.mated,
        same_target=table.conditions["same_target"],
        embeddings=means[covered],
        embedding_driver=videos["driver"][covered].tolist(),
        embedding_target=videos["target"][covered].tolist(),
        attention=attention_examples(source, subject, plain, spec, document["landmark_set"]),
        config=config.to_dict(),
    )


def leakage_statement(document: dict[str, Any]) -> str:
    """What was checked, and what could not be."""
    within = "no window of one video, no source clip twice in a mated trial"
    if people := document.get("identities"):
        return f"checked: {within}, none of the {len(people)} identities of training and validation in either role"
    return f"training people not checked, the model does not say who they were; {within}"


def failure_reasons(videos: dict[str, np.ndarray], covered: Bool[np.ndarray, "video"], spec) -> dict[str, int]:
    """Why videos gave no window."""
    short = ~covered & (videos["num_frames"] < spec.length) & (spec.resample == 0)
    faceless = ~covered & ~short
    return {
        reason: int(chosen.sum())
        for reason, chosen in (
            (f"shorter than {spec.length} frames", short),
            (f"no window with {spec.min_valid:.0%} of its frames showing a face", faceless),
        )
        if chosen.any()
    }


def video_means(
    vector: Float[np.ndarray, "window dim"], video: np.ndarray, count: int
) -> Float[np.ndarray, "video dim"]:
    """Mean window embedding of every video; zeros where it has none."""
    total = np.zeros((count, vector.shape[1]))
    np.add.at(total, video, vector)
    return (total / np.maximum(np.bincount(video, minlength=count), 1)[:, None]).astype(np.float32)


def attention_examples(
    source, subject: VideoTrials, plain, spec, landmark_set: str, most: int = 3
) -> list[dict[str, Any]]:
    """The first windows of a few drivers' videos with the weights of their frames."""
    points = topology.get(landmark_set)
    chosen: dict[str, int] = {}
    for row, record in enumerate(plain.record.tolist()):
        chosen.setdefault(str(subject.videos["driver"][subject.video_of_record[record]]), row)
        if len(chosen) == most:
            break
    examples = []
    for row in chosen.values():
        record = source[int(plain.record[row])]
        landmarks = record["landmarks"]
        with contextlib.suppress(ArrayRefused):  # an unknown aspect ratio: drawn as it is
            landmarks = normalize.undo_aspect(landmarks, record["image_size"])
        landmarks, mask = windows.in_time(landmarks, record["frame_mask"], spec)
        piece, mask = windows.cut(landmarks, mask, int(plain.start[row]), spec.length)
        examples.append(
            {
                "video_id": record["video_id"],
                "weights": plain.attention[row],
                "frame_mask": mask,
                "landmarks": piece,
                "edges": points.edges,
            }
        )
    return examples


def _thresholds(points, rates) -> dict[str, dict[str, Any]]:
    everything = rates[0]["rates"]
    out = {}
    for name, point in points.get("thresholds", {}).items():
        out[name] = dict(point)
        for rate in ("fmr", "fnmr"):
            found = everything.get(intervals.threshold_rate_name(rate, name))
            out[name][f"test_{rate}"] = None if found is None else found["value"]
    return out
