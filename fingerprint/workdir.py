"""A run's directory: held by one run at a time, left in order when the run is asked to stop."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import signal
from collections.abc import Iterator
from typing import ClassVar

from fingerprint.errors import WorkdirLocked

# The exit code of a run that was asked to stop (SIGTERM, SIGINT), saved its state and can be resumed: EX_TEMPFAIL of
# sysexits.h.
EXIT_STOPPED = 75


class Stopped(Exception):
    """The run was asked to stop and has left everything in order."""


@contextlib.contextmanager
def locked(workdir: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Create `workdir` if need be and hold it; the lock goes with the process, however it ends.

    Raises:
        WorkdirLocked: another run holds it.
    """
    path = pathlib.Path(workdir)
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise WorkdirLocked(
                f"{path} is in use by process {file.read().strip() or 'unknown'}; "
                "wait for it or choose another --workdir"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield path


class StopFlag:
    """Set by SIGTERM or SIGINT; a second SIGINT interrupts at once. One inside another starts as the outer one is."""

    _listening: ClassVar[list[StopFlag]] = []

    def __init__(self):
        self.is_set = any(flag.is_set for flag in self._listening)

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopFlag]:
        """Catch the signals inside the block (main thread only; elsewhere the flag stays clear)."""
        before = {}

        def handler(number, frame):
            if self.is_set and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.is_set = True

        with contextlib.suppress(ValueError):
            for number in (signal.SIGTERM, signal.SIGINT):
                before[number] = signal.signal(number, handler)
        self._listening.append(self)
        try:
            yield self
        finally:
            self._listening.remove(self)
            for number, old in before.items():
                signal.signal(number, old)
