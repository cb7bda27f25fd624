"""Which generated video belongs to which reference: by name, and never a video with itself.

A generated video is matched by the first of these rules that finds a reference:

1. `path`: its path below its folder, without the ending and perhaps without leading folders, is that of a reference:
   `LivePortrait/anna/take1.mp4` and `anna/take1.mp4`. The first folder of what was left out names the generator.
2. `recording`: its name is of a known corpus (`landmarks.names`) and tells the recording that drove it, and a reference
   is that recording: `1002_DFA_HAP_XX_Actor_01.mp4` and `1002_DFA_HAP_XX.flv`.
3. `published`: it is named as the public benchmark names its face videos, `<model>-<name>-face[-v5].mp4`, and a
   reference is called `<name>`. Source: the per-video tables of deepreasonings/FaceBenchmark.
4. `stem`: exactly one reference has its name, in whatever folder.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from fingerprint.errors import DatasetError, NameRefused, VideoRefused
from fingerprint.generation.networks import weights
from fingerprint.landmarks import batch, names
from fingerprint.landmarks.workers import HIDDEN, REFUSED, VideoFile

_PUBLISHED = re.compile(r"(\d+(?:-mp4)?)-(.+?)-(?:face|hand|wholebody)(?:-v\d+)?")
SAME_FILE = "is the same file as its reference"
NO_REFERENCE = "no reference of that name"


@dataclasses.dataclass(frozen=True)
class Pair:
    """A generated video and what it is measured against.

    Attributes:
        name: of the generated video: its path below its folder, without the ending.
        reference, generated: the files. reference_file, generated_file: the same as `landmarks.batch` takes them.
        generator: what rendered it, as its name or its folder says.
        driver, target, clip_id, corpus: as `landmarks.names` reads them; "" where no name tells.
        rule: how it was matched.
        same_bytes: both files have the same content.
    """

    name: str
    reference_file: VideoFile
    generated_file: VideoFile
    generator: str
    driver: str
    target: str
    clip_id: str
    corpus: str
    rule: str
    same_bytes: bool

    @property
    def reference(self) -> pathlib.Path:
        return self.reference_file.path

    @property
    def generated(self) -> pathlib.Path:
        return self.generated_file.path


@dataclasses.dataclass(frozen=True)
class Unmatched:
    """A video without a partner: its side (`reference` or `generated`), its name there, and why."""

    side: str
    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Pairing:
    """All pairs, ordered by generator and name, and the videos that have no partner.

    Attributes:
        pairs, unmatched: these.
        recordings: by person, the first reference that shows that person, as its name tells.
    """

    pairs: tuple[Pair, ...]
    unmatched: tuple[Unmatched, ...]
    recordings: dict[str, VideoFile]

    @property
    def generators(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(pair.generator for pair in self.pairs))

    def labelled(self, people: Mapping[pathlib.Path, tuple[str, str]]) -> Pairing:
        """The same with driver and target of generated videos as told, by their resolved path."""
        pairs, recordings = [], dict(self.recordings)
        for pair in self.pairs:
            if (said := people.get(pair.generated.resolve())) is not None:
                pair = dataclasses.replace(pair, driver=said[0], target=said[1])
                recordings.setdefault(names.canonical_identity(pair.driver), pair.reference_file)
            pairs.append(pair)
        return dataclasses.replace(self, pairs=tuple(pairs), recordings=recordings)

    def shown_person(self, pair: Pair) -> VideoFile | None:
        """A reference that shows whom the generated video is to show; None if names tell none.

        That is the pair's own reference where it shows that person, or where no name tells who is shown.
        """
        if not pair.target or pair.target == pair.driver:
            return pair.reference_file
        if _shown(pair.reference_file) == names.canonical_identity(pair.target):
            return pair.reference_file
        return self.recordings.get(names.canonical_identity(pair.target))


def find_pairs(reference: str | os.PathLike, generated: str | os.PathLike) -> Pairing:
    """Pair the videos of two folders.

    Raises:
        DatasetError: a folder is missing, holds no video or lies in the other; two videos of one name; a name that
            two references have; no pair at all.
        VideoRefused: a link that leads out of its folder.
    """
    reference, generated = pathlib.Path(reference), pathlib.Path(generated)
    _check_folders(reference, generated)
    references, videos = _Names(_videos(reference)), _videos(generated)
    _refuse_twins(videos)
    pairs, unmatched, used = [], [], set()
    for entry in videos:
        match = references.match(entry)
        if match is None:
            unmatched.append(Unmatched("generated", entry.name, NO_REFERENCE))
        elif match.reference.path.samefile(entry.path):
            unmatched.append(Unmatched("generated", entry.name, SAME_FILE))
        else:
            used.add(match.reference)
            pairs.append(_pair(entry, match, generated.resolve().name))
    unmatched += [
        Unmatched("reference", entry.name, "no generated video of that name")
        for entry in references.entries
        if entry not in used
    ]
    if not pairs:
        whys = sorted({lost.reason for lost in unmatched if lost.side == "generated"})
        raise DatasetError(
            f"no video of {generated} could be paired with one of {reference}: {'; '.join(whys)}; wanted equal names, "
            f"or names of a known corpus. Found e.g. {videos[0].name} and {references.entries[0].name}"
        )
    recordings: dict[str, VideoFile] = {}
    for entry in references.entries:
        recordings.setdefault(_shown(entry), entry)
    recordings.pop("", None)
    return Pairing(tuple(sorted(pairs, key=lambda pair: (pair.generator, pair.name))), tuple(unmatched), recordings)


@dataclasses.dataclass(frozen=True)
class _Match:
    reference: VideoFile
    rule: str
    generator: str
    said: names.VideoName | None


class _Names:
    """The references by all that a generated video may call them."""

    def __init__(self, entries: Sequence[VideoFile]):
        _refuse_twins(entries)
        self.entries = entries
        self._path = {_path_stem(entry): entry for entry in entries}
        self._stem, self._recording = defaultdict(list), defaultdict(list)
        for entry in entries:
            self._stem[entry.relative.stem].append(entry)
            said = _said(entry)
            if said is not None and said.generator == names.ORIGINAL:
                self._recording[said.corpus, said.clip_id].append(entry)

    def match(self, entry: VideoFile) -> _Match | None:
        parts = _path_stem(entry).split("/")
        said = _said(entry)
        rendered = said if said is not None and said.generator != names.ORIGINAL else None
        for start in range(len(parts)):
            found = self._path.get("/".join(parts[start:]))
            if found is not None:
                return _Match(found, "path", _generator(rendered, parts[0] if start else ""), rendered)
        folder = parts[0] if len(parts) > 1 else ""
        if rendered is not None:
            found = _one(self._recording.get((rendered.corpus, rendered.clip_id), ()), entry)
            if found is not None:
                return _Match(found, "recording", _generator(rendered, folder), rendered)
        named = _PUBLISHED.fullmatch(parts[-1])
        found = _one(self._stem.get(named[2], ()), entry) if named else None
        if found is not None:
            return _Match(found, "published", named[1], None)
        found = _one(self._stem.get(parts[-1], ()), entry)
        return found and _Match(found, "stem", _generator(rendered, folder), rendered)


def _generator(said: names.VideoName | None, folder: str) -> str:
    """What rendered a video: as its name writes, else as its folder is called, else as its kind of name lets assume."""
    written = said.generator if said is not None and said.generator not in names.ASSUMED else ""
    assumed = said.generator if said is not None and said.generator != "unknown" else ""
    return written or names.NVFAIR_GENERATORS.get(folder, folder) or assumed


def _pair(entry: VideoFile, match: _Match, folder: str) -> Pair:
    said, original = match.said, _said(match.reference)
    return Pair(
        name=_path_stem(entry),
        reference_file=match.reference,
        generated_file=entry,
        generator=match.generator or folder,
        driver=said.driver if said else original.driver if original else "",
        target=said.target if said else "",
        clip_id=said.clip_id if said else original.clip_id if original else "",
        corpus=said.corpus if said else original.corpus if original else "",
        rule=match.rule,
        same_bytes=_same_bytes(match.reference.path, entry.path),
    )


def _check_folders(reference: pathlib.Path, generated: pathlib.Path) -> None:
    for folder in (reference, generated):
        if not folder.is_dir():
            raise DatasetError(f"{folder} is no folder; wanted one with videos")
    one, other = reference.resolve(), generated.resolve()
    if one == other:
        raise DatasetError(f"{reference} and {generated} are one folder: videos are not compared with themselves")
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise DatasetError(
            f"{reference} and {generated} lie one in the other, so that a video would stand on both sides; wanted two "
            "folders beside each other"
        )


def _videos(folder: pathlib.Path) -> list[VideoFile]:
    found = [entry for entry in batch.find_videos([folder]) if entry.refused != HIDDEN]
    for entry in found:
        if entry.refused:
            raise VideoRefused(entry.path, entry.refused, REFUSED[entry.refused])
    return found


def _refuse_twins(entries: Sequence[VideoFile]) -> None:
    seen: dict[str, VideoFile] = {}
    for entry in entries:
        other = seen.setdefault(_path_stem(entry), entry)
        if other is not entry:
            raise DatasetError(f"{other.path} and {entry.path} have one name; wanted one video of a name")


def _one(found: Sequence[VideoFile], entry: VideoFile) -> VideoFile | None:
    if len(found) > 1:
        raise DatasetError(
            f"{entry.name} may belong to any of {len(found)} references: {', '.join(e.name for e in found[:3])}; "
            "wanted one of that name, or the same folders on both sides"
        )
    return found[0] if found else None


def _path_stem(entry: VideoFile) -> str:
    return entry.relative.with_suffix("").as_posix()


def _said(entry: VideoFile) -> names.VideoName | None:
    try:
        return names.parse(entry.relative.name)
    except NameRefused:
        return None


def _shown(entry: VideoFile) -> str:
    """Whom a reference shows, as its name tells; "" where it does not."""
    said = _said(entry)
    return names.canonical_identity(said.target) if said is not None and said.target else ""


def _same_bytes(one: pathlib.Path, other: pathlib.Path) -> bool:
    return one.stat().st_size == other.stat().st_size and weights.sha256_of(one) == weights.sha256_of(other)
