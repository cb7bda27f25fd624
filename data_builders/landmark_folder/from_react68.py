"""Unpack packed 68-point tracks (`PPxxx_gN.npz`) into the tree that `landmark_folder` builds from.

    python -m data_builders.landmark_folder.from_react68 --source ../shared/data/react68 --out tracks
    python -m data_builders.build landmark_folder/react68 --source tracks --data_dir data \\
        --shares 0.54 0.17 0.29

A packed file holds `landmarks_mm10_delta` int16 [V, 3, T], the differences in time of positions in tenths of
a millimetre, and `confidence` [T] of the tracker. Rules: frames below a confidence of 0.8 (OpenFace's own
limit for a successful frame) are masked; positions are in millimetres, x right, y down, z away, so
`image_size` is (1, 1); the frame rate is not stated, so `fps` is 0; these are real videos, so driver and
target are the person, and the generator is ORIG.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys

import numpy as np

from fingerprint.errors import ArrayRefused, FingerprintError

MIN_CONFIDENCE = 0.8
_NAME = re.compile(r"(PP\d{3})_g\d{1,2}")
_POINTS = 68


def unpack(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of one packed file as `landmark_folder` wants them.

    Returns:
        `landmarks` f32 [T, 68, 3] in mm, `frame_mask` bool [T], `fps`, `image_size`.

    Raises:
        ArrayRefused: the file does not hold a packed track.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            deltas, confidence = file["landmarks_mm10_delta"], file["confidence"]
    except (OSError, ValueError, KeyError) as error:
        raise ArrayRefused(path, "keys", f"no packed track ({error})") from error
    if deltas.dtype != np.int16 or deltas.shape != (_POINTS, 3, len(confidence)) or not len(confidence):
        raise ArrayRefused(
            path, "shape", f"{deltas.dtype}{deltas.shape}; wanted int16 ({_POINTS}, 3, {len(confidence)})"
        )
    positions = np.cumsum(deltas.astype(np.int32), axis=2).transpose(2, 0, 1)
    return {
        "landmarks": (positions / 10).astype(np.float32),
        "frame_mask": confidence >= MIN_CONFIDENCE,
        "fps": np.float32(0),
        "image_size": np.array([1, 1], np.int32),
    }


def unpack_folder(source: pathlib.Path, out: pathlib.Path) -> tuple[int, int, int]:
    """Unpack every file of `source` to `out/<person>/<person>/<person>_gN.npz`.

    Returns:
        Numbers of files, frames, and masked frames.

    Raises:
        FingerprintError: no packed file, or one that holds no packed track.
    """
    named = [(path, match[1]) for path in sorted(source.glob("*.npz")) if (match := _NAME.fullmatch(path.stem))]
    if not named:
        raise FingerprintError(f"{source}: no file PPxxx_gN.npz")
    frames = masked = 0
    for path, person in named:
        arrays = unpack(path)
        folder = out / person / person
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / path.name, **arrays)
        frames += len(arrays["frame_mask"])
        masked += int(np.sum(~arrays["frame_mask"]))
    return len(named), frames, masked


def main(argv: list[str] | None = None) -> int:
    """The command line; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=pathlib.Path, required=True, help="folder with the packed files")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the tree")
    args = parser.parse_args(argv)
    try:
        files, frames, masked = unpack_folder(args.source, args.out)
    except FingerprintError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {files} tracks, {frames} frames, {masked} masked ({masked / frames:.2%})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
