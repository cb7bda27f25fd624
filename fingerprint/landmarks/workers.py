"""The processes that extract: one video at a time each, replaced when one dies, ended with the batch."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from typing import Any, NamedTuple

from fingerprint.errors import ArrayRefused, FingerprintError, VideoRefused
from fingerprint.landmarks import extract, track, video

NO_FACE, CRASHED, HIDDEN = "no_face", "crashed", "hidden"
_REPORT_SECONDS = 0.25
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
REFUSED = {
    HIDDEN: "a hidden file, or one in a hidden folder; name it itself if it is wanted",
    "outside_root": "a symbolic link that leaves the tree; name its target itself if it is wanted",
    "not_a_file": "not a regular file",
}
"""Why a file of a tree is not looked at."""
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class VideoFile(NamedTuple):
    """A video to extract.

    Attributes:
        root: folder that the file, symbolic links followed, must lie in.
        relative: the file's path below it, without `..`; names the track file too.
        refused: reason why it is not looked at; "" for a video that is.
    """

    root: pathlib.Path
    relative: pathlib.PurePath
    refused: str = ""

    @property
    def path(self) -> pathlib.Path:
        """The file itself."""
        return self.root / self.relative

    @property
    def name(self) -> str:
        """As it stands in `failures.csv`."""
        return self.relative.as_posix()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a video was settled; `reason` is "" where its track is usable."""

    reason: str = ""
    detail: str = ""
    frames: int = 0
    skipped: bool = False


@dataclasses.dataclass(frozen=True)
class UnderWay:
    """A report from a video under way."""

    frames: int
    promised: int


class _Worker:
    """A process that extracts one video at a time, and the pipe to it."""

    def __init__(self, arguments: tuple[Any, ...]):
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.entry: VideoFile | None = None
        self.process = spawn.Process(target=_serve, args=(theirs, *arguments), daemon=True)
        self.process.start()
        # With the worker's own end the last one, its death shows as the end of the pipe.
        theirs.close()

    def give(self, entry: VideoFile | None) -> None:
        self.entry = entry
        with contextlib.suppress(BrokenPipeError):  # it has died; reading says so
            self.pipe.send(entry)

    def hear(self) -> Outcome | UnderWay:
        try:
            message = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            return Outcome(CRASHED, f"the process that extracted it died ({how})")
        if isinstance(message, Exception):
            raise message
        return message


def messages(
    to_do: Sequence[VideoFile], processes: int, arguments: tuple[Any, ...], stopped: Callable[[], bool]
) -> Iterator[tuple[VideoFile, Outcome | UnderWay]]:
    """Every report of every video, as it comes; ends early once `stopped`."""
    waiting = list(reversed(to_do))
    workers: dict[Any, _Worker] = {}
    leaving: list[_Worker] = []
    try:
        while (waiting or workers) and not stopped():
            while waiting and len(workers) < processes:
                with _for_workers():
                    worker = _Worker(arguments)
                workers[worker.pipe] = worker
                worker.give(waiting.pop())
            for pipe in multiprocessing.connection.wait(list(workers), timeout=_REPORT_SECONDS):
                worker = workers[pipe]
                entry, message = worker.entry, worker.hear()
                if isinstance(message, Outcome):
                    if message.reason != CRASHED and waiting:
                        worker.give(waiting.pop())
                    else:
                        worker.give(None)
                        leaving.append(workers.pop(pipe))
                yield entry, message
    finally:
        for worker in workers.values():
            worker.process.kill()
        for worker in [*workers.values(), *leaving]:
            worker.process.join()
            worker.pipe.close()


@contextlib.contextmanager
def _for_workers() -> Iterator[None]:
    """What a process started here inherits: one thread for each library, and no ear for Ctrl-C and SIGTERM.

    Thread counts are read when libraries load; signals go to whole process groups, but the batch alone answers them.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    resource_tracker.ensure_running()  # with the first worker, it would unblock the signals again
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe, out: pathlib.Path, model: pathlib.Path, options: extract.ExtractionOptions) -> None:
    """A worker's life; it ends with the batch, which may be killed: the pipe ends then."""
    with contextlib.suppress(EOFError, ConnectionError):
        while (entry := pipe.recv()) is not None:
            outcome: Outcome | Exception
            try:
                outcome = settle(entry, out, model, options, _reporter(pipe))
            except ConnectionError:
                raise
            except Exception as error:  # raised where the batch is
                outcome = error
            pipe.send(outcome)


def settle(
    entry: VideoFile,
    out: pathlib.Path,
    model: pathlib.Path,
    options: extract.ExtractionOptions,
    on_frames: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Extract one video into its place below `out`, unless it is done, or say why not.

    Args:
        on_frames: told the frames done and the frames in all, now and then.

    Raises:
        FingerprintError, OSError: what would meet every other video too: no model file, a full disk.
        ArrayRefused: `relative` leads out of `out`.
    """
    if entry.refused:
        return Outcome(entry.refused, REFUSED[entry.refused])
    path = track.track_path(out, entry.relative)
    try:
        there = _made_before(path, entry, extract.provenance(model, options))
        if there is not None:
            return there
        promised = video.open_video(entry.path, entry.root, max_frames=options.max_frames).num_frames
        path.parent.mkdir(parents=True, exist_ok=True)
        made = extract.extract_to_file(
            entry.path,
            path,
            model_file=model,
            options=options,
            root=entry.root,
            on_frames=None if on_frames is None else lambda frames: on_frames(frames, promised),
        )
        return _outcome(made.num_frames, made.num_tracks)
    except VideoRefused as refusal:
        return Outcome(refusal.reason, refusal.detail)
    except (FingerprintError, ConnectionError):
        raise
    except Exception as error:  # a decoder or detector can fail in any way; the other videos are to be had
        if isinstance(error, OSError) and error.errno in _FULL_DISK:
            raise
        return Outcome("error", f"{type(error).__name__}: {error}")


def _outcome(frames: int, tracks: int, skipped: bool = False) -> Outcome:
    if tracks:
        return Outcome(frames=frames, skipped=skipped)
    return Outcome(NO_FACE, f"none of {frames} frames shows a face", frames, skipped)


def _made_before(path: pathlib.Path, entry: VideoFile, about: dict[str, Any]) -> Outcome | None:
    """What the track file there says, if it is whole and of this video as it is; one of anything else is removed."""
    if not path.exists() or not entry.path.is_file():
        return None
    with contextlib.suppress(ArrayRefused):
        header = track.read_header(path)
        with entry.path.open("rb") as file:
            about = about | {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        if about.items() <= header["provenance"].items():
            return _outcome(header["num_frames"], len(header["starts"]), skipped=True)
    path.unlink()
    return None


def _reporter(pipe) -> Callable[[int, int], None]:
    """Sends the number of frames so far, now and then."""
    last = time.monotonic()

    def report(frames: int, promised: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _REPORT_SECONDS:
            last = time.monotonic()
            pipe.send(UnderWay(frames, promised))

    return report
