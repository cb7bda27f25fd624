"""GCN + TAP on a data set made from any folder of landmark files, in one of three readings.

Data:    python -m data_builders.build landmark_folder/react68 --source tracks --data_dir data --shares 0.54 0.17 0.29
         (data_builders/landmark_folder/README.md says how to make `tracks`)
Command: python -m fingerprint.main --config=configs/landmark_folder_gcn.py:raw --workdir=runs/react68_raw
Readings: raw (as recorded: the face's shape and posture are seen), motion_only (every clip's own mean face removed
after alignment), reenacted (every clip's motion put on its own and on four other faces, so that an impostor can wear
the claimed face). The data set is landmark_folder/react68 with the 68 iBUG points unless --config.data.dataset and
--config.data.landmark_set say otherwise; a step holds 16 drivers, so fewer training people want a lower
--config.sampler.drivers_per_batch.
Cost: 300 steps of 64 windows, 3 to 9 minutes on 2 shared cores. Reaches, on react68 (docs/RESULTS.md): AUC 0.97 raw,
0.75 motion_only, 0.53 reenacted, where the impostor wears the claimed face.
"""

from ml_collections import ConfigDict

from fingerprint import options

READINGS = ("raw", "motion_only", "reenacted")


def get_config(reading: str = "raw") -> ConfigDict:
    """One reading of the data set."""
    if reading not in READINGS:
        raise ValueError(f"unknown reading {reading!r}; known: {READINGS}")
    config = options.defaults()
    config.data.data_dir = "data"
    config.data.dataset = "landmark_folder/react68"
    config.data.landmark_set = "ibug68"
    config.sampler.drivers_per_batch = 16
    config.sampler.windows_per_driver = 4
    config.sampler.leave_out_few = True  # some people of react68 have one recording
    config.optimizer.learning_rate = 3e-3
    config.loss.temperature = 0.05
    config.train.num_steps = 300
    config.train.eval_every = 50
    config.checkpoint.every = 50
    config.evaluate.more_enrolment_clips = (3,)
    if reading == "motion_only":
        config.data.normalization = "motion_only"
        config.model.input_scale = 20.0
    if reading == "reenacted":
        config.data.reenact_targets = 4
        config.sampler.same_target = True
    return config
