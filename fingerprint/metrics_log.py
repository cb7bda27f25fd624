"""The log of a run: one JSON line a step, TensorBoard event files beside it, a progress bar in the terminal."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from tensorboardX import SummaryWriter
from tqdm import tqdm

_FILE = "train_log.jsonl"


def read(workdir: str | pathlib.Path) -> list[dict[str, Any]]:
    """Rows of a run's log, ascending; a half-written last line is left out; empty if there is no log."""
    path = pathlib.Path(workdir) / _FILE
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


class MetricsLog:
    """Appends rows `{"step": …, name: value}`; rows past the step that a run resumes from are dropped first.

    Args:
        workdir: the run's directory.
        resume_step: steps taken so far.
        num_steps: steps in all.
        enabled: False in all processes but one: nothing is written or shown.
    """

    def __init__(self, workdir: str | pathlib.Path, *, resume_step: int, num_steps: int, enabled: bool):
        self._enabled = enabled
        if not enabled:
            return
        path = pathlib.Path(workdir) / _FILE
        kept = [row for row in read(workdir) if row["step"] <= resume_step]
        # Written aside and moved into place: a run killed here must not lose its log.
        temporary = path.with_name(f".{_FILE}.tmp")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        os.replace(temporary, path)
        self._file = path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(pathlib.Path(workdir) / "tensorboard"), purge_step=resume_step + 1)
        self._bar = tqdm(total=num_steps, initial=resume_step, unit="step", dynamic_ncols=True, mininterval=1.0)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Append one row; floats are written so that they read back exactly."""
        if not self._enabled:
            return
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._events.add_scalar(name, value, step)

    def progress(self, step: int, **shown: Any) -> None:
        """Move the bar to `step` and show figures beside it."""
        if self._enabled:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(step - self._bar.n)

    def say(self, message: str) -> None:
        """A line above the progress bar."""
        if self._enabled:
            tqdm.write(message)

    def close(self) -> None:
        """Flush and release."""
        if self._enabled:
            self._bar.close()
            self._events.close()
            self._file.close()
            self._enabled = False
