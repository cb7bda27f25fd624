"""Many videos, several processes: extract what is not extracted yet, go on past bad files, say what failed and why.

Rules:

* A video counts as done if its track file reads whole and was made from the same bytes (SHA-256 of the video as it is
  now) with the same options, model file and versions of MediaPipe and PyAV. Neither time nor size of a file decides.
  Anything else is extracted again, failures included.
* A failure to acquire is a video from which no usable track came: refused, crashed, or without any face. The failure
  budget is a share of such videos. Hidden files of a tree, such as `._a.mp4` of macOS, are no videos: only their number
  is told.
* Each worker is a process with one video at a time and one core's worth of threads; the largest videos go first, so
  that cores end together. A worker that dies takes its video with it (`crashed`) and is replaced.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fcntl
import fnmatch
import io
import json
import os
import pathlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from fingerprint.errors import ConfigError, DatasetError, WorkdirLocked
from fingerprint.landmarks import extract, track
from fingerprint.landmarks.model_file import find as find_model_file
from fingerprint.landmarks.names import VIDEO_SUFFIXES
from fingerprint.landmarks.workers import HIDDEN, NO_FACE, REFUSED, Outcome, UnderWay, VideoFile, messages

FAILURES, SUMMARY = "failures.csv", "summary.json"
OVERLAY_SUFFIX = ".overlay.mp4"
"""Of the videos that `overlay` makes; a tree of videos may hold them, and they are not extracted in turn."""
_PARTIAL_OVERLAY = f".*{OVERLAY_SUFFIX}.*"
_PARTIAL = (f".*{track.SUFFIX}?*", _PARTIAL_OVERLAY, ".*.npy.tmp.npy", f".{FAILURES}.*", f".{SUMMARY}.*")
"""Files under way of all that is written into a folder of tracks."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a batch is.

    Attributes:
        files: videos in all.
        finished: videos settled, well or not.
        failed: of these, failures to acquire.
        frames: frames extracted so far, those of videos under way among them.
        frames_per_second: over all processes, since the start.
        seconds_left: estimated from the bytes still to do; None until something is known.
    """

    files: int
    finished: int
    failed: int
    frames: int
    frames_per_second: float
    seconds_left: float | None


@dataclasses.dataclass(frozen=True)
class Summary:
    """What came of a batch; `summary.json` holds the same.

    Attributes:
        files: videos in all, hidden ones not among them.
        hidden: hidden files with a video's name, left out.
        done: a usable track was made by this run.
        skipped: a usable track was there already.
        failed: refused or crashed.
        no_face: read to the end, but no frame shows a face.
        reasons: number of failures to acquire by reason, as in `failures.csv`.
        frames: frames in all track files of the batch.
        extracted_frames: frames extracted by this run.
        seconds: wall time of this run.
        frames_per_second: `extracted_frames` by `seconds`.
        fta_rate: failure-to-acquire rate: (failed + no_face) by settled videos, in [0, 1].
        over_budget: `fta_rate` exceeds the failure budget.
        stopped: asked to stop before all videos were settled; the same call goes on.
    """

    files: int
    hidden: int
    done: int
    skipped: int
    failed: int
    no_face: int
    reasons: dict[str, int]
    frames: int
    extracted_frames: int
    seconds: float
    frames_per_second: float
    fta_rate: float
    over_budget: bool
    stopped: bool


# ------------------------------------------------------------------------------------------------- which videos


def find_videos(paths: Iterable[str | os.PathLike]) -> list[VideoFile]:
    """The videos that files and trees name, sorted; what a tree holds but should not be read comes as refused.

    Raises:
        DatasetError: no video but hidden ones, two whose tracks would have the same name, or a folder that cannot be
            listed.
    """
    paths = [pathlib.Path(path) for path in paths]
    found: dict[pathlib.PurePath, VideoFile] = {}
    for path in paths:
        for entry in _in_tree(path) if path.is_dir() else [VideoFile(path.parent, pathlib.PurePath(path.name))]:
            other = found.get(entry.relative, entry)
            if os.path.abspath(other.path) != os.path.abspath(entry.path):
                raise DatasetError(
                    f"{other.path} and {entry.path} would both be extracted to {entry.name}{track.SUFFIX}; "
                    "extract them into two folders, or name a folder that holds both"
                )
            if other.refused or other is entry:  # what is hidden in a tree may be named itself as well
                found[entry.relative] = entry
    if all(entry.refused == HIDDEN for entry in found.values()):
        where = ", ".join(map(str, paths)) or "an empty list"
        also = f"; {len(found)} hidden" if found else ""
        raise DatasetError(f"no video in {where}; looked for {' '.join(VIDEO_SUFFIXES)}{also}")
    return sorted(found.values(), key=lambda entry: entry.name)


def _in_tree(root: pathlib.Path) -> Iterator[VideoFile]:
    for folder, folders, files in os.walk(root, onerror=_unreadable):
        folder = pathlib.Path(folder)
        # A linked folder is not walked into; inside the tree its files are met where they lie.
        leaving = [name for name in folders if (folder / name).is_symlink() and not _inside(folder / name, root)]
        for name in [
            *files,
            *(name for name in folders if pathlib.Path(name).suffix.lower() in VIDEO_SUFFIXES),
            *leaving,
        ]:
            path = folder / name
            if name.endswith(OVERLAY_SUFFIX) or fnmatch.fnmatchcase(name, _PARTIAL_OVERLAY):
                continue
            if name in leaving or path.suffix.lower() in VIDEO_SUFFIXES:
                relative = path.relative_to(root)
                yield VideoFile(root, relative, _why_not(path, relative, root))


def _unreadable(error: OSError) -> None:
    raise DatasetError(f"{error.filename}: cannot be listed ({error.strerror}); its videos would be missing") from error


def _why_not(path: pathlib.Path, relative: pathlib.PurePath, root: pathlib.Path) -> str:
    if any(part.startswith(".") for part in relative.parts):
        return HIDDEN
    if not _inside(path, root):
        return "outside_root"
    return "not_a_file" if path.exists() and not path.is_file() else ""


def _inside(path: pathlib.Path, root: pathlib.Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


# ------------------------------------------------------------------------------------------------- the batch


def extract_all(
    videos: Sequence[VideoFile],
    out: str | os.PathLike,
    *,
    model_file: str | os.PathLike | None = None,
    options: extract.ExtractionOptions = extract.ExtractionOptions(),  # noqa: B008 - frozen
    processes: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
    failure_budget: float = 0.0,
    stopped: Callable[[], bool] = lambda: False,
) -> Summary:
    """Extract the tracks of all videos into `out`, going on past failures; the same call resumes.

    Writes a track file for each video that can be read, and `failures.csv` (file, reason, detail) and `summary.json`
    for all of them, those settled by earlier calls included. The main module of the calling program must be
    importable without side effects, since the workers are spawned.

    Args:
        videos: from `find_videos`.
        out: folder for the track files; held by one batch at a time.
        model_file: MediaPipe's face landmarker; None looks where `model_file.find` does.
        options: how to extract.
        processes: videos worked on at the same time.
        on_progress: called in this process, several times a second.
        failure_budget: share of failures to acquire in [0, 1] beyond which `over_budget` is set.
        stopped: asked several times a second; once true, workers are ended and the summary says so.

    Raises:
        WorkdirLocked: another batch holds `out`.
        ModelFileMissing: no model file, or another one.
        ConfigError: no process.
        ArrayRefused: a video whose track would lie outside `out`; nothing is done then.
        OSError: the disk is full or read-only.
    """
    if processes < 1:
        raise ConfigError(f"{processes} processes; wanted at least 1")
    model = find_model_file(model_file)
    out = pathlib.Path(out)
    for entry in videos:
        track.track_path(out, entry.relative)  # refuses what leads out of it
    began = time.monotonic()
    with _held(out):
        _remove_partial(out)
        tally = _Tally(videos, began)
        try:
            with contextlib.closing(messages(tally.to_do, processes, (out, model, options), stopped)) as reports:
                for entry, message in reports:
                    tally.take(entry, message)
                    if on_progress is not None:
                        on_progress(tally.progress())
        finally:
            _remove_partial(out)
        summary = tally.summary(failure_budget)
        _write_whole(out / FAILURES, failures_csv(tally.failures()))
        _write_whole(out / SUMMARY, json.dumps(dataclasses.asdict(summary), indent=1) + "\n")
    return summary


def read_failures(out: str | os.PathLike) -> list[dict[str, str]]:
    """The rows of a folder's `failures.csv`: file, reason, detail."""
    with open(pathlib.Path(out) / FAILURES, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class _Tally:
    """What is known of each video so far."""

    def __init__(self, videos: Sequence[VideoFile], began: float):
        self.began = began
        self.hidden = sum(entry.refused == HIDDEN for entry in set(videos))
        self.files = len(set(videos)) - self.hidden
        self.sizes = {entry: _size(entry.path) for entry in videos if not entry.refused}
        self.to_do = sorted(self.sizes, key=lambda entry: (-self.sizes[entry], entry.name))
        self.under_way: dict[VideoFile, UnderWay] = {}
        self.outcomes: dict[VideoFile, Outcome] = {}
        # Running sums: with many videos, adding up anew for each report would take longer than extraction.
        self.failed = self.extracted_frames = self.bytes_extracted = 0
        self.bytes_left = sum(self.sizes.values())
        for entry in videos:
            if entry.refused not in ("", HIDDEN):
                self.take(entry, Outcome(entry.refused, REFUSED[entry.refused]))

    def take(self, entry: VideoFile, message: Outcome | UnderWay) -> None:
        if isinstance(message, UnderWay):
            self.under_way[entry] = message
            return
        self.under_way.pop(entry, None)
        self.outcomes[entry] = message
        self.failed += bool(message.reason)
        self.bytes_left -= self.sizes.get(entry, 0)
        if message.frames and not message.skipped:
            self.extracted_frames += message.frames
            self.bytes_extracted += self.sizes[entry]

    def progress(self) -> Progress:
        seconds = max(time.monotonic() - self.began, 1e-9)
        frames, started = self.extracted_frames, 0.0
        for entry, report in self.under_way.items():
            frames += report.frames
            started += self.sizes[entry] * min(1.0, report.frames / report.promised)
        extracted = self.bytes_extracted + started
        seconds_left = (self.bytes_left - started) * seconds / extracted if extracted else None
        return Progress(self.files, len(self.outcomes), self.failed, frames, frames / seconds, seconds_left)

    def summary(self, failure_budget: float) -> Summary:
        outcomes = self.outcomes.values()
        reasons = Counter(outcome.reason for outcome in outcomes if outcome.reason)
        usable = [outcome for outcome in outcomes if not outcome.reason]
        skipped = sum(outcome.skipped for outcome in usable)
        fta_rate = reasons.total() / max(1, len(outcomes))
        seconds = time.monotonic() - self.began
        return Summary(
            files=self.files,
            hidden=self.hidden,
            done=len(usable) - skipped,
            skipped=skipped,
            failed=reasons.total() - reasons[NO_FACE],
            no_face=reasons[NO_FACE],
            reasons=dict(sorted((+reasons).items())),
            frames=sum(outcome.frames for outcome in outcomes),
            extracted_frames=self.extracted_frames,
            seconds=round(seconds, 3),
            frames_per_second=round(self.extracted_frames / max(seconds, 1e-9), 2),
            fta_rate=fta_rate,
            over_budget=fta_rate > failure_budget,
            stopped=len(outcomes) < self.files,
        )

    def failures(self) -> list[tuple[str, str, str]]:
        return [
            (entry.name, outcome.reason, outcome.detail) for entry, outcome in self.outcomes.items() if outcome.reason
        ]


def failures_csv(failures: Iterable[tuple[str, str, str]]) -> str:
    """The text of `failures.csv`; rows are (file, reason, detail)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "reason", "detail"))
    writer.writerows(sorted(failures))
    return text.getvalue()


def _size(path: pathlib.Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@contextlib.contextmanager
def _held(out: pathlib.Path) -> Iterator[None]:
    """Hold the folder; the lock goes with the process, however it ends."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WorkdirLocked(
                f"{out} is in use by another extraction; wait for it or choose another folder"
            ) from error
        yield


def _remove_partial(out: pathlib.Path) -> None:
    """Remove what killed processes left half-written; the folder is held, so nobody is writing."""
    for pattern in _PARTIAL:
        for partial in out.rglob(pattern):
            partial.unlink(missing_ok=True)


def _write_whole(path: pathlib.Path, text: str) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        # A name that is no UTF-8 must not cost the whole list.
        file.write(text.encode("utf-8", "backslashreplace"))
    os.replace(file.name, path)
