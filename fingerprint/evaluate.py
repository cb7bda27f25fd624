"""Evaluate a model: restore, embed every video once, score trials, measure errors and controls, write the report."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import time
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from fingerprint import embed, metrics_log, parallel, provenance, workdir
from fingerprint.controls import baseline_scores, target_probe
from fingerprint.data import datasets
from fingerprint.data.input_pipeline import CONTROLS, RecordSource
from fingerprint.errors import ArrayRefused, ConfigError, ProtocolError, RatesError
from fingerprint.landmarks import normalize, topology, windows
from fingerprint.reports import console, findings, report
from fingerprint.reports.evaluation_report import EvaluationReport
from fingerprint.validation import VideoTrials, for_other_split, make_trials, same_people
from fingerprint.verification import intervals, score_file
from fingerprint.verification.calibration import LinearCalibration
from fingerprint.verification.error_rates import DetCurve
from fingerprint.verification.rates_table import report_rates
from fingerprint.verification.trials import subset

_DESCRIPTIONS = {
    "shuffled_frames": "The valid frames of every window in random order: what is lost is what the model read from "
    "order.",
    "static_frame": "One random frame of every window in place of all: what is left is read from single poses.",
    "static_shape": "No network: distance between the two videos' mean faces, pose removed.",
    "length_and_rate": "No network: distance between the two videos' lengths and frame rates.",
    "target_probe": "Which face is shown, guessed from the embedding by the nearest mean embedding of that face in "
    "videos of other drivers.",
}


def evaluate(config: ConfigDict, directory: str, model_path: str) -> pathlib.Path:
    """Evaluate a released model (or the best of a working directory) on `data.test_split`.

    Returns:
        The report's HTML page.

    Raises:
        CheckpointError, DatasetError, ConfigError, ProtocolError, RatesError: each says what was found and wanted.
        workdir.Stopped: asked to stop.
    """
    out = pathlib.Path(directory) / config.evaluate.name
    clock = _Clock()
    flag = workdir.StopFlag()
    # Several processes must agree on when to stop; they end at once, as nothing is written before the end.
    listening = flag.listening() if parallel.describe()["processes"] == 1 else contextlib.nullcontext()

    def check_stop():
        if flag.is_set:
            raise workdir.Stopped("stopped while evaluating; no report was written, the same command starts again")

    with listening:
        released = embed.open_model(model_path, batch_size=config.evaluate.batch_size, stride=config.evaluate.stride)
        source = open_for(released, config, config.data.test_split)
        foreign = same_people(released.document.get("identities", []), source.metadata())
        subject = VideoTrials(source, make_trials(config.evaluate, seed=config.seed), foreign)
        clock.lap("opening")

        def embed_all(split, label, transform=None):
            found = released.embedder.split(
                released.params, split, transform=transform, seed=config.seed, label=label, stopped=lambda: flag.is_set
            )
            check_stop()
            return found

        plain = embed_all(source, "embedding")
        clock.lap("embedding")
        altered = {}
        if config.evaluate.controls:
            altered = {name: embed_all(source, name, transform) for name, transform in CONTROLS.items()}
        clock.lap("embedding controls")
        points = {k: released.document[k] for k in ("thresholds", "calibration") if k in released.document}
        if split := config.evaluate.development_split:
            development_source = open_for(released, config, split)
            options = for_other_split(config.evaluate)
            development = VideoTrials(development_source, make_trials(options, seed=config.seed))
            refuse_shared_identities(development, subject)
            points = development.operating_points(
                embed_all(development_source, split), stride=released.embedder.spec.stride, seed=config.seed
            )

        if parallel.is_main():
            scores = subject.scores(plain)
            out.mkdir(parents=True, exist_ok=True)
            score_file.write(out / "scores.csv", subject.trials, subject.videos, scores)
            table = score_file.read(out / "scores.csv")
            clock.lap("scoring")
            check_stop()
            rates = [
                *measure(config, table, points),
                *unseen_rates(config, subject, scores, released.document, points),
                *further_rates(config, source, plain, points),
            ]
            clock.lap("error rates")
            check_stop()
            controls = measure_controls(config, subject, source, scores, plain, altered) if altered else []
            clock.lap("measuring controls")
            check_stop()
            finished = compose(
                config, released, source, subject, plain, table, rates, controls, points, clock, directory
            )
            written = report.write(finished, out)
            print("\n".join(console.summary_lines(finished, written)), flush=True)
    parallel.barrier("end of evaluation")
    return out / "report.html"


def open_for(released: embed.ReleasedModel, config: ConfigDict, split: str) -> RecordSource:
    """A split whose records fit the model's landmark set.

    Raises:
        ConfigError: they hold another landmark set.
    """
    source = datasets.open_split(config, split)
    found = sorted(set(source.metadata()["landmark_set"].tolist()))
    if found != [released.document["landmark_set"]]:
        raise ConfigError(
            f"the model in {released.directory} wants landmark set {released.document['landmark_set']}; "
            f"{config.data.dataset} {split} holds {', '.join(found)}"
        )
    return source


def refuse_shared_identities(development: VideoTrials, subject: VideoTrials) -> None:
    """Thresholds must not come from the people they are applied to."""
    people = [set(t.videos["driver"].tolist()) | set(t.videos["target"].tolist()) for t in (development, subject)]
    if shared := sorted(people[0] & people[1]):
        raise ConfigError(f"{len(shared)} identities are in the development and in the test split (first: {shared[0]})")


def measure(config: ConfigDict, table: score_file.ScoreTable, points: dict[str, Any]) -> list[dict[str, Any]]:
    """Error rates of every condition, with operating points from development identities."""
    line = points.get("calibration")
    return report_rates(
        table,
        calibration=LinearCalibration(line["scale"], line["offset"]) if line else None,
        thresholds={name: point["threshold"] for name, point in points.get("thresholds", {}).items()},
        replicates=config.evaluate.replicates,
        seed=config.seed,
    )


def unseen_rates(config, subject: VideoTrials, scores, document, points) -> list[dict[str, Any]]:
    """Rows for probes whose generator or corpus the model was not trained on, where that is known and there are any."""
    rows = []
    for field, name in (("generator", "generators"), ("corpus", "corpora")):
        known = document.get("training", {}).get(name)
        if known is None:
            continue
        new = ~np.isin(subject.videos[field], known)
        chosen = new[subject.trials.probe_index]
        if not chosen.any():
            continue
        table = score_file.ScoreTable.from_trials(
            subset(subject.trials, chosen), subject.videos["video_id"].tolist(), scores[chosen]
        )
        found = ", ".join(sorted(set(subject.videos[field][new].tolist())))
        description = f"Probes of a {field} that training never saw: {found}."
        rows.append(measure(config, table, points)[0] | {"condition": f"unseen_{field}", "description": description})
    return rows


def further_rates(config, source, plain, points) -> list[dict[str, Any]]:
    """A row for every further protocol and every further number of enrolment clips; one that the data cannot give says
    why."""
    own = config.evaluate.protocol
    if own == "pairs_csv":
        return []  # the file says who is enrolled with what
    variants = [
        (f"protocol_{name}", {"protocol": name}, f"Protocol {name}.") for name in config.evaluate.more_protocols
    ]
    variants += [
        (f"enrolled_{clips}", {"enrolment_clips": clips}, f"Enrolled with {clips} clips, scores averaged.")
        for clips in config.evaluate.more_enrolment_clips
    ]
    rows = []
    for condition, changes, description in variants:
        options = config.evaluate.copy_and_resolve_references()
        options.update(changes)
        if changes.get("protocol") == own:
            continue
        try:
            trials = VideoTrials(source, make_trials(options, seed=config.seed))
        except ProtocolError as error:
            rows.append(_empty_row(condition, description, str(error)))
            continue
        ids = trials.videos["video_id"].tolist()
        table = score_file.ScoreTable.from_trials(trials.trials, ids, trials.scores(plain))
        rows.append(measure(config, table, points)[0] | {"condition": condition, "description": description})
    return rows


def _empty_row(condition: str, description: str, reason: str) -> dict[str, Any]:
    counts = dict.fromkeys(("identities", "videos", "mated", "non_mated"), 0)
    return {
        "condition": condition, "description": description, "reason": reason, **counts,
        "fta": None, "fta_mated": None, "fta_non_mated": None, "warnings": [], "rates": {},
    }  # fmt: skip


def measure_controls(config, subject: VideoTrials, source, scores, plain, altered) -> list[dict[str, Any]]:
    """Each control's error rates on the same trials, and the model's paired lead over it."""
    candidates: dict[str, Float[np.ndarray, "trial"]] = {name: subject.scores(w) for name, w in altered.items()}
    candidates |= baseline_scores(source, subject.videos, subject.video_of_record, subject.trials)
    rows = [_control_row(config, name, subject, scores, other) for name, other in candidates.items()]
    video = subject.video_of_record[plain.record]
    return [
        *rows,
        {"name": "target_probe", **target_probe(plain.vector, video, subject.videos)} | _text("target_probe"),
    ]


def _control_row(config, name: str, subject: VideoTrials, scores, other) -> dict[str, Any]:
    trials = subject.trials
    who = (trials.mated, trials.reference_driver, trials.probe_driver)
    options = {"replicates": config.evaluate.replicates, "seed": config.seed, "metrics": ("auc", "eer")}
    both = ~np.isnan(scores) & ~np.isnan(other)
    try:
        spread = intervals.bootstrap(other, *who, **options)
        lead = intervals.paired_difference(scores, other, *who, **options)
    except RatesError as error:
        return {"name": name, "rates": {}, "difference": {}, "reading": f"not measured: {error}"} | _text(name)
    curve = DetCurve.from_scores(other, trials.mated)
    rates = {m: {"value": curve.metric(m), "low": spread[m].low, "high": spread[m].high} for m in ("auc", "eer")}
    difference = {m: {"value": d.value, "low": d.low, "high": d.high} for m, d in lead.items()}
    reading = f"on {int(both.sum())} trials that both scored"
    return {"name": name, "rates": rates, "difference": difference, "reading": reading} | _text(name)


def _text(name: str) -> dict[str, str]:
    return {"description": _DESCRIPTIONS[name]}


def compose(
    config, released, source, subject, plain, table, rates, controls, points, clock, directory
) -> EvaluationReport:
    """Gather what the report shows."""
    metadata, videos, trials, document = source.metadata(), subject.videos, subject.trials, released.document
    spec = released.embedder.spec
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
        headline=findings.compose_headline(rates, controls),
        provenance={**origin, "seed": config.seed, "durations": clock.laps},
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
            "normalization_removes": sorted(normalize.get(document["normalization"]).removes),
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
            "fusion": "mean cosine over all pairs of windows, then mean over enrolment clips",
            "notes": list(trials.notes),
            "leakage": leakage_statement(document),
        },
        acquisition={
            "videos": len(covered),
            "failed": int((~covered).sum()),
            "fta": float((~covered).mean()),
            "reasons": reasons,
        },
        rates=rates,
        controls=controls,
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


class _Clock:
    """Seconds by part."""

    def __init__(self):
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now
