"""Windows/s through the input pipeline, from array_record on disk to batches, beside what training consumes.

    python -m benchmarks.input_pipeline [--steps 20] [--rounds 3]

Builds `synthetic_drivers/full_tiny` in a temporary folder. Both alternate in one process; in a run they overlap.
Prints one JSON line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile

import jax
import jax.numpy as jnp

from benchmarks import alternate
from benchmarks.gcn_tap_throughput import our_work
from fingerprint.data import input_pipeline, records
from fingerprint.data.augment import Augmentation
from fingerprint.landmarks.windows import WindowSpec
from fingerprint.models import registry

READINGS = {
    "plain": Augmentation(),
    "augmented": Augmentation(mirror=0.5, jitter=0.01, frame_drop=0.05, time_crop=0.8),
    "reenacted": Augmentation(mirror=0.5, jitter=0.01, frame_drop=0.05, time_crop=0.8, reenact=1.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    drivers, windows = 4, 8
    batch = drivers * windows
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "data_builders.build", "synthetic_drivers/full_tiny", "--data_dir", folder]
        subprocess.run(build, check=True, capture_output=True)
        source = records.open_split(folder, "synthetic_drivers/full_tiny", "train")

        def pipeline(options: Augmentation):
            examples = input_pipeline.train_examples(
                source,
                landmark_set="avaprintdb109",
                normalization="aspect_corrected",
                spec=WindowSpec(70, 35),
                options=options,
                drivers_per_batch=drivers,
                windows_per_driver=windows,
                same_target=False,
                seed=0,
            )
            iterator = input_pipeline.train_iterator(
                examples, num_steps=10**6, share=slice(0, batch), threads=4, prefetch=8
            )
            # More batches than are held ready, so that the rate is that of making them.
            return lambda: [None for _ in itertools.islice(iterator, arguments.steps)]

        model = registry.build({"name": "gcn_tap", "landmark_set": "avaprintdb109", "form": "auto", "chunk": -1})
        params = model.init(jax.random.key(0), jnp.zeros((1, 70, 109, 3)), jnp.ones((1, 70), bool))["params"]
        step, _, _ = our_work(params, jax.random.normal(jax.random.key(0), (batch, 70, 109, 3)), "vertex", "dense")
        candidates = {name: (pipeline(options), batch * arguments.steps) for name, options in READINGS.items()}
        seen = alternate.rates({"training": (step, batch), **candidates}, arguments.rounds)
    print(
        json.dumps(
            {
                "benchmark": "input_pipeline",
                "batch": batch,
                "windows_per_second": alternate.medians(seen),
                "over_training": {name: alternate.ratio(seen, name, "training") for name in READINGS},
            }
        )
    )


if __name__ == "__main__":
    main()
