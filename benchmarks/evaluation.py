"""A full evaluation: 1,000 videos, 100,000 trials, 1,000 bootstrap replicates; seconds by part.

    python -m benchmarks.evaluation [--videos 1000] [--trials 100000] [--replicates 1000]

Beside it, extrapolated and said so, the cost of embedding both videos again for every trial. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

from fingerprint.data import simulator
from fingerprint.embed import Embedder
from fingerprint.landmarks import topology
from fingerprint.landmarks.windows import WindowSpec
from fingerprint.models import registry
from fingerprint.validation import VideoTrials
from fingerprint.verification import protocols
from fingerprint.verification.rates_table import report_rates
from fingerprint.verification.scoring import Scoring


class SimulatedSource:
    """Simulated videos rendered once and held in memory."""

    def __init__(self, count: int):
        config, points = simulator.get_config("full"), topology.get("avaprintdb109")
        specs = simulator.plan(0, simulator.get_plan("full"), "train")[:count]
        self.records = []
        for spec in specs:
            video = simulator.simulate(spec, 0, config, points.mediapipe_indices)
            record = {
                name: getattr(spec, name)
                for name in ("driver", "target", "generator", "clip_id", "sentence", "video_id")
            }
            record |= {"landmarks": video.landmarks, "frame_mask": video.frame_mask, "fps": np.float32(video.fps)}
            record |= {"image_size": np.array(video.image_size, np.int32), "landmark_set": "avaprintdb109"}
            self.records.append(record | {"corpus": "simulated", "window_index": 0, "start_frame": 0})

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict:
        return self.records[index]

    def metadata(self) -> dict[str, np.ndarray]:
        names = [n for n in self.records[0] if n not in ("landmarks", "frame_mask")]
        table = {name: np.array([r[name] for r in self.records]) for name in names}
        table["num_frames"] = np.array([len(r["frame_mask"]) for r in self.records], np.int32)
        return table | {"num_valid": np.array([r["frame_mask"].sum() for r in self.records], np.int32)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--replicates", type=int, default=1000)
    arguments = parser.parse_args()
    source, spec = SimulatedSource(arguments.videos), WindowSpec(70, 35)
    model = registry.build({"name": "gcn_tap", "landmark_set": "avaprintdb109", "form": "auto", "chunk": -1})
    params = model.init(jax.random.key(0), jnp.zeros((1, 70, 109, 3)), jnp.ones((1, 70), bool))["params"]
    embedder = Embedder(model, landmark_set="avaprintdb109", normalization="aspect_corrected", spec=spec, batch_size=64)
    seconds, began = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal began
        seconds[name], began = round(time.perf_counter() - began, 3), time.perf_counter()

    embedder.split(params, source)
    lap("embedding, first time (compiles)")
    windows = embedder.split(params, source)
    lap("embedding")
    subject = VideoTrials(
        source, lambda v: protocols.get("all_pairs")(v, seed=0, max_trials=arguments.trials), scoring=Scoring()
    )
    lap("trials and leakage check")
    scores = subject.scores(windows)
    lap("scoring")
    report_rates(subject.trials, scores, replicates=0, seed=0)
    lap("error rates of all conditions, no intervals")
    report_rates(subject.trials, scores, replicates=arguments.replicates, seed=0)
    lap(f"error rates of all conditions with {arguments.replicates} replicates")
    naive = len(subject.trials) * 2 * len(windows.vector) / len(source) * seconds["embedding"] / len(windows.vector)
    print(
        json.dumps(
            {
                "benchmark": "evaluation",
                "videos": len(source),
                "windows": len(windows.vector),
                "trials": len(subject.trials),
                "seconds": seconds,
                "windows_per_second": round(len(windows.vector) / seconds["embedding"], 1),
                "embedding_both_videos_for_every_trial": {
                    "seconds_extrapolated": round(naive),
                    "ratio": round(naive / seconds["embedding"]),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
