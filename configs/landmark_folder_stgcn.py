"""AMBER-ID's ST-GCN, small, on a data set made from any folder of landmark files, in one of three readings.

Data and readings: as configs/landmark_folder_gcn.py.
Command: python -m fingerprint.main --config=configs/landmark_folder_stgcn.py:raw --workdir=runs/react68_stgcn_raw

Choices: all points; three blocks of 16, 32, 32 channels, strides 2, 1, 2; embedding 64; positions and differences
beside them; windows of 40 frames; cross-entropy over the training drivers; 150 steps of 32 windows. Factors on
positions and differences are those of the quickstart on simulated drivers, but 20 on positions of motion_only.
"""

import pathlib

from ml_collections import ConfigDict

from fingerprint import options

HERE = pathlib.Path(__file__).parent


def get_config(reading: str = "raw") -> ConfigDict:
    """One reading of the data set."""
    config = options.load(HERE / "landmark_folder_gcn.py", reading)
    config.data.window.length = 40
    config.data.window.stride = 20
    config.sampler.windows_per_driver = 2
    config.model = ConfigDict(
        {
            "name": "st_gcn",
            "regions": "all",
            "channels": (16, 32, 32),
            "strides": (2, 1, 2),
            "features": 64,
            "position_scale": 20.0 if reading == "motion_only" else 5.0,
            "motion_scale": 20.0,
            "dropout": 0.1,
        }
    )
    config.loss = ConfigDict({"name": "softmax", "scale": 16.0})
    config.train.num_steps = 150
    config.evaluate.title = f"ST-GCN, {reading}"
    return config
