"""`fingerprint robustness`: what re-encoding and worse landmarks do to the scores of videos of one's own."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.markup import escape

from fingerprint import options, provenance, robustness
from fingerprint.app import calibrate, console, evidence
from fingerprint.app.commands import Acquisition
from fingerprint.app.evidence import Evidence
from fingerprint.data import degradations
from fingerprint.data.degradations import DegradedSource
from fingerprint.embed import ReleasedModel, open_model
from fingerprint.errors import ClaimRefused, FingerprintError, ProtocolError
from fingerprint.landmarks import model_file, track, video
from fingerprint.reports import robustness as reports
from fingerprint.reports import robustness_document, strict_json
from fingerprint.reports.robustness_report import Curve, RobustnessReport
from fingerprint.verification import protocols
from fingerprint.verification.degraded import LEAST_IDENTITIES, Comparison, EmbeddedVideos
from fingerprint.verification.trials import TrialList, subset

Path = pathlib.Path
HEIGHT_CRF = 23
"""Quality at which smaller pictures are written: x264's own default."""
_SEED = 0


def run(
    where: Path, model: Path, out: Path, *, crf: Sequence[int], heights: Sequence[int], how: Acquisition
) -> dict[str, Any]:
    """Measure and write the report; JSON-able result.

    Args:
        where: labelled videos, as `calibrate.find` reads them.
        crf: qualities of H.264 at the videos' own height. heights: pixels, at crf `HEIGHT_CRF`.

    Raises:
        ClaimRefused, VideoRefused, CheckpointError, ModelFileMissing: each says what was found and wanted.
    """
    if out.exists() and not out.is_dir():
        raise ClaimRefused(f"--out {out} is a file; wanted a folder")
    plan = robustness.planned(options.defaults().robustness.severities.to_dict())
    labelled = calibrate.find(where)
    released = open_model(model)
    found = _acquire([label.path for label in labelled], released, how, "extracting")
    usable = [(label, item) for label, item in zip(labelled, found, strict=True) if isinstance(item, Evidence)]
    warnings = [f"left out: {item}" for item in found if not isinstance(item, Evidence)]
    if not usable:
        raise ClaimRefused(f"{where}: no usable video; {'; '.join(warnings[:3])}")
    subject = _Subject(usable, released)
    warnings += subject.doubts
    everything = subject.comparison(np.arange(len(usable)))
    raw = np.array([row for row, (label, _) in enumerate(usable) if not label.path.name.endswith(track.SUFFIX)], int)
    if len(raw) < len(usable):
        warnings.append(f"{len(usable) - len(raw)} track files cannot be re-encoded: re-encoding is of the videos only")
    warnings += robustness.kept_clean(released, plan)
    warnings += robustness.unaffected(plan, np.array([item.track.fps for _, item in usable]))
    curves = []
    if len(raw):
        curves += _reencodings(subject, raw, crf, heights, how)
    curves += [_landmark_curve(subject, everything, name, severities) for name, severities in plan.items()]
    report = _compose(subject, everything, curves, raw, warnings, crf=list(crf), heights=list(heights))
    out.mkdir(parents=True, exist_ok=True)
    written = reports.write(report, out)
    return {
        "headline": robustness_document.headline(report),
        "findings": [robustness_document.findings(curve) for curve in curves],
        **{name: strict_json.plain(getattr(report, name)) for name in ("clean", "curves", "warnings")},
        "written": {part: str(path) for part, path in written.items()},
    }


def show(result: dict[str, Any]) -> None:
    """For people."""
    console.out.print(escape(result["headline"]))
    for sentence in result["findings"]:
        console.out.print(f"  {escape(sentence)}")
    console.warn(result["warnings"])
    console.out.print(f"report: {escape(result['written']['html'])}")


def whole_numbers(text: str, option: str, low: int, high: int) -> list[int]:
    """Numbers of an option, as "23,31,39"; none from an empty text.

    Raises:
        ClaimRefused: something else, or one outside `low` to `high`.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and low <= int(part) <= high for part in parts):
        raise ClaimRefused(f"{option} {text!r}; wanted whole numbers from {low} to {high}, as 23,31,39")
    return list(dict.fromkeys(map(int, parts)))


class _Subject:
    """The clean videos, the trials among them if there are any, and what is to be said about those."""

    def __init__(self, usable: Sequence[tuple[calibrate.Labelled, Evidence]], released: ReleasedModel):
        self.usable, self.released = usable, released
        self.trials: TrialList | None = None
        self.doubts: list[str] = []
        table = calibrate.video_table(usable)
        people = len(set(table["driver"].tolist()))
        try:
            self.trials = protocols.get(protocols.choose(table))(table, seed=_SEED, enrolment_clips=1)
        except ProtocolError as error:
            self.doubts.append(f"no error rates: {error}")
        if self.trials is not None and people < LEAST_IDENTITIES:
            self.doubts.append(
                f"{people} people are few: intervals want at least {LEAST_IDENTITIES}, and error rates say little"
            )
        self.windows = _windows([item for _, item in usable], range(len(usable)))

    def comparison(self, rows: np.ndarray) -> Comparison:
        """Of these videos as probes with all as references."""
        trials = self.trials
        if trials is not None:
            trials = subset(trials, np.isin(trials.probe_index, rows))
        replicates = options.defaults().robustness.replicates
        return Comparison(
            self.windows, len(self.usable), trials, rows,
            scoring=self.released.scoring, cohort=self.released.cohort, replicates=replicates, seed=_SEED,
        )  # fmt: skip


def _windows(found: Sequence[Evidence | FingerprintError], rows: Sequence[int], dim: int = 0) -> EmbeddedVideos:
    """Windows of what could be embedded, of length `dim` where there is none; `rows`: of the video table."""
    items = [(row, item) for row, item in zip(rows, found, strict=True) if isinstance(item, Evidence)]
    if not items:
        return EmbeddedVideos(np.zeros((0, dim), np.float32), np.zeros(0, np.int64))
    return EmbeddedVideos(
        np.concatenate([item.vectors for _, item in items]),
        np.repeat([row for row, _ in items], [len(item.vectors) for _, item in items]),
    )


def _acquire(
    paths: Sequence[Path], released: ReleasedModel, how: Acquisition, what: str
) -> list[Evidence | FingerprintError]:
    raw = any(not path.name.endswith(track.SUFFIX) for path in paths)
    landmark_model = model_file.find(how.landmark_model) if raw else None
    with evidence.tracks_folder(how.tracks) as folder, console.progress(how.quiet, what) as on_progress:
        found: list = evidence.acquire(
            paths, folder, model_file=landmark_model, processes=how.processes, on_progress=on_progress
        )
    usable = [index for index, item in enumerate(found) if not isinstance(item, FingerprintError)]
    embedded = evidence.embed([(str(paths[index]), found[index]) for index in usable], released, fps=how.fps)
    for index, item in zip(usable, embedded, strict=True):
        found[index] = item
    return found


def _landmark_curve(subject: _Subject, comparison: Comparison, name: str, severities: Sequence[float]) -> Curve:
    released = subject.released
    landmark_set = released.embedder.landmark_set
    tracks = evidence.Tracks([(item.video, item.track) for _, item in subject.usable], landmark_set)
    rows = []
    for severity in severities:
        worse = DegradedSource(tracks, name, severity, landmark_set=landmark_set, seed=_SEED)
        found = released.embedder.split(released.params, worse)
        label = degradations.get(name).label(severity)
        rows.append(robustness.row_of(severity, label, comparison.degraded(EmbeddedVideos(found.vector, found.record))))
    return robustness.curve_of(name, rows)


def _reencodings(subject: _Subject, raw: np.ndarray, crf, heights, how: Acquisition) -> list[Curve]:
    comparison = subject.comparison(raw)
    own = [(value, f"crf {value}", value, None) for value in crf]
    smaller = [(value, f"{value} px", HEIGHT_CRF, value) for value in heights]
    curves = []
    for name, summary, axis, cases in (
        (
            "reencoded",
            "Every video written again as H.264 at its own size; a higher crf is a worse picture.",
            "Constant rate factor of H.264",
            own,
        ),
        (
            "reencoded_smaller",
            f"Every video written again as H.264 at crf {HEIGHT_CRF}, so many pixels high; lower ones keep their size.",
            f"Height of the picture (pixels), crf {HEIGHT_CRF}",
            smaller,
        ),
    ):  # fmt: skip
        rows = []
        for value, label, quality, height in cases:
            windows, rate = _reencoded(subject, raw, quality, height, how, label)
            detail = "" if rate is None else f"{rate:.0f} kbit/s"
            rows.append(robustness.row_of(value, label, comparison.degraded(windows), detail))
        curves += [Curve(name, summary, axis, rows)] if rows else []
    return curves


def _reencoded(
    subject: _Subject, raw: np.ndarray, crf: int, height: int | None, how: Acquisition, label: str
) -> tuple[EmbeddedVideos, float | None]:
    """Windows of the videos written again, and their mean kilobits a second; the files are gone afterwards."""
    how = dataclasses.replace(how, tracks=None)
    rows, paths, rates = [], [], []
    with tempfile.TemporaryDirectory(prefix="fingerprint-") as folder:
        for row in raw.tolist():
            path = Path(folder) / f"{row:06d}.mp4"
            try:
                rates.append(video.reencode(subject.usable[row][0].path, path, crf=crf, height=height).kbit_per_s)
            except FingerprintError as error:  # counted with those whose face is lost
                if getattr(error, "reason", "") == "no_encoder":
                    raise
                continue
            rows.append(row)
            paths.append(path)
        found = _acquire(paths, subject.released, how, label) if paths else []
    return _windows(found, rows, subject.windows.vector.shape[1]), float(np.mean(rates)) if rates else None


def _compose(
    subject: _Subject, comparison: Comparison, curves: list[Curve], raw: np.ndarray, warnings: list[str], **asked
) -> RobustnessReport:
    released, trials = subject.released, subject.trials
    document = released.document
    paths = [subject.usable[row][0].path for row in raw]
    rates = [video.kbit_per_s(path, video.open_video(path)) for path in paths]
    protocol = {} if trials is None else {
        "name": trials.protocol,
        "trials": len(trials),
        "mated": int(trials.mated.sum()),
        "non_mated": int((~trials.mated).sum()),
        "enrolment": "clean",
    }  # fmt: skip
    return RobustnessReport(
        title=f"Robustness: {document['model']['name']} on own videos",
        clean={**comparison.clean(), "detail": f"{np.mean(rates):.0f} kbit/s" if rates else ""},
        curves=curves,
        data={
            "videos": len(subject.usable),
            "people": len({label.driver for label, _ in subject.usable}),
            "frame rates": sorted({round(item.track.fps, 2) for _, item in subject.usable}),
            "decoder": video.DECODER,
        },
        model={
            "name": document["model"]["name"],
            "digest": released.digest,
            "normalization": document["normalization"],
            "window": dataclasses.asdict(released.embedder.spec),
        },
        protocol=protocol,
        provenance=provenance.collect(asked, {"processes": 1}),
        warnings=warnings,
    )
