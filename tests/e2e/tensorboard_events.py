"""Reads TensorBoard event files by their published format: TFRecord framing around Event messages."""

import pathlib
import struct

from tensorboardX.proto import event_pb2


def scalars(folder: pathlib.Path) -> dict[str, dict[int, float]]:
    """Value by step by name, over all event files of a folder."""
    out: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        raw, at = path.read_bytes(), 0
        while at < len(raw):
            (length,) = struct.unpack_from("<Q", raw, at)
            event = event_pb2.Event.FromString(raw[at + 12 : at + 12 + length])
            at += 12 + length + 4
            for value in event.summary.value:
                out.setdefault(value.tag, {})[event.step] = value.simple_value
    return out
