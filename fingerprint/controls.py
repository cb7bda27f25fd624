"""What can be had without reading motion: baselines and probes that stand beside every result."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fingerprint.data.record_sources import RecordSource
from fingerprint.errors import RatesError
from fingerprint.landmarks import normalize
from fingerprint.validation import VideoTrials
from fingerprint.verification import intervals
from fingerprint.verification.error_rates import DetCurve
from fingerprint.verification.trials import TrialList

_DESCRIPTIONS = {
    "shuffled_frames": "The valid frames of every window in random order: what is lost is what the model read from "
    "order.",
    "static_frame": "One random frame of every window in place of all: what is left is read from single poses.",
    "static_shape": "No network: distance between the two videos' mean faces, pose removed.",
    "length_and_rate": "No network: distance between the two videos' lengths and frame rates.",
    "target_probe": "Which face is shown, guessed from the embedding by the nearest mean embedding of that face in "
    "videos of other drivers.",
}


def measure_controls(config, subject: VideoTrials, source, scores, plain, altered) -> list[dict[str, Any]]:
    """Each control's error rates on the same trials, and the model's paired lead over it."""
    candidates: dict[str, Float[np.ndarray, "trial"]] = {name: subject.scores(w) for name, w in altered.items()}
    candidates |= baseline_scores(source, subject.videos, subject.video_of_record, subject.trials)
    rows = [_control_row(config, name, subject, scores, other) for name, other in candidates.items()]
    video = subject.video_of_record[plain.record]
    return [
        *rows,
        {"name": "target_probe", **target_probe(plain.vector, video, subject.videos)} | _text("target_probe"),
    ]


def _control_row(config, name: str, subject: VideoTrials, scores, other) -> dict[str, Any]:
    trials = subject.trials
    who = (trials.mated, trials.reference_driver, trials.probe_driver)
    options = {"replicates": config.evaluate.replicates, "seed": config.seed, "metrics": ("auc", "eer")}
    both = ~np.isnan(scores) & ~np.isnan(other)
    try:
        spread = intervals.bootstrap(other, *who, **options)
        lead = intervals.paired_difference(scores, other, *who, **options)
    except RatesError as error:
        return {"name": name, "rates": {}, "difference": {}, "reading": f"not measured: {error}"} | _text(name)
    curve = DetCurve.from_scores(other, trials.mated)
    rates = {m: {"value": curve.metric(m), "low": spread[m].low, "high": spread[m].high} for m in ("auc", "eer")}
    difference = {m: {"value": d.value, "low": d.low, "high": d.high} for m, d in lead.items()}
    reading = f"on {int(both.sum())} trials that both scored"
    return {"name": name, "rates": rates, "difference": difference, "reading": reading} | _text(name)


def _text(name: str) -> dict[str, str]:
    return {"description": _DESCRIPTIONS[name]}


def baseline_scores(
    source: RecordSource,
    videos: dict[str, np.ndarray],
    video_of_record: Int[np.ndarray, "record"],
    trials: TrialList,
) -> dict[str, Float[np.ndarray, "trial"]]:
    """Scores without a network: `static_shape` and `length_and_rate`, each minus a distance between two descriptors."""
    length = np.stack([np.log(np.maximum(videos["num_frames"], 1)), videos["fps"] / 10.0], axis=1)
    return {
        "static_shape": descriptor_scores(mean_faces(source, len(videos["video_id"]), video_of_record), trials),
        "length_and_rate": descriptor_scores(length, trials),
    }


def mean_faces(
    source: RecordSource, num_videos: int, video_of_record: Int[np.ndarray, "record"]
) -> Float[np.ndarray, "video feature"]:
    """Mean face of every video, pose removed where the aspect ratio is known (else normalised as published); NaN
    without a face."""
    metadata = source.metadata()
    total, frames = None, np.zeros(num_videos)
    for row, video in enumerate(video_of_record.tolist()):
        valid = int(metadata["num_valid"][row])
        if not valid:
            continue
        record = source[row]
        name = "pose_removed" if min(record["image_size"]) > 0 else "published"
        track = normalize.get(name)(
            record["landmarks"], record["frame_mask"], record["image_size"], record["landmark_set"]
        )
        if total is None:
            total = np.zeros((num_videos, track[0].size))
        total[video] += normalize.mean_shape(track, record["frame_mask"]).reshape(-1) * valid
        frames[video] += valid
    if total is None:
        return np.full((num_videos, 1), np.nan)
    return np.where(frames[:, None] > 0, total / np.maximum(frames, 1)[:, None], np.nan)


def descriptor_scores(descriptor: Float[np.ndarray, "video feature"], trials: TrialList) -> Float[np.ndarray, "trial"]:
    """Minus the Euclidean distance between the probe's descriptor and the template's mean descriptor."""
    template = np.stack([descriptor[list(rows)].mean(axis=0) for rows in trials.templates])
    scores = np.empty(len(trials))
    for first in range(0, len(scores), 65536):
        part = slice(first, first + 65536)
        gap = template[trials.template_index[part]] - descriptor[trials.probe_index[part]]
        scores[part] = -np.linalg.norm(gap, axis=1)
    return scores


def target_probe(
    vector: Float[np.ndarray, "window dim"], video: Int[np.ndarray, "window"], videos: dict[str, np.ndarray]
) -> dict[str, Any]:
    """How well the face shown can be read from the embedding, by nearest class mean.

    A video's target is guessed among the faces worn by other drivers; class means leave out every video of the same
    driver, so that knowing the driver does not help. An invariant embedding is at chance.

    Returns:
        `balanced_accuracy` and `chance` (mean over targets, and mean of one over the number of candidates), `videos`
        guessed, and `reading`; without numbers where no face is worn by two drivers.
    """
    present = np.unique(video)
    position = np.full(len(videos["video_id"]), -1)
    position[present] = np.arange(len(present))
    means = np.zeros((len(present), vector.shape[1]))
    np.add.at(means, position[video], vector)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    targets, target = np.unique(videos["target"][present], return_inverse=True)
    drivers, driver = np.unique(videos["driver"][present], return_inverse=True)
    total, count = np.zeros((len(targets), means.shape[1])), np.zeros(len(targets))
    np.add.at(total, target, means)
    np.add.at(count, target, 1)
    hits, chances = [[] for _ in targets], []
    for d in range(len(drivers)):
        own = np.flatnonzero(driver == d)
        total_others, count_others = total.copy(), count.copy()
        np.add.at(total_others, target[own], -means[own])
        np.add.at(count_others, target[own], -1)
        candidates = np.flatnonzero(count_others > 0)
        if len(candidates) < 2:
            continue
        centres = total_others[candidates]
        centres = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
        for row in own[np.isin(target[own], candidates)].tolist():
            guess = candidates[np.argmax(centres @ means[row])]
            hits[target[row]].append(guess == target[row])
            chances.append(1 / len(candidates))
    guessed = [h for h in hits if h]
    if not guessed:
        return {"reading": "not measurable: no face in this split is worn by two drivers"}
    accuracy, chance = float(np.mean([np.mean(h) for h in guessed])), float(np.mean(chances))
    reading = (
        f"the face shown is guessed right for {accuracy:.1%} of videos (mean over faces), chance is {chance:.1%}: "
        + (
            "the embedding carries the face shown"
            if accuracy > 2 * chance
            else "little of the face shown is left in the embedding"
        )
    )
    return {"balanced_accuracy": accuracy, "chance": chance, "videos_guessed": len(chances), "reading": reading}
