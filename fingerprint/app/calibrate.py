"""Thresholds and calibration from videos of one's own, mated and non-mated."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fingerprint.app.evidence import Evidence
from fingerprint.app.gallery import CALIBRATION_FORMAT, binding
from fingerprint.embed import ReleasedModel
from fingerprint.errors import ClaimRefused, FingerprintError
from fingerprint.landmarks import track
from fingerprint.landmarks.names import VIDEO_SUFFIXES, check_identity
from fingerprint.validation import evidence_of, operating_points
from fingerprint.verification import protocols, quality, scoring

_COLUMNS = ("file", "driver", "target")
_GENERATOR = "avatar"


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A video and who is in it: `driver` moves, `target` is shown."""

    path: pathlib.Path
    driver: str
    target: str


def find(where: pathlib.Path) -> list[Labelled]:
    """Labelled videos: a folder `<driver>/<video>`, or a CSV with the columns file, driver and perhaps target.

    Files in a CSV are relative to it. A CSV is its writer's own word: unlike a folder, which may be somebody else's
    and must hold its files itself, it may name files anywhere, by absolute paths or `..`.

    Raises:
        ClaimRefused: nothing there, or not of that form.
    """
    if where.is_dir():
        found = [
            Labelled(path, _identity(folder.name), folder.name)
            for folder in sorted(where.iterdir())
            if folder.is_dir() and not folder.name.startswith(".")
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in VIDEO_SUFFIXES or path.name.endswith(track.SUFFIX)
        ]
        for item in found:
            if not item.path.resolve().is_relative_to(where.resolve()):
                raise ClaimRefused(f"{item.path} leads to {item.path.resolve()}; wanted a file below {where}")
    elif where.suffix.lower() == ".csv":
        found = _from_csv(where)
    else:
        raise ClaimRefused(f"{where}: wanted a folder <person>/<video> or a CSV file with the columns file,driver")
    if not found:
        raise ClaimRefused(f"{where}: no video; wanted <person>/<video> below it")
    return found


def _from_csv(where: pathlib.Path) -> list[Labelled]:
    try:
        with open(where, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            lines = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ClaimRefused(f"{where}: not a readable CSV file ({error})") from error
    if sorted(columns) not in (["driver", "file"], sorted(_COLUMNS)):
        raise ClaimRefused(f"{where}: columns {columns}; wanted file, driver and perhaps target")
    for number, row in lines:
        if len(row) != len(columns):
            raise ClaimRefused(f"{where}, line {number}: {len(row)} cells; wanted {len(columns)} as in the first line")
    rows = [dict(zip(columns, row, strict=True)) for _, row in lines]
    return [
        Labelled(where.parent / row["file"], _identity(row["driver"]), _identity(row.get("target") or row["driver"]))
        for row in rows
    ]


def _identity(text: str) -> str:
    try:
        return check_identity(text.strip(), "person")
    except FingerprintError as error:
        raise ClaimRefused(str(error)) from None


def video_table(videos: Sequence[tuple[Labelled, Evidence]]) -> dict[str, np.ndarray]:
    """The videos as a table that protocols take; where drivers and targets differ, all count as avatars'."""
    table = {
        "video_id": np.array([f"{row:06d}" for row in range(len(videos))]),
        "clip_id": np.array([found.sha256 for _, found in videos]),
        "driver": np.array([label.driver for label, _ in videos]),
        "target": np.array([label.target for label, _ in videos]),
        "generator": np.array(["ORIG" if label.driver == label.target else _GENERATOR for label, _ in videos]),
        "corpus": np.full(len(videos), "own"),
        "sentence": np.full(len(videos), ""),
    }
    if (table["driver"] != table["target"]).any():
        table["generator"][:] = _GENERATOR
    return table


def calibrate(
    videos: Sequence[tuple[Labelled, Evidence]], released: ReleasedModel, *, source: str, seed: int = 0
) -> dict[str, Any]:
    """Thresholds, calibration and the statistics of single windows, as a JSON-able document.

    Every video is compared with every other (`all_pairs`); where avatars show other people's faces, the impostors of
    each person are those who wear that face (`claimed_target`). One video is a template; templates of several videos
    score no worse.

    Args:
        source: a word for where the videos are from, kept with the document.

    Raises:
        ProtocolError: no mated or no non-mated pair. RatesError: as `operating_points`.
    """
    table = video_table(videos)
    protocol = protocols.choose(table)
    found = protocols.get(protocol)(table, seed=seed, enrolment_clips=1)
    vectors = np.concatenate([evidence.vectors for _, evidence in videos])
    video = np.repeat(np.arange(len(videos)), [len(evidence.vectors) for _, evidence in videos])
    start = np.concatenate([evidence.start for _, evidence in videos])
    how, single, measures = released.scoring, None, None
    if how.calibration == "quality":
        masks = [evidence.track.frame_mask for _, evidence in videos]
        measures = quality.measures(np.array([mask.sum() for mask in masks]), np.array(list(map(len, masks))), found)
    if how.by_window:
        single = scoring.window_scores(
            vectors, video, start, len(videos), found, stride=released.embedder.spec.stride, seed=seed
        )
    points = operating_points(
        scoring.score(how, vectors, video, len(videos), found, released.cohort),
        found.mated,
        reference_driver=found.reference_driver,
        probe_driver=found.probe_driver,
        seed=seed,
        measures=measures,
        windows=single,
        evidence=evidence_of(video, len(videos), found),
    )
    return {
        "format": CALIBRATION_FORMAT,
        "source": source,
        "made": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "protocol": protocol,
        "videos": len(videos),
        "people": len(set(table["driver"].tolist())),
        **binding(released),
        **points,
    }
