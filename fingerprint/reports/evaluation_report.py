"""What an evaluation hands to the reports room."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from fingerprint.errors import FingerprintError


@dataclasses.dataclass(frozen=True)
class EvaluationReport:
    """Everything a report shows. An entry is `{value, low, high, errors, unreliable}`, at least `value`.

    Attributes:
        title: of the page.
        headline: one sentence, from `findings.compose_headline`.
        provenance: versions, git commit, config hash, command, devices, seed, created (ISO time), durations
            (seconds by part).
        data: name, split, landmark_set, videos, drivers, targets, generators, corpora, records, windows,
            frame rates.
        model: name, parameters, landmark_set, normalization, window length and stride, trained_step, digest.
        protocol: name, hash, seed, templates, trials, mated, non_mated, fusion, notes (list), leakage (text).
        acquisition: videos, failed, fta, reasons (count by reason).
        rates: a row a condition: condition, description, reason, identities, videos, mated, non_mated, fta,
            warnings, rates (an entry by name), identity_auc (an entry with identities, left_out).
        controls: a row a control: name (see `findings`), description, reading, rates (entries auc, eer),
            difference (entries, **model minus control** on the same trials); or plain entries such as
            balanced_accuracy and chance.
        thresholds: fixed on validation identities: name -> threshold, validation_fmr, test_fmr, test_fnmr.
        training: rows of the training log: step with loss, learning_rate, or validation/auc, validation/eer.
        warnings: sentences.
        scores: one a trial; NaN where acquisition failed.
        mated: class of each trial.
        same_target: reference and probe show the same face.
        embeddings: one row a video, or None.
        embedding_driver: of each row of `embeddings`.
        embedding_target: of each row of `embeddings`.
        attention: examples: video_id, weights [T], frame_mask [T], landmarks [T, V, 2 or 3], edges [E, 2].
        config: the whole configuration.
        per_identity: protocol, people (a row a person: identity, auc, mated, non_mated, mated_mean, non_mated_mean),
            left_out (reason by name), unseen_minus_seen (an entry or None); or nothing.
        identification: people, enrolled, enrolment_clips, probes, without_score, halves, notes, entries (far and an
            entry's keys, reason), curve (the same, for the figure); or reason alone, or nothing.

    Raises:
        FingerprintError: arrays that belong together differ in length.
    """

    title: str
    headline: str
    provenance: dict[str, Any]
    data: dict[str, Any]
    model: dict[str, Any]
    protocol: dict[str, Any]
    acquisition: dict[str, Any]
    rates: list[dict[str, Any]]
    controls: list[dict[str, Any]]
    thresholds: dict[str, dict[str, Any]]
    training: list[dict[str, Any]]
    warnings: list[str]
    scores: Float[np.ndarray, " trial"]
    mated: Bool[np.ndarray, " trial"]
    same_target: Bool[np.ndarray, " trial"]
    embeddings: Float[np.ndarray, "video dim"] | None
    embedding_driver: list[str]
    embedding_target: list[str]
    attention: list[dict[str, Any]]
    config: dict[str, Any]
    per_identity: dict[str, Any] = dataclasses.field(default_factory=dict)
    identification: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        trials = {name: len(getattr(self, name)) for name in ("scores", "mated", "same_target")}
        if len(set(trials.values())) > 1:
            raise FingerprintError(f"a report wants one score, class and condition a trial, found {trials}")
        if self.embeddings is None:
            return
        videos = {name: len(getattr(self, name)) for name in ("embeddings", "embedding_driver", "embedding_target")}
        if len(set(videos.values())) > 1:
            raise FingerprintError(f"a report wants one driver and one target an embedding, found {videos}")
