"""Embed every window of a split once: the loop that training's validation, evaluation and the application share."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PyTree
from tqdm import tqdm

from fingerprint import checkpoint, parallel
from fingerprint.data.input_pipeline import Transform, evaluation_batches
from fingerprint.data.record_sources import RecordSource
from fingerprint.landmarks.channels import Layout
from fingerprint.landmarks.windows import WindowSpec
from fingerprint.models import registry
from fingerprint.verification.cohort import Cohort
from fingerprint.verification.scoring import Scoring


@dataclasses.dataclass(frozen=True)
class WindowEmbeddings:
    """Embeddings of all windows of a split.

    Attributes:
        vector: unit embeddings.
        attention: weight of each frame.
        record: row of each window's record. start: its first frame there.
        seconds: wall time, reading included.
    """

    vector: Float[np.ndarray, "window dim"]
    attention: Float[np.ndarray, "window time"]
    record: Int[np.ndarray, "window"]
    start: Int[np.ndarray, "window"]
    seconds: float


class Embedder:
    """A network, its parameters and what windows it wants; embeds splits in padded, masked batches of one shape, so jit
    compiles once.

    Args:
        model: network with the house's interface.
        landmark_set, normalization, channels, spec: how records become windows.
        batch_size: windows at a time; raised to a multiple of this process's devices.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        landmark_set: str,
        normalization: str,
        spec: WindowSpec,
        channels: Sequence[str] = (),
        batch_size: int = 256,
    ):
        count = jax.local_device_count()
        self.batch_size = -(-batch_size // count) * count
        self.landmark_set, self.normalization, self.spec = landmark_set, normalization, spec
        self.layout = Layout(landmark_set, channels)

        def embed(params, rows):
            windows, frame_mask = rows
            return model.apply({"params": params}, windows, frame_mask)

        self._function, self._embed = embed, parallel.map_rows(embed)

    def split(
        self,
        params: PyTree,
        source: RecordSource,
        *,
        records: Int[np.ndarray, " record"] | None = None,
        transform: Transform | None = None,
        seed: int = 0,
        label: str = "",
        stopped: Callable[[], bool] = lambda: False,
    ) -> WindowEmbeddings | None:
        """Every sliding window of `source`, in record order; processes share the work and all get the whole.

        Args:
            records: rows of `source`, ascending; None: all.
            transform: a control, applied to each window.
            label: shown beside a progress bar; none without it.
            stopped: asked before each batch; when true, the result is None.
        """
        began = time.perf_counter()
        rows = np.arange(len(source)) if records is None else records
        mine = rows[jax.process_index() :: jax.process_count()]
        batches = evaluation_batches(
            source,
            landmark_set=self.landmark_set,
            normalization=self.normalization,
            spec=self.spec,
            channels=self.layout.channels,
            batch_size=self.batch_size,
            records=mine,
            transform=transform,
            seed=seed,
        )
        columns: list[tuple[np.ndarray, ...]] = []
        in_flight = None
        with tqdm(
            total=len(mine), unit="record", desc=label, disable=not (label and parallel.is_main()), leave=False
        ) as bar:
            for batch in batches:
                if stopped():
                    return None
                # The device works on one batch while the host reads the next.
                result = self._embed(params, (batch.windows, batch.frame_mask))
                if in_flight is not None:
                    columns.append(_rows(*in_flight))
                in_flight = (result, batch)
                bar.update(int(np.searchsorted(mine, batch.record.max(), side="right")) - bar.n)
            if in_flight is not None:
                columns.append(_rows(*in_flight))
        if columns:
            vector, attention, record, start = (np.concatenate(c) for c in zip(*columns, strict=True))
        else:
            vector, attention = (
                np.zeros((0, self._dim(params)), np.float32),
                np.zeros((0, self.spec.length), np.float32),
            )
            record, start = np.zeros(0, np.int32), np.zeros(0, np.int32)
        vector, attention, record, start = _from_all_processes(vector, attention, record, start)
        return WindowEmbeddings(vector, attention, record, start, time.perf_counter() - began)

    def embed(
        self,
        params: PyTree,
        windows: Float[np.ndarray, "window time vertex 3"],
        frame_mask: Bool[np.ndarray, "window time"],
    ) -> Float[np.ndarray, "window dim"]:
        """Unit embeddings of normalised windows (with the channels asked for) at hand, at most `batch_size` of them."""
        missing = self.batch_size - len(windows)
        rows = (
            np.concatenate([windows, np.zeros((missing, *windows.shape[1:]), windows.dtype)]),
            np.concatenate([frame_mask, np.zeros((missing, *frame_mask.shape[1:]), bool)]),
        )
        return np.asarray(self._embed(params, rows).vector)[: len(windows)]

    def _dim(self, params) -> int:
        shape = (self.batch_size, self.spec.length, self.layout.num_vertices, 3)
        rows = (jax.ShapeDtypeStruct(shape, np.float32), jax.ShapeDtypeStruct(shape[:2], bool))
        return jax.eval_shape(self._function, params, rows).vector.shape[1]


@dataclasses.dataclass(frozen=True)
class ReleasedModel:
    """A released model ready to embed.

    Attributes:
        embedder: network and the windows it wants. params: its weights.
        document: what `model.json` holds. digest: names this model.
        directory: where it lies.
        scoring: how its embeddings become scores. cohort: of training people, for scoring that wants one.
    """

    embedder: Embedder
    params: PyTree
    document: dict[str, Any]
    digest: str
    directory: pathlib.Path
    scoring: Scoring
    cohort: Cohort | None

    @property
    def num_parameters(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))


def open_model(path: str | os.PathLike, *, batch_size: int = 256, stride: int = 0) -> ReleasedModel:
    """A released model, or the best one of a run's working directory.

    Args:
        batch_size: windows at a time. stride: of sliding windows; 0 takes the model's own.

    Raises:
        CheckpointError: absent, damaged, or its weights do not fit its network.
        UnknownName, ConfigError: scored in a way that this version does not know.
    """
    flat, document, digest = checkpoint.load_model(path)
    cohort = Cohort.take(flat, document.get("cohort", {}).get("people", ()))
    spec = WindowSpec(**document["window"])
    if stride:
        spec = dataclasses.replace(spec, stride=stride)
    # Absent from models released before there were any.
    layout = Layout(document["landmark_set"], document.get("channels", ()))
    model = registry.build(
        {**document["model"], "landmark_set": layout.landmark_set, "extra_channels": layout.channels}
    )
    shape = (1, spec.length, layout.num_vertices, 3)
    template = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape), jnp.ones(shape[:2], bool))["params"]
    template = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), template)
    directory = checkpoint.resolve_model(path)
    params = checkpoint.unflatten(flat, template, f"released model {directory}")
    embedder = Embedder(
        model,
        landmark_set=layout.landmark_set,
        normalization=document["normalization"],
        spec=spec,
        channels=layout.channels,
        batch_size=batch_size,
    )
    scoring = Scoring.from_dict(document.get("scoring", {}))
    return ReleasedModel(embedder, params, document, digest, directory, scoring, cohort)


def _rows(result, batch) -> tuple[np.ndarray, ...]:
    real = batch.record >= 0
    return np.asarray(result.vector)[real], np.asarray(result.attention)[real], batch.record[real], batch.start[real]


def _from_all_processes(vector, attention, record, start):
    if jax.process_count() == 1:
        return vector, attention, record, start
    most = int(parallel.all_processes(np.array([len(record)], np.int32)).max())
    padded = [np.concatenate([x, np.zeros((most - len(x), *x.shape[1:]), x.dtype)]) for x in (vector, attention, start)]
    record = np.concatenate([record, np.full(most - len(record), -1, np.int32)])
    vector, attention, start = (parallel.all_processes(x) for x in padded)
    record = parallel.all_processes(record)
    order = np.flatnonzero(record >= 0)
    order = order[np.lexsort((start[order], record[order]))]
    return vector[order], attention[order], record[order], start[order]
