"""What protocols are made of: the video table in a fixed order, and blocks of trials to draw from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int

from fingerprint.errors import ProtocolError
from fingerprint.verification import trials as trial_lists
from fingerprint.verification.trials import TrialList

MAX_TRIALS = 50_000_000
FUSION = "fusion rule: mean over the template's videos"
ORIGINAL = "ORIG"  # generator of a real video

# templates and probes whose every combination is a trial
Block = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class VideoTable:
    """The video table in the order of its ids, names as codes; drivers and targets share one code."""

    order: Int[np.ndarray, " video"]
    names: tuple[str, ...]
    driver: Int[np.ndarray, " video"]
    target: Int[np.ndarray, " video"]
    clip: Int[np.ndarray, " video"]
    original: Bool[np.ndarray, " video"]

    @classmethod
    def of(cls, videos: Mapping[str, np.ndarray]) -> VideoTable:
        count = trial_lists.check_video_table(videos)
        text = {name: np.asarray(videos[name]).astype(str) for name in trial_lists.COLUMNS}
        for name in ("driver", "target", "clip_id"):
            if empty := int((text[name] == "").sum()):
                raise ProtocolError(f"{empty} of {count} videos have no {name}; protocols need it")
        order = np.argsort(text["video_id"])
        names, codes = np.unique(np.concatenate([text["driver"], text["target"]]), return_inverse=True)
        clip = np.unique(text["clip_id"], return_inverse=True)[1]
        return cls(
            order=order,
            names=tuple(str(name) for name in names),
            driver=codes[:count][order],
            target=codes[count:][order],
            clip=clip[order],
            original=text["generator"][order] == ORIGINAL,
        )

    @property
    def count(self) -> int:
        return len(self.order)

    @property
    def people(self) -> int:
        return len(self.names)

    @property
    def own_face(self) -> Bool[np.ndarray, " video"]:
        return self.driver == self.target

    @property
    def self_made(self) -> Bool[np.ndarray, " video"]:
        return self.own_face & ~self.original

    @property
    def cross(self) -> Bool[np.ndarray, " video"]:
        return self.driver != self.target

    def self_of(self, person: int) -> Bool[np.ndarray, " video"]:
        return self.self_made & (self.driver == person)

    def worn_by_others(self, person: int) -> Bool[np.ndarray, " video"]:
        return self.cross & (self.target == person)


class Plan:
    """Templates and the blocks of trials a protocol asks for, made into a trial list by `finish`."""

    def __init__(self, protocol: str, videos, seed: int, enrolment_clips: int, max_templates: int | None):
        if enrolment_clips < 1 or (max_templates is not None and max_templates < 1):
            raise ProtocolError(f"{protocol}: enrolment_clips and max_templates_per_driver want numbers >= 1")
        self.protocol, self.videos, self.seed = protocol, videos, seed
        self.table = VideoTable.of(videos)
        self.templates: list[tuple[int, ...]] = []
        self.mated: list[Block] = []
        self.non_mated: list[Block] = []
        self.unordered = enrolment_clips == 1
        self._clips, self._cap = enrolment_clips, max_templates
        self._rng = np.random.default_rng(seed)
        self._notes = [FUSION] if enrolment_clips > 1 else []
        self._short: list[str] = []

    def note(self, number: int, what: str) -> None:
        if number:
            self._notes.append(f"{number} {what}")

    def enrol(self, rows: Int[np.ndarray, " video"], name: str) -> Int[np.ndarray, " template"]:
        """Draw the templates of one driver from these videos; returns their numbers."""
        if self._clips == 1:
            if self._cap is not None and self._cap < len(rows):
                rows = np.sort(self._rng.choice(rows, self._cap, replace=False))
            drawn = [(int(row),) for row in rows]
        else:
            shuffled = self._rng.permutation(rows)
            # the first video of each clip in shuffled order, clips in shuffled order too
            first = np.sort(np.unique(self.table.clip[shuffled], return_index=True)[1])
            groups = len(first) // self._clips
            if groups == 0 and len(rows):
                self._short.append(name)
            groups = groups if self._cap is None else min(groups, self._cap)
            chosen = shuffled[first[: groups * self._clips]].reshape(groups, self._clips)
            drawn = [tuple(sorted(group)) for group in chosen.tolist()]
        start = len(self.templates)
        self.templates += drawn
        return np.arange(start, len(self.templates))

    def finish(self, max_trials: int | None, wanted: str) -> TrialList:
        """Enumerate the mated trials, draw from both classes and build the list."""
        self.note(len(self._short), f"drivers without a template: fewer than {self._clips} source clips")
        possible = sum(len(a) * len(b) for a, b in self.mated)
        total = sum(len(a) * len(b) for a, b in self.non_mated)
        if possible > MAX_TRIALS or (max_trials is None and possible + total > MAX_TRIALS):
            raise ProtocolError(
                f"{self.protocol}: up to {possible} mated and {total} non-mated trials, above {MAX_TRIALS}: "
                "give max_trials or max_templates_per_driver"
            )
        mated = self._without_shared_clips(_trials(self.mated, np.arange(possible)))
        count = len(mated[0])
        if not count or not total:
            raise self._impossible(count, total, wanted)
        keep_mated, keep_other = count, total
        if max_trials is not None and max_trials < count + total:
            if max_trials < 2:
                raise ProtocolError(f"{self.protocol}: max_trials wants at least 2, found {max_trials}")
            keep_other = min(total, max_trials - min(count, max_trials // 2))
            keep_mated = min(count, max_trials - keep_other)
            self._notes.append(f"drawn: {keep_mated} of {count} mated and {keep_other} of {total} non-mated trials")
        chosen = _draw(self._rng, count, keep_mated)
        other = _trials(self.non_mated, _draw(self._rng, total, keep_other))
        template, probe = (np.concatenate([m[chosen], n]) for m, n in zip(mated, other, strict=True))
        if self.unordered:
            template, probe = self._earlier_first(template, probe)
        order = self.table.order
        return trial_lists.build(
            self.videos,
            [tuple(int(order[row]) for row in rows) for rows in self.templates],
            template,
            order[probe],
            protocol=self.protocol,
            seed=self.seed,
            notes=self._notes,
        )

    def _without_shared_clips(self, pairs: Block) -> Block:
        """Drop pairs of one source clip, and the second of two pairs of the same two videos."""
        template, probe = pairs
        padded = np.array(self.templates, np.int64).reshape(-1, self._clips)
        if self.unordered:
            is_template = np.zeros(self.table.count, bool)
            is_template[padded[:, 0]] = True
            reference = padded[template, 0]
            once = (reference != probe) & ((reference < probe) | ~is_template[probe])
            template, probe = template[once], probe[once]
        shares, inside = np.zeros(len(probe), bool), np.zeros(len(probe), bool)
        for slot in range(padded.shape[1]):
            shares |= self.table.clip[padded[template, slot]] == self.table.clip[probe]
            inside |= padded[template, slot] == probe
        self.note(int((shares & ~inside).sum()), "mated pairs dropped: both show the same source clip")
        return template[~shares], probe[~shares]

    def _earlier_first(self, template, probe) -> Block:
        """Exchange the two videos of a pair where both are templates and the probe has the earlier id."""
        reference = np.array(self.templates, np.int64)[:, 0]
        number = np.full(self.table.count, -1)
        number[reference] = np.arange(len(reference))
        swap = (probe < reference[template]) & (number[probe] >= 0)
        return np.where(swap, number[probe], template), np.where(swap, reference[template], probe)

    def _impossible(self, mated: int, non_mated: int, wanted: str) -> ProtocolError:
        table = self.table
        people = len(np.unique(table.driver))
        found = (
            f"{int(table.self_made.sum())} self-reenactments, {int(table.cross.sum())} cross-reenactments, "
            f"{int(table.original.sum())} real videos"
        )
        other = "; all_pairs fits any data with two drivers and two source clips of one of them"
        other = "" if self.protocol == "all_pairs" else other
        return ProtocolError(
            f"{self.protocol} wants {wanted}; found {mated} mated and {non_mated} non-mated trials in "
            f"{table.count} videos of {people} drivers ({found}){other}"
        )


def _trials(blocks: list[Block], ranks: Int[np.ndarray, " trial"]) -> Block:
    """Template and probe of the trials with these ascending ranks in the combinations of all blocks."""
    template, probe = np.empty(len(ranks), np.int32), np.empty(len(ranks), np.int32)
    start, done = 0, 0
    for templates, probes in blocks:
        stop = start + len(templates) * len(probes)
        end = int(np.searchsorted(ranks, stop))
        if end > done:
            row, column = np.divmod(ranks[done:end] - start, len(probes))
            template[done:end], probe[done:end] = templates[row], probes[column]
        start, done = stop, end
    return template, probe


def _draw(rng: np.random.Generator, total: int, count: int) -> Int[np.ndarray, " drawn"]:
    """`count` different numbers below `total`, ascending, in memory of the order of `count`."""
    if count >= total:
        return np.arange(total)
    if count > total // 2:
        return np.sort(rng.permutation(total)[:count])
    drawn = np.empty(0, np.int64)
    while len(drawn) < count:
        drawn = np.union1d(drawn, rng.integers(total, size=int(1.1 * count) + 16))
    return np.sort(rng.choice(drawn, count, replace=False))
