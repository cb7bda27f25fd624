"""The one function that writes a report down."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

from fingerprint.reports import strict_json
from fingerprint.reports.evaluation_report import EvaluationReport

SCHEMA = "fingerprint-report/1"
_ARRAYS = (
    "scores",
    "mated",
    "same_target",
    "embeddings",
    "embedding_driver",
    "embedding_target",
    "attention",
)


def write(report: EvaluationReport, directory: str | os.PathLike) -> dict[str, Path]:
    """Write report.json, report.md, report.html and figures/*.png; each file appears whole or not at all.

    Figures of an earlier report in the same directory are replaced, and removed where this report has none.

    Returns:
        Path by part: "json", "markdown", "html", and every figure by its name.
    """
    from fingerprint.reports import document, figures, markdown, page, people_figures  # matplotlib is heavy

    directory = Path(directory)
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    drawings = [*figures.draw_all(report), *people_figures.draw_all(report)]
    content = document.build(report, drawings)
    written = {}
    for drawing in drawings:
        target = directory / "figures" / f"{drawing.name}.png"
        if drawing.png is not None:
            written[drawing.name] = replace_file(target, drawing.png)
    for old in (directory / "figures").glob("*.png"):
        if figures.is_figure_name(old.stem) and old.stem not in written:
            old.unlink()
    written["json"] = replace_file(directory / "report.json", strict_json.dumps(as_dict(report), indent=2))
    written["markdown"] = replace_file(directory / "report.md", markdown.render(content))
    written["html"] = replace_file(directory / "report.html", page.render(content))
    return written


def as_dict(report: EvaluationReport) -> dict[str, Any]:
    """The report without its big arrays; of the attention examples, the weights stay."""
    fields = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    small = {name: value for name, value in fields.items() if name not in _ARRAYS}
    examples = [
        {key: example.get(key) for key in ("video_id", "weights", "frame_mask")} for example in report.attention
    ]
    return {"schema": SCHEMA, **small, "attention": examples}


def replace_file(path: Path, content: bytes | str, mode: int = 0o644) -> Path:
    """Write a file that appears whole or not at all, also where one was."""
    if isinstance(content, str):
        content = content.encode("utf-8", "replace")  # a file name may hold bytes that are no text
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
