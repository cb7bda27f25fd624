"""What commands print: tables and sentences for people, one JSON object for programs, progress on standard error."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

DONE, REFUSED, USAGE, REJECTED, UNDECIDED, OVER_BUDGET, STOPPED = 0, 1, 2, 3, 4, 5, 75
"""Exit codes."""

_STYLES = {"accepted": "bold green", "rejected": "bold red", "undecided": "bold yellow"}
# What goes into a file is not to be folded at 80 columns.
_WIDE = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200
out = Console(highlight=False, soft_wrap=True, width=_WIDE)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def emit(document: dict[str, Any]) -> None:
    """One JSON object on standard output; a number that is none becomes null."""
    sys.stdout.write(json.dumps(_plain(document), allow_nan=False) + "\n")
    sys.stdout.flush()


def fail(error: Exception, as_json: bool) -> None:
    """Say why nothing came of it."""
    message = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename}: {error.strerror}"
    if as_json:
        emit({"error": {"type": type(error).__name__, "reason": getattr(error, "reason", None), "message": message}})
    err.print(f"[bold red]error:[/] {escape(message)}")


def warn(sentences) -> None:
    """Warnings, one a line."""
    for sentence in sentences:
        out.print(f"[yellow]warning:[/] {escape(sentence)}")


def decision_text(decision: str) -> str:
    """A decision as markup."""
    return f"[{_STYLES[decision]}]{decision.upper()}[/]"


def facts(title: str, rows: list[tuple[str, str]]) -> None:
    """Names and values, side by side."""
    table = Table(title=title or None, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(escape(name), value)
    out.print(table)


def table(header: list[str], rows: list[list[str]]) -> None:
    """A table; cells are taken literally."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        found.add_column(name, overflow="fold")
    for row in rows:
        found.add_row(*map(escape, row))
    out.print(found)


def percent(rate: float, digits: int = 1) -> str:
    """A rate for reading."""
    return f"{100 * rate:.{digits}f} %"


def count(number: int, what: str) -> str:
    """`1 video`, `2 videos`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def interval(bounds) -> str:
    """A 95 % interval of rates for reading; "" where none is known."""
    return "" if bounds is None else f" [{percent(bounds[0])}, {percent(bounds[1])}]"


@contextlib.contextmanager
def progress(quiet: bool, what: str = "extracting") -> Iterator[Callable[..., None] | None]:
    """How far work on videos is: a bar, or without a terminal a line now and then.

    Yields a function of a `landmarks.batch.Progress` and, where work has several parts, the part's name.
    """
    if quiet:
        yield None
    elif not err.is_terminal:
        yield _lines(what)
    else:
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}")
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task(what, total=None, state="")

            def update(found, part: str = what) -> None:
                bar.update(task, description=part, total=found.files, completed=found.finished, state=_state(found))

            yield update


def _lines(what: str, every: float = 30.0) -> Callable[..., None]:
    """Prints a line about every so many seconds, so that logs and pipes show life and short work shows nothing."""
    last = time.monotonic()

    def update(found, part: str = what) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            err.print(f"{part}: {_state(found)}", markup=False)

    return update


def _state(found) -> str:
    left = "" if found.seconds_left is None else f", {found.seconds_left:.0f} s left"
    failed = f", {found.failed} failed" if found.failed else ""
    rate = found.frames_per_second
    return (
        f"{found.finished}/{found.files} videos, {found.frames} frames, "
        f"{rate:.{0 if rate >= 10 else 1}f} frames/s{left}{failed}"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
