"""Window embeddings and a trial list to one score a trial."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.errors import ProtocolError
from fingerprint.verification.trials import TrialList

# Float64 sums differ in their last bits with the number of windows. On a collapsed network those bits would
# be the only difference between scores, and they follow the length of the clips. Scores are put on a grid
# above that noise.
SCORE_GRID = 2.0**-40
_CHUNK = 32768


def cosine_mean(
    window_embeddings: Float[np.ndarray, "window feature"],
    window_video: Int[np.ndarray, " window"],
    num_videos: int,
    trials: TrialList,
) -> Float[np.ndarray, " trial"]:
    """Mean cosine over all pairs of reference and probe window, averaged over the template's videos.

    The mean over all pairs equals the dot product of the two videos' mean embeddings, so each window is read
    once. The fusion rule over a template is the mean of the scores of its videos that have a window.

    Args:
        window_embeddings: unit-norm vectors.
        window_video: row of the video table of each window; -1: the window is ignored.
        num_videos: rows of the video table.
        trials: rows refer to the same video table.

    Returns:
        float64 scores in [-1, 1] on a grid of 2^-40; NaN where a side has no window (failure to acquire).

    Raises:
        ProtocolError: shapes that do not fit, rows outside the table, or embeddings that are not finite unit
            vectors.
    """
    means = _video_means(window_embeddings, window_video, num_videos)
    templates = _templates(means, trials)
    scores = np.empty(len(trials))
    for start in range(0, len(scores), _CHUNK):
        part = slice(start, start + _CHUNK)
        scores[part] = _dot(templates, means, trials.template_index[part], trials.probe_index[part])
    return np.round(scores / SCORE_GRID) * SCORE_GRID


@dataclasses.dataclass(frozen=True)
class WindowScores:
    """Scores of single probe windows; their mean over a trial is its `cosine_mean`.

    Attributes:
        score: cosine of the window with the mean of the template.
        mated: class of the window's trial. trial: its number in the trial list.
        position: place of the window in its video, in strides.
        stride: frames from one position to the next.
    """

    score: Float[np.ndarray, " window"]
    mated: Bool[np.ndarray, " window"]
    trial: Int[np.ndarray, " window"]
    position: Int[np.ndarray, " window"]
    stride: int


def window_scores(
    window_embeddings: Float[np.ndarray, "window feature"],
    window_video: Int[np.ndarray, " window"],
    window_start: Int[np.ndarray, " window"],
    num_videos: int,
    trials: TrialList,
    *,
    stride: int,
    seed: int,
    most_trials: int = 500,
) -> WindowScores:
    """Score each probe window of some trials of either class; trials in which a side has no window are left out.

    Args:
        window_embeddings: unit-norm vectors.
        window_video: row of the video table of each window; -1: the window is ignored.
        window_start: first frame of each window in its video.
        num_videos: rows of the video table.
        trials: rows refer to the same video table.
        stride: frames from one window's start to the next.
        seed: of the choice where a class has more trials than `most_trials`.
        most_trials: of a class, which bounds time and memory.

    Raises:
        ProtocolError: as `cosine_mean`.
    """
    means = _video_means(window_embeddings, window_video, num_videos)
    templates = _templates(means, trials)
    scored = np.isfinite(templates[trials.template_index, 0]) & np.isfinite(means[trials.probe_index, 0])
    rng = np.random.default_rng(seed)
    chosen = np.sort(
        np.concatenate(
            [
                rng.permutation(np.flatnonzero(scored & side))[:most_trials]
                for side in (trials.mated, ~np.asarray(trials.mated))
            ]
        )
    )
    order = np.lexsort((window_start, window_video))
    bounds = np.searchsorted(np.asarray(window_video)[order], np.arange(num_videos + 1))
    rows = [order[bounds[video] : bounds[video + 1]] for video in trials.probe_index[chosen]]
    trial = np.repeat(chosen, [len(windows) for windows in rows])
    score = [
        np.asarray(window_embeddings)[windows].astype(np.float64) @ templates[trials.template_index[number]]
        for number, windows in zip(chosen, rows, strict=True)
    ]
    position = np.asarray(window_start)[np.concatenate([*rows, np.zeros(0, np.int64)]).astype(np.int64)] // stride
    return WindowScores(np.concatenate([*score, np.zeros(0)]), trials.mated[trial], trial, position, stride)


def _templates(means, trials: TrialList) -> Float[np.ndarray, "template feature"]:
    """Mean over the videos of each template that have a window; NaN where none has."""
    templates = np.full((len(trials.templates), means.shape[1]), np.nan)
    for index, rows in enumerate(trials.templates):
        means_of = means[list(rows)]
        acquired = means_of[np.isfinite(means_of[:, :1]).all(axis=1)]
        if len(acquired):
            templates[index] = acquired.mean(axis=0)
    return templates


def _video_means(embeddings, window_video, num_videos: int) -> Float[np.ndarray, "video feature"]:
    embeddings, window_video = np.asarray(embeddings), np.asarray(window_video)
    if embeddings.ndim != 2 or window_video.shape != embeddings.shape[:1]:
        raise ProtocolError(
            f"window embeddings want [window, feature] and one video row a window, found {embeddings.shape} "
            f"and {window_video.shape}"
        )
    outside = int(((window_video < -1) | (window_video >= num_videos)).sum())
    if outside:
        raise ProtocolError(f"{outside} windows name rows outside the {num_videos} known videos")
    order = np.argsort(window_video, kind="stable")
    order = order[np.searchsorted(window_video[order], 0) :]
    rows, starts = np.unique(window_video[order], return_index=True)
    means = np.full((num_videos, embeddings.shape[1]), np.nan)
    for row, start, stop in zip(rows, starts, np.append(starts, len(order))[1:], strict=True):
        vectors = embeddings[order[start:stop]].astype(np.float64)
        norm = np.sqrt(np.einsum("wf,wf->w", vectors, vectors))
        if not np.all(np.abs(norm - 1) < 1e-3):
            raise ProtocolError(
                f"embeddings of video row {row} have norms {norm.min():.4g} to {norm.max():.4g}, wanted 1"
            )
        means[row] = vectors.mean(axis=0)
    return means


def _dot(templates, means, template_index, probe_index) -> Float[np.ndarray, " trial"]:
    """Scores of a chunk: one matrix product where the chunk fills it well, else row by row."""
    left, left_code = np.unique(template_index, return_inverse=True)
    right, right_code = np.unique(probe_index, return_inverse=True)
    if len(left) * len(right) <= 8 * len(template_index):
        return (templates[left] @ means[right].T)[left_code, right_code]
    return np.einsum("tf,tf->t", templates[template_index], means[probe_index])
