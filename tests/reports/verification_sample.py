"""Verification reports from seeded random data; nothing in them was measured."""

from __future__ import annotations

import dataclasses

import numpy as np

from fingerprint.reports.verification_report import VerificationReport

LENGTH_S, STRIDE_S, RATE = 2.0, 0.4, 25.0


def make_report(seed: int = 0, centre: float = 0.62, windows: int = 40, **changes) -> VerificationReport:
    """An accepted claim with all parts; `changes` replaces fields."""
    rng = np.random.default_rng(seed)
    start = STRIDE_S * np.arange(windows)
    drift = np.convolve(rng.normal(size=windows + 10), np.ones(10) / 10, "valid")[:windows]
    score = np.clip(centre + 0.25 * drift + 0.03 * rng.normal(size=windows), -1, 1)
    frames = np.arange(int(RATE * (start[-1] + LENGTH_S)) if windows else 0) / RATE
    attention = np.exp(np.sin(frames * 2.1) + 0.5 * rng.normal(size=len(frames)))
    attention /= max(50 * attention.mean(), 1e-9) if windows else 1
    attention[30:37] = np.nan
    values = {
        "claim": "Anna Marie",
        "video": "interview_0412.mp4",
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "decision": "accepted",
        "score": float(score.mean()) if windows else None,
        "llr": 9.4 * float(score.mean()) - 2.2 if windows else None,
        "threshold": threshold(),
        "evidence": {
            "seconds": 17.6, "windows": windows, "frames": len(frames), "share_with_face": 0.984, "fps": RATE,
            "image_size": [1280, 720], "tracks": 1,
        },
        "warnings": ["frame rate 25 is unlike that of the training data", "the false match rate stands on 12 errors"],
        "ids": {
            "model": "5c1d…", "architecture": "gcn_tap", "landmark_set": "avaprint109",
            "window": {"length": 50, "stride": 10}, "calibration": "c0ffee", "training": {"fps": [29.97, 29.97, 30.0]},
        },
        "provenance": {"track": {"extractor": "MediaPipe Face Landmarker", "mode": "video"}, "fingerprint": "0.1"},
        "window_start_s": start,
        "window_end_s": start + LENGTH_S,
        "window_score": score,
        "running_score": np.cumsum(score) / np.arange(1, windows + 1),
        "sequential": None,
        "frame_time_s": frames,
        "frame_attention": attention,
        "pictures": pictures(frames, attention),
        "calibration": calibration(rng),
        "enrolment": {"name": "Anna Marie", "videos": 5, "windows": 212},
    }  # fmt: skip
    return VerificationReport(**{**values, **changes})


def threshold() -> dict:
    return {
        "name": "fmr=1%", "value": 0.413, "fmr": 0.0099, "fmr_interval": [0.0041, 0.0216], "fnmr": 0.081,
        "fnmr_interval": [0.041, 0.137], "identities": 24, "mated": 240, "non_mated": 1152,
        "source": "the model's validation identities",
    }  # fmt: skip


def calibration(rng) -> dict:
    levels = np.linspace(0, 1, 41)
    return {
        "scale": 9.4, "offset": -2.2, "window": None,
        "mated_quantiles": np.quantile(rng.normal(0.6, 0.13, 400), levels).tolist(),
        "non_mated_quantiles": np.quantile(rng.normal(0.05, 0.17, 2000), levels).tolist(),
    }  # fmt: skip


def sequential(report: VerificationReport) -> dict:
    """A running test that accepts somewhere in the middle."""
    windows = np.arange(1, len(report.window_score) + 1)
    llr = np.minimum(windows, 8 + windows / 8) * (np.asarray(report.running_score) - 0.3) * 2
    return {
        "seconds": np.asarray(report.window_end_s).tolist(), "llr": llr.tolist(), "upper": 4.595, "lower": -2.303,
        "fmr": 0.01, "fnmr": 0.1, "decision": "accepted",
    }  # fmt: skip


def pictures(frames, attention, number: int = 6) -> list:
    """Something like a face, another in each picture."""
    pieces = np.array_split(np.arange(len(frames)), number) if len(frames) >= number else []
    chosen = [piece[np.argmax(np.nan_to_num(attention[piece]))] for piece in pieces]
    return [(float(frames[at]), float(np.nan_to_num(attention[at])), _face(shade)) for shade, at in enumerate(chosen)]


def _face(shade: int) -> np.ndarray:
    y, x = np.mgrid[-1:1:96j, -1:1:80j]
    rgb = np.full((96, 80, 3), (70, 90, 110 + 10 * shade), np.uint8)
    rgb[(x / 0.7) ** 2 + (y / 0.85) ** 2 < 1] = (214, 170, 140)
    for side in (-0.28, 0.28):
        rgb[(x - side) ** 2 + (y + 0.2) ** 2 < 0.012] = (40, 40, 40)
    rgb[(x / 0.3) ** 2 + ((y - 0.4) / (0.03 + 0.02 * shade)) ** 2 < 1] = (150, 60, 60)
    return rgb


def replace(report: VerificationReport, **changes) -> VerificationReport:
    return dataclasses.replace(report, **changes)
