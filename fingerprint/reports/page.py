"""A report as one HTML page that needs nothing else: no script, no request; light, dark, phone and paper."""

from __future__ import annotations

import base64
import html
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
from fingerprint.reports.style import CSS

_SHORT = re.compile(r"[-+\d.,]+( %)?( †)?")  # a number in a cell: never broken
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(document: Document) -> str:
    """The whole page; figures are data URIs, everything that came from data is escaped."""
    titled = [section for section in document.sections if section.title]
    links = " ".join(f'<a href="#{section.anchor}">{_escape(section.title)}</a>' for section in titled)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_escape(document.title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f'<header>\n<p class="title">{_escape(document.title)}</p>\n'
        f"<h1>{_prose(document.headline)}</h1>\n</header>\n<main>\n"
        f"{_section(document.sections[0])}"
        f'<nav aria-label="Sections">{links}</nav>\n'
        f"{''.join(map(_section, document.sections[1:]))}</main>\n</body>\n</html>\n"
    )


def _section(section) -> str:
    title = f"<h2>{_escape(section.title)}</h2>\n" if section.title else ""
    return f'<section id="{section.anchor}">\n{title}{"".join(map(_block, section.blocks))}</section>\n'


def _block(block) -> str:
    match block:
        case Text():
            return f"<p{_class('muted' if block.muted else '')}>{_prose(block.text)}</p>\n"
        case Bullets():
            return _bullets(block)
        case Numbers():
            return f'<div class="numbers">\n{"".join(map(_number, block.items))}</div>\n'
        case Table():
            return _table(block)
        case Pictures():
            return _pictures(block)
        case Code():
            return f"<pre>{_escape(block.text)}</pre>\n"
        case Details():
            inner = "".join(map(_block, block.blocks))
            return f"<details>\n<summary>{_escape(block.summary)}</summary>\n{inner}</details>\n"
    raise TypeError(f"no HTML for {type(block).__name__}")


def _bullets(block: Bullets) -> str:
    heading = f"<h3>{_escape(block.heading)}</h3>\n" if block.heading else ""
    if block.heading and not block.mark and len(block.items) == 1:
        return f"{heading}<p>{_prose(block.items[0])}</p>\n"
    items = "".join(f"<li>{_prose(item)}</li>\n" for item in block.items)
    return f"{heading}<ul{_class(block.mark)}>\n{items}</ul>\n"


def _number(item) -> str:
    return (
        f'<div class="{" ".join(["number", *["weak"] * item.muted, *[item.mark] * bool(item.mark)])}">'
        f'<span class="label">{_escape(item.label)}</span> '
        f'<span class="value">{_escape(item.value)}{" †" if item.muted else ""}</span> '
        f'<span class="interval">{_prose(item.interval) or "no interval"}</span> '
        f'<span class="behind">{_escape(item.behind)}</span></div>\n'
    )


def _table(table: Table) -> str:
    caption = f'<p class="caption">{_escape(table.caption)}</p>\n' if table.caption else ""
    header = ""
    if any(table.header):
        cells = "".join(f'<th scope="col">{_escape(text)}</th>' for text in table.header)
        header = f"<thead>\n<tr>{cells}</tr>\n</thead>\n"
    body = "".join(f"<tr>{''.join(map(_cell, row, range(len(row))))}</tr>\n" for row in table.rows)
    kind = "" if header else ' class="facts"'
    label = _escape(table.caption or "Table")
    return (
        f'{caption}<div class="scroll" role="region" aria-label="{label}" tabindex="0">\n'
        f"<table{kind}>\n{header}<tbody>\n{body}</tbody>\n</table>\n</div>\n"
    )


def _cell(cell: Cell, column: int) -> str:
    sub = f' <span class="sub">{_escape(cell.sub)}</span>' if cell.sub else ""
    if column == 0:
        return f'<th scope="row">{_escape(cell.text)}{sub}</th>'
    kinds = ["weak"] * cell.muted + ["short"] * bool(_SHORT.fullmatch(cell.text))
    return f"<td{_class(' '.join(kinds))}>{_escape(cell.text)}{sub}</td>"


def _pictures(block: Pictures) -> str:
    drawn = [drawing for drawing in block.drawings if drawing.png is not None]
    absent = [drawing for drawing in block.drawings if drawing.png is None]
    figures = "".join(
        f'<figure id="figure-{drawing.name}">\n<img alt="{_escape(drawing.alt)}" '
        f'src="data:image/png;base64,{base64.b64encode(drawing.png).decode()}">\n'
        f"<figcaption><b>{_escape(drawing.title)}.</b> {_prose(drawing.caption)}</figcaption>\n</figure>\n"
        for drawing in drawn
    )
    sentences = "".join(f"<p>{_escape(drawing.title)}: {_escape(drawing.missing)}.</p>\n" for drawing in absent)
    return (f'<div class="figures">\n{figures}</div>\n' if drawn else "") + sentences


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _prose(text: str) -> str:
    """Escaped text in which numbers keep their unit, and intervals their two ends, on one line."""
    text = re.sub(r"(?<=\d) %", "\u00a0%", _escape(text))
    return re.sub(r"(\[[-+\d.]+,) (?=[-+\d.]+\])", "\\1\u00a0", text)


def _escape(text: str) -> str:
    """Data as text: no markup, no character that HTML forbids."""
    text = "".join(character if character in "\n\t" or ord(character) >= 32 else "\ufffd" for character in str(text))
    return html.escape(text)
