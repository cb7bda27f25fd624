"""Does anonymised video still tell who drives it: AMBER-ID's attacker against its baseline.

Command: python -m fingerprint.main --mode=compare --config=configs/amber_linkability.py:quickstart
             --workdir=runs/linkability
Real people: `:react68` (data: configs/compare_react68.py). Published setting: `:published`, on two data sets of the
same people, clear and as avatars (configs/amber_stgcn.py; not distributed with this repository).

Two networks, `baseline` trained on clear video and `attacker` trained on anonymised video, each tested on `clear` and
on `anonymised`: four rows, and for each network the difference between the two test sets, paired by person.
quickstart, react68: the anonymisation is `data.anonymise`, in landmark space: every video's motion on one and the same
face, nobody's, without head pose. The trials are the same on both sides. The network is the small one of
configs/amber_stgcn.py:quickstart, or configs/landmark_folder_stgcn.py:raw for react68.
"""

import pathlib

from ml_collections import ConfigDict

from fingerprint import options

HERE = pathlib.Path(__file__).parent
NETWORKS = {
    "quickstart": ("amber_stgcn.py", "quickstart"),
    "react68": ("landmark_folder_stgcn.py", "raw"),
    "published": ("amber_stgcn.py", "published"),
}
# What differs between clear and anonymised video.
SIDES = {
    "clear": {"anonymise": False},
    "anonymised": {"anonymise": True},
}
PUBLISHED_SIDES = {
    "clear": {"dataset": "identity_folders/did_d_amber152"},
    "anonymised": {"dataset": "identity_folders/tav_d_amber152"},
}


def get_config(variant: str = "quickstart") -> ConfigDict:
    """Two networks on two test sets."""
    if variant not in NETWORKS:
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(NETWORKS)}")
    file, argument = NETWORKS[variant]
    sides = PUBLISHED_SIDES if variant == "published" else SIDES
    config = options.comparison()
    config.data.build = variant == "quickstart"
    config.compare.title = f"Clear against anonymised video, ST-GCN, {variant}"
    for label, side in (("baseline", "clear"), ("attacker", "anonymised")):
        entry = options.load(HERE / file, argument)
        entry.data.update(sides[side])
        entry.evaluate.title = f"ST-GCN trained on {side} video"
        config.compare.entries[label] = entry
    for name, changes in sides.items():
        config.compare.tests[name] = ConfigDict(changes)
    config.compare.reference = "baseline_on_clear"
    return config
