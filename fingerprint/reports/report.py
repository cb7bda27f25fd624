"""What an evaluation hands to the reports room, and the one function that writes it all down."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from fingerprint.errors import FingerprintError
from fingerprint.reports import strict_json

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


@dataclasses.dataclass(frozen=True)
class EvaluationReport:
    """Everything a report shows. An entry is `{value, low, high, errors, unreliable}`, at least `value`.

    Attributes:
        title: of the page.
        headline: one sentence, from `findings.compose_headline`.
        provenance: versions, git commit, config hash, command, devices, seed, created (ISO time), durations
            (seconds by part).
        data: name, split, landmark_set, videos, drivers, targets, generators, corpora, records, windows,
            frame rates.
        model: name, parameters, landmark_set, normalization, window length and stride, trained_step, digest.
        protocol: name, hash, seed, templates, trials, mated, non_mated, fusion, notes (list), leakage (text).
        acquisition: videos, failed, fta, reasons (count by reason).
        rates: a row a condition: condition, description, reason, identities, videos, mated, non_mated, fta,
            warnings, rates (an entry by name).
        controls: a row a control: name (see `findings`), description, reading, rates (entries auc, eer),
            difference (entries, **model minus control** on the same trials); or plain entries such as
            balanced_accuracy and chance.
        thresholds: fixed on validation identities: name -> threshold, validation_fmr, test_fmr, test_fnmr.
        training: rows of the training log: step with loss, learning_rate, or validation/auc, validation/eer.
        warnings: sentences.
        scores: one a trial; NaN where acquisition failed.
        mated: class of each trial.
        same_target: reference and probe show the same face.
        embeddings: one row a video, or None.
        embedding_driver: of each row of `embeddings`.
        embedding_target: of each row of `embeddings`.
        attention: examples: video_id, weights [T], frame_mask [T], landmarks [T, V, 2 or 3], edges [E, 2].
        config: the whole configuration.

    Raises:
        FingerprintError: arrays that belong together differ in length.
    """

    title: str
    headline: str
    provenance: dict[str, Any]
    data: dict[str, Any]
    model: dict[str, Any]
    protocol: dict[str, Any]
    acquisition: dict[str, Any]
    rates: list[dict[str, Any]]
    controls: list[dict[str, Any]]
    thresholds: dict[str, dict[str, Any]]
    training: list[dict[str, Any]]
    warnings: list[str]
    scores: Float[np.ndarray, " trial"]
    mated: Bool[np.ndarray, " trial"]
    same_target: Bool[np.ndarray, " trial"]
    embeddings: Float[np.ndarray, "video dim"] | None
    embedding_driver: list[str]
    embedding_target: list[str]
    attention: list[dict[str, Any]]
    config: dict[str, Any]

    def __post_init__(self):
        trials = {name: len(getattr(self, name)) for name in ("scores", "mated", "same_target")}
        if len(set(trials.values())) > 1:
            raise FingerprintError(f"a report wants one score, class and condition a trial, found {trials}")
        if self.embeddings is None:
            return
        videos = {
            name: len(getattr(self, name)) for name in ("embeddings", "embedding_driver", "embedding_target")
        }
        if len(set(videos.values())) > 1:
            raise FingerprintError(f"a report wants one driver and one target an embedding, found {videos}")


def write(report: EvaluationReport, directory: str | os.PathLike) -> dict[str, Path]:
    """Write report.json, report.md, report.html and figures/*.png; each file appears whole or not at all.

    Figures of an earlier report in the same directory are replaced, and removed where this report has none.

    Returns:
        Path by part: "json", "markdown", "html", and every figure by its name.
    """
    from fingerprint.reports import document, figures, markdown, page  # matplotlib is heavy

    directory = Path(directory)
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    drawings = figures.draw_all(report)
    content = document.build(report, drawings)
    written = {}
    for drawing in drawings:
        target = directory / "figures" / f"{drawing.name}.png"
        if drawing.png is not None:
            written[drawing.name] = _replace(target, drawing.png)
    for old in (directory / "figures").glob("*.png"):
        if figures.is_figure_name(old.stem) and old.stem not in written:
            old.unlink()
    written["json"] = _replace(directory / "report.json", strict_json.dumps(as_dict(report), indent=2))
    written["markdown"] = _replace(directory / "report.md", markdown.render(content))
    written["html"] = _replace(directory / "report.html", page.render(content))
    return written


def as_dict(report: EvaluationReport) -> dict[str, Any]:
    """The report without its big arrays; of the attention examples, the weights stay."""
    fields = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    small = {name: value for name, value in fields.items() if name not in _ARRAYS}
    examples = [
        {key: example.get(key) for key in ("video_id", "weights", "frame_mask")}
        for example in report.attention
    ]
    return {"schema": SCHEMA, **small, "attention": examples}


def _replace(path: Path, content: bytes | str) -> Path:
    if isinstance(content, str):
        content = content.encode("utf-8", "replace")  # a file name may hold bytes that are no text
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
