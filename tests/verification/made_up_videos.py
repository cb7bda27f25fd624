"""Made-up video tables for the tests of protocols and score files."""

import itertools

import numpy as np


def reenactments(people=4, clips=5, targets=None, sentences=3, generators=("GAGA",), originals=False):
    """Every person drives their own face and the next two others, `clips` source clips each."""
    rows = []
    names = [f"P{number:02d}" for number in range(people)]
    for generator in generators:
        for index, driver in enumerate(names):
            for step in range(3 if targets is None else targets):
                target = names[(index + step) % people]
                for clip in range(clips):
                    rows.append((driver, target, generator, f"{driver}-{clip}", f"s{clip % sentences}"))
    if originals:
        rows += [(d, d, "ORIG", f"{d}-{c}", f"s{c % sentences}") for d, c in itertools.product(names, range(clips))]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    driver, target, generator, clip_id, sentence = columns
    return {
        "video_id": np.array([f"{t}--{d}--{c[4:]}--{g}" for d, t, g, c, _ in rows]),
        "driver": driver,
        "target": target,
        "generator": generator,
        "corpus": np.full(len(rows), "made-up"),
        "clip_id": clip_id,
        "sentence": sentence,
    }


def shuffled(videos, seed=0):
    order = np.random.default_rng(seed).permutation(len(videos["video_id"]))
    return {name: column[order] for name, column in videos.items()}
