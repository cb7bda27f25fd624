"""Extract the tracks of a corpus on Apache Beam: on this machine, on Dataflow, Flink or Spark.

    python -m data_builders.extract_on_beam --source TREE --out TRACKS [options] -- [options of the runner]
    python -m data_builders.extract_on_beam --source TREE --out TRACKS -- \\
        --direct_num_workers=2 --direct_running_mode=multi_processing

Every video is one element, settled by the function that `fingerprint extract` calls for it; tracks and `failures.csv`
come out equal, byte for byte. Nothing is kept on a worker: videos, tracks and model are read and written where they
lie, on a file system that all workers see or at addresses that Beam opens (`gs://…`, `s3://…`, `hdfs://…`).

Exit codes: 0 done; 1 refused, or more failures than the budget; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import pathlib
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence

from fingerprint.errors import DatasetError, FingerprintError
from fingerprint.landmarks import arrays, batch, extract, model_file, track, workers
from fingerprint.landmarks.names import VIDEO_SUFFIXES
from fingerprint.landmarks.workers import VideoFile


def extract_all(
    source: str,
    out: str,
    *,
    landmark_model: str | None = None,
    options: extract.ExtractionOptions = extract.ExtractionOptions(),  # noqa: B008 - frozen
    runner_options: Sequence[str] = (),
) -> dict:
    """Extract the tracks of all videos below `source` into `out`, going on past failures; the same call resumes.

    Writes a track file for each video that can be read, `failures.csv` (file, reason, detail) and `summary.json`, and
    returns what the latter holds: files, failed, reasons, fta_rate.

    Args:
        source: folder or address of the tree of videos.
        out: folder or address for all that is written.
        landmark_model: file or address of MediaPipe's model; None: each worker looks where `model_file.find` does.
        options: how videos are read.
        runner_options: for the runner, such as `--runner=FlinkRunner`.

    Raises:
        DatasetError: Apache Beam is not installed, or there is no video.
        ModelFileMissing: no model file, or another one.
    """
    beam, files, pipeline_options = _beam()
    if not _remote(source) and not os.path.isdir(source):
        raise DatasetError(f"source {source} is no folder")
    if not _remote(landmark_model):
        landmark_model = os.fspath(model_file.find(landmark_model))
    settle = functools.partial(_settle, source=source, out=out, landmark_model=landmark_model, options=options)
    with beam.Pipeline(options=pipeline_options.PipelineOptions(list(runner_options))) as pipeline:
        settled = (
            pipeline
            | "Source" >> beam.Create([source])
            | "List videos" >> beam.FlatMap(_videos)
            | "Spread" >> beam.Reshuffle()
            | "Extract" >> beam.Map(settle)
        )
        failures = settled | "Failures" >> beam.Filter(lambda failure: failure[1] != "")
        count = settled | "Count" >> beam.combiners.Count.Globally()
        _ = (
            pipeline
            | "Once" >> beam.Create([out])
            | "Report" >> beam.Map(_report, beam.pvalue.AsList(failures), beam.pvalue.AsSingleton(count))
        )
    with files.FileSystems.open(_join(out, batch.SUMMARY)) as file:
        return json.loads(file.read())


def _beam():
    try:
        import apache_beam
        from apache_beam.io import filesystems
        from apache_beam.options import pipeline_options
    except ModuleNotFoundError as error:
        raise DatasetError(
            f'Apache Beam is not installed ({error}); in the repository root: pip install -e ".[beam]"'
        ) from error
    return apache_beam, filesystems, pipeline_options


def _videos(source: str) -> Iterator[tuple[str, str]]:
    """(path below the source, reason to refuse it or "") of every video that is not hidden."""
    if not _remote(source):
        found = batch.find_videos([source])
        yield from ((entry.name, entry.refused) for entry in found if entry.refused != workers.HIDDEN)
        return
    _, files, _ = _beam()
    prefix, found = source.rstrip("/") + "/", False
    for match in files.FileSystems.match([f"{prefix}**"]):
        for path in (metadata.path for metadata in match.metadata_list):
            name = pathlib.PurePosixPath(path.removeprefix(prefix))
            if name.suffix.lower() in VIDEO_SUFFIXES and not any(part.startswith(".") for part in name.parts):
                found = True
                yield name.as_posix(), ""
    if not found:
        raise DatasetError(f"no video in {source}; looked for {' '.join(VIDEO_SUFFIXES)}")


def _settle(
    video: tuple[str, str], *, source: str, out: str, landmark_model: str, options: extract.ExtractionOptions
) -> tuple[str, str, str]:
    """Extract one video; (file, reason, detail), where the reason is "" if a usable track is there now."""
    name, refused = video
    with tempfile.TemporaryDirectory() as scratch:
        root, tracks = pathlib.Path(source), pathlib.Path(out)
        if _remote(source):
            root = pathlib.Path(scratch) / "videos"
            if not refused:
                _fetch(_join(source, name), root / name)
        if _remote(out):
            tracks = pathlib.Path(scratch) / "tracks"
            _fetch(_join(out, f"{name}{track.SUFFIX}"), track.track_path(tracks, name), missing_ok=True)
        path = track.track_path(tracks, name)
        before = path.stat().st_mtime_ns if path.exists() else None
        entry = VideoFile(root, pathlib.PurePath(name), refused)
        outcome = workers.settle(entry, tracks, _model(landmark_model), options)
        if _remote(out) and path.exists() and path.stat().st_mtime_ns != before:
            _send(path, _join(out, f"{name}{track.SUFFIX}"))
    return name, outcome.reason, outcome.detail


@functools.cache
def _model(place: str) -> pathlib.Path:
    """The model file on this worker, its digest checked."""
    if not _remote(place):
        return model_file.find(place)
    path = pathlib.Path(tempfile.mkdtemp()) / model_file.NAME
    _fetch(place, path)
    return model_file.find(path)


def _report(out: str, failures: Sequence[tuple[str, str, str]], count: int) -> None:
    """Write `failures.csv` and `summary.json`."""
    summary = {
        "files": count,
        "failed": len(failures),
        "reasons": dict(sorted(Counter(reason for _, reason, _ in failures).items())),
        "fta_rate": len(failures) / count,
    }
    texts = {batch.FAILURES: batch.failures_csv(failures), batch.SUMMARY: json.dumps(summary, indent=1) + "\n"}
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in texts.items():
            path = pathlib.Path(scratch) / name
            path.write_bytes(text.encode("utf-8", "backslashreplace"))
            _send(path, _join(out, name))


def _remote(place: str | None) -> bool:
    return place is not None and "://" in place


def _join(place: str, name: str) -> str:
    return f"{place.rstrip('/')}/{name}"


def _fetch(place: str, path: pathlib.Path, missing_ok: bool = False) -> None:
    _, files, _ = _beam()
    if missing_ok and not files.FileSystems.exists(place):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.FileSystems.open(place, compression_type="uncompressed") as source, open(path, "wb") as copy:
        shutil.copyfileobj(source, copy)


def _send(path: pathlib.Path, place: str) -> None:
    """Copy a file to its place, where it appears whole or not at all."""
    _, files, _ = _beam()
    partial = f"{place}.partial"
    with open(path, "rb") as source, files.FileSystems.create(partial, compression_type="uncompressed") as copy:
        shutil.copyfileobj(source, copy)
    files.FileSystems.rename([partial], [place])


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    split = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.extract_on_beam",
        description="Extract the tracks of a corpus on Apache Beam.",
        epilog="What stands after -- is handed to the runner.",
    )
    parser.add_argument("--source", required=True, help="folder or address of the tree of videos")
    parser.add_argument("--out", required=True, help="folder or address for tracks, failures.csv and summary.json")
    parser.add_argument("--landmark_model", help="file or address of face_landmarker.task")
    parser.add_argument("--max_frames", type=int, default=arrays.MAX_FRAMES, help="longest video accepted")
    parser.add_argument("--failure_budget", type=float, default=0.01, help="largest share of failures (default 0.01)")
    args = parser.parse_args(argv[:split])
    try:
        summary = extract_all(
            args.source,
            args.out,
            landmark_model=args.landmark_model,
            options=extract.ExtractionOptions(max_frames=args.max_frames),
            runner_options=argv[split + 1 :],
        )
    except (FingerprintError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    reasons = ", ".join(f"{count} × {reason}" for reason, count in summary["reasons"].items())
    print(f"{args.out}: {summary['files']} videos, {summary['failed']} failures to acquire ({reasons or 'none'})")
    if summary["fta_rate"] > args.failure_budget:
        print(f"error: more failures than the budget of {args.failure_budget:.2%}; see failures.csv", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # Workers unpickle the functions by the module's name, which is not `__main__`.
    from data_builders import extract_on_beam

    sys.exit(extract_on_beam.main())
