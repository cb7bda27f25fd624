"""Track files of made-up faces and a small released model, for tests that need no video."""

from __future__ import annotations

import hashlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from fingerprint import checkpoint
from fingerprint.landmarks import topology, track
from fingerprint.models import registry

LENGTH, STRIDE = 20, 10
_SHOWN = ("landmarks", "blendshapes", "pose")
MODEL = {"name": "gcn_tap", "hidden": 16, "features": 32}


def write_track(path: pathlib.Path, person: int, take: int, frames: int = 90, fps: float = 25.0, **changes):
    """A person's face, moving as that person does, seen by a camera; returns the path."""
    rng = np.random.default_rng([person, take])
    face = topology.get("mediapipe478").reference_shape
    face = face + 0.15 * np.random.default_rng([person, 1]).standard_normal(face.shape)
    habit = np.random.default_rng([person, 2]).standard_normal((4, *face.shape)) * 0.02
    course = np.cumsum(rng.standard_normal((frames, 4)), axis=0) / 20
    moving = face + np.einsum("tk,kvc->tvc", course, habit)
    size = (640, 480)
    landmarks = (moving * 60 / np.array([size[0], size[1], size[0]]) + [0.5, 0.5, 0]).astype(np.float32)
    mask = np.ones(frames, bool)
    found = {
        "landmarks": landmarks,
        "frame_mask": mask,
        "timestamps": np.round(np.arange(frames) * 1e6 / fps).astype(np.int64),
        "blendshapes": np.full((frames, 52), 0.1, np.float32),
        "pose": np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)),
        "several": np.zeros(frames, bool),
        "provenance": {"file": path.name, "sha256": hashlib.sha256(f"{person} {take}".encode()).hexdigest()},
        **changes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with track.writer(path) as out:
        for frame in range(frames):
            shown = (found[name][frame] if found["frame_mask"][frame] else None for name in _SHOWN)
            out.append(*shown, int(found["timestamps"][frame]), bool(found["several"][frame]))
        out.finish([0] if found["frame_mask"].any() else [], size, fps, found["provenance"])
    return path


def save_model(folder: pathlib.Path, *, seed: int = 0, **document) -> pathlib.Path:
    """A released model with random weights; what embeds at random still tells some faces from others."""
    model = registry.build({**MODEL, "landmark_set": "avaprintdb109"})
    params = model.init(jax.random.key(seed), jnp.zeros((1, LENGTH, 109, 3)), jnp.ones((1, LENGTH), bool))["params"]
    return checkpoint.save_model(
        folder,
        params,
        {
            "model": MODEL,
            "landmark_set": "avaprintdb109",
            "normalization": "aspect_corrected",
            "window": {"length": LENGTH, "stride": STRIDE, "min_valid": 0.5, "pad_short": False},
            **document,
        },
    )
