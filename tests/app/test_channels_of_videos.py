"""A model that reads channels, on real videos: it gets the same from a data set, a track file and a stream."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_builders import build
from data_builders.base import Options
from fingerprint import checkpoint, embed
from fingerprint.app import evidence, running
from fingerprint.data import records
from fingerprint.landmarks import batch, track
from fingerprint.landmarks.channels import NAMES, Layout
from fingerprint.landmarks.extract import FaceFrame
from fingerprint.models import registry

SET, LENGTH = "amber152", 20
CLIPS = {"grid_id001/a.mpg": "grid_bbaf2n.mpg", "grid_id002/b.mpg": "grid_lbax4n.mpg"}
NETWORK = {"name": "st_gcn", "channels": [8, 8], "strides": [1, 1], "kernel": 3, "features": 16}
pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def tracks(shared, tmp_path_factory):
    """Tracks of two short real clips, in folders of one person each."""
    videos, out = tmp_path_factory.mktemp("videos"), tmp_path_factory.mktemp("tracks")
    for name, clip in CLIPS.items():
        (videos / name).parent.mkdir()
        shutil.copy(shared / "data" / "videos" / "talking" / clip, videos / name)
    files = [batch.VideoFile(videos, (videos / name).relative_to(videos)) for name in CLIPS]
    batch.extract_all(files, out, model_file=shared / "models" / "face_landmarker.task", processes=2)
    return out


@pytest.fixture(scope="module")
def built(tracks, tmp_path_factory):
    """A data set with channels from them, each person in a split."""
    folder = tmp_path_factory.mktemp("data")
    splits = folder / "splits.csv"
    splits.write_text("identity,split\ngrid_id001,train\ngrid_id002,test\n")
    options = Options(tracks=tracks, splits_csv=splits, channels=("blendshapes", "pose"))
    build.build(f"identity_folders/{SET}", folder, options)
    name = f"identity_folders/{SET}"
    return {split: records.open_split(folder, name, split, verify=True) for split in ("train", "test")}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """An untrained ST-GCN that reads every channel, released and opened again."""
    layout = Layout(SET, NAMES)
    model = registry.build({**NETWORK, "landmark_set": SET, "extra_channels": NAMES})
    window = jnp.zeros((1, LENGTH, layout.num_vertices, 3))
    params = jax.jit(model.init)(jax.random.key(0), window, jnp.ones((1, LENGTH), bool))["params"]
    spec = {"length": LENGTH, "stride": 10, "min_valid": 0.5, "pad_short": False}
    document = {"model": NETWORK, "landmark_set": SET, "normalization": "box", "channels": NAMES, "window": spec}
    folder = checkpoint.save_model(tmp_path_factory.mktemp("model") / "model", params, document)
    return embed.open_model(folder, batch_size=8)


def test_records_hold_what_the_tracks_hold(built, tracks):
    for split, name in zip(built, CLIPS, strict=True):
        (record,), (made,) = built[split], track.read(track.track_path(tracks, name)).tracks
        assert np.array_equal(record["landmarks"], made.points(SET))
        assert np.array_equal(record["blendshapes"], made.blendshapes) and np.array_equal(record["pose"], made.pose)
        # Real ones: a talking face, a rigid head before the camera.
        assert record["blendshapes"].std(axis=0).max() > 0.05 and record["blendshapes"].max() <= 1
        turn = record["pose"][:, :3, :3]
        assert np.abs(turn @ np.swapaxes(turn, 1, 2) - np.eye(3)).max() < 1e-4
        assert (record["pose"][:, 2, 3] < -10).all()


@pytest.mark.parametrize("changed", ["blendshapes", "pose"])
def test_every_channel_reaches_the_embedding(built, released, changed):
    class Changed:
        def __init__(self, source):
            self.source = source

        def __len__(self):
            return len(self.source)

        def metadata(self):
            return self.source.metadata()

        def __getitem__(self, index):
            record = self.source[index]
            return {**record, changed: record[changed][::-1]}

    plain = released.embedder.split(released.params, built["test"])
    other = released.embedder.split(released.params, Changed(built["test"]))
    assert np.abs(plain.vector - other.vector).max() > 1e-4 and len(plain.vector) > 3
    assert np.allclose(np.linalg.norm(plain.vector, axis=1), 1, atol=1e-5)


def test_a_probe_video_is_embedded_as_the_data_set_is(built, released, tracks):
    video = track.read(track.track_path(tracks, "grid_id002/b.mpg"))
    (found,) = evidence.embed([("b.mpg", video)], released)
    expected = released.embedder.split(released.params, built["test"])
    np.testing.assert_allclose(found.vectors, expected.vector, atol=1e-6)


def test_a_stream_ends_with_the_window_of_the_whole_video(released, tracks):
    """The pose's mean place is that of what was seen so far; when all was seen, it is the clip's."""
    (whole,) = track.read(track.track_path(tracks, "grid_id002/b.mpg")).tracks
    frames = LENGTH + 10 * ((len(whole) - LENGTH) // 10)
    part = dataclasses.replace(
        whole,
        **{name: getattr(whole, name)[:frames] for name in ("landmarks", "blendshapes", "pose", "frame_mask")},
        timestamps=whole.timestamps[:frames],
        several=whole.several[:frames],
    )
    clip = running._Clip(released, np.array(whole.image_size))
    window = None
    for i in range(frames):
        shown = (part.landmarks[i], part.blendshapes[i], part.pose[i])
        clip.add(FaceFrame(i, int(part.timestamps[i]), whole.image_size, *shown, several=False, new_face=None))
        window = clip.complete()
    (found,) = evidence.embed([("b.mpg", track.VideoTracks((part,), frames, whole.provenance))], released)
    np.testing.assert_allclose(released.embedder.embed(released.params, *window)[0], found.vectors[-1], atol=1e-6)
    assert any("head's mean place" in doubt for doubt in running.Seen().doubts(released.document))


def test_a_split_without_records_has_the_right_width(released):
    class Nothing:
        def __len__(self):
            return 0

        def metadata(self):
            return {}

    assert released.embedder.split(released.params, Nothing()).vector.shape == (0, 16)
