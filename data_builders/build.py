"""Build, list and verify data sets, without TensorFlow.

    python -m data_builders.build --list
    python -m data_builders.build landmark_folder/mine --source DIR --data_dir DIR
    python -m data_builders.build landmark_folder/mine --data_dir DIR --verify

Exit codes: 0 done; 1 refused (the message says why and nothing half-built is left); 2 wrong usage; 130
interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import io
import logging
import pathlib
import shutil
import signal
import sys
import tempfile
import time

from fingerprint.errors import FingerprintError, UnknownName

BUILDERS = (
    "landmark_folder",
    "identity_folders",
    "ravdess",
    "cremad",
    "nvfair",
    "avaprintdb",
    "gagavatar_benchmark",
    "synthetic_drivers",
)
_EPILOG = "Options that a builder does not take are refused; its README.md says which it takes."


def builder_class(name: str):
    """The builder of that name.

    Raises:
        UnknownName: no such builder.
    """
    if name not in BUILDERS:
        raise UnknownName("builder", name, BUILDERS)
    return importlib.import_module(f"data_builders.{name}.{name}_dataset_builder").Builder


def make_builder(dataset: str, data_dir: pathlib.Path, options):
    """The TFDS builder of `name[/config]`.

    Raises:
        FingerprintError: unknown builder or config, or options that it does not take.
    """
    from fingerprint.landmarks.names import check_identity

    name, _, config = dataset.partition("/")
    cls = builder_class(name)
    module = sys.modules[cls.__module__]
    known = [c.name for c in cls.BUILDER_CONFIGS]
    if not config:
        raise UnknownName(f"config of {name}", "", known)
    if hasattr(module, "make_config"):
        return cls(
            data_dir=data_dir,
            config=module.make_config(check_identity(config, "config"), options),
            options=options,
        )
    if config not in known:
        raise UnknownName(f"config of {name}", config, known)
    return cls(data_dir=data_dir, config=config, options=options)


def build(dataset: str, data_dir: pathlib.Path, options, overwrite: bool = False) -> pathlib.Path:
    """Build a data set and return its folder; one built before with the same options is left as it is.

    With `overwrite` the new one is built beside the old and takes its place at the end: a failure loses
    nothing.

    Raises:
        FingerprintError: the data set cannot be built as asked.
    """
    from data_builders.base import describe
    from data_builders.ledger import FAILURES_FILE
    from fingerprint.data.records import read_build_file
    from fingerprint.errors import DatasetError

    data_dir.mkdir(parents=True, exist_ok=True)
    builder = make_builder(dataset, data_dir, options)
    folder = pathlib.Path(builder.data_dir)
    if not folder.exists():
        _prepare(builder)
        return folder
    if not overwrite:
        before, now = read_build_file(folder).get("options"), describe(builder)
        if before != now:
            raise DatasetError(f"{folder} was built with options {before}, now {now}; --overwrite builds it anew")
        print(f"already built: {folder} (--overwrite builds it anew)")
        return folder
    staging = pathlib.Path(tempfile.mkdtemp(prefix=".overwrite-", dir=data_dir))
    try:
        new = make_builder(dataset, staging, builder.settled())
        try:
            _prepare(new)
        except DatasetError as error:
            with contextlib.suppress(FileNotFoundError):
                shutil.move(pathlib.Path(new.data_dir).parent / FAILURES_FILE, folder.parent / FAILURES_FILE)
            raise DatasetError(str(error).replace(str(staging), str(data_dir))) from error
        folder.rename(staging / "replaced")
        try:
            pathlib.Path(new.data_dir).rename(folder)
        except BaseException:
            (staging / "replaced").rename(folder)
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _prepare(builder) -> None:
    import tensorflow_datasets as tfds

    # The builders show their own progress, which knows the total; TFDS' lines speak of downloads.
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()


def report(dataset: str, data_dir: pathlib.Path, folder: pathlib.Path, verify: bool) -> None:
    """Print where a data set is, its splits with their sizes and people, and what was left out."""
    import numpy as np

    from fingerprint.data import records

    name = dataset.partition(":")[0]
    build_file = records.read_build_file(folder)
    beside = "".join(f", {channel}" for channel in build_file.get("channels", ()))
    print(f"{folder}  (landmark set {build_file['landmark_set']}{beside})")
    for split in build_file["records"]:
        started = time.perf_counter()
        source = records.open_split(data_dir, f"{name}:{folder.name}", split, verify=verify)
        videos = source.video_table()
        drivers, people = np.unique(videos["driver"]), np.union1d(videos["driver"], videos["target"])
        seconds = time.perf_counter() - started
        print(
            f"  {split:<11}{len(source):>8} records {len(videos['video_id']):>8} videos "
            f"{int(videos['num_frames'].sum()):>10} frames {len(drivers):>5} drivers "
            f"{len(people):>5} identities"
            + (f"   every record read and checked, {len(source) / seconds:,.0f}/s" if verify else "")
        )
    for status in ("refused", "excluded"):
        if build_file[status]:
            reasons = ", ".join(f"{count} × {reason}" for reason, count in build_file[status].items())
            print(f"  {status}: {reasons}  (see {folder / 'failures.csv'})")
    for note in build_file["notes"]:
        print(f"  {note}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_builders.build", description="Build, list and verify data sets.", epilog=_EPILOG
    )
    parser.add_argument("dataset", nargs="?", help=f"NAME/CONFIG; NAME is one of {', '.join(BUILDERS)}")
    parser.add_argument("--data_dir", type=pathlib.Path, help="folder that holds the built data sets")
    parser.add_argument("--list", action="store_true", help="list the builders and their configs")
    parser.add_argument("--verify", action="store_true", help="read and check everything of a data set that is built")
    parser.add_argument(
        "--overwrite", action="store_true", help="build anew; the old one goes when the new one is whole"
    )
    group = parser.add_argument_group("options of builders")
    group.add_argument("--source", type=pathlib.Path, help="folder with the files as published")
    group.add_argument(
        "--tracks",
        type=pathlib.Path,
        help="folder of the videos' tracks; missing ones are extracted into it (default DATA_DIR/tracks/NAME)",
    )
    group.add_argument("--landmark_model", type=pathlib.Path, help="file face_landmarker.task, to extract tracks with")
    group.add_argument("--processes", type=int, help="how many extract at a time (default: one a core)")
    group.add_argument("--resample_fps", type=float, help="bring every track to this rate (default: the video's own)")
    group.add_argument(
        "--channels",
        nargs="+",
        metavar="NAME",
        help="what records hold of each frame beside the landmarks: blendshapes, pose (from videos or tracks only)",
    )
    group.add_argument("--landmark_set", help="which points the files hold (default: inferred)")
    group.add_argument("--corpus", help="corpus written to every record")
    group.add_argument("--generator", help="generator written to every record (ORIG: real videos)")
    group.add_argument("--fps", type=float, help="frames per second of every video")
    group.add_argument(
        "--image_size",
        type=int,
        nargs=2,
        metavar=("WIDTH", "HEIGHT"),
        help="of every video; 1 1: coordinates are isotropic",
    )
    group.add_argument("--splits_csv", type=pathlib.Path, help="file with the columns identity,split")
    group.add_argument(
        "--shares",
        type=float,
        nargs=3,
        metavar=("TRAIN", "VALIDATION", "TEST"),
        help="of the identities (default 0.7 0.1 0.2)",
    )
    group.add_argument("--seed", type=int, help="of the split by shares (default 0)")
    group.add_argument("--metadata_csv", type=pathlib.Path, help="file with what the names do not say")
    group.add_argument("--whole_dev", action="store_true", default=None, help="train on all development identities")
    group.add_argument(
        "--drop_first_frame", action="store_true", default=None, help="drop the first frame of every window"
    )
    group.add_argument("--failure_budget", type=float, help="largest share of files that may be refused (default 0.01)")
    group.add_argument("--max_frames", type=int, help="longest track accepted (default 200000)")
    return parser


def _options(args: argparse.Namespace):
    from data_builders.base import Options

    given = {f.name: getattr(args, f.name) for f in dataclasses.fields(Options) if getattr(args, f.name) is not None}
    return Options(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})


def _list() -> None:
    for name in BUILDERS:
        cls = builder_class(name)
        configs_by_options: dict[frozenset[str], list[str]] = {}
        for config in cls.BUILDER_CONFIGS:
            configs_by_options.setdefault(cls.options_of(config), []).append(config.name)
        for options, configs in configs_by_options.items():
            print(f"{name}: {', '.join(configs)}")
            print(f"    options: {', '.join('--' + option for option in sorted(options))}")


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.list:
        _list()
        return 0
    if not args.dataset or not args.data_dir:
        parser.error("wanted NAME/CONFIG and --data_dir (or --list)")
    started = time.perf_counter()
    logging.getLogger("absl").setLevel(logging.ERROR)
    # A terminated build takes its incomplete folder with it, as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        options = _options(args)
        if args.verify:
            from fingerprint.data.records import locate

            folder, _ = locate(args.data_dir, args.dataset)
        else:
            folder = build(args.dataset, args.data_dir, options, args.overwrite)
        report(args.dataset, args.data_dir, folder, args.verify)
    except (FingerprintError, OSError) as error:  # OSError: a full or read-only disk
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing half-built is left", file=sys.stderr)
        return 130
    print(f"{time.perf_counter() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
