"""Whom a model was trained on: their names, to be refused elsewhere, and videos of some of them as a cohort."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import PyTree

from fingerprint.data import records
from fingerprint.data.input_pipeline import usable_records
from fingerprint.data.record_sources import RecordSource
from fingerprint.embed import Embedder
from fingerprint.landmarks.names import canonical_identity
from fingerprint.landmarks.windows import WindowSpec
from fingerprint.verification import cohort


def identities(metadata: dict[str, np.ndarray]) -> list[list[str]]:
    """Everybody who drives or shows a face, as sorted [corpus, canonical name] pairs."""
    people = np.stack([np.tile(metadata["corpus"], 2), np.append(metadata["driver"], metadata["target"])], axis=1)
    people = {(corpus, canonical_identity(name)) for corpus, name in np.unique(people, axis=0).tolist()}
    return [list(person) for person in sorted(people)]


def same_people(people: Iterable[Sequence[str]], metadata: dict[str, np.ndarray]) -> set[str]:
    """Names used here, however spelt, for somebody in `people`, [corpus, canonical name] pairs."""
    corpora = set(metadata["corpus"].tolist())
    known = {name for corpus, name in people if corpus in corpora}
    here = set(metadata["driver"].tolist()) | set(metadata["target"].tolist())
    return {name for name in here if canonical_identity(name) in known}


class CohortRecords:
    """The records of a cohort: one video each of at most `size` drivers, chosen by the seed.

    Args:
        source: training records, and nothing else.
        spec: windows; videos too short for one, or with too few frames that show a face, are not chosen.

    Raises:
        ProtocolError: fewer than two drivers have such a video.
    """

    def __init__(self, source: RecordSource, size: int, seed: int, spec: WindowSpec):
        self._source, self._metadata = source, source.metadata()
        videos = records.tabulate_videos(self._metadata)
        usable = np.logical_or.reduceat(usable_records(source, spec), videos["records"][:, 0])
        names = map(canonical_identity, videos["driver"].tolist())
        person = np.array([f"{corpus}/{name}" for corpus, name in zip(videos["corpus"].tolist(), names, strict=True)])
        chosen = cohort.draw(person, usable, size, seed)
        self._entry = np.full(len(self._metadata["video_id"]), -1)
        for entry, (first, end) in enumerate(videos["records"][chosen].tolist()):
            self._entry[first:end] = entry
        self._size = len(chosen)

    def __len__(self) -> int:
        return self._size

    def embed(self, embedder: Embedder, params: PyTree) -> cohort.Cohort:
        """The cohort under these parameters; a video in which no window shows enough of the face falls out."""
        windows = embedder.split(params, self._source, records=np.flatnonzero(self._entry >= 0))
        found, video = np.unique(self._entry[windows.record], return_inverse=True)
        rows = np.isin(self._entry, found) & (self._entry >= 0)
        people = identities({name: self._metadata[name][rows] for name in ("corpus", "driver", "target")})
        return cohort.Cohort(windows.vector, video, tuple((corpus, name) for corpus, name in people))
