"""NVIDIA's temporal CNN, small, on a data set made from any folder of landmark files, in one of three readings.

Data and readings: as configs/landmark_folder_gcn.py.
Command: python -m fingerprint.main --config=configs/landmark_folder_tcn.py:raw --workdir=runs/react68_tcn_raw

Choices: clips of 31 frames in windows of 40; hidden 64, embedding 64; every fourth of the distances, in three
dimensions; the dynamic identity loss at temperature 0.5, with its term Q (same face, other driver) only where faces are
shared (`reenacted`), with its shuffled copies always; 150 steps of 64 windows.
raw: distances over the facial scale of each frame, the network sees the face as the paper's does. motion_only: the
clip's own mean face is removed, so there is no face to take distances on: coordinates and their changes. reenacted:
changes of distances from frame to frame, as the quickstart on simulated drivers.
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
    config.model = ConfigDict(
        {
            "name": "temporal_cnn",
            "features": "distances",
            "regions": "all",
            "every": 4,
            "depth": True,
            "scale": "frame",
            "centre": "face",
            "velocity": "without",
            "clip": 31,
            "hidden": 64,
            "dim": 64,
            "chunk": -1,
        }
    )
    config.loss = ConfigDict({"name": "dynamic_identity", "temperature": 0.5, "same_target": False, "shuffled": True})
    config.optimizer.learning_rate = 1e-3
    config.train.num_steps = 150
    config.evaluate.title = f"Temporal CNN, {reading}"
    if reading == "motion_only":
        config.model.update({"features": "coordinates", "centre": "nothing", "velocity": "with"})
    if reading == "reenacted":
        config.model.velocity = "only"
        config.loss.same_target = True
    return config
