"""CREMA-D: `AAAA_SSS_EEE_LL.flv` anywhere in a tree; the first field is the actor."""

from __future__ import annotations

from typing import ClassVar

from data_builders.videos import RecordingsBuilder, VideoConfig, landmark_sets
from fingerprint.landmarks import names


class Builder(RecordingsBuilder):
    """Builds CREMA-D from its videos; see README.md."""

    BUILDER_CONFIGS: ClassVar = [VideoConfig(s, "CREMA-D", s) for s in landmark_sets()]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put the folder VideoFlash of github.com/CheyneyComputerScience/CREMA-D there."
    parser = staticmethod(names.parse_cremad)
