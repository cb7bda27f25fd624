"""The trial list: which template is compared with which probe, in which conditions, and whether it leaks."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from fingerprint.errors import ProtocolError

COLUMNS = ("video_id", "driver", "target", "generator", "corpus", "clip_id", "sentence")
CONDITIONS = ("same_target", "same_clip", "same_sentence", "sentence_known", "same_corpus", "same_generator")
CORPUS_CONDITIONS = ("home_corpora_known", "single_corpus")  # absent in score files of before they were known
CONDITIONS += CORPUS_CONDITIONS


@dataclasses.dataclass(frozen=True)
class TrialList:
    """A list of comparisons of one template (enrolment videos of one driver) with one probe video.

    Attributes:
        templates: row numbers into the video table, one tuple a template, never empty.
        template_index: the template of each trial.
        probe_index: the probe of each trial, a row of the video table.
        mated: True where reference and probe have the same driver.
        conditions: by name (`CONDITIONS`), one flag a trial. With several enrolment videos, `same_…` is True
            where at least one of them shares the property with the probe; `sentence_known` where all
            sentences are known. A person's home corpus is that of the videos that show their face (`corpus` says where
            the target's picture is from): `home_corpora_known` where that of every driver and target is known,
            `single_corpus` where it is one for all of them.
        reference_driver: code into `drivers`.
        probe_driver: code into `drivers`.
        drivers: sorted names.
        protocol: name of the rule that made the list.
        seed: seed of its random choices.
        hash: sha256 over video ids, templates, pairs and mated flags; independent of the order of trials and
            of the video table.
        notes: what was left out and how many, and the fusion rule.
        missing_pairs: (enrolment id, probe id, mated) of asked trials whose videos the table lacks: failures
            to acquire.
    """

    templates: tuple[tuple[int, ...], ...]
    template_index: Int[np.ndarray, " trial"]
    probe_index: Int[np.ndarray, " trial"]
    mated: Bool[np.ndarray, " trial"]
    conditions: dict[str, Bool[np.ndarray, " trial"]]
    reference_driver: Int[np.ndarray, " trial"]
    probe_driver: Int[np.ndarray, " trial"]
    drivers: tuple[str, ...]
    protocol: str
    seed: int
    hash: str
    notes: tuple[str, ...] = ()
    missing_pairs: tuple[tuple[str, str, bool], ...] = ()

    def __len__(self) -> int:
        return len(self.template_index)

    @property
    def missing(self) -> int:
        """Number of asked trials that could not be made because a video is missing."""
        return len(self.missing_pairs)


def build(
    videos: Mapping[str, np.ndarray],
    templates: Sequence[tuple[int, ...]],
    template_index: Int[np.ndarray, " trial"],
    probe_index: Int[np.ndarray, " trial"],
    *,
    protocol: str,
    seed: int,
    mated: Bool[np.ndarray, " trial"] | None = None,
    notes: Sequence[str] = (),
    missing_pairs: Sequence[tuple[str, str, bool]] = (),
) -> TrialList:
    """Complete a trial list from pairs: drivers, conditions and hash come from the video table.

    Args:
        videos: video table with the columns `COLUMNS`, one row a video.
        templates: enrolment rows of each template.
        template_index: template of each trial.
        probe_index: probe row of each trial.
        protocol: name kept with the list.
        seed: seed kept with the list.
        mated: labels; derived from the drivers where not given.
        notes: kept with the list.
        missing_pairs: kept with the list.

    Raises:
        ProtocolError: unknown rows, an empty template, or a template with more than one driver.
    """
    count = check_video_table(videos)
    template_index = np.ascontiguousarray(template_index, np.int32)
    probe_index = np.ascontiguousarray(probe_index, np.int32)
    templates = tuple(tuple(int(row) for row in template) for template in templates)
    problems = _unknown_rows(templates, template_index, probe_index, count)
    if problems:
        raise ProtocolError(f"{protocol}: " + "; ".join(problems))
    padded = _padded(templates)
    drivers, driver = np.unique(_text(videos["driver"]), return_inverse=True)
    driver = driver.astype(np.int32)
    mixed = ((driver[padded] != driver[padded[:, :1]]) & (padded >= 0)).any(axis=1).sum()
    if mixed:
        raise ProtocolError(f"{protocol}: {mixed} of {len(templates)} templates mix drivers; a template has one")
    reference_driver = driver[padded[:, 0]][template_index]
    probe_driver = driver[probe_index]
    mated = reference_driver == probe_driver if mated is None else np.ascontiguousarray(mated, bool)
    return TrialList(
        templates=templates,
        template_index=template_index,
        probe_index=probe_index,
        mated=mated,
        conditions=conditions(videos, templates, template_index, probe_index),
        reference_driver=reference_driver,
        probe_driver=probe_driver,
        drivers=tuple(str(name) for name in drivers),
        protocol=protocol,
        seed=int(seed),
        hash=_digest(_text(videos["video_id"]), padded, template_index, probe_index, mated),
        notes=tuple(notes),
        missing_pairs=tuple(missing_pairs),
    )


def subset(trials: TrialList, chosen: Bool[np.ndarray, " trial"]) -> TrialList:
    """The chosen trials of a list, under the same protocol, seed and hash; pairs of missing videos are left out."""
    return dataclasses.replace(
        trials,
        template_index=trials.template_index[chosen],
        probe_index=trials.probe_index[chosen],
        mated=trials.mated[chosen],
        conditions={name: values[chosen] for name, values in trials.conditions.items()},
        reference_driver=trials.reference_driver[chosen],
        probe_driver=trials.probe_driver[chosen],
        missing_pairs=(),
    )


def conditions(
    videos: Mapping[str, np.ndarray],
    templates: Sequence[tuple[int, ...]],
    template_index: Int[np.ndarray, " trial"],
    probe_index: Int[np.ndarray, " trial"],
) -> dict[str, Bool[np.ndarray, " trial"]]:
    """Flags of every trial from the metadata of its videos; see `TrialList.conditions` for their meaning."""
    padded = _padded(templates)
    flags = {
        f"same_{name}": _shared(_codes(videos[column]), padded, template_index, probe_index)
        for name, column in (
            ("target", "target"),
            ("clip", "clip_id"),
            ("sentence", "sentence"),
            ("corpus", "corpus"),
            ("generator", "generator"),
        )
    }
    known = _text(videos["sentence"]) != ""
    template_known = (known[padded] | (padded < 0)).all(axis=1)
    flags["sentence_known"] = template_known[template_index] & known[probe_index]
    flags["same_sentence"] &= flags["sentence_known"]
    flags |= _corpora(videos, padded, template_index, probe_index)
    return {name: flags[name] for name in CONDITIONS}


def home_corpora(videos: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Corpus by identity, of those whose face the table shows in one corpus; a name in two corpora has none."""
    found: dict[str, set[str]] = {}
    for target, corpus in np.unique(np.stack([_text(videos["target"]), _text(videos["corpus"])]), axis=1).T.tolist():
        found.setdefault(target, set()).add(corpus)
    return {target: min(corpora) for target, corpora in found.items() if len(corpora) == 1 and "" not in corpora}


def check_leakage(trials: TrialList, videos: Mapping[str, np.ndarray], other_identities: set[str]) -> None:
    """Raise where a trial list would measure something else than it says.

    Checked, each with its count: rows outside the video table; a probe inside its own template; a mated
    trial with the same source clip on both sides; a label that contradicts the drivers; a trial listed
    twice; an identity (driver or target of a video of the list) that is also in `other_identities`
    (identities of other splits, in either role).

    Raises:
        ProtocolError: with every finding and its count.
    """
    count = check_video_table(videos)
    problems = _unknown_rows(trials.templates, trials.template_index, trials.probe_index, count)
    if problems:
        raise ProtocolError(f"{trials.protocol}: " + "; ".join(problems))
    padded, pairs = _padded(trials.templates), (trials.template_index, trials.probe_index)

    def found(number: int, what: str) -> None:
        if number:
            problems.append(f"{number} {what}")

    found(int(_shared(np.arange(count), padded, *pairs).sum()), "trials whose probe is inside its own template")
    same_clip = _shared(_codes(videos["clip_id"]), padded, *pairs)
    found(
        int((same_clip & trials.mated).sum()),
        "mated trials with one source clip on both sides (same motion twice)",
    )
    driver = _codes(videos["driver"])
    same_driver = driver[padded[:, 0]][trials.template_index] == driver[trials.probe_index]
    found(int((same_driver != trials.mated).sum()), "trials whose mated flag contradicts the drivers")
    keys = _trial_keys(padded, *pairs, count)
    keys.sort()
    found(int((keys[1:] == keys[:-1]).sum()), "duplicate trials")
    used = _used_rows(padded, *pairs, count)
    identities = set(np.unique(np.concatenate([_text(videos[role])[used] for role in ("driver", "target")])).tolist())
    leaked = sorted(identities & set(other_identities))
    if leaked:
        shown = ", ".join(leaked[:10]) + (", …" if len(leaked) > 10 else "")
        found(len(leaked), f"identities that are also driver or target in another split: {shown}")
    if problems:
        raise ProtocolError(f"{trials.protocol}: {len(trials)} trials leak: " + "; ".join(problems))


def check_video_table(videos: Mapping[str, np.ndarray]) -> int:
    """Number of rows of a video table.

    Raises:
        ProtocolError: missing columns, columns of different lengths, no row, or a video id used twice.
    """
    absent = [name for name in COLUMNS if name not in videos]
    if absent:
        raise ProtocolError(f"video table lacks columns {', '.join(absent)}; found {', '.join(sorted(videos))}")
    lengths = {name: len(videos[name]) for name in COLUMNS}
    if len(set(lengths.values())) != 1 or lengths["video_id"] == 0:
        raise ProtocolError(f"video table wants columns of one length > 0, found {lengths}")
    repeated = lengths["video_id"] - len(np.unique(_text(videos["video_id"])))
    if repeated:
        raise ProtocolError(f"video table has {repeated} repeated video ids; one row a video is wanted")
    return lengths["video_id"]


def _text(column) -> np.ndarray:
    return np.asarray(column).astype(str)


def _codes(column) -> np.ndarray:
    return np.unique(_text(column), return_inverse=True)[1].astype(np.int32)


def _padded(templates: Sequence[tuple[int, ...]]) -> Int[np.ndarray, "template slot"]:
    """Templates as one array, short ones filled with -1."""
    lengths = np.fromiter((len(rows) for rows in templates), np.int64, count=len(templates))
    padded = np.full((len(templates), lengths.max(initial=1)), -1, np.int64)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.fromiter(
        itertools.chain.from_iterable(templates), np.int64, count=int(lengths.sum())
    )
    return padded


def _shared(codes, padded, template_index, probe_index) -> Bool[np.ndarray, " trial"]:
    """True where a video of the template has the probe's code."""
    shared = np.zeros(len(template_index), bool)
    wanted = codes[probe_index]
    for slot in range(padded.shape[1]):
        rows = padded[:, slot]
        slot_codes = np.where(rows >= 0, codes[rows], -1)
        shared |= slot_codes[template_index] == wanted
    return shared


def _corpora(videos, padded, template_index, probe_index) -> dict[str, Bool[np.ndarray, " trial"]]:
    homes = home_corpora(videos)
    number = {corpus: code for code, corpus in enumerate(sorted(set(homes.values())))}
    codes = [
        np.array([number.get(homes.get(name), -1) for name in _text(videos[role])]) for role in ("driver", "target")
    ]
    # lowest and highest code of each video, then of each template; unknown ones are below all others
    low, high = np.minimum(*codes), np.maximum(*codes)
    template_low = np.where(padded >= 0, low[padded], len(number)).min(axis=1)
    template_high = np.where(padded >= 0, high[padded], -1).max(axis=1)
    lowest = np.minimum(template_low[template_index], low[probe_index])
    highest = np.maximum(template_high[template_index], high[probe_index])
    return {"home_corpora_known": lowest >= 0, "single_corpus": (lowest >= 0) & (lowest == highest)}


def _unknown_rows(templates, template_index, probe_index, count: int) -> list[str]:
    rows = np.fromiter(itertools.chain.from_iterable(templates), np.int64)
    findings = (
        (sum(not template for template in templates), "empty templates"),
        (int(((rows < 0) | (rows >= count)).sum()), f"template rows outside the {count} known videos"),
        (
            int(((probe_index < 0) | (probe_index >= count)).sum()),
            f"probe rows outside the {count} known videos",
        ),
        (
            int(((template_index < 0) | (template_index >= len(templates))).sum()),
            f"trials that name none of the {len(templates)} templates",
        ),
        (int(len(template_index) != len(probe_index)), "pair of index arrays of different lengths"),
    )
    return [f"{number} {what}" for number, what in findings if number]


def _used_rows(padded, template_index, probe_index, count: int) -> Bool[np.ndarray, " video"]:
    used = np.zeros(count, bool)
    used[probe_index] = True
    enrolled = np.zeros(len(padded), bool)
    enrolled[template_index] = True
    rows = padded[enrolled]
    used[rows[rows >= 0]] = True
    return used


def _trial_keys(padded, template_index, probe_index, count: int) -> Int[np.ndarray, " trial"]:
    """One integer a trial, equal where the set of enrolment videos and the probe are equal."""
    _, template = np.unique(np.sort(padded, axis=1), axis=0, return_inverse=True)
    return template.reshape(-1)[template_index] * np.int64(count) + probe_index


def _digest(video_ids, padded, template_index, probe_index, mated) -> str:
    used = np.flatnonzero(_used_rows(padded, template_index, probe_index, len(video_ids)))
    used = used[np.argsort(video_ids[used])]
    rank = np.full(len(video_ids) + 1, -1, np.int64)
    rank[used] = np.arange(len(used))
    enrolled = np.zeros(len(padded), bool)
    enrolled[template_index] = True
    ranked = np.sort(np.where(enrolled[:, None], rank[padded], -1), axis=1)
    ranked = ranked[:, (ranked >= 0).any(axis=0)]
    table, template = np.unique(ranked, axis=0, return_inverse=True)
    keys = (template.reshape(-1)[template_index] * np.int64(len(used)) + rank[probe_index]) * 2 + mated
    keys.sort()
    # the unused templates leave one row of -1 behind, which shifts all numbers alike only if it is removed
    if not enrolled.all():
        keys -= 2 * len(used)
        table = table[1:]
    digest = hashlib.sha256(b"fingerprint trials 1\n")
    for video_id in video_ids[used]:
        digest.update(str(video_id).encode() + b"\0")
    digest.update(f"{table.shape}\n".encode())
    digest.update(np.ascontiguousarray(table, "<i8"))
    digest.update(np.ascontiguousarray(keys, "<i8"))
    return digest.hexdigest()
