"""RAVDESS: `MM-VV-EE-II-SS-RR-AA.mp4` anywhere in a tree; the last field is the actor."""

from __future__ import annotations

from typing import ClassVar

from data_builders.videos import RecordingsBuilder, VideoConfig, landmark_sets
from fingerprint.landmarks import names


class Builder(RecordingsBuilder):
    """Builds RAVDESS from its videos; see README.md."""

    BUILDER_CONFIGS: ClassVar = [VideoConfig(s, "RAVDESS", s) for s in landmark_sets()]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Put the unpacked Video_Speech_Actor_XX.zip and Video_Song_Actor_XX.zip of zenodo.org/records/1188976 there."
    )
    parser = staticmethod(names.parse_ravdess)
