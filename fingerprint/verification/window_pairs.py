"""The windows of videos side by side, and one similarity for a pair of videos from all pairs of their windows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from fingerprint.errors import ProtocolError

_PROBE_WINDOWS = 1 << 14  # gathered at a time
_PAIRS = 1 << 21  # pairs of windows at a time


class VideoWindows:
    """Checked unit embeddings, found by video.

    Args:
        embeddings: unit-norm vectors.
        window_video: row of the video table of each window; -1: the window is ignored.
        num_videos: rows of the video table.

    Raises:
        ProtocolError: shapes that do not fit, rows outside the table, or embeddings that are not finite unit vectors.
    """

    def __init__(
        self,
        embeddings: Float[np.ndarray, "window feature"],
        window_video: Int[np.ndarray, " window"],
        num_videos: int,
    ):
        self._embeddings, window_video = np.asarray(embeddings), np.asarray(window_video)
        if self._embeddings.ndim != 2 or window_video.shape != self._embeddings.shape[:1]:
            raise ProtocolError(
                f"window embeddings want [window, feature] and one video row a window, found {self._embeddings.shape} "
                f"and {window_video.shape}"
            )
        outside = int(((window_video < -1) | (window_video >= num_videos)).sum())
        if outside:
            raise ProtocolError(f"{outside} windows name rows outside the {num_videos} known videos")
        self._order = np.argsort(window_video, kind="stable")
        self._bounds = np.searchsorted(window_video[self._order], np.arange(num_videos + 1))
        self.count = np.diff(self._bounds)
        """Windows of each video."""
        for first in range(self._bounds[0], self._bounds[-1], _PROBE_WINDOWS):
            part = self._order[first : min(first + _PROBE_WINDOWS, self._bounds[-1])]
            norm = np.linalg.norm(self._embeddings[part].astype(np.float64), axis=1)
            wrong = ~(np.abs(norm - 1) < 1e-3)
            if wrong.any():
                video = window_video[part[wrong][0]]
                norm = norm[window_video[part] == video]
                raise ProtocolError(
                    f"embeddings of video row {video} have norms {norm.min():.4g} to {norm.max():.4g}, wanted 1"
                )

    def of(self, video: int) -> Float[np.ndarray, "window feature"]:
        """The windows of one video, float64."""
        return self._embeddings[self._order[self._bounds[video] : self._bounds[video + 1]]].astype(np.float64)

    def padded(self, videos: Int[np.ndarray, " video"]) -> Float[np.ndarray, "video longest feature"]:
        """The windows of several videos that have some; a shorter one repeats its last window."""
        place = np.arange(self.count[videos].max())
        row = self._bounds[videos][:, None] + np.minimum(place, self.count[videos][:, None] - 1)
        return self._embeddings[self._order[row]].astype(np.float64)

    def means(self) -> Float[np.ndarray, "video feature"]:
        """Mean embedding of each video; NaN where it has no window."""
        means = np.full((len(self.count), self._embeddings.shape[1]), np.nan)
        for video in np.flatnonzero(self.count).tolist():
            means[video] = self.of(video).mean(axis=0)
        return means


def fused(
    rule,
    references: VideoWindows,
    probes: VideoWindows,
    reference: Int[np.ndarray, " pair"],
    probe: Int[np.ndarray, " pair"],
) -> Float[np.ndarray, " pair"]:
    """One similarity a pair of videos; memory does not grow with their number or length.

    Args:
        rule: a `scoring.Scoring` whose `over_windows` is not the mean.
        reference: rows of `references` that have a window. probe: the same of `probes`.
    """
    out = np.empty(len(reference))
    # Probes of about equal length stand together, so that little is padded.
    order = np.lexsort((probe, probes.count[probe], reference))
    starts = np.flatnonzero(np.diff(reference[order], prepend=-1))
    for start, stop in zip(starts, np.append(starts, len(order))[1:], strict=True):
        group = order[start:stop]
        left = references.of(int(reference[group[0]]))
        step = max(1, _PROBE_WINDOWS // int(probes.count[probe[group[-1]]]))
        for first in range(0, len(group), step):
            pairs = group[first : first + step]
            out[pairs] = _fused_with_one(rule, left, probes, probe[pairs])
    return out


def _fused_with_one(rule, left, probes: VideoWindows, videos) -> Float[np.ndarray, " video"]:
    right, count = probes.padded(videos), probes.count[videos]
    padding = np.arange(right.shape[1]) >= count[:, None]
    flat = right.reshape(-1, right.shape[2]).T
    height = max(1, _PAIRS // flat.shape[1])
    parts = []
    for first in range(0, len(left), height):
        similarity = rule.similarity_of(left[first : first + height] @ flat)
        similarity = similarity.reshape(-1, *padding.shape).transpose(1, 0, 2)
        similarity = np.where(padding[:, None], np.inf if rule.over_windows == "min" else -np.inf, similarity)
        parts.append(_reduced(rule, similarity.reshape(len(videos), -1)))
    return _finished(rule, np.concatenate(parts, axis=1), count * len(left))


def _reduced(rule, similarity: Float[np.ndarray, "video pair"]) -> Float[np.ndarray, "video kept"]:
    """What of some of the pairs the rule needs to know later."""
    match rule.over_windows:
        case "max":
            return similarity.max(axis=1, keepdims=True)
        case "min":
            return similarity.min(axis=1, keepdims=True)
        case "top_k":
            return _largest(similarity, rule.top_k)
        case "log_sum_exp":
            return _log_sum_exp(rule.sharpness * similarity)


def _finished(rule, parts: Float[np.ndarray, "video part"], pairs) -> Float[np.ndarray, " video"]:
    match rule.over_windows:
        case "max":
            return parts.max(axis=1)
        case "min":
            return parts.min(axis=1)
        case "top_k":
            best = _largest(parts, rule.top_k)
            return np.where(np.isfinite(best), best, 0).sum(axis=1) / np.minimum(pairs, rule.top_k)
        case "log_sum_exp":
            return (_log_sum_exp(parts)[:, 0] - np.log(pairs)) / rule.sharpness


def _largest(values, count: int) -> Float[np.ndarray, "video kept"]:
    rest = max(values.shape[1] - count, 0)
    return np.partition(values, rest, axis=1)[:, rest:] if rest else values


def _log_sum_exp(values) -> Float[np.ndarray, "video 1"]:
    highest = values.max(axis=1, keepdims=True)
    return highest + np.log(np.exp(values - highest).sum(axis=1, keepdims=True))
