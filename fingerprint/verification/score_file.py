"""The score file: one CSV row a trial at full precision, empty where acquisition failed; all that metrics
read.

Where log likelihood ratios hang on quality measures too, a column of each stands at the end of a row.

The first line is a comment with the protocol, its seed and hash, and the number of trials, so that a file
cut short is noticed; `pandas.read_csv(path, comment="#")` reads the rest.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from jaxtyping import Bool, Float, Int

from fingerprint.errors import ProtocolError, RatesError
from fingerprint.verification.quality import MEASURES
from fingerprint.verification.trials import CONDITIONS, CORPUS_CONDITIONS, TrialList

_FORMAT = "fingerprint scores 1"
_CHUNK = 1 << 18
_COLUMNS = ("template", "reference_driver", "probe_video", "probe_driver", "mated", *CONDITIONS, "score")
_WITH_MEASURES = (*_COLUMNS, *MEASURES)


@dataclasses.dataclass(frozen=True)
class ScoreTable:
    """Scores and all that the rates need to know of their trials.

    Attributes:
        scores: NaN where acquisition failed.
        mated: class of each trial.
        conditions: flags by name, see `trials.TrialList`.
        videos: video ids.
        templates: rows into `videos` of each template.
        template_index: template of each trial.
        probe_index: row into `videos`.
        drivers: names.
        reference_driver: code into `drivers`; -1: the video is missing and its driver unknown.
        probe_driver: the same of the probe.
        protocol: name of the rule that made the trials.
        seed: its seed.
        hash: sha256 of the trial list.
        notes: what the protocol left out.
        measures: `quality.MEASURES` of each trial, NaN where a video is missing; None where they are not known.
    """

    scores: Float[np.ndarray, " trial"]
    mated: Bool[np.ndarray, " trial"]
    conditions: dict[str, Bool[np.ndarray, " trial"]]
    videos: tuple[str, ...]
    templates: tuple[tuple[int, ...], ...]
    template_index: Int[np.ndarray, " trial"]
    probe_index: Int[np.ndarray, " trial"]
    drivers: tuple[str, ...]
    reference_driver: Int[np.ndarray, " trial"]
    probe_driver: Int[np.ndarray, " trial"]
    protocol: str
    seed: int
    hash: str
    notes: tuple[str, ...] = ()
    measures: Float[np.ndarray, "trial measure"] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def from_trials(
        cls,
        trials: TrialList,
        video_ids: Sequence[str],
        scores: Float[np.ndarray, " trial"],
        measures: Float[np.ndarray, "trial measure"] | None = None,
    ) -> ScoreTable:
        """Join a trial list with its scores; pairs of missing videos become trials without a score.

        Args:
            trials: as scored.
            video_ids: the `video_id` column of the video table.
            scores: one a trial.
            measures: of each trial, see `quality.measures`.

        Raises:
            RatesError: not one score, or row of measures, a trial.
        """
        scores = np.asarray(scores, np.float64)
        if scores.shape != (len(trials),):
            raise RatesError(f"{len(trials)} trials want as many scores, found {scores.shape}")
        if measures is not None and measures.shape != (len(trials), len(MEASURES)):
            raise RatesError(f"{len(trials)} trials want {len(MEASURES)} measures each, found {measures.shape}")
        missing = trials.missing_pairs
        videos = [str(video_id) for video_id in video_ids]
        rows = {video_id: row for row, video_id in enumerate(videos)}
        for video_id in (name for pair in missing for name in pair[:2]):
            rows.setdefault(video_id, len(rows))
        enrolled = sorted({pair[0] for pair in missing})
        template = {video_id: len(trials.templates) + index for index, video_id in enumerate(enrolled)}

        def extended(column, values) -> np.ndarray:
            return np.append(column, np.array(list(values), column.dtype))

        return cls(
            scores=extended(scores, (np.nan for _ in missing)),
            mated=extended(trials.mated, (pair[2] for pair in missing)),
            conditions={name: extended(flags, (False for _ in missing)) for name, flags in trials.conditions.items()},
            videos=tuple(rows),
            templates=trials.templates + tuple((rows[video_id],) for video_id in enrolled),
            template_index=extended(trials.template_index, (template[pair[0]] for pair in missing)),
            probe_index=extended(trials.probe_index, (rows[pair[1]] for pair in missing)),
            drivers=trials.drivers,
            reference_driver=extended(trials.reference_driver, (-1 for _ in missing)),
            probe_driver=extended(trials.probe_driver, (-1 for _ in missing)),
            protocol=trials.protocol,
            seed=trials.seed,
            hash=trials.hash,
            notes=trials.notes,
            measures=None
            if measures is None
            else np.concatenate([measures, np.full((len(missing), len(MEASURES)), np.nan)]),
        )


def write(
    path,
    trials: TrialList,
    videos,
    scores: Float[np.ndarray, " trial"],
    measures: Float[np.ndarray, "trial measure"] | None = None,
) -> None:
    """Write a score file; it appears whole or not at all.

    Args:
        path: of the CSV file.
        trials: as scored.
        videos: the video table the trials refer to.
        scores: one a trial, NaN where acquisition failed.
        measures: of each trial, see `quality.measures`.

    Raises:
        RatesError: not one score, or row of measures, a trial.
        ProtocolError: a video id that contains "+", which joins the ids of a template.
    """
    table = ScoreTable.from_trials(trials, videos["video_id"], scores, measures)
    joined = [video_id for video_id in table.videos if "+" in video_id]
    if joined:
        raise ProtocolError(f"{len(joined)} video ids contain '+', which joins the ids of a template: {joined[0]!r}")
    head = {
        "format": _FORMAT,
        "protocol": table.protocol,
        "seed": table.seed,
        "hash": table.hash,
        "trials": len(table),
        "notes": table.notes,
    }
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(b"# " + json.dumps(head).encode() + b"\n")
            _write_rows(file, table)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_rows(file, table: ScoreTable) -> None:
    names = pa.array(table.videos, pa.string())
    templates = pa.array(["+".join(table.videos[row] for row in rows) for rows in table.templates], pa.string())
    drivers = pa.array([*table.drivers, ""], pa.string())  # code -1: no name
    numbers = {"score": table.scores}
    if table.measures is not None:
        numbers |= dict(zip(MEASURES, table.measures.T, strict=True))
    header = [name for name in _WITH_MEASURES if name in _COLUMNS or name in numbers]
    schema = pa.schema([(name, _arrow_type(name)) for name in header])
    with pa.csv.CSVWriter(file, schema) as writer:
        for start in range(0, len(table), _CHUNK):
            part = slice(start, start + _CHUNK)
            columns = {
                "template": templates.take(pa.array(table.template_index[part])),
                "reference_driver": drivers.take(pa.array(table.reference_driver[part] % len(drivers))),
                "probe_video": names.take(pa.array(table.probe_index[part])),
                "probe_driver": drivers.take(pa.array(table.probe_driver[part] % len(drivers))),
                "mated": pa.array(table.mated[part]),
                **{name: pa.array(table.conditions[name][part]) for name in CONDITIONS},
                **{name: pa.array(of[part], mask=np.isnan(of[part])) for name, of in numbers.items()},
            }
            writer.write_batch(pa.record_batch([columns[name] for name in header], schema))


def read(path) -> ScoreTable:
    """Read a score file.

    Raises:
        RatesError: no such file, a file of another kind, or one cut short; the message names the path.
    """
    head = _read_head(path)
    text = pa.dictionary(pa.int32(), pa.string())
    types = {name: text if _arrow_type(name) == pa.string() else _arrow_type(name) for name in _WITH_MEASURES}
    try:
        rows = pa.csv.read_csv(
            path,
            read_options=pa.csv.ReadOptions(skip_rows=1),
            convert_options=pa.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise RatesError(f"{path}: damaged score file: {error}") from error
    older = tuple(name for name in _COLUMNS if name not in CORPUS_CONDITIONS)
    if tuple(rows.column_names) not in (_COLUMNS, _WITH_MEASURES, older, (*older, *MEASURES)):
        raise RatesError(
            f"{path}: a score file has the columns {', '.join(_COLUMNS)}, and perhaps {', '.join(MEASURES)}; found "
            f"{rows.column_names}"
        )
    if rows.num_rows != head["trials"] or not _ends_with_newline(path):
        raise RatesError(f"{path}: cut short: {rows.num_rows} of {head['trials']} trials found")
    template_names, template_index = _coded(rows["template"])
    probe_names, probe_code = _coded(rows["probe_video"])
    split = [name.split("+") for name in template_names]
    videos = sorted({*probe_names, *(video_id for ids in split for video_id in ids)})
    row = {video_id: index for index, video_id in enumerate(videos)}
    sides = [_coded(rows[name]) for name in ("reference_driver", "probe_driver")]
    drivers = sorted({name for names, _ in sides for name in names} - {""})
    code = {name: index for index, name in enumerate(drivers)} | {"": -1}
    recoded = [np.array([code[name] for name in names], np.int32)[codes] for names, codes in sides]
    return ScoreTable(
        scores=rows["score"].to_numpy(),
        mated=rows["mated"].to_numpy(),
        conditions={
            name: rows[name].to_numpy() if name in rows.column_names else np.zeros(rows.num_rows, bool)
            for name in CONDITIONS
        },
        videos=tuple(videos),
        templates=tuple(tuple(row[video_id] for video_id in ids) for ids in split),
        template_index=template_index,
        probe_index=np.array([row[name] for name in probe_names], np.int32)[probe_code],
        drivers=tuple(drivers),
        reference_driver=recoded[0],
        probe_driver=recoded[1],
        protocol=head["protocol"],
        seed=head["seed"],
        hash=head["hash"],
        notes=tuple(head["notes"]),
        measures=np.stack([rows[name].to_numpy() for name in MEASURES], axis=1)
        if MEASURES[0] in rows.column_names
        else None,
    )


def _arrow_type(column: str) -> pa.DataType:
    if column in ("score", *MEASURES):
        return pa.float64()
    return pa.bool_() if column in ("mated", *CONDITIONS) else pa.string()


def _read_head(path) -> dict:
    try:
        with open(path, "rb") as file:
            line = file.readline(1 << 20)
    except OSError as error:
        raise RatesError(f"{path}: score file cannot be read: {error.strerror}") from error
    try:
        head = json.loads(line.removeprefix(b"# "))
        if head["format"] == _FORMAT and {"protocol", "seed", "hash", "trials", "notes"} <= head.keys():
            return head
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        pass
    raise RatesError(f"{path}: not a score file: its first line wants a comment with format {_FORMAT!r}")


def _ends_with_newline(path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _coded(column: pa.ChunkedArray) -> tuple[list[str], Int[np.ndarray, " trial"]]:
    if column.num_chunks == 0:
        return [], np.zeros(0, np.int32)
    joined = column.unify_dictionaries().combine_chunks()
    joined = joined.chunk(0) if isinstance(joined, pa.ChunkedArray) else joined
    return joined.dictionary.to_pylist(), joined.indices.to_numpy()
