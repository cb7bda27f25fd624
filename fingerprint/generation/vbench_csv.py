"""Averages of per-video score tables: what the public benchmark's SC_calculate does with VBench's results.

A table has a column that names the video (`video_id`, `video_name`, `videoname`, `videoid` or `filename`) and columns
of numbers. A row called AVERAGE, as the published tables end with, is left out. Videos whose every score is 0 (VBench
failed on them) count, as they do in the published averages; how many there are is told.

Source: SC_calculate.py and the tables of deepreasonings/FaceBenchmark and silent-commit/WholeBodyBenchmark.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import pathlib
import re
from collections.abc import Iterable, Mapping

from fingerprint.errors import DatasetError

DIMENSIONS = (
    "subject_consistency",
    "background_consistency",
    "motion_smoothness",
    "dynamic_degree",
    "aesthetic_quality",
    "imaging_quality",
)
"""VBench's dimensions in its own file order; imaging quality stands on 0 to 100 in files."""
SUMMARY, FILTERED = "all_models_summary.csv", "_filtered.csv"
_VIDEO_COLUMNS = ("video_id", "video_name", "videoname", "videoid", "filename")
_AVERAGE = "AVERAGE"
_FILE_NAME = re.compile(r"(\d+(?:-mp4)?)[-_]([a-z]+)[-_]score\.csv")
_LIST_COLUMNS = {"model": ("model", "模型号"), "type": ("type", "视频类型"), "video": ("video", "原视频地址")}
_TYPE_OF_LIST = {"body": "raw"}
"""What the list of unmatched videos calls otherwise than the score files do."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Scores by video, in the file's order.

    Attributes:
        model, type: what the file's name says: `4-mp4-face-score.csv` gives `4-mp4` and `face`.
        columns: names of the scores.
        scores: of each video, a number a column.
        id_column: the column that names the video.
    """

    model: str
    type: str
    columns: tuple[str, ...]
    scores: dict[str, tuple[float, ...]]
    id_column: str = "video_id"

    def means(self) -> dict[str, float]:
        """Mean of each column over all videos.

        Raises:
            DatasetError: no video is left.
        """
        if not self.scores:
            raise DatasetError(f"model {self.model}, {self.type}: no video is left to average")
        rows = list(self.scores.values())
        return {name: math.fsum(row[i] for row in rows) / len(rows) for i, name in enumerate(self.columns)}

    @property
    def all_zero(self) -> int:
        """Number of videos whose every score is 0."""
        return sum(not any(row) for row in self.scores.values())

    def without(self, unmatched: Iterable[str]) -> Table:
        """The table without these videos: a name, the same with `.mp4`, and what continues it after a `-`."""
        dropped = set(unmatched)
        kept = {
            video: row
            for video, row in self.scores.items()
            if not any(video in (name, f"{name}.mp4") or video.startswith(f"{name}-") for name in dropped)
        }
        return dataclasses.replace(self, scores=kept)


def read(path: pathlib.Path) -> Table:
    """Read a table of scores.

    Raises:
        DatasetError: unreadable, no column of videos, a cell that is no number, or a video twice.
    """
    header, rows = _rows(path)
    known = [i for i, name in enumerate(header) if name.lower() in _VIDEO_COLUMNS]
    if len(known) != 1 or len(header) < 2:
        raise DatasetError(f"{path}: columns {header}; wanted one of {', '.join(_VIDEO_COLUMNS)}, and scores")
    at, scores = known[0], {}
    for number, row in rows:
        video = row[at]
        if video == _AVERAGE:
            continue
        if video in scores:
            raise DatasetError(f"{path}, line {number}: {video} stands there twice")
        scores[video] = tuple(_number(cell, path, number) for i, cell in enumerate(row) if i != at)
    model, kind = model_and_type(path)
    return Table(model, kind, tuple(name for i, name in enumerate(header) if i != at), scores, header[at])


def model_and_type(path: pathlib.Path) -> tuple[str, str]:
    """What a published file name says: `1-face-score.csv`, `4-mp4-hand-score.csv`, `1_raw_score.csv`; else the stem."""
    named = _FILE_NAME.fullmatch(path.name)
    return (named[1], named[2]) if named else (path.stem, "")


def read_unmatched(path: pathlib.Path) -> dict[tuple[str, str], set[str]]:
    """Videos that a list calls unmatched, by model and type of the score file.

    The list is the benchmark's own `groundtruth_results.csv` (headers in Chinese), or a CSV with the columns model,
    type, video and unmatched; a row counts where `unmatched` is 1.

    Raises:
        DatasetError: unreadable, or of other columns.
    """
    header, rows = _rows(path)
    at = {role: [i for i, name in enumerate(header) if name in known] for role, known in _LIST_COLUMNS.items()}
    at["unmatched"] = [i for i, name in enumerate(header) if name == "unmatched"]
    if any(len(found) != 1 for found in at.values()):
        raise DatasetError(f"{path}: columns {header}; wanted model, type, video and unmatched, each once")
    found: dict[tuple[str, str], set[str]] = {}
    for number, row in rows:
        cell = {role: row[columns[0]].strip() for role, columns in at.items()}
        if cell["unmatched"] not in ("0", "1", ""):
            raise DatasetError(f"{path}, line {number}: unmatched is {cell['unmatched']!r}; wanted 1, 0 or nothing")
        if cell["unmatched"] == "1":
            key = cell["model"], _TYPE_OF_LIST.get(cell["type"], cell["type"])
            found.setdefault(key, set()).add(pathlib.PurePosixPath(cell["video"].replace("\\", "/")).stem)
    return found


def is_result(path: pathlib.Path) -> bool:
    """It is what an earlier calculation wrote: a filtered table, or the summary."""
    return path.name == SUMMARY or path.name.endswith(FILTERED)


def calculate(tables: Iterable[pathlib.Path], unmatched: Mapping[tuple[str, str], set[str]]) -> list[tuple[Table, int]]:
    """Every table without its unmatched videos, and how many those were; results of earlier runs are passed over.

    Raises:
        DatasetError: as `read`; no table; two of one model and type.
    """
    found: dict[tuple[str, str], tuple[Table, int]] = {}
    for path in tables:
        if is_result(path):
            continue
        whole = read(path)
        key = whole.model, whole.type
        if key in found:
            raise DatasetError(f"{path}: a second table of model {key[0]!r}, type {key[1]!r}")
        kept = whole.without(unmatched.get(key, ()))
        found[key] = kept, len(whole.scores) - len(kept.scores)
    if not found:
        raise DatasetError("no table of scores; wanted CSV files such as 1-face-score.csv")
    return list(found.values())


def table_csv(table: Table) -> str:
    """The text of a filtered table."""
    rows = ([video, *map(repr, row)] for video, row in table.scores.items())
    return _csv([table.id_column, *table.columns], rows)


def summary_csv(tables: Iterable[Table]) -> str:
    """The text of `all_models_summary.csv`: a row a table, columns of all of them."""
    tables = list(tables)
    columns = list(dict.fromkeys(name for table in tables for name in table.columns))
    rows = []
    for table in tables:
        means = table.means()
        values = (repr(means[name]) if name in means else "" for name in columns)
        rows.append([table.model, table.type, len(table.scores), *values])
    return _csv(["Model", "Type", "SampleCount", *columns], rows)


def _csv(header, rows) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _rows(path: pathlib.Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: not a readable CSV file ({error})") from error
    for number, row in rows:
        if len(row) != len(header):
            raise DatasetError(f"{path}, line {number}: {len(row)} cells; wanted {len(header)} as in the first line")
    return header, rows


def _number(cell: str, path: pathlib.Path, line: int) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(f"{path}, line {line}: {cell!r}; wanted a finite number")
    return value
