"""What a report is made of, whether rendered as Markdown or as a page."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Cell:
    """A table cell: its text, a smaller second line, and whether it is greyed."""

    text: str
    sub: str = ""
    muted: bool = False


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    muted: bool = False


@dataclasses.dataclass(frozen=True)
class Bullets:
    """A list, with an optional heading; `mark` is "yes", "no", "warning" or ""."""

    items: tuple[str, ...]
    heading: str = ""
    mark: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells under a header; the first column names the row."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Number:
    """A main number: what, value, interval, what is behind it, whether it is greyed, and "yes", "no" or "" as mark."""

    label: str
    value: str
    interval: str
    behind: str
    muted: bool
    mark: str = ""


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The main numbers, side by side."""

    items: tuple[Number, ...]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure: file name without ending, words around it, and its PNG; without a PNG, why there is none."""

    name: str
    title: str
    caption: str = ""
    alt: str = ""
    png: bytes | None = None
    missing: str = ""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Figures side by side; one without a picture is a sentence."""

    drawings: tuple[Drawing, ...]


@dataclasses.dataclass(frozen=True)
class Code:
    """Preformatted text."""

    text: str


@dataclasses.dataclass(frozen=True)
class Details:
    """Blocks behind a summary, closed at first."""

    summary: str
    blocks: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Section:
    """A titled part of the report; the first one has no title."""

    anchor: str
    title: str
    blocks: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    headline: str
    sections: tuple[Section, ...]
