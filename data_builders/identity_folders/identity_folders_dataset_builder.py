"""AMBER-ID's layout: any tree with folders `<source>_id###`, each the videos that one person drives."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import ClassVar

from data_builders import splits
from data_builders.base import Options, Window
from data_builders.videos import OPTIONS, Video, VideoBuilder, VideoConfig, landmark_sets
from fingerprint.errors import DatasetError, NameRefused
from fingerprint.landmarks import names, topology
from fingerprint.landmarks.names import ORIGINAL, VideoName, check_identity

_DEFAULT_SET = "avaprintdb109"


class FolderConfig(VideoConfig):
    """Folders of anybody: a folder is a person, split by hash or by a list."""

    def __init__(self, name: str, landmark_set: str):
        super().__init__(name, "folders <source>_id###", landmark_set)


class DidConfig(VideoConfig):
    """Folders numbered as in DID-D: the people behind them are NVFAIR's, and so is their split."""

    def __init__(self, part: str, generator: str, landmark_set: str):
        super().__init__(f"{part}_{landmark_set}", f"{part.upper().replace('_', '-')}, {generator}", landmark_set)
        self.generator = generator


class Builder(VideoBuilder):
    """Builds a data set from folders of one person each; see README.md."""

    BUILDER_CONFIGS: ClassVar = [
        *(FolderConfig(s, s) for s in landmark_sets()),
        *(DidConfig(part, gen, s) for part, gen in (("did_d", ORIGINAL), ("tav_d", "RAVAS")) for s in landmark_sets()),
    ]
    VIDEO_OPTIONS = frozenset({"splits_csv"})
    FOLDER_OPTIONS = frozenset({"landmark_set", "generator", "shares", "seed"})
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put the folders <source>_id### with the videos there."

    @classmethod
    def options_of(cls, config):
        """Folders of anybody are split by hash; those of DID-D have a split and a generator of their own."""
        return OPTIONS | cls.VIDEO_OPTIONS | (cls.FOLDER_OPTIONS if isinstance(config, FolderConfig) else frozenset())

    def _plan(self, source: pathlib.Path | None) -> Sequence[Window]:
        named = [(file, name) for file, name in self._named(self._files(source), self._parse) if name is not None]
        people = {name.driver for _, name in named}
        if isinstance(self.builder_config, DidConfig) or self.options.splits_csv is not None:
            split_of = self._from_lists(people)
        else:
            split_of = splits.by_hash(people, self.options.shares, self.options.seed)
            self._named_splits = tuple(split for split in splits.NAMES if split in split_of.values())
        return self._windows([Video(name, split_of[name.driver], file) for file, name in named], source)

    def _parse(self, file: str) -> VideoName | None:
        """What folder and name of a video say; None (and a row in the ledger) for a bad recording.

        Raises:
            NameRefused: no such folder, a name that is no id, or a recording of somebody else.
        """
        parts = pathlib.PurePosixPath(file).parts
        folder, stem = parts[-2] if len(parts) > 1 else "", pathlib.PurePosixPath(file).stem
        try:
            recording = names.parse_recording(parts[-1])
        except NameRefused:
            recording = None
        if isinstance(self.builder_config, DidConfig):
            generator = self.builder_config.generator
            corpus, person = names.did_d_person(folder)
            if recording is not None and recording.driver != person:
                raise NameRefused(f"{file[:200]!r}: {folder} is {person}, the recording is of {recording.driver}")
        else:
            generator = self.options.generator or ORIGINAL
            corpus, person = names.parse_identity_folder(folder)[0], folder
        if recording is not None and (bad := names.known_bad(recording.clip_id)) is not None:
            self.ledger.exclude(file, "known_bad", bad)
            return None
        return VideoName(
            driver=person,
            target=person,
            generator=generator,
            corpus=corpus,
            clip_id=recording.clip_id if recording else f"{folder}--{check_identity(stem, 'video')}",
            sentence=recording.sentence if recording else "",
            emotion=recording.emotion if recording else "",
            video_id=f"{folder}--{recording.video_id if recording else stem}",
        )


def make_config(name: str, options: Options) -> VideoConfig:
    """The config of that name: a predefined one, or a new one of folders, with the option's landmark set.

    Raises:
        DatasetError: a predefined one of another landmark set than the option's, or a set that no track can give.
        UnknownName: no such landmark set.
    """
    known = {config.name: config for config in Builder.BUILDER_CONFIGS}
    wanted = topology.get(options.landmark_set).name if options.landmark_set else None
    config = known.get(name) or FolderConfig(name, wanted or _DEFAULT_SET)
    if wanted not in (None, config.landmark_set):
        raise DatasetError(f"config {name} holds landmark set {config.landmark_set}, not {wanted}")
    if config.landmark_set not in landmark_sets():
        raise DatasetError(f"landmark set {wanted} is none of MediaPipe's points; known: {', '.join(landmark_sets())}")
    return config
