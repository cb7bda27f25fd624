"""Frames/s of a batch with one and two processes, and the memory of a worker for a video and one four times as long.

    python -m benchmarks.extraction_scaling VIDEO… [--rounds 3] [--model_file FILE]

Both numbers of processes alternate over the same videos, start of the workers included. `other_cores` is the number of
cores that other work kept busy meanwhile; where it is not near 0, look at `cpu_ms_per_frame`, which hardly minds.
Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pathlib
import re
import resource
import tempfile
import time

from benchmarks import alternate
from fingerprint.landmarks import batch, video


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model_file")
    arguments = parser.parse_args()
    videos = batch.find_videos(arguments.videos)
    frames = sum(video.open_video(entry.path).num_frames for entry in videos)
    cpu: dict[int, list[float]] = {1: [], 2: []}

    def extract(processes: int):
        def work() -> None:
            before = own_cpu()
            with tempfile.TemporaryDirectory() as out:
                batch.extract_all(videos, out, model_file=arguments.model_file, processes=processes)
            cpu[processes].append((own_cpu() - before) / frames * 1000)

        return work

    began, busy, own = time.monotonic(), busy_cpu(), own_cpu()
    seen = alternate.rates({str(count): (extract(count), frames) for count in cpu}, arguments.rounds)
    others = (busy_cpu() - busy) - (own_cpu() - own)
    largest = max(videos, key=lambda entry: entry.path.stat().st_size)
    print(
        json.dumps(
            {
                "benchmark": "extraction_scaling",
                "videos": len(videos),
                "frames": frames,
                "cores": os.cpu_count(),
                "other_cores": round(others / (time.monotonic() - began), 2),
                "frames_per_second": alternate.medians(seen),
                "two_over_one": alternate.ratio(seen, "2", "1"),
                "cpu_ms_per_frame": {count: round(sum(each[1:]) / arguments.rounds, 2) for count, each in cpu.items()},
                "worker_memory": memory(largest, arguments.model_file),
            }
        )
    )


def memory(entry: batch.VideoFile, model_file: str | None) -> list[dict[str, float]]:
    """Frames and peak resident MiB of a worker for a video, and for the same four times over."""
    found = []
    for times in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            long = pathlib.Path(folder) / "long.mp4"
            pictures = (frame.rgb for _ in range(times) for frame in video.frames(entry.path))
            video.write_video(long, pictures, video.open_video(entry.path).fps)
            peaks = [0.0]
            summary = batch.extract_all(
                batch.find_videos([long]), pathlib.Path(folder) / "out", model_file=model_file,
                on_progress=lambda _, peaks=peaks: peaks.extend(map(peak, multiprocessing.active_children())),
            )  # fmt: skip
            found.append({"frames": summary.frames, "peak_mib": round(max(peaks), 1)})
    return found


def peak(process) -> float:
    """Peak resident MiB of a running process."""
    try:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if (found := re.search(r"VmHWM:\s+(\d+) kB", status)) else 0.0


def own_cpu() -> float:
    """CPU seconds of this process and of those it has waited for."""
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in each)


def busy_cpu() -> float:
    """CPU seconds of everything on this machine since it started."""
    user, nice, system, _, _, interrupts, soft = map(int, pathlib.Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
