"""What a person looks at: landmarks where the face is, a colour for each track, a border where something is amiss."""

import dataclasses

import av
import bad_videos
import numpy as np
import pytest

from fingerprint.errors import ArrayRefused
from fingerprint.landmarks import extract, overlay, track, video

FRAMES = 12


@pytest.fixture(scope="module")
def clip(shared, tmp_path_factory):
    """A real clip, and its tracks."""
    folder = tmp_path_factory.mktemp("overlay")
    source = shared / "data" / "videos" / "talking" / "liveportrait_d10.mp4"
    path = bad_videos.cut(source, folder / "clip.mp4", FRAMES)
    model_file = shared / "models" / "face_landmarker.task"
    extract.extract_to_file(path, folder / "clip.track.npz", model_file=model_file)
    return path, track.read(folder / "clip.track.npz")


def shown(path) -> np.ndarray:
    return np.stack([frame.rgb for frame in video.frames(path)]).astype(int)


def near(picture, place, colour, within=150) -> bool:
    """A pixel beside (x, y) is of about that colour, after lossy coding at half the colours' resolution."""
    x, y = np.round(place).astype(int)
    around = picture[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].reshape(-1, 3)
    return bool((np.abs(around - np.array(colour)).sum(axis=1) < within).any())


def share_near(pictures, tracks, colour, within=150) -> float:
    """Share of the landmarks at which the pictures have that colour."""
    part, size = tracks.tracks[0], pictures.shape[2:0:-1]
    hits = [
        near(picture, place, colour, within)
        for picture, mask, points in zip(pictures, part.frame_mask, part.landmarks[..., :2] * size, strict=True)
        for place in points
        if mask
    ]
    return float(np.mean(hits))


def test_each_landmark_is_coloured_on_a_real_clip(clip, tmp_path):
    path, tracks = clip
    overlay.write_overlay(path, tracks, tmp_path / "out.mp4")
    before, after = shown(path), shown(tmp_path / "out.mp4")
    assert after.shape == before.shape == (FRAMES, 512, 512, 3)
    assert share_near(after, tracks, overlay.TRACK_COLOURS[0]) > 0.95
    assert share_near(before, tracks, overlay.TRACK_COLOURS[0]) == 0
    # Away from the face the picture is as it was.
    assert np.abs(after - before)[:, :40, :40].mean() < 6
    info = video.open_video(tmp_path / "out.mp4")
    assert info.fps == pytest.approx(video.open_video(path).fps, rel=0.01)


def test_borders_and_colours_tell_masked_frames_several_faces_and_tracks_apart(clip, tmp_path):
    path, tracks = clip
    (whole,) = tracks.tracks
    mask, several = whole.frame_mask.copy(), whole.several.copy()
    mask[2:4], several[:] = False, False
    several[3:5] = True
    whole = dataclasses.replace(whole, frame_mask=mask, several=several)

    def part(frames: slice) -> track.LandmarkTrack:
        arrays = ("landmarks", "frame_mask", "timestamps", "blendshapes", "pose", "several")
        return dataclasses.replace(
            whole, start_frame=frames.start, **{name: getattr(whole, name)[frames] for name in arrays}
        )

    split = track.VideoTracks((part(slice(0, 8)), part(slice(8, FRAMES))), FRAMES, tracks.provenance)
    overlay.write_overlay(path, split, tmp_path / "out.mp4")
    pictures = shown(tmp_path / "out.mp4")
    edges = [(256, 2), (256, 509), (2, 256), (509, 256)]
    for colour, frames in ((overlay.NO_FACE_COLOUR, {2, 3}), (overlay.SEVERAL_COLOUR, {4})):
        for index, picture in enumerate(pictures):
            assert all(near(picture, edge, colour, 60) for edge in edges) == (index in frames), (colour, index)
    eye = whole.landmarks[:, 33, :2] * 512
    for number, frames in ((0, (0, 1, 4, 7)), (1, (8, 11))):
        for index in frames:
            for other in (0, 1):
                assert near(pictures[index], eye[index], overlay.TRACK_COLOURS[other]) == (other == number)
    assert not near(pictures[2], eye[2], overlay.TRACK_COLOURS[0])  # nothing is drawn where no face was found


def test_a_video_without_a_face_has_a_red_border_throughout(clip, tmp_path):
    path, tracks = clip
    overlay.write_overlay(path, dataclasses.replace(tracks, tracks=()), tmp_path / "out.mp4")
    assert all(near(picture, (256, 2), overlay.NO_FACE_COLOUR, 60) for picture in shown(tmp_path / "out.mp4"))


def test_large_pictures_are_made_smaller_and_landmarks_stay_on_the_face(clip, tmp_path):
    path, tracks = clip
    overlay.write_overlay(path, tracks, tmp_path / "out.mp4", longest_side=301)
    pictures = shown(tmp_path / "out.mp4")
    assert pictures.shape == (FRAMES, 302, 302, 3)  # H.264 wants even sides
    # Dots of two pixels lose more of their colour in coding.
    assert share_near(pictures[:, :301, :301], tracks, overlay.TRACK_COLOURS[0], 210) > 0.6
    assert overlay.smaller(np.zeros((1080, 1920, 3), np.uint8), overlay.LONGEST_SIDE).shape == (720, 1280, 3)


def test_a_turned_video_is_drawn_upright(clip, tmp_path):
    path, tracks = clip
    lying = [np.rot90(picture[:, 40:480]) for picture in bad_videos.pictures(path, FRAMES)]
    turned = bad_videos.rotated(bad_videos.encode(tmp_path / "lying.mp4", lying), tmp_path / "turned.mp4", 90)
    overlay.write_overlay(turned, dataclasses.replace(tracks, tracks=()), tmp_path / "out.mp4")
    pictures, before = shown(tmp_path / "out.mp4"), shown(path)
    assert pictures.shape == (FRAMES, 512, 440, 3)
    inner = slice(50, 400)
    assert np.abs(pictures[:, inner, inner] - before[:, inner, 90:440]).mean() < 8


def test_tracks_of_another_video_are_refused(clip, tmp_path):
    path, tracks = clip
    for frames, found in ((11, f"{FRAMES} or more"), (13, FRAMES)):
        with pytest.raises(ArrayRefused, match=f"{found} frames; wanted the {frames} of its tracks"):
            overlay.write_overlay(path, dataclasses.replace(tracks, num_frames=frames), tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


def test_a_clip_that_begins_between_key_frames(shared, clip, tmp_path):
    """Cut without decoding: its first packets lean on pictures that are not there, and no frame comes of them."""
    whole, path = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10", "bf": "0", "sc_threshold": "0"})
        stream.height, stream.width, stream.pix_fmt = 512, 512, "yuv420p"
        for picture in bad_videos.pictures(clip[0], FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(whole)) as before, av.open(str(path), "w") as after:
        to = after.add_stream_from_template(before.streams.video[0])
        for packet in [packet for packet in before.demux(video=0) if packet.size][8:]:
            packet.stream = to
            after.mux(packet)
    done = extract.extract_to_file(
        path, tmp_path / "cut.track.npz", model_file=shared / "models" / "face_landmarker.task"
    )
    promised = video.open_video(path).num_frames
    assert (promised, done.num_frames) == (4, 2)
    overlay.write_overlay(path, track.read(done.path), tmp_path / "out.mp4")
    assert len(shown(tmp_path / "out.mp4")) == 2


def test_points_outside_the_picture_are_left_out():
    picture = np.zeros((50, 60, 3), np.uint8)
    points = np.array([[0.5, 0.5, 0], [-3.0, -0.2, 0], [0.1, 7.0, 0], [1.0, 1.0, 0]], np.float32)
    overlay.draw_face(picture, points, (1, 2, 3))
    assert picture[25, 30].tolist() == [1, 2, 3]
    assert picture[2:-2, 2:-2].any(axis=2).sum() == 4  # a dot of 2 by 2; the rest is the box, cut
