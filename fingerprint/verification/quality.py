"""Quality measures of a trial: how much there is to go by, on the side that has less."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from fingerprint.verification.trials import TrialList

MEASURES = ("log_frames", "share_with_face")


def measures(
    num_valid: Int[np.ndarray, " video"], num_frames: Int[np.ndarray, " video"], trials: TrialList
) -> Float[np.ndarray, "trial measure"]:
    """`MEASURES` of each trial: log of the number of frames that show the face, and their share of all frames.

    Of either measure the smaller side counts: a score can be no surer than its poorer side. A template has the frames
    of all its videos.

    Args:
        num_valid: frames with a face of each video. num_frames: all its frames.

    Returns:
        Finite; a side without a frame counts as one frame, with share 0.
    """
    counts = np.stack([num_valid, num_frames], axis=1)
    template = np.array([counts[list(rows)].sum(axis=0) for rows in trials.templates]).reshape(-1, 2)
    return np.minimum(of_sides(*template.T)[trials.template_index], of_sides(*counts.T)[trials.probe_index])


def of_sides(valid, frames) -> Float[np.ndarray, "side measure"]:
    """`MEASURES` of templates or probes from their frames with a face and all their frames."""
    valid, frames = np.asarray(valid, np.float64), np.asarray(frames, np.float64)
    return np.stack([np.log(np.maximum(valid, 1)), valid / np.maximum(frames, 1)], axis=1)
