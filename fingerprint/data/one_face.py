"""Anonymisation in landmark space: everybody's motion on one and the same face."""

from __future__ import annotations

import numpy as np

from fingerprint.data.record_sources import RecordSource, finite_record, reenacted
from fingerprint.landmarks import reenactment, topology

GENERATOR = "ONE_FACE"


class OneFaceSource:
    """A source whose videos all show the landmark set's mean face, which is nobody's.

    What is left of a person is the motion about the clip's own mean face: no face, no head pose, no camera. Ids,
    drivers and targets stay, so that the trials are those of the clear videos and only what is seen differs.
    """

    def __init__(self, source: RecordSource):
        self._source = source
        base = source.metadata()
        self._table = base | {
            "generator": np.full(len(source), GENERATOR),
            "image_size": np.tile(reenactment.IMAGE_SIZE, (len(source), 1)),
        }

    def __len__(self) -> int:
        return len(self._source)

    def metadata(self) -> dict[str, np.ndarray]:
        return self._table

    def __getitem__(self, index: int) -> dict:
        record = finite_record(self._source, index)
        face = topology.get(record["landmark_set"]).reference_shape
        return record | reenacted(record, face) | {"generator": GENERATOR}
