"""A cohort: videos of training people that scores are normalised against."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.errors import ProtocolError

_ARRAYS = ("cohort/vectors", "cohort/video")
_LEAST = 2
# Embeddings are float32: cosines that spread less than this differ by rounding only.
_LEAST_SPREAD = 2.0**-20
_CELLS = 1 << 20  # scores against the cohort at a time

Statistics = tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]


@dataclasses.dataclass(frozen=True, eq=False)
class Cohort:
    """Window embeddings of one video each of some training people.

    Attributes:
        vectors: unit embeddings.
        video: entry of each window, 0, 1, …; every entry has a window.
        people: who drives or is shown in them, as [corpus, canonical name] pairs in order of name: which entry is
            whose is not kept.

    Raises:
        ProtocolError: fewer than two entries, or arrays that do not fit.
    """

    vectors: Float[np.ndarray, "window dim"]
    video: Int[np.ndarray, " window"]
    people: tuple[tuple[str, str], ...]

    def __post_init__(self):
        found = np.unique(self.video).tolist()
        if len(self.vectors) != len(self.video) or len(found) < _LEAST or found != list(range(len(found))):
            raise ProtocolError(
                f"a cohort wants windows of at least {_LEAST} videos, numbered from 0, found {len(self.vectors)} "
                f"windows of {len(found)}"
            )

    def __len__(self) -> int:
        return int(self.video.max()) + 1

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What a released model keeps beside its weights."""
        return dict(zip(_ARRAYS, (np.asarray(self.vectors, np.float32), np.asarray(self.video, np.int32)), strict=True))

    @classmethod
    def take(cls, arrays: dict[str, np.ndarray], people) -> Cohort | None:
        """The cohort among `arrays`, which loses it; None where there is none."""
        if _ARRAYS[0] not in arrays:
            return None
        vectors, video = (arrays.pop(name) for name in _ARRAYS)
        return cls(vectors, video, tuple((corpus, name) for corpus, name in people))


def draw(person: np.ndarray, usable: Bool[np.ndarray, " video"], size: int, seed: int) -> Int[np.ndarray, " entry"]:
    """Videos for a cohort: one each of at most `size` people, in random order.

    Args:
        person: who drives each video, one name a person.
        usable: videos to choose from.

    Raises:
        ProtocolError: fewer than two people have a usable video.
    """
    rng = np.random.default_rng([seed, 6])
    order = rng.permutation(np.flatnonzero(usable))
    _, first = np.unique(person[order], return_index=True)
    chosen = rng.permutation(order[first])[:size]
    if len(chosen) < _LEAST:
        raise ProtocolError(f"a cohort wants videos of at least {_LEAST} training people, found {len(chosen)}")
    return chosen


def against(
    compare: Callable[[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]], Float[np.ndarray, " pair"]],
    rows: Int[np.ndarray, " row"],
    entries: int,
    top: int,
) -> Statistics:
    """Mean and standard deviation of the scores of each row against the cohort, a few rows at a time.

    Args:
        compare: score of each pair of a row and an entry.
        top: only so many of the highest scores count; 0: all.
    """
    mean, spread = np.empty(len(rows)), np.empty(len(rows))
    step = max(1, _CELLS // entries)
    for first in range(0, len(rows), step):
        part = rows[first : first + step]
        scores = compare(np.repeat(part, entries), np.tile(np.arange(entries), len(part)))
        found = statistics(scores.reshape(len(part), entries), top)
        mean[first : first + step], spread[first : first + step] = found
    return mean, spread


def statistics(scores: Float[np.ndarray, "row entry"], top: int) -> Statistics:
    """Mean and standard deviation along each row, of its `top` highest scores (0: of all); NaN stays NaN.

    The deviation is at least 2^-20: below, embeddings differ by rounding only.
    """
    if top:
        scores = np.partition(scores, scores.shape[1] - top, axis=1)[:, scores.shape[1] - top :]
    return scores.mean(axis=1), np.maximum(scores.std(axis=1), _LEAST_SPREAD)
