"""From records to batches: deterministic, shared out, resumable, and never a window that should not be there."""

import collections
import json

import numpy as np
import pytest
from absl import flags
from sources import MemorySource, make_source

from fingerprint.data import augment, input_pipeline
from fingerprint.data.augment import Augmentation
from fingerprint.data.input_pipeline import evaluation_batches, train_examples, train_iterator
from fingerprint.data.record_sources import ReenactedSource
from fingerprint.errors import ArrayRefused, ConfigError, DatasetError, UnknownName
from fingerprint.landmarks import normalize, windows
from fingerprint.landmarks.channels import NAMES, Layout
from fingerprint.landmarks.windows import WindowSpec

SET, SPEC = "avaprintdb109", WindowSpec(8, 4)
EVERYTHING = Augmentation(mirror=0.5, jitter=0.01, frame_drop=0.1, time_crop=0.6, reenact=0.5)


@pytest.fixture(scope="module")
def source():
    return make_source(drivers=4, targets=2, clips=2, frames=20, lost_frames=5)


def examples_of(source, options=EVERYTHING, normalization="aspect_corrected", spec=SPEC, seed=0, p=2, k=2, **more):
    return train_examples(
        source, landmark_set=SET, normalization=normalization, spec=spec, options=options,
        drivers_per_batch=p, windows_per_driver=k, same_target=False, seed=seed, **more,
    )  # fmt: skip


def batches(source, num_steps=6, share=slice(0, 4), threads=2, prefetch=2, workers=0, **options):
    return train_iterator(
        examples_of(source, **options),
        num_steps=num_steps,
        share=share,
        threads=threads,
        prefetch=prefetch,
        workers=workers,
    )


def same(one, two):
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


# ------------------------------------------------------------------------------------------------------------- training


def test_the_same_seed_gives_the_same_batches_whatever_reads_them(source):
    first = list(batches(source, threads=1, prefetch=1))
    again = list(batches(source, threads=4, prefetch=4))
    other = list(batches(source, seed=1))
    assert len(first) == 6 and all(map(same, first, again))
    assert not any(map(same, first, other))
    assert len({batch.windows.tobytes() for batch in first}) == 6


def test_batches_are_what_they_say(source):
    for batch in batches(source):
        assert batch.windows.shape == (4, 8, 109, 3) and batch.windows.dtype == np.float32
        assert batch.frame_mask.shape == (4, 8) and batch.frame_mask.dtype == bool
        assert batch.example_index.tolist() == [0, 1, 2, 3]
        assert {x.dtype for x in batch[2:]} == {np.dtype(np.int32)}
        names = sorted(set(source.metadata()["driver"].tolist()))
        assert [names[d] for d in batch.driver] == source.metadata()["driver"][batch.record].tolist()
        assert not batch.windows[~batch.frame_mask].any() and batch.frame_mask.any(axis=1).all()


def test_codes_of_face_and_video_are_equal_where_these_are_the_same(source):
    """A mirrored or reenacted face is another one, and so is its video."""
    table = source.metadata()
    for options in (Augmentation(), Augmentation(mirror=0.5), Augmentation(reenact=0.5)):
        seen = {"target": {}, "video": {}}
        for batch in batches(source, options=options, num_steps=12):
            again = {"target": {}, "video": {}}
            for row, target, video in zip(batch.record, batch.target, batch.video, strict=True):
                again["target"].setdefault(int(target), set()).add(table["target"][row])
                again["video"].setdefault(int(video), set()).add(table["video_id"][row])
            for name, codes in again.items():
                if not (options.reenact and name == "target"):
                    assert all(len(names) == 1 for names in codes.values())
                for code, names in codes.items():
                    seen[name].setdefault(code, set()).update(names)
        faces, videos = len(set(table["target"])), len(set(table["video_id"]))
        if options == Augmentation():
            assert len(seen["target"]) <= faces and all(len(names) == 1 for names in seen["target"].values())
            assert max(seen["video"]) < videos
        elif options.mirror:
            assert faces < len(seen["target"]) <= 2 * faces
        else:
            assert max(seen["video"]) >= videos  # a reenacted video is a video of its own in the batch
            assert any(len(names) > 1 for names in seen["target"].values())  # others wear the face


def test_the_shares_of_two_processes_make_the_whole_batch(source):
    whole = list(batches(source))
    halves = zip(batches(source, share=slice(0, 2)), batches(source, share=slice(2, 4)), strict=True)
    for batch, (one, two) in zip(whole, halves, strict=True):
        assert all(np.array_equal(np.concatenate([a, b]), c) for a, b, c in zip(one, two, batch, strict=True))


@pytest.mark.parametrize("position", [0, 1, 3, 5, 6])
def test_a_saved_position_is_resumed_exactly(source, position):
    straight = batches(source)
    whole = [next(straight) for _ in range(6)]
    one = batches(source)
    for _ in range(position):
        next(one)
    state = json.loads(json.dumps(one.get_state()))  # it travels in a JSON document
    two = batches(source, threads=1, prefetch=1)
    two.set_state(state)
    rest = list(two)
    assert len(rest) == 6 - position and all(map(same, rest, whole[position:]))


def test_reading_processes_read_the_same_and_resume(source):
    flags.FLAGS.mark_as_parsed()  # grain asks for flags; the program's are parsed
    expected = list(batches(source, num_steps=4))
    apart = batches(source, num_steps=4, workers=1)
    assert same(next(apart), expected[0])
    state = json.loads(json.dumps(apart.get_state()))
    assert all(map(same, apart, expected[1:]))
    resumed = batches(source, num_steps=4, workers=1)
    resumed.set_state(state)
    assert all(map(same, list(resumed), expected[1:]))


def test_a_window_is_a_piece_of_its_normalised_track(source):
    starts = collections.Counter()
    for batch in batches(source, options=Augmentation(), num_steps=20):
        for window, mask, row in zip(batch.windows, batch.frame_mask, batch.record.tolist(), strict=True):
            record = source[row]
            track = normalize.get("aspect_corrected")(
                record["landmarks"], record["frame_mask"], record["image_size"], SET
            )
            found = [s for s in range(13) if np.array_equal(track[s : s + 8], window)]
            assert len(found) == 1 and np.array_equal(record["frame_mask"][found[0] : found[0] + 8], mask)
            starts[found[0]] += 1
    assert len(starts) == 13  # drawn at every frame, not at strides


@pytest.mark.parametrize("min_valid", [0.3, 0.75, 1.0])
def test_a_window_always_has_enough_valid_frames(min_valid):
    source = make_source(drivers=3, targets=1, clips=4, frames=16, lost_frames=9)
    least = int(np.ceil(min_valid * 8))
    spec = WindowSpec(8, 8, min_valid)
    assert examples_of(make_source(drivers=3, targets=1, clips=4, frames=16), spec=spec)  # without lost frames: usable
    longest = [max(record["frame_mask"][s : s + 8].sum() for s in range(9)) >= least for record in source.records]
    assert input_pipeline.usable_records(source, spec).tolist() == longest
    if min_valid < 1:
        for batch in batches(source, options=Augmentation(), spec=spec, num_steps=20):
            assert (batch.frame_mask.sum(axis=1) >= least).all()


def test_records_without_a_good_window_are_found_at_the_start():
    """Valid frames enough in all, but in no run of a window's length: refused before training, not at step 10,000."""
    source = make_source(drivers=2, targets=1, clips=2, frames=24)
    for record in source.records[2:]:
        record["frame_mask"] = np.arange(24) % 2 == 0
        record["landmarks"] = np.where(record["frame_mask"][:, None, None], record["landmarks"], 0)
    assert input_pipeline.usable_records(source, WindowSpec(8, 4, 0.75)).tolist() == [True, True, False, False]
    with pytest.raises(ConfigError, match="1 drivers with usable records; a batch asks for 2"):
        examples_of(source, spec=WindowSpec(8, 4, 0.75))
    with pytest.raises(ConfigError, match="0 drivers"):
        examples_of(source, spec=WindowSpec(40, 4, 0.75))


def test_usable_is_what_brute_force_finds():
    rng = np.random.default_rng(0)
    template = make_source(drivers=1, targets=1, clips=1, frames=4)[0]
    records = []
    for _ in range(300):
        frames = int(rng.integers(1, 25))
        mask = rng.random(frames) < rng.choice([0.3, 0.6, 0.9, 1.0])
        records.append({**template, "frame_mask": mask, "landmarks": np.zeros((frames, 109, 3), np.float32)})
    source = MemorySource(records)
    for spec in (WindowSpec(8, 4), WindowSpec(5, 1, 0.8), WindowSpec(7, 7, 1.0), WindowSpec(8, 4, pad_short=True)):
        padded = [np.pad(r["frame_mask"], (0, max(0, spec.length - len(r["frame_mask"])))) for r in records]
        expected = [
            (spec.pad_short or len(r["frame_mask"]) >= spec.length)
            and max(m[s : s + spec.length].sum() for s in range(len(m) - spec.length + 1)) >= spec.least_valid
            for r, m in zip(records, padded, strict=True)
        ]
        assert input_pipeline.usable_records(source, spec).tolist() == expected


def test_a_short_track_is_padded_and_masked_only_if_asked():
    source = make_source(drivers=2, targets=1, clips=2, frames=6)
    with pytest.raises(ConfigError, match="0 drivers"):
        examples_of(source, spec=WindowSpec(8, 4))
    spec = WindowSpec(8, 4, pad_short=True)
    for batch in batches(source, options=Augmentation(), num_steps=2, spec=spec):
        assert batch.frame_mask.tolist() == [[True] * 6 + [False] * 2] * 4


def test_a_driver_is_mirrored_in_all_windows_of_a_batch_or_in_none(source):
    plain, mirrored, mixed = (
        list(batches(source, options=Augmentation(mirror=share), num_steps=12)) for share in (0.0, 1.0, 0.5)
    )
    seen = []
    for a, b, c in zip(plain, mirrored, mixed, strict=True):
        assert np.array_equal(b.windows, np.stack([augment.mirror(w, SET) for w in a.windows]))
        is_mirrored = [np.array_equal(w, m) for w, m in zip(c.windows, b.windows, strict=True)]
        assert all(m or np.array_equal(w, p) for m, w, p in zip(is_mirrored, c.windows, a.windows, strict=True))
        assert is_mirrored[0] == is_mirrored[1] and is_mirrored[2] == is_mirrored[3]
        seen += [is_mirrored[0], is_mirrored[2]]
    assert 5 <= sum(seen) <= 19


def test_augmentation_by_reenactment_changes_the_face_and_keeps_the_motion(source):
    shapes = input_pipeline.face_shapes(source)
    plain = list(batches(source, options=Augmentation(), normalization="pose_removed"))
    worn = list(batches(source, options=Augmentation(reenact=1.0), normalization="pose_removed"))
    targets = source.metadata()["target"]
    for a, b in zip(plain, worn, strict=True):
        assert np.array_equal(a.record, b.record)
        for row, window, mask in zip(b.record.tolist(), b.windows, b.frame_mask, strict=True):
            # Nearest face by mean shape: somebody else's.
            gaps = {name: np.abs(window[mask].mean(0) - shape).mean() for name, shape in shapes.items()}
            assert min(gaps, key=gaps.get) != targets[row]


@pytest.mark.parametrize("normalization", normalize.names())
@pytest.mark.parametrize("vertex", [26, 53, 100])  # an inner eye corner, the nose tip, any other
def test_a_record_that_is_not_finite_is_refused_by_its_id(normalization, vertex):
    for value in (np.nan, np.inf):
        source = make_source(drivers=2, targets=1, clips=2, frames=8)
        source.records[1]["landmarks"][3, vertex, 1] = value
        with pytest.raises(DatasetError, match="P00--P00--1"):
            list(batches(source, options=Augmentation(), normalization=normalization, num_steps=2))
        with pytest.raises(DatasetError, match="P00--P00--1"):
            list(windows_of(source, normalization=normalization))
        with pytest.raises(DatasetError, match="P00--P00--1"):
            input_pipeline.face_shapes(source)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_a_track_that_overflows_in_normalisation_is_refused_by_its_id():
    source = make_source(drivers=2, targets=1, clips=2, frames=8)
    landmarks = source.records[0]["landmarks"]
    landmarks[:] = 0
    landmarks[:, 26, 0], landmarks[:, 100, 0] = 1e-19, 1e25  # eyes nearly at one place, another point far away
    for read in (batches(source, options=Augmentation(), num_steps=2), windows_of(source)):
        with np.errstate(over="ignore"), pytest.raises(DatasetError, match="P00--P00--0.*not finite"):
            list(read)


def test_an_unknown_picture_size_is_an_error_except_as_published():
    source = make_source(drivers=2, targets=1, clips=2, frames=8)
    for record in source.records:
        record["image_size"] = np.zeros(2, np.int32)
    with pytest.raises(ArrayRefused, match="image size is unknown"):
        next(batches(source, options=Augmentation()))
    assert next(batches(source, options=Augmentation(), normalization="published")).windows.any()


def test_what_cannot_work_is_refused_at_the_start(source):
    with pytest.raises(ConfigError, match=f"records hold landmark set {SET}; the configuration asks for ibug68"):
        train_examples(
            source, landmark_set="ibug68", normalization="published", spec=SPEC, options=Augmentation(),
            drivers_per_batch=2, windows_per_driver=2, same_target=False, seed=0,
        )  # fmt: skip
    with pytest.raises(ConfigError, match="4 drivers"):
        examples_of(source, p=5)
    lonely = MemorySource([{**record, "target": "P00"} for record in source.records])
    with pytest.raises(ConfigError, match="at least two faces"):
        examples_of(lonely, options=Augmentation(reenact=0.5))
    with pytest.raises(UnknownName, match="no_such"):
        examples_of(source, normalization="no_such")


# ----------------------------------------------------------------------------------------------------------- evaluation


def windows_of(source, normalization="aspect_corrected", spec=SPEC, batch_size=5, **options):
    return evaluation_batches(
        source, landmark_set=SET, normalization=normalization, spec=spec, batch_size=batch_size, **options
    )


@pytest.mark.parametrize(
    "spec", [WindowSpec(8, 4, 0.9), WindowSpec(8, 8), WindowSpec(5, 1, 1.0), WindowSpec(30, 1, 0.4, True)]
)
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_every_sliding_window_comes_once_and_in_order(source, spec, batch_size):
    expected = []
    for row in range(len(source)):
        record = source[row]
        track = normalize.get("aspect_corrected")(record["landmarks"], record["frame_mask"], record["image_size"], SET)
        for start in windows.starts(record["frame_mask"], spec).tolist():
            expected.append((row, start, *windows.cut(track, record["frame_mask"], start, spec.length)))
    found = []
    for batch in windows_of(source, spec=spec, batch_size=batch_size):
        assert batch.windows.shape == (batch_size, spec.length, 109, 3) and batch.frame_mask.shape == (
            batch_size,
            spec.length,
        )
        filling = batch.record < 0
        assert not batch.windows[filling].any() and not batch.frame_mask[filling].any()
        assert (batch.record[filling] == -1).all() and filling.tolist() == sorted(filling.tolist())
        found += list(zip(batch.record.tolist(), batch.start.tolist(), batch.windows, batch.frame_mask, strict=True))[
            : (~filling).sum()
        ]
    assert [f[:2] for f in found] == [e[:2] for e in expected] and len(found) > 0
    assert all(np.array_equal(f[2], e[2]) and np.array_equal(f[3], e[3]) for f, e in zip(found, expected, strict=True))


def test_chosen_records_only(source):
    chosen = np.array([5, 2, 11])
    batch = next(windows_of(source, records=chosen, batch_size=32))
    assert list(dict.fromkeys(batch.record[batch.record >= 0].tolist())) == [5, 2, 11]
    assert list(windows_of(source, records=np.array([], int))) == []
    assert list(windows_of(source, spec=WindowSpec(100, 1))) == []


def pairs_of(source, transform, seed=0, **options):
    plain = np.concatenate([b.windows for b in windows_of(source, **options)])
    changed, masks, records, starts = (
        np.concatenate(column)
        for column in zip(*windows_of(source, transform=transform, seed=seed, **options), strict=True)
    )
    return [(p, c, m) for p, c, m, r in zip(plain, changed, masks, records, strict=True) if r >= 0], (records, starts)


def test_shuffling_keeps_the_valid_frames_and_changes_their_order(source):
    pairs, _ = pairs_of(source, input_pipeline.CONTROLS["shuffled_frames"])
    orders = set()
    for plain, shuffled, mask in pairs:
        assert sorted(f.tobytes() for f in plain[mask]) == sorted(f.tobytes() for f in shuffled[mask])
        assert not shuffled[~mask].any()
        if mask.all():
            orders.add(tuple([frame.tobytes() for frame in plain].index(frame.tobytes()) for frame in shuffled))
    assert len(orders) > 5  # windows are not all shuffled alike
    assert np.mean([np.array_equal(p, s) for p, s, _ in pairs]) < 0.1


def test_freezing_repeats_one_valid_frame(source):
    pairs, _ = pairs_of(source, input_pipeline.CONTROLS["static_frame"])
    chosen = collections.Counter()
    for plain, frozen, mask in pairs:
        kept = frozen[mask]
        assert (kept == kept[0]).all() and not frozen[~mask].any() and frozen.dtype == np.float32
        chosen[[np.array_equal(kept[0], frame) for frame in plain[mask]].index(True)] += 1
    assert len(chosen) > 2
    empty = np.zeros((4, 109, 3), np.float32), np.zeros(4, bool)
    assert not input_pipeline.freeze_frame(*empty, np.random.default_rng(0))[0].any()


@pytest.mark.parametrize("name", input_pipeline.CONTROLS)
def test_a_control_follows_from_seed_record_and_start_alone(source, name):
    transform = input_pipeline.CONTROLS[name]
    one, _ = pairs_of(source, transform, batch_size=5)
    two, _ = pairs_of(source, transform, batch_size=64)
    part, (records, _) = pairs_of(source, transform, records=np.arange(8, 16))
    other, _ = pairs_of(source, transform, seed=1)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(one, two, strict=True))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(one[-len(part) :], part, strict=True))
    assert set(records.tolist()) - {-1} == set(range(8, 16))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(one, other, strict=True))


# ------------------------------------------------------------------------------------------------------------- channels


@pytest.fixture(scope="module")
def with_channels():
    return make_source(drivers=4, targets=1, clips=2, frames=20, lost_frames=5, channels=("blendshapes", "pose"))


def test_windows_hold_the_channels_of_their_own_frames(with_channels):
    layout, options = Layout(SET, NAMES), {"landmark_set": SET, "normalization": "box", "spec": SPEC, "batch_size": 4}
    (plain,) = {b.windows.shape[2] for b in evaluation_batches(with_channels, **options)}
    assert plain == 109
    for batch in evaluation_batches(with_channels, channels=tuple(reversed(NAMES)), **options):
        for window, mask, row, start in zip(*batch, strict=True):
            if row < 0:
                continue
            record, frames = with_channels[int(row)], slice(start, start + SPEC.length)
            whole = {name: record[name] for name in layout.stored}
            points = (record["landmarks"], record["frame_mask"], record["image_size"], SET)
            whole["canonical"] = normalize.get("pose_removed")(*points)
            expected = layout.pack(normalize.get("box")(*points), record["frame_mask"], whole)[frames]
            assert np.array_equal(window, expected) and np.array_equal(mask, record["frame_mask"][frames])
            assert window[mask].any() and not window[~mask].any()


def test_training_batches_hold_channels_augmented_with_the_landmarks(with_channels):
    plain = next(batches(with_channels, options=Augmentation(), channels=NAMES)).windows
    assert plain.shape[2] == 2 * 109 + 21
    mirrored = next(batches(with_channels, options=Augmentation(mirror=1.0), channels=NAMES)).windows
    for one, other in zip(plain, mirrored, strict=True):
        np.testing.assert_array_equal(Layout(SET, NAMES).mirror(one), other)
    noisy = next(batches(with_channels, options=Augmentation(jitter=0.01), channels=NAMES)).windows - plain
    assert 0.008 < noisy[:, :, :109].std() < 0.012 and 0.008 < noisy[:, :, 109:218].std() < 0.012
    assert not noisy[:, :, 218:].any()
    # The landmarks of a run with channels are those of the run without.
    alone = next(batches(with_channels, options=Augmentation())).windows
    np.testing.assert_array_equal(plain[:, :, :109], alone)


@pytest.mark.parametrize("control", sorted(input_pipeline.CONTROLS))
def test_controls_move_whole_frames(with_channels, control):
    options = {"landmark_set": SET, "normalization": "box", "spec": SPEC, "batch_size": 64, "channels": NAMES}
    (plain,) = evaluation_batches(with_channels, **options)
    (moved,) = evaluation_batches(with_channels, transform=input_pipeline.CONTROLS[control], **options)
    for one, other, mask in zip(plain.windows, moved.windows, plain.frame_mask, strict=True):
        frames = {frame.tobytes() for frame in one[mask]}
        assert {frame.tobytes() for frame in other[mask]} <= frames
    assert not np.array_equal(plain.windows, moved.windows)


def test_channels_that_cannot_be_had_are_refused(source, with_channels):
    with pytest.raises(
        ConfigError, match="ask for blendshapes, pose, which the records do not hold.*--channels blendshapes pose"
    ):
        examples_of(source, options=Augmentation(), channels=NAMES)
    with pytest.raises(ConfigError, match="do not hold"):
        next(evaluation_batches(
            source, landmark_set=SET, normalization="box", spec=SPEC, batch_size=4, channels=("pose",)
        ))  # fmt: skip
    with pytest.raises(
        ConfigError, match="augment.reenact puts landmarks on other faces, and leaves blendshapes, pose"
    ):
        examples_of(with_channels, options=Augmentation(reenact=0.5), channels=NAMES)
    with pytest.raises(ConfigError, match="data.reenact_targets puts"):
        examples_of(ReenactedSource(with_channels, 2), options=Augmentation(), channels=("pose",))
    with pytest.raises(UnknownName, match="unknown channel 'gaze'"):
        examples_of(source, options=Augmentation(), channels=("gaze",))
    # Canonical points are made of the landmarks, whatever face they are on.
    assert examples_of(source, options=Augmentation(reenact=0.5), channels=("canonical",))(0, 0).windows.shape[1] == 218


def test_channels_that_are_not_finite_are_refused_by_name(with_channels):
    record = {**with_channels[0], "pose": np.full((20, 4, 4), np.nan, np.float32)}
    with pytest.raises(DatasetError, match="holds pose that are not finite"):
        input_pipeline.finite_record(MemorySource([record]), 0)


def test_reenacted_records_train(with_channels):
    batch = next(batches(ReenactedSource(with_channels, 2), options=Augmentation()))
    assert np.isfinite(batch.windows).all() and batch.frame_mask.any(axis=1).all()
