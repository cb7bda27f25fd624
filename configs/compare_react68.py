"""The three networks on real people, react68, in one of three readings: one table.

Data:    python -m data_builders.landmark_folder.from_react68 --source REACT68 --out tracks
         python -m data_builders.build landmark_folder/react68 --source tracks --data_dir data --shares 0.54 0.17 0.29
Command: python -m fingerprint.main --mode=compare --config=configs/compare_react68.py:raw
             --workdir=runs/compare_react68_raw
Readings: raw, motion_only, reenacted (configs/landmark_folder_gcn.py). Windows are 70 frames for GCN + TAP, 40 for the
others; a trial that one of them cannot score is left out for all, and counted.
"""

import pathlib

from ml_collections import ConfigDict

from fingerprint import options

HERE = pathlib.Path(__file__).parent


def get_config(reading: str = "raw") -> ConfigDict:
    """Three entries, three seeds."""
    config = options.comparison()
    config.evaluate.more_enrolment_clips = (3,)
    config.compare.title = f"Three networks on real people (react68), {reading}"
    config.compare.entries.gcn_tap = options.load(HERE / "landmark_folder_gcn.py", reading)
    config.compare.entries.temporal_cnn = options.load(HERE / "landmark_folder_tcn.py", reading)
    config.compare.entries.st_gcn = options.load(HERE / "landmark_folder_stgcn.py", reading)
    config.compare.reference = "gcn_tap"
    return config
