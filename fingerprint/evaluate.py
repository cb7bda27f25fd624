"""Evaluate a model: restore, embed every video once, score trials, measure errors and controls, write the report."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import time

from ml_collections import ConfigDict

from fingerprint import back_end, embed, parallel, workdir
from fingerprint.controls import measure_controls
from fingerprint.data import datasets
from fingerprint.data.input_pipeline import CONTROLS
from fingerprint.data.record_sources import RecordSource
from fingerprint.errors import ConfigError
from fingerprint.evaluation_rows import Rows
from fingerprint.evaluation_summary import compose
from fingerprint.reports import console, report
from fingerprint.validation import VideoTrials, for_other_split, make_trials, same_people
from fingerprint.verification import score_file


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
        scored_by, points, dropped = back_end.chosen(config, released)
        subject = VideoTrials(source, make_trials(config.evaluate, seed=config.seed), foreign, **scored_by)
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
        if split := config.evaluate.development_split:
            development_source = open_for(released, config, split)
            options = for_other_split(config.evaluate)
            development = VideoTrials(development_source, make_trials(options, seed=config.seed), **scored_by)
            refuse_shared_identities(development, subject)
            points = development.operating_points(
                embed_all(development_source, split), stride=released.embedder.spec.stride, seed=config.seed
            )
            dropped = []

        if parallel.is_main():
            scores = subject.scores(plain)
            out.mkdir(parents=True, exist_ok=True)
            measures = subject.measures() if points.get("calibration", {}).get("quality") else None
            score_file.write(out / "scores.csv", subject.trials, subject.videos, scores, measures)
            table = score_file.read(out / "scores.csv")
            clock.lap("scoring")
            check_stop()
            rows = Rows(config, subject, scores, points, released.document.get("training"))
            rates = [
                *rows.of(table),
                *rows.balanced(),
                *rows.within_generators(),
                *rows.unseen_corpus(),
                *rows.further(source, plain),
            ]
            clock.lap("error rates")
            check_stop()
            people = rows.people(table)
            clock.lap("people apart")
            found = rows.identify(plain)
            clock.lap("identification")
            check_stop()
            controls = measure_controls(config, subject, source, scores, plain, altered) if altered else []
            clock.lap("measuring controls")
            check_stop()
            measured = {"rates": rates, "controls": controls, "per_identity": people, "identification": found}
            finished = compose(config, released, source, subject, plain, table, measured, points, clock.laps, directory)
            finished = dataclasses.replace(finished, warnings=[*finished.warnings, *dropped])
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


class _Clock:
    """Seconds by part."""

    def __init__(self):
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now
