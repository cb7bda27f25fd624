"""Back ends: window embeddings and a trial list to one score a trial."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from fingerprint.errors import ConfigError, UnknownName
from fingerprint.verification import cohort as cohorts
from fingerprint.verification.cohort import Cohort
from fingerprint.verification.trials import TrialList
from fingerprint.verification.window_pairs import VideoWindows, fused

# Float64 sums differ in their last bits with the number of windows. On a collapsed network those bits would
# be the only difference between scores, and they follow the length of the clips. Scores are put on a grid
# above that noise.
SCORE_GRID = 2.0**-40
_CHUNK = 32768
_KNOWN = {
    "similarity": {"cosine": "cosine", "squared_euclidean": "minus the squared Euclidean distance"},
    "over_windows": {
        "mean": "mean {}",
        "max": "highest {}",
        "min": "lowest {}",
        "top_k": "mean of the {top_k} highest values of the {}",
        "log_sum_exp": "log-mean-exp (sharpness {sharpness:g}) of the {}",
    },
    "norm": {
        "none": "",
        "z": ", z-norm against a cohort of training people",
        "s": ", s-norm against a cohort of training people",
        "as": ", as-norm against the nearest {as_top} of a cohort of training people",
    },
    "calibration": {"linear": "", "quality": ""},
}


@dataclasses.dataclass(frozen=True)
class Scoring:
    """How a score comes from window embeddings, and a log likelihood ratio from a score.

    Attributes:
        similarity: of two windows: `cosine`, or `squared_euclidean`: minus the squared distance of the unit vectors,
            2 cosine - 2, which ranks as the cosine does.
        over_windows: one number from all pairs of reference and probe window: `mean`, `max`, `min`, `top_k` (mean of
            the best pairs), `log_sum_exp` (log of the mean of exp(sharpness s), over sharpness: the mean for a small
            sharpness, the maximum for a large one).
        top_k: number of best pairs; all where there are fewer.
        sharpness: of `log_sum_exp`, above 0.
        norm: `none`, `z`, `s` or `as`, see `normalized`.
        as_top: cohort entries that `as` takes of either side, at least 2.
        calibration: `linear` in the score, or with `quality` measures beside it.

    Raises:
        UnknownName: lists the known ones.
        ConfigError: a number out of range.
    """

    similarity: str = "cosine"
    over_windows: str = "mean"
    top_k: int = 3
    sharpness: float = 10.0
    norm: str = "none"
    as_top: int = 20
    calibration: str = "linear"

    def __post_init__(self):
        for field, known in _KNOWN.items():
            if getattr(self, field) not in known:
                raise UnknownName(f"scoring.{field}", getattr(self, field), known)
        for field, sound, wanted in (
            ("top_k", self.top_k >= 1, "at least 1"),
            ("sharpness", 0 < self.sharpness < math.inf, "above 0 and finite"),
            ("as_top", self.as_top >= 2, "at least 2"),
        ):
            if not sound:
                raise ConfigError(f"scoring.{field} is {getattr(self, field)}; wanted {wanted}")

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Scoring:
        """From JSON; what is not said keeps its default.

        Raises:
            ConfigError: an entry that scoring does not have.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if strange := sorted(set(found) - known):
            raise ConfigError(f"scoring has no {', '.join(strange)}; known: {', '.join(sorted(known))}")
        return cls(**found)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return dataclasses.asdict(self)

    def in_use(self) -> dict[str, Any]:
        """The options that scores and likelihood ratios depend on."""
        unused = {"top_k": self.over_windows != "top_k", "sharpness": self.over_windows != "log_sum_exp"}
        unused["as_top"] = self.norm != "as"
        return {name: value for name, value in self.to_dict().items() if not unused.get(name)}

    @property
    def by_window(self) -> bool:
        """Whether a video's score is the mean of its windows' cosines, so that it can be had as they come."""
        return (self.similarity, self.over_windows, self.norm) == ("cosine", "mean", "none")

    def check_cohort(self, entries: int) -> None:
        """Raise ConfigError where a cohort of so many entries is too small for the norm."""
        least = {"none": 0, "as": self.as_top}.get(self.norm, 2)
        if entries < least:
            raise ConfigError(
                f"{self.norm}-norm wants a cohort of at least {least} training people, found {entries}; see "
                "scoring.as_top and scoring.cohort_size"
            )

    def describe(self) -> str:
        """A sentence for reports."""
        values = self.to_dict()
        pairs = _KNOWN["over_windows"][self.over_windows].format(_KNOWN["similarity"][self.similarity], **values)
        norm = _KNOWN["norm"][self.norm].format(**values)
        return f"{pairs} over all pairs of windows, then mean over enrolment clips{norm}"

    def similarity_of(self, cosine: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Similarity of unit vectors with this cosine."""
        return cosine if self.similarity == "cosine" else 2 * cosine - 2


def score(
    scoring: Scoring,
    window_embeddings: Float[np.ndarray, "window feature"],
    window_video: Int[np.ndarray, " window"],
    num_videos: int,
    trials: TrialList,
    cohort: Cohort | None = None,
) -> Float[np.ndarray, " trial"]:
    """One score a trial; a template of several videos scores the mean of those that have a window.

    The mean over all pairs of windows equals the dot product of the two videos' mean embeddings, so there each
    window is read once; other rules look at every pair, a bounded number at a time.

    Args:
        window_embeddings: unit-norm vectors.
        window_video: row of the video table of each window; -1: the window is ignored.
        num_videos: rows of the video table.
        trials: rows refer to the same video table.
        cohort: of the norms; nobody in it may be in the trials.

    Returns:
        float64 scores on a grid of 2^-40; NaN where a side has no window (failure to acquire).

    Raises:
        ProtocolError: shapes that do not fit, rows outside the table, or embeddings that are not finite unit vectors.
        ConfigError: a norm without a cohort that is large enough for it.
    """
    videos = VideoWindows(window_embeddings, window_video, num_videos)
    raw = _Comparison(scoring, videos, trials.templates, videos)(trials.template_index, trials.probe_index)
    if scoring.norm == "none":
        return raw
    scoring.check_cohort(0 if cohort is None else len(cohort))
    entries = VideoWindows(cohort.vectors, cohort.video, len(cohort))
    top = scoring.as_top if scoring.norm == "as" else 0
    used, template = np.unique(trials.template_index, return_inverse=True)
    compare = _Comparison(scoring, videos, trials.templates, entries)
    mean, spread = cohorts.against(compare, used, len(cohort), top)
    reference_side = mean[template], spread[template]
    if scoring.norm == "z":
        return normalized(raw, reference_side)
    used, probe = np.unique(trials.probe_index, return_inverse=True)
    compare = _Comparison(scoring, entries, [(entry,) for entry in range(len(cohort))], videos)
    mean, spread = cohorts.against(lambda row, entry: compare(entry, row), used, len(cohort), top)
    return normalized(raw, reference_side, (mean[probe], spread[probe]))


def normalized(raw: Float[np.ndarray, " trial"], *sides: cohorts.Statistics) -> Float[np.ndarray, " trial"]:
    """Scores in standard deviations above what impostors of the cohort score, averaged over the sides, on the grid.

    z-norm takes the reference's scores against the cohort: a template that scores high against everybody is brought
    down. s-norm takes the mean of that and the same of the probe, so it is symmetric. as-norm is s-norm with each
    side's statistics from the cohort entries nearest to it.

    Args:
        sides: mean and standard deviation of the scores of each trial's reference, and perhaps of its probe, against
            the cohort.

    Source: z-norm: Auckenthaler, Carey and Lloyd-Thomas, "Score normalization for text-independent speaker
    verification systems", Digital Signal Processing 10, 2000. s-norm: Kenny, "Bayesian speaker verification with
    heavy-tailed priors", and Shum et al., "Unsupervised speaker adaptation based on the cosine similarity for
    text-independent speaker verification", both Odyssey 2010. as-norm: Matějka et al., "Analysis of score
    normalization in multilingual speaker recognition", Interspeech 2017 (their AS-norm 1).
    """
    parts = [(raw - _on_grid(mean)) / spread for mean, spread in sides]
    return _on_grid(sum(parts) / len(parts))


class _Comparison:
    """Scores of templates against probes before any norm, on the grid; NaN where a side has no window."""

    def __init__(
        self, scoring: Scoring, references: VideoWindows, templates: Sequence[tuple[int, ...]], probes: VideoWindows
    ):
        self._scoring, self._references, self._probes = scoring, references, probes
        self._templates = templates
        if scoring.over_windows == "mean":
            means = references.means()
            self._reference_means = _templates(means, templates)
            self._probe_means = means if probes is references else probes.means()

    def __call__(
        self, template_index: Int[np.ndarray, " trial"], probe_index: Int[np.ndarray, " trial"]
    ) -> Float[np.ndarray, " trial"]:
        scores = np.empty(len(template_index))
        one = self._of_means if self._scoring.over_windows == "mean" else self._of_pairs
        for start in range(0, len(scores), _CHUNK):
            part = slice(start, start + _CHUNK)
            scores[part] = one(template_index[part], probe_index[part])
        return _on_grid(scores)

    def _of_means(self, template_index, probe_index) -> Float[np.ndarray, " trial"]:
        cosine = _dot(self._reference_means, self._probe_means, template_index, probe_index)
        return self._scoring.similarity_of(cosine)

    def _of_pairs(self, template_index, probe_index) -> Float[np.ndarray, " trial"]:
        used, code = np.unique(template_index, return_inverse=True)
        acquired = [
            np.array([row for row in self._templates[index] if self._references.count[row]], np.int64) for index in used
        ]
        count = np.array([len(rows) for rows in acquired])[code] * (self._probes.count[probe_index] > 0)
        trial = np.repeat(np.arange(len(code)), count)
        reference = np.concatenate([np.zeros(0, np.int64), *(acquired[code[row]] for row in np.flatnonzero(count))])
        similarity = fused(self._scoring, self._references, self._probes, reference, probe_index[trial])
        total = np.bincount(trial, similarity, minlength=len(code))
        return np.divide(total, count, out=np.full(len(code), np.nan), where=count > 0)


@dataclasses.dataclass(frozen=True)
class WindowScores:
    """Cosines of single probe windows; their mean over a trial is its score where `Scoring.by_window`.

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
        ProtocolError: as `score`.
    """
    means = VideoWindows(window_embeddings, window_video, num_videos).means()
    templates = _templates(means, trials.templates)
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


def _on_grid(values) -> Float[np.ndarray, "*shape"]:
    return np.round(values / SCORE_GRID) * SCORE_GRID


def _templates(means, templates: Sequence[tuple[int, ...]]) -> Float[np.ndarray, "template feature"]:
    """Mean over the videos of each template that have a window; NaN where none has."""
    found = np.full((len(templates), means.shape[1]), np.nan)
    for index, rows in enumerate(templates):
        means_of = means[list(rows)]
        acquired = means_of[np.isfinite(means_of[:, :1]).all(axis=1)]
        if len(acquired):
            found[index] = acquired.mean(axis=0)
    return found


def _dot(templates, means, template_index, probe_index) -> Float[np.ndarray, " trial"]:
    """Scores of a chunk: one matrix product where the chunk fills it well, else row by row."""
    left, left_code = np.unique(template_index, return_inverse=True)
    right, right_code = np.unique(probe_index, return_inverse=True)
    if len(left) * len(right) <= 8 * len(template_index):
        return (templates[left] @ means[right].T)[left_code, right_code]
    return np.einsum("tf,tf->t", templates[template_index], means[probe_index])
