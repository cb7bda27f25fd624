"""Which regions of the face tell drivers apart: AMBER-ID's ST-GCN with regions left out, and with one alone.

Command: python -m fingerprint.main --mode=compare --config=configs/amber_regions.py:quickstart --workdir=runs/regions
Published: the same with `:published`, on the data of configs/amber_stgcn.py (not distributed with this repository).
Entries: all; without_eyebrows, _lips, _eyes, _nose, _oval; only_… of each. Differences are taken against `all`.

quickstart: the small network of configs/amber_stgcn.py:quickstart on the simulator's 152 points, one seed, 100 steps of
32 windows an entry. A choice: z is left out as published, and the normalisation (`deviation`) has seen all points, so
that where the head is comes with every region.
"""

import pathlib

from ml_collections import ConfigDict

from fingerprint import options

AMBER = pathlib.Path(__file__).with_name("amber_stgcn.py")
REGIONS = {"eyebrows": "eyebrows", "lips": "lips", "eyes": "eyes", "nose": "nose", "oval": "face_oval"}
ENTRIES = {
    "all": "all",
    **{f"without_{name}": f"-{region}" for name, region in REGIONS.items()},
    **{f"only_{name}": region for name, region in REGIONS.items()},
}
VARIANTS = ("quickstart", "published")


def get_config(variant: str = "quickstart") -> ConfigDict:
    """Eleven entries."""
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
    config = options.comparison()
    config.compare.title = f"Regions of the face, ST-GCN, {variant}"
    config.compare.reference = "all"
    for label, regions in ENTRIES.items():
        entry = options.load(AMBER, variant)
        entry.model.regions = regions
        entry.evaluate.title = f"ST-GCN, regions {regions}"
        if variant == "quickstart":
            entry.data.dataset = "synthetic_drivers/full_quickstart_amber152"
            entry.data.landmark_set = "amber152"
            entry.train.num_steps = 100
        config.compare.entries[label] = entry
    if variant == "quickstart":
        config.data.build = True
        config.compare.seeds = (0,)
    return config
