"""A report as GitHub-flavoured Markdown."""

from __future__ import annotations

import re

from fingerprint.reports.blocks import (
    Bullets,
    Cell,
    Code,
    Details,
    Document,
    Numbers,
    Pictures,
    Table,
    Text,
)


def render(document: Document) -> str:
    """The whole report; figures are links into figures/."""
    parts = [f"# {_escape(document.title)}", f"**{_escape(document.headline)}**"]
    for section in document.sections:
        if section.title:
            parts.append(f"## {_escape(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block) -> str:
    match block:
        case Text():
            return _escape(block.text)
        case Bullets():
            items = "\n".join(f"- {_escape(item)}" for item in block.items)
            return f"**{_escape(block.heading)}**\n\n{items}" if block.heading else items
        case Numbers():
            rows = [
                (item.label, item.value + (" †" if item.muted else ""), item.interval, item.behind)
                for item in block.items
            ]
            return _table(("Number", "Value", "95 % interval", "Errors behind it"), rows)
        case Table():
            table = _table(block.header, [[_cell(cell) for cell in row] for row in block.rows])
            return f"{_escape(block.caption)}:\n\n{table}" if block.caption else table
        case Pictures():
            return "\n\n".join(_picture(drawing) for drawing in block.drawings)
        case Code():
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
            return f"{fence}json\n{block.text}\n{fence}"
        case Details():
            inner = "\n\n".join(_block(part) for part in block.blocks)
            return f"<details><summary>{_escape(block.summary)}</summary>\n\n{inner}\n\n</details>"
    raise TypeError(f"no Markdown for {type(block).__name__}")


def _picture(drawing) -> str:
    if drawing.png is None:
        return f"{_escape(drawing.title)}: {_escape(drawing.missing)}."
    caption = _escape(f"{drawing.title}. {drawing.caption}")
    return f"![{_escape(drawing.alt)}](figures/{drawing.name}.png)\n\n{caption}"


def _cell(cell: Cell) -> str:
    return f"{cell.text} {cell.sub}".strip()


def _table(header, rows) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_escape_cell, line)) + " |" for line in lines)


def _escape_cell(text: str) -> str:
    return text if text == "---" else _escape(text) or " "


def _escape(text: str) -> str:
    """Data as text: nothing in it becomes markup, and it stays on one line."""
    text = " ".join(str(text).split())
    text = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([`*|~])", r"\\\1", text)
    text = re.sub(r"\](?=[(\[:])", r"\\]", text)  # no link, no link definition; intervals keep their brackets
    text = re.sub(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])", r"\\_", text)
    return re.sub(r"^(#+|[+-]|\d+(?=[.)]\s))(?=[\s.)])", _disarm, text)


def _disarm(start: re.Match) -> str:
    return f"{start[1]}\\" if start[1].isdigit() else f"\\{start[1]}"
