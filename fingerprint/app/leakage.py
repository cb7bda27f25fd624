"""How much of the driver shows in generated videos: the fingerprint's AUC, generator by generator."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from fingerprint.app import evidence
from fingerprint.app.evidence import Evidence
from fingerprint.embed import ReleasedModel
from fingerprint.errors import FingerprintError, ProtocolError, RatesError
from fingerprint.generation.meter import GENERATED
from fingerprint.generation.pairing import Pair, Pairing
from fingerprint.landmarks import names, track
from fingerprint.verification import degraded, error_rates, intervals, protocols, scoring

_AT_ONCE = 64
"""Videos embedded at a time, so that memory does not grow with their number."""
_MOST_TRIALS = 200_000


def measure(
    pairing: Pairing, tracks: pathlib.Path, released: ReleasedModel, *, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Of each generator: auc, low, high, eer, trials, people, videos, protocol; or reason, why there is none.

    The trials are those of `claimed_target` where it is known that people drive each other's faces, else all pairs of
    videos; a mated trial never shows one driving recording on both sides. All pairs also tell how much a driver's own
    face, worn in all of its videos, gives away.

    Args:
        pairing: the videos, and who drives them.
        tracks: folder of their tracks, as a quality run left it.
        released: the model that tells drivers.
    """
    found: dict[str, dict[str, Any]] = {}
    for generator in pairing.generators:
        pairs = [_labelled(pair) for pair in pairing.pairs if pair.generator == generator]
        known = [pair for pair in pairs if pair[1]]
        if not known:
            found[generator] = {"reason": "neither names nor --drivers say who drives these videos"}
            continue
        try:
            found[generator] = _told(known, tracks, released, seed)
        except (ProtocolError, RatesError) as error:
            found[generator] = {"reason": str(error)}
    return found


def _labelled(pair: Pair) -> tuple[Pair, str, str]:
    """The pair, its driver and whose face is shown; "" where that is not known."""
    return pair, names.canonical_identity(pair.driver), names.canonical_identity(pair.target)


def _told(known: list[tuple[Pair, str, str]], tracks: pathlib.Path, released: ReleasedModel, seed: int):
    pairs = [pair for pair, _, _ in known]
    embedded = list(_embedded(pairs, tracks, released))
    table = {
        "video_id": np.array([pair.name for pair in pairs]),
        "driver": np.array([driver for _, driver, _ in known]),
        "target": np.array([target or driver for _, driver, target in known]),
        "generator": np.array([pair.generator for pair in pairs]),
        "corpus": np.array([pair.corpus for pair in pairs]),
        "clip_id": np.array([pair.clip_id or pair.reference_file.name for pair in pairs]),
        "sentence": np.full(len(pairs), ""),
    }
    protocol = protocols.choose(table) if all(target for _, _, target in known) else "all_pairs"
    trials = protocols.get(protocol)(table, seed=seed, max_trials=_MOST_TRIALS)
    vectors = [item.vectors if isinstance(item, Evidence) else np.zeros((0, 1)) for item in embedded]
    whole = [rows for rows in vectors if len(rows)]
    if not whole:
        raise RatesError("no video is long enough for a window of the model")
    video = np.repeat(np.arange(len(vectors)), [len(rows) for rows in vectors])
    scores = scoring.score(released.scoring, np.concatenate(whole), video, len(pairs), trials, released.cohort)
    curve = error_rates.DetCurve.from_scores(scores, trials.mated)
    people = trials.reference_driver, trials.probe_driver
    spread = intervals.bootstrap(scores, trials.mated, *people, seed=seed, metrics=("auc", "eer"))["auc"]
    number = len(set(table["driver"].tolist()))
    known_spread = spread.replicates_used > 0 and number >= degraded.LEAST_IDENTITIES
    return {
        "auc": curve.auc,
        "low": spread.low if known_spread else None,
        "high": spread.high if known_spread else None,
        "eer": curve.eer,
        "trials": len(trials),
        "mated": int(trials.mated.sum()),
        "people": number,
        "videos": len(whole),
        "protocol": protocol,
    }


def _embedded(pairs: list[Pair], tracks: pathlib.Path, released: ReleasedModel) -> Iterator[Evidence | Exception]:
    for start in range(0, len(pairs), _AT_ONCE):
        part = pairs[start : start + _AT_ONCE]
        read = [_read(track.track_path(tracks / GENERATED, pair.generated_file.relative)) for pair in part]
        rows = [row for row, found in enumerate(read) if not isinstance(found, Exception)]
        made = dict(zip(rows, evidence.embed([(part[row].name, read[row]) for row in rows], released), strict=True))
        yield from (made.get(row, found) for row, found in enumerate(read))


def _read(path: pathlib.Path) -> track.VideoTracks | Exception:
    try:
        return track.read(path)
    except (FingerprintError, OSError) as error:
        return error
