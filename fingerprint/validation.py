"""Model choice on validation identities: trials, EER or AUC, thresholds and calibration, early stopping."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, PyTree
from ml_collections import ConfigDict

from fingerprint import back_end, checkpoint, parallel
from fingerprint.data import records
from fingerprint.data.record_sources import RecordSource
from fingerprint.embed import Embedder, WindowEmbeddings
from fingerprint.errors import ConfigError, ProtocolError, RatesError
from fingerprint.training_people import CohortRecords, identities, same_people
from fingerprint.verification import calibration, intervals, protocols, quality, sequential
from fingerprint.verification.cohort import Cohort
from fingerprint.verification.error_rates import DetCurve
from fingerprint.verification.scoring import Scoring, WindowScores, score, window_scores
from fingerprint.verification.trials import TrialList, check_leakage

# An embedding in which all windows point the same way tells nobody from anybody.
_COLLAPSED = 0.999
# With 8 people, simulated 95 % intervals held the true FMR in 86 % and the true FNMR in 95 % of cases; with 4, in 81 %.
_LEAST_IDENTITIES = 8
_QUANTILES = 41


class VideoTrials:
    """The trials of a split, and the scores that window embeddings give them.

    Attributes:
        videos: one row a video. trials: who is compared with whom.
        scoring: how embeddings become scores. cohort: for scoring that wants one; nobody in it may be in the split.
    """

    def __init__(
        self,
        source: RecordSource,
        trial_list: Callable[[dict[str, np.ndarray]], TrialList],
        foreign: Iterable[str] = (),
        *,
        scoring: Scoring,
        cohort: Cohort | None = None,
    ):
        metadata = source.metadata()
        if cohort is not None and (known := same_people(cohort.people, metadata)):
            raise ProtocolError(
                f"{len(known)} people of the split are in the cohort that scores it (first: {min(known)})"
            )
        self.scoring, self.cohort = scoring, cohort
        self.videos = records.tabulate_videos(metadata)
        self._record_start = metadata["start_frame"]
        count = np.diff(self.videos["records"], axis=1).ravel()
        self.video_of_record = np.repeat(np.arange(len(count)), count)
        self.trials = trial_list(self.videos)
        check_leakage(self.trials, self.videos, set(foreign))

    def scores(self, windows: WindowEmbeddings, trials: TrialList | None = None) -> Float[np.ndarray, "trial"]:
        """One score a trial; NaN where a side has no window.

        Args:
            trials: others on the same video table instead of these.
        """
        window_video = self.video_of_record[windows.record]
        count = len(self.videos["video_id"])
        return score(
            self.scoring, windows.vector, window_video, count, self.trials if trials is None else trials, self.cohort
        )

    def measures(self) -> Float[np.ndarray, "trial measure"]:
        """`quality.MEASURES` of each trial."""
        return quality.measures(self.videos["num_valid"], self.videos["num_frames"], self.trials)

    def operating_points(self, windows: WindowEmbeddings, *, stride: int, seed: int) -> dict[str, Any]:
        """`operating_points` of these trials; `stride`: frames between the windows."""
        window_video = self.video_of_record[windows.record]
        start = self._record_start[windows.record] + windows.start
        single = None
        if self.scoring.by_window:
            count = len(self.videos["video_id"])
            single = window_scores(windows.vector, window_video, start, count, self.trials, stride=stride, seed=seed)
        return operating_points(
            self.scores(windows),
            self.trials.mated,
            reference_driver=self.trials.reference_driver,
            probe_driver=self.trials.probe_driver,
            seed=seed,
            measures=self.measures() if self.scoring.calibration == "quality" else None,
            windows=single,
            evidence=evidence_of(window_video, len(self.videos["video_id"]), self.trials),
        )


def make_trials(config: ConfigDict, *, seed: int) -> Callable[[dict[str, np.ndarray]], TrialList]:
    """The configured protocol as a function of a video table; `auto` takes the one that fits the data."""

    def build(videos):
        if config.protocol == "pairs_csv":
            return protocols.pairs_csv(config.pairs_csv, videos)
        name = protocols.choose(videos) if config.protocol == "auto" else config.protocol
        return protocols.get(name)(
            videos, seed=seed, enrolment_clips=config.enrolment_clips, max_trials=config.max_trials or None
        )

    return build


def evidence_of(window_video: Int[np.ndarray, " window"], num_videos: int, trials: TrialList) -> dict[str, Any] | None:
    """How much the trials had to go by; JSON-able, None where no trial has windows on both sides.

    Args:
        window_video: row of the video table of each window; -1: the window is ignored.
        num_videos: rows of the video table.
        trials: rows refer to the same video table.

    Returns:
        "windows": 5 % quantile, median and 95 % quantile over the probe videos. "enrolment_clips": median number
        of a template's videos that have a window.
    """
    count = np.bincount(window_video[window_video >= 0], minlength=num_videos)
    clips = np.array([(count[list(rows)] > 0).sum() for rows in trials.templates])
    scored = (clips[trials.template_index] > 0) & (count[trials.probe_index] > 0)
    if not scored.any():
        return None
    probes, templates = np.unique(trials.probe_index[scored]), np.unique(trials.template_index[scored])
    return {
        "windows": np.quantile(count[probes], (0.05, 0.5, 0.95)).tolist(),
        "enrolment_clips": int(np.median(clips[templates])),
    }


def operating_points(
    scores: Float[np.ndarray, "trial"],
    mated: Bool[np.ndarray, "trial"],
    *,
    reference_driver: Int[np.ndarray, "trial"],
    probe_driver: Int[np.ndarray, "trial"],
    seed: int,
    measures: Float[np.ndarray, "trial measure"] | None = None,
    windows: WindowScores | None = None,
    evidence: dict[str, Any] | None = None,
    replicates: int = 1000,
) -> dict[str, Any]:
    """Thresholds and calibration from development identities, to be applied unchanged to others; JSON-able.

    Args:
        scores: one a trial; NaN where a side has no window.
        mated: class of each trial.
        reference_driver: identity codes as in a trial list; -1: not known.
        probe_driver: the same of the probe.
        seed: of the bootstrap.
        measures: of the quality of each trial, for a calibration that looks at them too.
        windows: scores of single windows, for running verification.
        evidence: what `evidence_of` says, kept as it is.
        replicates: of the bootstrap.

    Returns:
        "thresholds": by name, threshold, validation_fmr, validation_fnmr, their 95 % intervals
        (`validation_fmr_interval`, `validation_fnmr_interval`: [low, high] from resampled identities, or None
        where identities or errors are too few for one), upper limits (`validation_fmr_upper`,
        `validation_fnmr_upper`: the interval's high, or `intervals.upper_limit` where there is none), and what is
        behind them: identities, mated, non_mated, false_matches, false_non_matches. "calibration": scale, offset,
        quality (weights of the measures), llr_bounds (`calibration.llr_bounds`), window
        (`sequential.WindowCalibration` as a dict, or None where trials with windows are too few), and 41 evenly
        spaced quantiles of the scores of either class (mated_quantiles, non_mated_quantiles). "evidence": as given.

    Raises:
        RatesError: as `error_rates.DetCurve.from_scores`.
    """
    curve, fitted = DetCurve.from_scores(scores, mated), calibration.fit_linear(scores, mated, measures=measures)
    named = {name: float(threshold) for name, threshold in calibration.thresholds(scores, mated).items()}
    known = ~np.isnan(scores)
    people = np.union1d(reference_driver[known], probe_driver[known])
    people = int((people >= 0).sum())
    spread = intervals.bootstrap(
        scores, mated, reference_driver, probe_driver,
        replicates=replicates if people >= _LEAST_IDENTITIES else 0, seed=seed, metrics=(), thresholds=named,
    )  # fmt: skip

    def upper(side, wrong, rate) -> float:
        side = side & known
        return max(float(rate), intervals.upper_limit(wrong[side], reference_driver[side], probe_driver[side]))

    points = {}
    for name, threshold in named.items():
        fmr, fnmr = curve.fmr_fnmr_at(threshold)
        fmr_interval = _interval(spread[intervals.threshold_rate_name("fmr", name)], fmr)
        fnmr_interval = _interval(spread[intervals.threshold_rate_name("fnmr", name)], fnmr)
        points[name] = {
            "threshold": threshold,
            "validation_fmr": float(fmr),
            "validation_fnmr": float(fnmr),
            "validation_fmr_interval": fmr_interval,
            "validation_fnmr_interval": fnmr_interval,
            "validation_fmr_upper": fmr_interval[1] if fmr_interval else upper(~mated, scores >= threshold, fmr),
            "validation_fnmr_upper": fnmr_interval[1] if fnmr_interval else upper(mated, scores < threshold, fnmr),
            "identities": people,
            "mated": int(curve.mated),
            "non_mated": int(curve.non_mated),
            "false_matches": round(fmr * curve.non_mated),
            "false_non_matches": round(fnmr * curve.mated),
        }
    levels = np.linspace(0, 1, _QUANTILES)
    return {
        "thresholds": points,
        "calibration": {
            **fitted.to_dict(),
            "llr_bounds": list(calibration.llr_bounds(curve.mated, curve.non_mated)),
            "window": _window_calibration(windows),
            "mated_quantiles": np.quantile(scores[known & mated], levels).tolist(),
            "non_mated_quantiles": np.quantile(scores[known & ~mated], levels).tolist(),
        },
        "evidence": evidence,
    }


def _interval(found: intervals.Interval, rate: float) -> list[float] | None:
    """[low, high]; None where resampling cannot show how far the rate may be off: no error, or nothing else."""
    return [found.low, found.high] if found.replicates_used and 0 < rate < 1 else None


def _window_calibration(windows: WindowScores | None) -> dict[str, Any] | None:
    if windows is None:
        return None
    try:
        fitted = sequential.fit_windows(windows.score, windows.mated, windows.trial, windows.position, windows.stride)
    except RatesError:  # too few trials: the model decides on whole videos only
        return None
    return fitted.to_dict()


def frame_rates(metadata: dict[str, np.ndarray]) -> list[float] | None:
    """Lowest, median and highest known frame rate of the videos (frames a second); None where none is known."""
    _, first = np.unique(metadata["video_id"], return_index=True)
    rates = metadata["fps"][first].astype(np.float64)
    rates = rates[rates > 0]
    return [float(rates.min()), float(np.median(rates)), float(rates.max())] if len(rates) else None


def for_other_split(options: ConfigDict) -> ConfigDict:
    """Evaluation options for people whom a file of test pairs does not name: the protocol that fits the data."""
    options = options.copy_and_resolve_references()
    if options.protocol == "pairs_csv":
        options.protocol = "auto"
    return options


class Validation:
    """Measures a model on validation identities, keeps the best, and says when to stop.

    Args:
        config: the whole configuration.
        embedder: of the model in training.
        source: validation records.
        training_source: training records; nobody in them may occur here, as driver or target. A cohort is of them.
    """

    def __init__(self, config: ConfigDict, embedder: Embedder, source: RecordSource, training_source: RecordSource):
        if config.train.select_by not in ("eer", "auc"):
            raise ConfigError(f"train.select_by is {config.train.select_by!r}; known: auc, eer")
        self._config, self._embedder, self._source = config, embedder, source
        options = for_other_split(config.evaluate)
        with options.unlocked():
            options.max_trials = config.train.max_validation_trials
        training = training_source.metadata()
        known = identities(training)
        self._trials = VideoTrials(
            source,
            make_trials(options, seed=config.seed),
            same_people(known, source.metadata()),
            scoring=back_end.configured(config),
        )
        self._cohort = None
        if self._trials.scoring.norm != "none":
            self._cohort = CohortRecords(training_source, config.scoring.cohort_size, config.seed, embedder.spec)
            self._trials.scoring.check_cohort(len(self._cohort))
        self._training = {
            "generators": sorted(set(training["generator"].tolist())),
            "corpora": sorted(set(training["corpus"].tolist())),
            "fps": frame_rates(training),
        }
        self._identities = sorted(known + identities(source.metadata()))
        self._best: dict[str, Any] | None = None
        self._without_gain = 0
        self._last_step = 0

    @property
    def trials_hash(self) -> str:
        """Names the trials that models are chosen by."""
        return self._trials.trials.hash

    def due(self, step: int) -> bool:
        """Whether these steps call for a validation that has not been made."""
        at = step % self._config.train.eval_every == 0 or step == self._config.train.num_steps
        return at and step > self._last_step

    @property
    def exhausted(self) -> bool:
        """No gain in `train.patience` validations running."""
        return bool(self._config.train.patience) and self._without_gain >= self._config.train.patience

    def state(self) -> dict[str, Any]:
        """JSON-able."""
        return {"best": self._best, "without_gain": self._without_gain, "last_step": self._last_step}

    def resume(self, state: dict[str, Any], directory: str) -> None:
        """Take up what `state` gave; the best model is again the one known then."""
        self._best, self._without_gain, self._last_step = state["best"], state["without_gain"], state["last_step"]
        if self._best is not None and parallel.is_main():
            checkpoint.point_to_best(directory, self._best["step"])

    def run(
        self, step: int, params: PyTree, directory: str, origin: dict[str, Any], *, stopped: Callable[[], bool]
    ) -> dict[str, float] | None:
        """Validate; publish the model if it is the best so far. None if asked to stop on the way."""
        # Several processes must agree on when to stop, so only a lone one stops in the middle.
        alone = parallel.describe()["processes"] == 1
        windows = self._embedder.split(params, self._source, stopped=stopped if alone else lambda: False)
        if windows is None:
            return None
        if self._cohort is not None:
            self._trials.cohort = self._cohort.embed(self._embedder, params)
        self._last_step = step
        scores = self._trials.scores(windows)
        mated = self._trials.trials.mated
        curve = DetCurve.from_scores(scores, mated)
        count = max(len(windows.vector), 2)
        total = np.square(windows.vector.sum(axis=0, dtype=np.float64)).sum()
        row = {
            "validation/eer": float(curve.eer),
            "validation/auc": float(curve.auc),
            "validation/mean_cosine": float((total - count) / (count * (count - 1))),
        }
        gain = -row["validation/eer"] if self._config.train.select_by == "eer" else row["validation/auc"]
        if self._best is None or gain > self._best["gain"]:
            self._best, self._without_gain = {"gain": gain, "step": step, **row}, 0
            if parallel.is_main():
                cohort = self._trials.cohort
                document = self._document(step, windows, row, origin)
                checkpoint.publish_best(directory, step, params, document, cohort and cohort.to_arrays())
        else:
            self._without_gain += 1
        return row

    def sentence(self, step: int, row: dict[str, float]) -> str:
        """The result for the terminal, with a warning where the embedding has collapsed."""
        best = f"best: step {self._best['step']}"
        text = f"step {step}: validation EER {row['validation/eer']:.3f}, AUC {row['validation/auc']:.3f} ({best})"
        if row["validation/mean_cosine"] > _COLLAPSED:
            cosine = row["validation/mean_cosine"]
            text += f"; WARNING: embeddings have collapsed (mean cosine {cosine:.4f} between windows)"
        return text

    def _document(self, step, windows, row, origin) -> dict[str, Any]:
        spec, data = self._embedder.spec, self._config.data
        return {
            "model": self._config.model.to_dict(),
            "landmark_set": data.landmark_set,
            "normalization": data.normalization,
            "channels": list(self._embedder.layout.channels),
            "window": dataclasses.asdict(spec),
            "step": step,
            "validation": {
                **row,
                "split": data.validation_split,
                "dataset": data.dataset,
                "protocol": self._trials.trials.protocol,
                "hash": self._trials.trials.hash,
            },
            "scoring": self._trials.scoring.to_dict(),
            **({"cohort": {"people": list(self._trials.cohort.people)}} if self._trials.cohort else {}),
            **self._trials.operating_points(windows, stride=spec.stride, seed=self._config.seed),
            "identities": self._identities,
            "training": self._training,
            "provenance": origin,
        }
