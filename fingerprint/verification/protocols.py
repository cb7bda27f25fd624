"""Protocols: seeded rules that turn a table of videos into a trial list.

A mated trial never shows one source clip on both sides. Results do not depend on the order of the video
table: rules work on videos sorted by id.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from fingerprint.errors import ProtocolError, UnknownName
from fingerprint.verification import trials as trial_lists
from fingerprint.verification.plan import Plan, VideoTable
from fingerprint.verification.trials import TrialList

_HEADERS = {
    "enrolment": ("enrolment", "enrollment", "enrol", "enroll", "reference", "video1", "file1"),
    "test": ("test", "probe", "video2", "file2"),
    "label": ("label", "mated", "genuine", "same_driver"),
}
_LABELS = {"1": True, "true": True, "genuine": True, "mated": True}
_LABELS |= {"0": False, "false": False, "impostor": False, "non-mated": False}
_EXTENSIONS = re.compile(r"\.(mp4|avi|mov|mkv|webm|flv|npy|npz)$", re.IGNORECASE)


def get(name: str) -> Callable[..., TrialList]:
    """The protocol of that name.

    Raises:
        UnknownName: no such protocol.
    """
    if name not in _PROTOCOLS:
        raise UnknownName("protocol", name, _PROTOCOLS)
    return _PROTOCOLS[name]


def names() -> tuple[str, ...]:
    """Names that `get` knows."""
    return tuple(sorted(_PROTOCOLS))


def choose(videos: Mapping[str, np.ndarray]) -> str:
    """The default protocol: `claimed_target` where at least two identities allow it, else `all_pairs`."""
    table = VideoTable.of(videos)
    usable = 0
    for person in np.unique(table.driver[table.self_made]):
        clips = np.unique(table.clip[table.self_of(person)])
        usable += len(clips) > 1 and bool(table.worn_by_others(person).any())
    return "claimed_target" if usable >= 2 else "all_pairs"


def all_pairs(
    videos: Mapping[str, np.ndarray],
    *,
    seed: int,
    enrolment_clips: int = 1,
    max_trials: int | None = None,
    max_templates_per_driver: int | None = None,
) -> TrialList:
    """Every unordered pair of videos; mated = same driver.

    With one enrolment clip the reference is the video with the earlier id. With several, disjoint templates
    of that many source clips are drawn for each driver and compared with all videos.

    Args:
        videos: video table (columns `trials.COLUMNS`), one row a video.
        seed: of every random choice.
        enrolment_clips: source clips a template; one video of each.
        max_trials: draw this many, half of them mated (all mated ones where they fit in half).
        max_templates_per_driver: keep this many templates a driver, drawn at random.

    Raises:
        ProtocolError: one driver only, no mated pair, or more than `plan.MAX_TRIALS` trials.
    """
    plan = Plan("all_pairs", videos, seed, enrolment_clips, max_templates_per_driver)
    table = plan.table
    order = np.argsort(table.driver, kind="stable")
    bounds = np.searchsorted(table.driver[order], np.arange(table.people + 1))
    enrolled = [plan.enrol(order[bounds[p] : bounds[p + 1]], table.names[p]) for p in range(table.people)]
    is_template = np.zeros(table.count, bool)
    if plan.unordered:
        is_template[[rows[0] for rows in plan.templates]] = True
    probes_before = order[~is_template[order]]
    before_bounds = np.searchsorted(table.driver[probes_before], np.arange(table.people + 1))
    for person, templates in enumerate(enrolled):
        plan.mated.append((templates, order[bounds[person] : bounds[person + 1]]))
        plan.non_mated.append((templates, probes_before[: before_bounds[person]]))
        plan.non_mated.append((templates, order[bounds[person + 1] :]))
    return plan.finish(max_trials, "at least two drivers, one of them with two source clips")


def claimed_target(
    videos: Mapping[str, np.ndarray],
    *,
    seed: int,
    enrolment_clips: int = 1,
    max_trials: int | None = None,
    max_templates_per_driver: int | None = None,
) -> TrialList:
    """The impostor wears the claimed face.

    Enrolment: self-reenactments of X (driver = target = X, rendered by a generator). Mated probes: other
    self-reenactments of X, from another source clip. Non-mated probes: cross-reenactments with target X and
    another driver. Real videos (generator ORIG) are left out: they would be told apart by how they were made.

    Args and errors: as `all_pairs`; also ProtocolError: no identity has both self- and cross-reenactments.
    """
    plan = Plan("claimed_target", videos, seed, enrolment_clips, max_templates_per_driver)
    table, without = plan.table, 0
    for person in np.unique(table.driver[table.self_made]):
        own, others = np.flatnonzero(table.self_of(person)), np.flatnonzero(table.worn_by_others(person))
        if not len(others):
            without += 1
            continue
        templates = plan.enrol(own, table.names[person])
        plan.mated.append((templates, own))
        plan.non_mated.append((templates, others))
    plan.note(without, "identities left out: nobody else drives their face")
    plan.note(int((table.own_face & ~table.self_made).sum()), "real videos (ORIG) left out")
    return plan.finish(max_trials, "self-reenactments of X and videos of X's face driven by others")


def driver_on_other_target(
    videos: Mapping[str, np.ndarray],
    *,
    seed: int,
    enrolment_clips: int = 1,
    max_trials: int | None = None,
    max_templates_per_driver: int | None = None,
) -> TrialList:
    """Does the embedding follow the driver onto other faces (the invariance claim)?

    Enrolment: self-reenactments of X (rendered, not ORIG). Mated probes: X driving a face Y ≠ X, from another source
    clip. Non-mated probes: another driver Z on that same set of faces, cross-reenactments as well (Z ≠ Y), so that no
    probe shows the enrolled face and none is told apart by being a self-reenactment.

    Args and errors: as `all_pairs`; also ProtocolError: no identity has self-reenactments and drives a face that others
    drive too.
    """
    plan = Plan("driver_on_other_target", videos, seed, enrolment_clips, max_templates_per_driver)
    table, without = plan.table, 0
    for person in np.unique(table.driver[table.self_made]):
        driven = table.cross & (table.driver == person)
        faces = np.zeros(table.people, bool)
        faces[table.target[driven]] = True
        others = table.cross & (table.driver != person) & faces[table.target]
        if not driven.any() or not others.any():
            without += 1
            continue
        templates = plan.enrol(np.flatnonzero(table.self_of(person)), table.names[person])
        plan.mated.append((templates, np.flatnonzero(driven)))
        plan.non_mated.append((templates, np.flatnonzero(others)))
    plan.note(without, "identities left out: they drive no other face that others drive too")
    plan.note(int((table.own_face & ~table.self_made).sum()), "real videos (ORIG) left out")
    return plan.finish(max_trials, "self-reenactments of X and faces that both X and others drive")


_PROTOCOLS = {rule.__name__: rule for rule in (all_pairs, claimed_target, driver_on_other_target)}


def pairs_csv(path, videos: Mapping[str, np.ndarray]) -> TrialList:
    """Trials listed in a CSV file: enrolment video, test video, label (as in AVAPrintDB's pair files).

    Headers wanted, in any case, optionally followed by "video": enrolment, enrollment, enrol, enroll,
    reference, video1, file1; test, probe, video2, file2; label, mated, genuine, same_driver. Labels: 1/0,
    true/false, genuine/impostor, mated/non-mated. Videos are named by id or file name, with or without
    folder and extension. Pairs with a video that the table lacks are kept as `missing_pairs` (failures to
    acquire) and counted in the notes.

    Raises:
        ProtocolError: unreadable file, unknown header or label, no known pair, labels that contradict the
            drivers.
    """
    trial_lists.check_video_table(videos)
    table_ids = np.asarray(videos["video_id"]).astype(str).tolist()
    rows = {_stem(video_id): row for row, video_id in enumerate(table_ids)}
    if len(rows) != len(table_ids):
        raise ProtocolError(f"{path}: {len(table_ids) - len(rows)} video ids differ by folder or extension only")
    pairs = _read_pairs(Path(path))
    known = np.array([a in rows and b in rows for a, b, _ in pairs], bool)
    missing = tuple(pair for pair, found in zip(pairs, known, strict=True) if not found)
    if not known.any():
        raise ProtocolError(f"{path}: none of {len(pairs)} pairs names two of the {len(table_ids)} videos of the table")
    enrolled, template_index = np.unique(
        [rows[pair[0]] for pair, found in zip(pairs, known, strict=True) if found], return_inverse=True
    )
    probe_index = np.array([rows[pair[1]] for pair, found in zip(pairs, known, strict=True) if found])
    mated = np.array([pair[2] for pair, found in zip(pairs, known, strict=True) if found], bool)
    driver = np.asarray(videos["driver"]).astype(str)
    wrong = int(((driver[enrolled[template_index]] == driver[probe_index]) != mated).sum())
    if wrong:
        raise ProtocolError(f"{path}: {wrong} of {len(mated)} labels contradict the drivers of the video table")
    note = f"{len(missing)} of {len(pairs)} pairs name a video that is missing: counted as failures to acquire"
    return trial_lists.build(
        videos,
        [(row,) for row in enrolled],
        template_index,
        probe_index,
        protocol="pairs_csv",
        seed=0,
        mated=mated,
        notes=(note,) if missing else (),
        missing_pairs=missing,
    )


def _stem(name: str) -> str:
    return _EXTENSIONS.sub("", re.split(r"[/\\]", name.strip())[-1])


def _read_pairs(path: Path) -> list[tuple[str, str, bool]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ProtocolError(f"{path}: pair file cannot be read: {error}") from error
    header = (
        [re.sub(r"[_ -]?(video|file)$", "", re.sub(r"[ -]", "_", name.strip().lower())) for name in lines[0]]
        if lines
        else []
    )
    columns = {}
    for role, known in _HEADERS.items():
        found = [index for index, name in enumerate(header) if name in known]
        if len(found) != 1:
            raise ProtocolError(f"{path}: one {role} column wanted, named one of {', '.join(known)}; found {header}")
        columns[role] = found[0]
    width = len(header)
    pairs = []
    for number, line in enumerate(lines[1:], start=2):
        label = _LABELS.get(line[columns["label"]].strip().lower()) if len(line) == width else None
        if label is None:
            raise ProtocolError(
                f"{path}: row {number} wants {width} fields and a label of {', '.join(_LABELS)}: {line}"
            )
        pairs.append((_stem(line[columns["enrolment"]]), _stem(line[columns["test"]]), label))
    return pairs
