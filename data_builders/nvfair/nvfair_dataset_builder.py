"""NVFAIR: `{NVIDIA-VC-subset,RAVDESS,CREMA-D}/{originals,…-generated}/<target>/<video>.mp4`.

The first folder is the corpus of the target, the second the generator, the third the target.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import ClassVar

from data_builders.base import Window
from data_builders.videos import VideoBuilder, VideoConfig, landmark_sets
from fingerprint.errors import DatasetError, NameRefused
from fingerprint.landmarks import names
from fingerprint.landmarks.names import NVFAIR_GENERATORS, VideoName

CORPORA = {"NVIDIA-VC-subset": "nvidia_vc", "RAVDESS": "ravdess", "CREMA-D": "cremad"}
_PARTS = {
    "": tuple(NVFAIR_GENERATORS.values()),
    **{f"{folder.removesuffix('-generated')}_": (generator,) for folder, generator in NVFAIR_GENERATORS.items()},
}


class NvfairConfig(VideoConfig):
    """Which generators, as one landmark set."""

    def __init__(self, part: str, generators: Sequence[str], landmark_set: str):
        super().__init__(f"{part}{landmark_set}", f"generators {', '.join(generators)}", landmark_set)
        self.generators = frozenset(generators)


class Builder(VideoBuilder):
    """Builds NVFAIR with its official identity split; see README.md."""

    BUILDER_CONFIGS: ClassVar = [NvfairConfig(part, gens, s) for part, gens in _PARTS.items() for s in landmark_sets()]
    VIDEO_OPTIONS = frozenset({"splits_csv"})
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Ask for NVFAIR at research.nvidia.com/labs/nxp/nvfair and put the folders of NVFAIR-v2-release there: "
        "NVIDIA-VC-subset, RAVDESS, CREMA-D."
    )

    def _plan(self, source: pathlib.Path | None) -> Sequence[Window]:
        wanted = self.builder_config.generators
        named = [(file, name) for file, name in self._named(self._files(source), parse) if name.generator in wanted]
        split_of = self._from_lists({i for _, name in named for i in (name.driver, name.target)})
        videos = self._placed(named, split_of)
        if not videos and not self.ledger.rows:
            raise DatasetError(f"{source or self.tracks}: no video of {self.builder_config.description}")
        return self._windows(videos, source)


def parse(file: str) -> VideoName:
    """What the path of a video says; `corpus` is that of the target, `video_id` holds the generator.

    Raises:
        NameRefused: another layout, or folders that contradict the name.
    """
    parts = pathlib.PurePosixPath(file).parts
    if len(parts) < 4 or parts[-4] not in CORPORA or parts[-3] not in NVFAIR_GENERATORS:
        raise NameRefused(
            f"{file[:200]!r}: wanted <{'|'.join(CORPORA)}>/<{'|'.join(NVFAIR_GENERATORS)}>/<target>/<video>"
        )
    corpus, generator = CORPORA[parts[-4]], NVFAIR_GENERATORS[parts[-3]]
    if generator == names.ORIGINAL:
        name = names.parse_recording(parts[-1])
        video_id = name.video_id
    else:
        name = names.parse_nvfair(parts[-1], generator)
        video_id = f"{name.video_id}--{generator}"
    of_target = {"i": "nvidia_vc", "A": "ravdess", "1": "cremad"}[name.target[0]]
    if parts[-2] != name.target or of_target != corpus:
        raise NameRefused(f"{file[:200]!r}: target {name.target} of {of_target}, in folder {parts[-4]}/…/{parts[-2]}")
    return dataclasses.replace(name, corpus=corpus, video_id=video_id)
