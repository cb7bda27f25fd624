"""A report from seeded random data, with ids that try to be markup."""

from __future__ import annotations

import dataclasses

import numpy as np

from fingerprint.landmarks import topology
from fingerprint.reports import findings
from fingerprint.reports.evaluation_report import EvaluationReport

NASTY = '<script>alert("x")</script> & | ` $a$ _b_ [l](javascript:1)'
RATES = (
    "auc",
    "eer",
    "eer_rocch",
    "fnmr@fmr=10%",
    "fnmr@fmr=1%",
    "fnmr@fmr=0.1%",
    "min_dcf",
    "min_cllr",
    "cllr",
    "act_dcf",
)
CARRIED = tuple(f"{rate}@threshold:fmr=1%" for rate in ("fmr", "fnmr", "far", "frr"))
CENTRES = {
    "auc": 0.912,
    "eer": 0.183,
    "min_dcf": 0.7,
    "act_dcf": 0.8,
    "cllr": 0.61,
    "min_cllr": 0.55,
    "fta": 0.021,
}


def make_report(seed: int = 0, people: int = 18, videos: int = 8, trials: int = 4000) -> EvaluationReport:
    """A whole report; nothing in it was measured."""
    rng = np.random.default_rng(seed)
    mated, same_target = rng.random(trials) < 0.2, rng.random(trials) < 0.4
    scores = rng.normal(size=trials) + 2.2 * mated + 0.5 * same_target
    scores[rng.random(trials) < 0.02] = np.nan
    drivers = [f"M{1000 + person}" for person in range(people - 1)] + [NASTY]
    driver = np.repeat(np.arange(people), videos)
    centres = rng.normal(size=(people, 16))
    rates = [_row(rng, name) for name in ("all", "same_target", "cross_target", "different_sentence")]
    rates.append(
        {
            "condition": "same_sentence",
            "description": "Both say the same sentence.",
            "reason": "no sentence is known",
        }
        | {
            "identities": 18,
            "videos": 0,
            "mated": 0,
            "non_mated": 0,
            "fta": None,
            "warnings": [],
            "rates": {},
        }
    )
    controls = make_controls()
    return EvaluationReport(
        title="Fingerprint evaluation: gcn_tap on avaprintdb, test split",
        headline=findings.compose_headline(rates, controls),
        provenance={
            "versions": {"fingerprint": "0.1.0", "jax": "0.10.2", "numpy": np.__version__},
            "git_commit": "3f2a9c0d1e4b5a69788f0e1d2c3b4a5968778695",
            "config_hash": "sha256:9e107d9d372bb6826bd81d3542a419d6",
            "command": "python -m fingerprint.main --config configs/avaprintdb.py --workdir runs/a",
            "devices": "1 x cpu",
            "seed": 0,
            "created": "2025-01-31T12:00:00+00:00",
            "durations": {"embed": 41.2, "trials": 0.8, "bootstrap": 63.0},
        },
        data={
            "name": "avaprintdb",
            "split": "test",
            "landmark_set": "avaprintdb109",
            "videos": people * videos,
            "drivers": drivers,
            "targets": people,
            "generators": ["GAGAvatar", NASTY],
            "corpora": ["RAVDESS"],
            "frame_rates": {"25": 100, "29.97": 44},
        },
        model={
            "name": "gcn_tap",
            "parameters": 1_234_567,
            "landmark_set": "avaprintdb109",
            "normalization": "nose_scale",
            "window_length": 50,
            "window_stride": 25,
            "trained_step": 2500,
            "digest": "sha256:" + "ab" * 32,
        },
        protocol={
            "name": "claimed_target",
            "hash": "sha256:" + "cd" * 32,
            "seed": 0,
            "templates": people,
            "trials": trials,
            "mated": int(mated.sum()),
            "non_mated": int((~mated).sum()),
            "fusion": "mean over the template's videos",
            "notes": ["Real videos are left out.", NASTY],
            "leakage": "checked: nobody is driver or target in two splits",
        },
        acquisition={"videos": 148, "failed": 4, "fta": 0.027, "reasons": {"no face": 3, NASTY: 1}},
        rates=rates,
        controls=controls,
        thresholds={
            "fmr=1%": {
                "threshold": 0.812345,
                "validation_fmr": 0.0098,
                "test_fmr": 0.0231,
                "test_fnmr": 0.512,
            },
            "eer": {"threshold": 0.41, "validation_fmr": 0.17, "test_fmr": 0.165, "test_fnmr": 0.2},
        },
        training=_training(rng),
        warnings=["The loss was not finite at step 17; the batch was skipped.", NASTY],
        scores=scores,
        mated=mated,
        same_target=same_target,
        embeddings=centres[driver] + 0.45 * rng.normal(size=(len(driver), 16)),
        embedding_driver=[drivers[index] for index in driver],
        embedding_target=[drivers[index] for index in rng.integers(0, people, len(driver))],
        attention=[_attention(rng, "RAVDESS_01_self"), _attention(rng, NASTY)],
        config={
            "seed": 0,
            "optimizer": {"name": "adamw", "learning_rate": 1e-3},
            "limit": float("inf"),
            "note": NASTY,
        },
        per_identity=make_people(drivers),
        identification=make_identification(),
    )


def make_people(names, seed: int = 0) -> dict:
    """Rates of these people, the least well told apart first; one is left out."""
    rng = np.random.default_rng(seed)
    people = [
        {"identity": name, "auc": auc, "mated": 40, "non_mated": 160, "mated_mean": 0.4 + auc / 3}
        | {"non_mated_mean": float(rng.uniform(0.3, 0.6))}
        for name, auc in zip(names, np.linspace(0.61, 0.98, len(names)).tolist(), strict=True)
    ]
    return {
        "protocol": "claimed_target",
        "people": people,
        "left_out": {NASTY: "no non-mated trial with a score"},
        "unseen_minus_seen": {"value": -0.051, "low": -0.082, "high": -0.02},
    }


def make_identification() -> dict:
    """A search at three FAR, of which the last cannot be shown."""
    known = {"low": 0.41, "high": 0.59, "reason": None}
    curve = [{"far": far, "value": 0.9 + 0.1 * np.log10(far)} for far in np.geomspace(0.01, 1, 20).tolist()]
    return {
        "people": 18, "enrolled": 9, "enrolment_clips": 1, "probes": 126, "without_score": 3, "halves": 10,
        "notes": ["1 people left out: " + NASTY],
        "entries": [
            {"far": 0.1, "value": 0.501, "errors": 41, "unreliable": False} | known,
            {"far": 0.01, "value": 0.43, "errors": 4, "unreliable": True} | known,
            {"far": 1e-6, "value": None, "low": None, "high": None, "errors": None, "unreliable": True}
            | {"reason": "410 probes of people who are not enrolled cannot show it"},
        ],
        "curve": curve,
    }  # fmt: skip


def make_controls(lost=(0.0003, -0.002, 0.0021)) -> list[dict]:
    """All five controls; `lost`: AUC that shuffling the frames costs, with its interval."""

    def entries(auc, low, high):
        eer = {"value": 1 - auc, "low": 1 - high, "high": 1 - low, "errors": 300, "unreliable": False}
        return {
            "auc": {"value": auc, "low": low, "high": high, "errors": 300, "unreliable": False},
            "eer": eer,
        }

    def difference(value, low, high):
        return {"auc": {"value": value, "low": low, "high": high}}

    return [
        {
            "name": "shuffled_frames",
            "description": "Frames of every window in random order",
            "reading": "No loss: the order of the frames is not used",
            "rates": entries(0.9117, 0.881, 0.940),
            "difference": difference(*lost),
        },
        {
            "name": "static_frame",
            "description": "The middle frame repeated",
            "reading": "Pose and shape alone explain part of it",
            "rates": entries(0.701, 0.655, 0.748),
            "difference": difference(0.211, 0.171, 0.252),
        },
        {
            "name": "static_shape",
            "description": "Cosine of the mean shapes",
            "reading": "As above",
            "rates": entries(0.905, 0.861, 0.943),
            "difference": difference(0.007, -0.019, 0.034),
        },
        {
            "name": "length_and_rate",
            "description": "Clip length and frame rate only",
            "reading": "Close to guessing",
            "rates": entries(0.561, 0.512, 0.604),
            "difference": difference(0.351, 0.301, 0.402),
        },
        {
            "name": "target_probe",
            "description": "A linear probe for the target, on " + NASTY,
            "reading": "The face shows through",
            "balanced_accuracy": {"value": 0.4321, "low": 0.391, "high": 0.475},
            "chance": 0.0556,
        },
    ]


def replace(report: EvaluationReport, **changes) -> EvaluationReport:
    """The report with other fields."""
    return dataclasses.replace(report, **changes)


def _row(rng, name: str) -> dict:
    rates = {}
    for rate in (*RATES, *CARRIED, "fta"):
        centre = CENTRES.get(rate, 0.3) + (0 if name == "all" else 0.03 * rng.standard_normal())
        errors = 12 if rate == "fnmr@fmr=0.1%" else int(rng.integers(40, 900))
        spread = 0.02 + 0.03 * rng.random()
        rates[rate] = {"value": centre, "low": max(centre - spread, 0.0), "high": centre + spread}
        rates[rate] |= {"errors": errors, "unreliable": errors < 30}
    rates["eer_rocch"] = {"value": None, "reason": "left out in this sample"}
    return {
        "condition": name,
        "description": f"Trials of the kind {name}.",
        "reason": None,
        "identities": 18,
        "videos": 144,
        "mated": 800,
        "non_mated": 3200,
        "fta": 0.021,
        "warnings": ["3 of 1000 bootstrap replicates skipped"] if name == "same_target" else [],
        "rates": rates,
        "identity_auc": {"value": 0.871, "low": 0.822, "high": 0.913, "identities": 17, "left_out": {"alone": 1}},
    }


def _training(rng) -> list[dict]:
    rows = [
        {
            "step": step,
            "loss": 2 * np.exp(-step / 800) + 0.1 + 0.05 * rng.standard_normal(),
            "learning_rate": 1e-3,
        }
        for step in range(0, 3001, 25)
    ]
    rows[7]["loss"] = float("nan")
    rows += [
        {
            "step": step,
            "validation/auc": 0.9 - 0.4 * np.exp(-step / 600),
            "validation/eer": 0.18 + 0.3 * np.exp(-step / 600),
        }
        for step in range(0, 3001, 250)
    ]
    return rows


def _attention(rng, video_id: str, frames: int = 60) -> dict:
    face = topology.get("avaprintdb109")
    sway = 0.15 * np.sin(np.arange(frames) / 4)[:, None, None] * np.array([1.0, 0.2, 0.0])
    opened = (
        np.where(face.reference_shape[:, 1:2] > 0.5, 0.3, 0.0) * np.abs(np.sin(np.arange(frames) / 6))[:, None, None]
    )
    landmarks = face.reference_shape[None] + sway + opened * np.array([0.0, 1.0, 0.0])
    mask = np.ones(frames, bool)
    mask[20:26] = False
    weights = np.exp(1.5 * rng.standard_normal(frames).cumsum() / 3) * mask
    return {
        "video_id": video_id,
        "weights": weights / weights.sum(),
        "frame_mask": mask,
        "landmarks": (landmarks * mask[:, None, None]).astype(np.float32),
        "edges": face.edges,
    }
