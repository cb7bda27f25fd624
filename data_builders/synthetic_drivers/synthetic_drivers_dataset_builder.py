"""Simulated drivers: nothing is downloaded, and who drives is known (`fingerprint.data.simulator`)."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data_builders import splits
from data_builders.base import RecordBuilder, Window
from fingerprint.data import simulator
from fingerprint.landmarks import topology
from fingerprint.landmarks.arrays import LoadedTrack

LANDMARK_SETS = ("avaprintdb109", "nvfair126", "amber152")


class SimulatedConfig(tfds.core.BuilderConfig):
    """A regime of the simulator, the sizes of a plan, and which points are written (named where not the usual ones)."""

    def __init__(self, regime: str, size: str, landmark_set: str):
        parts = (regime, "" if size == "full" else size, "" if landmark_set == LANDMARK_SETS[0] else landmark_set)
        super().__init__(
            name="_".join(filter(None, parts)),
            description=f"regime {regime}, {landmark_set}, {simulator.get_plan(size)}",
        )
        self.regime, self.size, self.landmark_set = regime, size, landmark_set


class Builder(RecordBuilder):
    """Renders the videos of a simulator plan; the same seed gives the same records."""

    BUILDER_CONFIGS: ClassVar = [
        SimulatedConfig(r, s, p) for p in LANDMARK_SETS for s in simulator.PLANS for r in simulator.CONFIGS
    ]
    OPTIONS = frozenset({"seed"})

    @property
    def landmark_set(self) -> str:
        return self.builder_config.landmark_set

    def _source(self, dl_manager) -> pathlib.Path:
        del dl_manager
        return pathlib.Path()

    def _plan(self, source: pathlib.Path) -> Sequence[Window]:
        del source
        regime, sizes = self.builder_config.regime, simulator.get_plan(self.builder_config.size)
        config, points = simulator.get_config(regime), topology.get(self.landmark_set)
        seed = self.options.seed
        return [
            Window(
                split=split,
                video_id=spec.video_id,
                driver=spec.driver,
                target=spec.target,
                generator=spec.generator,
                corpus=f"synthetic_{regime}",
                clip_id=spec.clip_id,
                sentence=spec.sentence,
                load=functools.partial(_render, spec, seed, config, points.mediapipe_indices),
                file=spec.video_id,
                num_bytes=config.max_frames * points.num_vertices * 12,
            )
            for split in splits.NAMES
            for spec in simulator.plan(seed, sizes, split)
        ]


def _render(spec, seed: int, config, landmark_indices) -> LoadedTrack:
    video = simulator.simulate(spec, seed, config, landmark_indices)
    return LoadedTrack(video.landmarks, video.frame_mask, video.fps, np.array(video.image_size, np.int32), 0.0)
