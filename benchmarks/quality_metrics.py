"""Quality metrics beside the usual PyTorch and scikit-image code: frames a second, alternating in one process.

    FINGERPRINT_WEIGHTS=DIR FINGERPRINT_WEIGHT_SOURCES=DIR python -m benchmarks.quality_metrics --rounds 5

A metric whose weights or counterpart are absent is left out and named. `processor` counts processor seconds of all
threads, which other work on the machine disturbs less than the clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable

import jax
import numpy as np
import pytest

from benchmarks.alternate import ratio
from fingerprint.generation import edges, pixels
from fingerprint.generation.networks import i3d, inception, lpips, musiq
from fingerprint.generation.statistics import FeatureStatistics, frechet_distance
from tests import originals

Work = Callable[[], object]


def inception_work(torch) -> tuple[dict[str, Work], int]:
    params, published = inception.load(originals.installed("inception")), originals.inception()
    frames = originals.pictures(4, 256, 256)
    frozen = torch.jit.optimize_for_inference(torch.jit.load(str(originals.source("default_1.pt"))).eval())
    resized = torch.rand(4, 3, 299, 299) * 2 - 1

    @torch.no_grad()
    def network_alone():
        return frozen(resized)

    work = {"ours": lambda: inception.features(params, frames), "torch": lambda: published(frames)}
    return work | {"torch, optimised, without resizing": network_alone}, len(frames)


def i3d_work(torch) -> tuple[dict[str, Work], int]:
    params, published = i3d.load(originals.installed("i3d")), originals.i3d()
    clips = originals.pictures(16, 224, 224)[None]
    return {"ours": lambda: i3d.features(params, clips), "torch": lambda: published(clips)}, 16


def lpips_work() -> tuple[dict[str, Work], int]:
    params, published = lpips.load(originals.installed("lpips")), originals.lpips()
    frames = originals.pictures(9, 256, 256)
    a, b = frames[:-1], frames[1:]
    return {"ours": lambda: lpips.distance(params, a, b), "torch": lambda: published(a, b)}, len(a)


def musiq_work() -> tuple[dict[str, Work], int]:
    state = originals.musiq_weights()
    params, published = jax.device_put(musiq.arranged(state)), originals.musiq(state)
    frames = originals.pictures(2, 512, 512)
    return {"ours": lambda: musiq.scores(params, frames), "torch": lambda: published(frames)}, len(frames)


def pixel_work(name: str) -> tuple[dict[str, Work], int]:
    from skimage import metrics

    frames = originals.pictures(9, 512, 512)
    a, b = frames[:-1], frames[1:]
    if name == "psnr":
        ours, theirs = pixels.psnr, lambda x, y: metrics.peak_signal_noise_ratio(x, y, data_range=255)
    else:
        ours, theirs = pixels.ssim, lambda x, y: metrics.structural_similarity(x, y, data_range=255, channel_axis=-1)
    return {"ours": lambda: ours(a, b), "scikit-image": lambda: [*map(theirs, a, b)]}, len(a)


def torchmetrics_work(torch, name: str) -> tuple[dict[str, Work], int]:
    from torchmetrics.functional import image

    frames = originals.pictures(9, 512, 512)
    a, b = frames[:-1], frames[1:]
    x, y = (torch.from_numpy(f).permute(0, 3, 1, 2).float() for f in (a, b))
    if name == "psnr":
        ours, theirs = pixels.psnr, image.peak_signal_noise_ratio
    else:
        ours, theirs = pixels.ssim, image.structural_similarity_index_measure
    return {"ours": lambda: ours(a, b), "torchmetrics": lambda: theirs(x, y, data_range=255.0)}, len(a)


def edge_work() -> tuple[dict[str, Work], int]:
    import cv2

    frames = originals.pictures(4, 512, 512)

    def opencv():
        return [cv2.Canny(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), 100, 200) for frame in frames]

    return {"ours": lambda: edges.canny(frames), "OpenCV": opencv}, len(frames)


def measure(work: dict[str, Work], units: int, rounds: int) -> dict:
    """Units a second of each, by processor and by clock, and `ours` over the others; two rounds do not count."""
    seen = {name: {"processor": [], "clock": []} for name in work}
    for turn in range(rounds + 2):
        for name, run in work.items():
            processor, clock = time.process_time(), time.perf_counter()
            run()
            if turn > 1:
                seen[name]["processor"].append(units / (time.process_time() - processor))
                seen[name]["clock"].append(units / (time.perf_counter() - clock))
    report = {name: {k: round(statistics.median(v), 2) for k, v in rates.items()} for name, rates in seen.items()}
    for name in [name for name in work if name != "ours"]:
        for kind in ("processor", "clock"):
            rates = {n: seen[n][kind] for n in ("ours", name)}
            report[f"ours over {name}, {kind}"] = ratio(rates, "ours", name)
    return report


def statistics_memory(counts: tuple[int, ...] = (4_000, 16_000)) -> dict:
    """Peak of NumPy's memory while so many features of 2048 dimensions stream through, MiB."""
    random, peaks = np.random.default_rng(0), {}
    for count in counts:
        tracemalloc.start()
        kept = FeatureStatistics(2048)
        for _ in range(count // 500):
            kept.add(random.normal(size=(500, 2048)))
        peaks[count] = round(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
    return peaks


def frechet_seconds() -> dict:
    """Processor seconds of a Fréchet distance in 2048 dimensions."""
    random, seconds = np.random.default_rng(0), {}
    for count in (16, 3000):
        one, other = FeatureStatistics(2048), FeatureStatistics(2048)
        one.add(random.normal(size=(count, 2048)))
        other.add(random.normal(size=(count, 2048)))
        began = time.process_time()
        frechet_distance(one, other)
        seconds[count] = round(time.process_time() - began, 2)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    parser.add_argument("--only", nargs="*", help="names of the metrics to measure")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    made = {
        "inception": lambda: inception_work(torch),
        "i3d": lambda: i3d_work(torch),
        "lpips": lpips_work,
        "musiq": musiq_work,
        "psnr": lambda: pixel_work("psnr"),
        "ssim": lambda: pixel_work("ssim"),
        "psnr, torchmetrics": lambda: torchmetrics_work(torch, "psnr"),
        "ssim, torchmetrics": lambda: torchmetrics_work(torch, "ssim"),
        "edges": edge_work,
    }
    report = {}
    for name, make in made.items():
        if arguments.only and name not in arguments.only:
            continue
        try:
            report[name] = measure(*make(), arguments.rounds)
        except (ImportError, pytest.skip.Exception) as absent:
            report[name] = f"left out: {absent}"
    if not arguments.only:
        report |= {"statistics, peak MiB by samples": statistics_memory(), "fréchet, seconds": frechet_seconds()}
    print(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    main()
