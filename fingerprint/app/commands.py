"""The commands: each takes what the command line says, walks the house's path, and returns a JSON-able result."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import hashlib
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.live import Live

from fingerprint import workdir
from fingerprint.app import calibrate as calibration_fit
from fingerprint.app import console, decision, evidence, running, verification_page
from fingerprint.app import gallery as galleries
from fingerprint.app.decision import ACCEPTED, UNDECIDED
from fingerprint.app.evidence import Evidence
from fingerprint.app.gallery import Gallery, Template
from fingerprint.embed import ReleasedModel, open_model
from fingerprint.errors import CheckpointError, ClaimRefused, FingerprintError, GalleryError, VideoRefused
from fingerprint.landmarks import extract, model_file, video

Path = pathlib.Path
_FEW_PEOPLE = 8


@dataclasses.dataclass(frozen=True)
class Acquisition:
    """How videos become tracks: resampling rate, folder that keeps tracks, MediaPipe's model, processes, no bar."""

    fps: float | None
    tracks: Path | None
    landmark_model: Path | None
    processes: int
    quiet: bool


def enroll(name: str, videos: Sequence[Path], folder: Path, model: Path | None, *, add: bool, how: Acquisition):
    """Enrol; the gallery is made if it is not there.

    Raises:
        GalleryError, ClaimRefused, VideoRefused, CheckpointError: each says what was found and wanted.
    """
    if galleries.exists(folder):
        gallery, released = _open(folder, model)
    elif model is None:
        raise GalleryError(f"{folder} holds no gallery yet; --model says with which model to make it")
    else:
        released = open_model(model)
        gallery = None
    for path in videos:  # what can be seen to be no video is refused before minutes go into the others
        if path.is_file() and not path.name.endswith(".track.npz"):
            video.open_video(path)
    found = _evidence(videos, released, how)
    for item in found:
        if isinstance(item, FingerprintError):
            raise item
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    template = Template(
        name,
        np.concatenate([item.vectors for item in found]),
        np.repeat(np.arange(len(found), dtype=np.int32), [len(item.vectors) for item in found]),
        tuple({"sha256": item.sha256, "enrolled": today, **item.facts()} for item in found),
    )
    if gallery is None:
        gallery = galleries.create(folder, released, decision.model_calibration(released))
    kept = gallery.enroll(template, add=add)
    return {
        "name": name,
        "gallery": str(folder),
        "videos": [{"video": item.video, **item.facts(), "warnings": list(item.warnings)} for item in found],
        "enrolled_videos": len(kept.videos),
        "enrolled_windows": len(kept.vectors),
    }


def verify(
    path: Path, claim: str, folder: Path, model: Path | None, *, at: str, report: Path | None, pictures: bool, how
):
    """Compare a video with the claimed person.

    Raises:
        GalleryError, ClaimRefused, VideoRefused, CheckpointError: each says what was found and wanted.
    """
    gallery, released = _open(folder, model)
    template = gallery.template(claim)
    decision.operating_point(gallery.calibration, at)  # refuse before the work, not after
    (found,) = _evidence([path], released, how)
    if isinstance(found, FingerprintError):
        raise found
    verdict = decision.decide(template, found, released, gallery.calibration, at)
    if report is not None:
        seen = path if pictures and not path.name.endswith(".track.npz") else None
        from fingerprint.reports import verification  # matplotlib is heavy

        page = verification_page.compose(verdict, found, template, released, gallery, path=seen)
        verification.write(page, report)
    return {**_verdict(verdict, found), **_about(gallery, released), "report": _text(report)}


def verify_stream(
    source: str,
    claim: str,
    folder: Path,
    model: Path | None,
    *,
    fmr: float,
    fnmr: float,
    max_seconds: float,
    report: Path | None,
    how: Acquisition,
):
    """Score a file, camera or pipe as it comes; stop when the asked error rates are met.

    Raises:
        GalleryError, ClaimRefused, VideoRefused, CheckpointError: each says what was found and wanted.
    """
    if how.fps is not None or how.tracks is not None:
        raise ClaimRefused("--fps and --tracks do not go with --stream: frames are used as they come")
    gallery, released = _open(folder, model, batch_size=1)
    template = gallery.template(claim)
    test = running.sequential_test(gallery.calibration, released, fmr, fnmr)
    landmark_model = model_file.find(how.landmark_model)
    moments: list[running.Moment] = []
    seen = running.Seen()
    # Asked to stop, the stream ends with a frame: an interrupt inside the decoder or detector would tear them apart.
    with workdir.StopFlag().listening() as flag, contextlib.closing(video.frames(source, live=True)) as pictures:
        first = next(pictures)
        size = first.rgb.shape[1::-1]
        frames = itertools.takewhile(lambda _: not flag.is_set, itertools.chain([first], pictures))
        with (
            contextlib.closing(extract.follow(frames, model_file=landmark_model)) as faces,
            Live(console=console.err, transient=True, auto_refresh=False) as line,
        ):
            for moment in running.verify_running(faces, released, template, test, size, max_seconds, seen):
                moments.append(moment)
                if not how.quiet:
                    line.update(_moment_line(moment, test), refresh=True)
                if moment.decision is not None:
                    break
    if flag.is_set:
        raise workdir.Stopped("stopped before a decision")
    if not moments:
        raise ClaimRefused(
            f"{source}: ended before one window of {released.embedder.spec.length} frames showed the face"
        )
    last = moments[-1]
    result = {
        "video": source,
        "claim": claim,
        "decision": last.decision or UNDECIDED,
        "score": last.running_score,
        "llr": last.llr,
        "seconds": last.seconds,
        "windows": last.windows,
        "effective_windows": last.effective,
        "asked": {"fmr": fmr, "fnmr": fnmr},
        "bounds": {"upper": test.upper, "lower": test.lower},
        "ended": "decided" if last.decision else "the stream ended, or --max-seconds was reached",
        "restarts": sum(moment.restarted for moment in moments),
        "moments": [dataclasses.asdict(moment) for moment in moments],
        "warnings": _stream_warnings(source, template, released, moments, seen),
        **_about(gallery, released),
        "report": _text(report),
    }
    if report is not None:
        from fingerprint.reports import verification  # matplotlib is heavy

        verification.write(
            verification_page.compose_running(result, moments, test, template, released, gallery), report
        )
    return result


def identify(path: Path, folder: Path, model: Path | None, *, at: str, top: int, how: Acquisition) -> dict[str, Any]:
    """Compare a video with everybody; accepted where the best score passes the threshold.

    Raises:
        GalleryError, ClaimRefused, VideoRefused, CheckpointError: each says what was found and wanted.
    """
    gallery, released = _open(folder, model)
    names = gallery.names()
    if not names:
        raise GalleryError(f"{folder}: nobody is enrolled")
    decision.operating_point(gallery.calibration, at)
    (found,) = _evidence([path], released, how)
    if isinstance(found, FingerprintError):
        raise found
    verdicts = [decision.decide(gallery.template(name), found, released, gallery.calibration, at) for name in names]
    verdicts.sort(key=lambda verdict: (-verdict.score, verdict.name))
    best = verdicts[0]
    # Each of the people is a chance for a false match; the sum of the chances bounds them all together. An estimate of
    # no errors bounds nothing, so the upper limit of the rate is what counts.
    upper = None if best.threshold is None else best.threshold.get("fmr_upper")
    bound = None if upper is None else min(1.0, upper * len(names))
    return {
        "video": str(path),
        "decision": best.decision,
        "driver": best.name if best.decision == ACCEPTED else None,
        "people": len(names),
        "false_positive_bound": bound,
        "threshold": best.threshold,
        "candidates": [
            {"name": v.name, "score": v.score, "llr": v.llr, "decision": v.decision} for v in verdicts[:top]
        ],
        "evidence": found.facts(),
        "warnings": list(best.warnings),
        **_about(gallery, released),
    }


def calibrate(where: Path, folder: Path, model: Path | None, *, source: str, how: Acquisition) -> dict[str, Any]:
    """Fit thresholds and calibration and keep them in the gallery, which is made if it is not there.

    Raises:
        GalleryError, ClaimRefused, ProtocolError, RatesError, CheckpointError: each says what was found and wanted.
    """
    labelled = calibration_fit.find(where)
    if galleries.exists(folder):
        gallery, released = _open(folder, model, calibrated=False)
    elif model is None:
        raise GalleryError(f"{folder} holds no gallery yet; --model says with which model to make it")
    else:
        released, gallery = open_model(model), None
    found = _evidence([item.path for item in labelled], released, how)
    usable = [(label, item) for label, item in zip(labelled, found, strict=True) if isinstance(item, Evidence)]
    refused = [
        {"video": str(label.path), "message": str(item)}
        for label, item in zip(labelled, found, strict=True)
        if not isinstance(item, Evidence)
    ]
    people = collections.Counter(label.driver for label, _ in usable)
    if len(people) < 2 or max(people.values()) < 2:
        lost = f"; left out: {'; '.join(item['message'] for item in refused[:3])}" if refused else ""
        raise ClaimRefused(
            f"{where}: {console.count(len(usable), 'usable video')} of {console.count(len(people), 'driver')}; wanted "
            f"at least two drivers, and two videos of one of them{lost}"
        )
    enrolled = set(gallery.names()) if gallery is not None else set()
    known = sorted(enrolled & {label.driver for label, _ in usable})
    document = calibration_fit.calibrate(usable, released, source=source)
    if gallery is None:
        gallery = galleries.create(folder, released, None)
    gallery.set_calibration(document)
    warnings = [f"left out: {item['message']}" for item in refused]
    if len(people) < _FEW_PEOPLE:
        warnings.append(f"{len(people)} people are few: error rates of fewer than {_FEW_PEOPLE} say little")
    if document["calibration"]["window"] is None and released.scoring.by_window:
        warnings.append(
            "running verification (--stream) is not possible with this calibration: too few comparisons of videos "
            "that are several windows long"
        )
    if known:
        warnings.append(
            f"enrolled themselves: {', '.join(known)}; thresholds are to come from people who are not (optimistic)"
        )
    return {
        "gallery": str(folder),
        "calibration": gallery.calibration_id,
        **{name: document[name] for name in ("source", "made", "protocol", "videos", "people", "thresholds")},
        "warnings": warnings,
    }


def list_gallery(folder: Path) -> dict[str, Any]:
    """Everybody enrolled, with what there is of them."""
    gallery = galleries.open_gallery(folder)
    return {"gallery": str(folder), "people": [_person(gallery.template(name)) for name in gallery.names()]}


def gallery_info(folder: Path, name: str | None) -> dict[str, Any]:
    """What is kept of one person, or what the gallery is bound to."""
    gallery = galleries.open_gallery(folder)
    if name is not None:
        return _person(gallery.template(name))
    calibration = gallery.calibration
    return {
        "gallery": str(folder),
        "people": len(gallery.names()),
        "model_path": gallery.model_path,
        **gallery.model,
        "calibration": gallery.calibration_id,
        "calibration_source": None if calibration is None else calibration["source"],
        "thresholds": None if calibration is None else calibration["thresholds"],
    }


def reset_calibration(folder: Path, model: Path | None) -> dict[str, Any]:
    """Put the model's own calibration in place of the gallery's.

    Raises:
        ClaimRefused: the model brings none.
    """
    gallery, released = _open(folder, model, calibrated=False)
    own = decision.model_calibration(released)
    if own is None:
        raise ClaimRefused(f"the model of {folder} brings no thresholds; `fingerprint calibrate` makes them")
    gallery.set_calibration(own)
    return gallery_info(folder, None)


def _open(
    folder: Path, model: Path | None, batch_size: int = 64, *, calibrated: bool = True
) -> tuple[Gallery, ReleasedModel]:
    gallery = galleries.open_gallery(folder, calibrated=calibrated)
    try:
        released = open_model(model if model is not None else gallery.model_path, batch_size=batch_size)
    except CheckpointError as error:
        if model is not None:
            raise
        raise CheckpointError(
            f"the model that {folder} was made with: {error}; --model says where it is now"
        ) from error
    gallery.check_model(released)
    return gallery, released


def _evidence(videos: Sequence[Path], released: ReleasedModel, how: Acquisition) -> list[Evidence | FingerprintError]:
    """Evidence of each video, or why there is none."""
    for path in videos:
        if path.is_dir():
            raise VideoRefused(path, "not_a_file", "this is a folder; wanted a video or a track file")
    raw = any(not path.name.endswith(".track.npz") for path in videos)
    landmark_model = model_file.find(how.landmark_model) if raw else None
    with evidence.tracks_folder(how.tracks) as folder, console.progress(how.quiet) as on_progress:
        acquired = evidence.acquire(
            videos, folder, model_file=landmark_model, processes=how.processes, on_progress=on_progress
        )
    usable = [index for index, found in enumerate(acquired) if not isinstance(found, FingerprintError)]
    embedded = evidence.embed([(str(videos[index]), acquired[index]) for index in usable], released, fps=how.fps)
    out: list[Evidence | FingerprintError] = list(acquired)
    for index, found in zip(usable, embedded, strict=True):
        out[index] = found
    return out


def _stream_warnings(source: str, template: Template, released: ReleasedModel, moments, seen) -> list[str]:
    restarts = sum(moment.restarted for moment in moments)
    path = Path(source)
    digest = None
    if path.is_file():
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return [
        *seen.doubts(released.document),
        *decision.recording_doubts(template, digest, np.array(seen.vectors)),
        *([f"another face appeared {restarts} times; evidence began anew each time"] if restarts else []),
    ]


def _verdict(verdict: decision.Verdict, found: Evidence) -> dict[str, Any]:
    return {
        "video": found.video,
        "sha256": found.sha256,
        "claim": verdict.name,
        "decision": verdict.decision,
        "score": verdict.score,
        "llr": verdict.llr,
        "threshold": verdict.threshold,
        "evidence": found.facts(),
        "window_scores": verdict.window_score,
        "warnings": list(verdict.warnings),
    }


def _about(gallery: Gallery, released: ReleasedModel) -> dict[str, Any]:
    return {
        "model": released.digest,
        "scoring": released.scoring.describe(),
        "calibration": gallery.calibration_id,
        "gallery": str(gallery.folder),
    }


def _person(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "windows": len(template.vectors),
        "seconds": sum(found["seconds"] for found in template.videos),
        "videos": list(template.videos),
    }


def _moment_line(moment: running.Moment, test) -> str:
    return (
        f"{moment.seconds:6.1f} s  {moment.windows:3d} windows  score {moment.running_score:+.3f}  "
        f"log LR {moment.llr:+.2f}  ({test.lower:+.2f} … {test.upper:+.2f})"
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
