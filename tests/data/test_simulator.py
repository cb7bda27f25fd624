"""The simulator: reproducible, plausible, and in `dynamics_only` blind to everything but order."""

import dataclasses
import itertools
import time
from importlib import resources

import numpy as np
import pytest

from fingerprint.data import face_statistics, simulator
from fingerprint.errors import ArrayRefused, ConfigError, UnknownName
from fingerprint.landmarks import normalize, topology

POINTS = topology.get("avaprintdb109")
INDICES = POINTS.mediapipe_indices
FULL, DYNAMICS = simulator.CONFIGS["full"], simulator.CONFIGS["dynamics_only"]


def make(
    config,
    driver,
    target,
    sentence=0,
    repetition=0,
    generator="SIMA",
    number=0,
    seed=0,
    indices=INDICES,
    **change,
):
    """One video; `change` replaces fields of the generator."""
    clip = simulator.draw_clip(seed, driver, sentence, repetition, config)
    return simulator.render(
        simulator.draw_driver(seed, driver, config),
        simulator.draw_target(seed, target, config),
        clip,
        dataclasses.replace(simulator.draw_generator(seed, generator, config), **change),
        simulator.draw_camera(seed, number, config),
        indices,
        fps=config.fps,
        num_frames=clip.num_frames,
        seed=number,
    )


def normalised(video, name="aspect_corrected"):
    """[valid frame, feature] without the clip's mean."""
    frames = normalize.get(name)(video.landmarks, video.frame_mask, video.image_size, POINTS.name)
    flat = frames.reshape(len(frames), -1).astype(np.float64)
    return flat - flat[video.frame_mask].mean(axis=0)


def area_under_curve(mated, non_mated):
    difference = np.subtract.outer(np.asarray(mated), np.asarray(non_mated))
    return np.mean(difference > 0) + 0.5 * np.mean(difference == 0)


# --------------------------------------------------------------------------------------------- the table


def test_table_is_small_pickle_free_and_says_where_it_comes_from():
    file = resources.files("fingerprint.data") / "face_statistics.npz"
    assert len(file.read_bytes()) < 200_000
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
        assert all(data[key].dtype != object for key in data.files)
        assert all(np.isfinite(data[key]).all() for key in data.files if key != "provenance")
    provenance = face_statistics.provenance()
    assert provenance["people"] >= 20
    assert provenance["sources"] and all(provenance["sources"].values())


def test_table_is_normalised_symmetric_and_orthonormal():
    stats, mirror = face_statistics.everywhere(), topology.get("mediapipe478").mirror
    np.testing.assert_allclose(stats.mean_face[4], 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(stats.mean_face[133] - stats.mean_face[362]), 1, atol=1e-5)
    np.testing.assert_allclose(stats.mean_face[mirror] * [-1, 1, 1], stats.mean_face, atol=1e-5)
    modes = stats.expression_modes.reshape(stats.num_expressions, -1)
    np.testing.assert_allclose(modes @ modes.T, np.eye(len(modes)), atol=0.01)
    parity = np.einsum("kvc,kvc->k", stats.expression_modes[:, mirror] * [-1, 1, 1], stats.expression_modes)
    np.testing.assert_allclose(np.abs(parity), 1, atol=0.01)


def test_blink_direction_closes_the_eyes():
    stats = face_statistics.everywhere()
    for upper, lower in ((159, 145), (386, 374)):
        opened = stats.mean_face[lower, 1] - stats.mean_face[upper, 1]
        closing = stats.blink_direction[upper, 1] - stats.blink_direction[lower, 1]
        assert 0.7 * opened < closing < 1.1 * opened


def test_subset_is_the_full_table_at_those_points():
    subset, every = face_statistics.at(INDICES), face_statistics.everywhere()
    np.testing.assert_array_equal(subset.expression_modes, every.expression_modes[:, INDICES])
    with pytest.raises(ArrayRefused):
        face_statistics.at([0, 478])


# --------------------------------------------------------------------------------------------- reproducible


@pytest.mark.parametrize("config", [FULL, DYNAMICS], ids=lambda c: c.name)
def test_the_same_draws_give_the_same_video_whatever_was_drawn_before(config):
    first = make(config, 7, 3, number=11)
    for other in (1, 5, 9):
        make(config, other, other + 1, number=other)
    second = make(config, 7, 3, number=11)
    np.testing.assert_array_equal(first.landmarks, second.landmarks)
    np.testing.assert_array_equal(first.frame_mask, second.frame_mask)
    for changed in (
        make(config, 8, 3, number=11),
        make(config, 7, 4, number=11),
        make(config, 7, 3, number=11, seed=1),
    ):
        assert not np.array_equal(first.landmarks[:50], changed.landmarks[:50])


def test_a_subset_of_points_is_the_same_motion():
    every = make(FULL, 2, 2, indices=np.arange(478), jitter_sd=0.0)
    some = make(FULL, 2, 2, jitter_sd=0.0)
    seen = every.frame_mask & some.frame_mask
    np.testing.assert_allclose(every.landmarks[seen][:, INDICES], some.landmarks[seen], atol=1e-6)


@pytest.mark.parametrize("config", [FULL, DYNAMICS], ids=lambda c: c.name)
def test_videos_are_what_records_want(config):
    for i in range(6):
        video = make(config, i, i + 1, number=i)
        assert video.landmarks.dtype == np.float32 and video.landmarks.shape[1:] == (109, 3)
        assert config.min_frames <= len(video.landmarks) <= config.max_frames
        assert video.frame_mask.dtype == bool and video.frame_mask.mean() > 0.8
        assert np.isfinite(video.landmarks).all() and not video.landmarks[~video.frame_mask].any()
        seen = video.landmarks[video.frame_mask]
        assert seen[..., :2].min() > 0 and seen[..., :2].max() < 1, "the face left the picture"


def test_motion_belongs_to_the_driver_and_not_to_the_face():
    def motion(driver, target):
        video = make(FULL, driver, target, number=target, generator="SIMA" if target % 2 else "SIMB")
        return normalised(video)[:100], video.frame_mask[:100]

    drivers = [{t: motion(d, t) for t in (50, 51)} for d in range(6)]

    def correlation(a, b):
        seen = a[1] & b[1]
        return np.corrcoef(a[0][seen].ravel(), b[0][seen].ravel())[0, 1]

    same = [correlation(d[50], d[51]) for d in drivers]
    other = [correlation(a[50], b[51]) for a, b in itertools.permutations(drivers, 2)]
    assert min(same) > 0.8, same
    assert max(other) < 0.7 and np.mean(other) < 0.3, other


def test_everybody_says_the_same_sentence():
    clips = [simulator.draw_clip(0, driver, 3, 0, FULL) for driver in (1, 2)]
    np.testing.assert_array_equal(clips[0].event_weights, clips[1].event_weights)
    assert not np.array_equal(clips[0].event_weights, simulator.draw_clip(0, 1, 4, 0, FULL).event_weights)


# --------------------------------------------------------------------------------------------- plausible


def _decorrelation_frames(series):
    centred = series - series.mean(axis=0)
    lags = [np.sum(centred[k:] * centred[: len(centred) - k], axis=0) for k in range(60)]
    return np.argmax(np.array(lags) < np.exp(-1) * lags[0], axis=0)


def test_motion_is_as_large_and_as_fast_as_that_of_real_people():
    sds, times, blinks = [], [], []
    for index in range(60):
        driver = simulator.draw_driver(0, index, FULL)
        motion = driver.motion(simulator.draw_clip(0, index, 0, 0, FULL), fps=25.0, num_frames=200)
        series = np.concatenate([motion.expression, motion.rotation, motion.translation], axis=1)
        sds.append(series.std(axis=0))
        times.append(_decorrelation_frames(series) / 25.0)
        blinks.append(np.sum(np.diff((motion.blink > 0.5).astype(int)) > 0) / 8.0)
    real = face_statistics.everywhere().motion

    def typical(figure):
        return np.concatenate([real[f"{k}_{figure}"] for k in ("expression", "rotation", "translation")])

    ratio = np.median(sds, axis=0) / typical("person_sd")
    assert np.all((ratio > 0.5) & (ratio < 2)), ratio
    ratio = np.median(times, axis=0) / typical("decorrelation_seconds")
    assert np.all((ratio > 0.5) & (ratio < 2)), ratio
    assert 0.5 < np.mean(blinks) / real["blink_rate"][0] < 2


@pytest.mark.parametrize("config", [FULL, DYNAMICS], ids=lambda c: c.name)
def test_lips_meet_but_do_not_cross_and_the_chin_stays_below(config):
    for i in range(12):
        video = make(config, i, i + 40, indices=np.array([13, 14, 0, 17, 152, 4, 10]), number=i, jitter_sd=0.0)
        y = video.landmarks[video.frame_mask][..., 1]
        unit = simulator.draw_camera(0, i, config).eye_pixels / video.image_size[1]
        upper, lower, top, bottom, chin, nose, brow = (y / unit).T
        assert np.min(lower - upper) > -0.1
        assert np.min(bottom - top) > 0.1 and np.min(chin - bottom) > 0.2 and np.min(nose - brow) > 1


def test_generators_attenuate_and_smooth():
    def roughness(generator):
        steps = np.diff(normalised(make(FULL, 3, 3, generator=generator, jitter_sd=0.0)), axis=0)
        return np.sqrt(np.mean(steps**2))

    original = roughness("ORIG")
    assert roughness("SIMA") < 0.95 * original and roughness("SIMB") < roughness("SIMA")


# --------------------------------------------------------------------------------------------- dynamics_only


def test_slot_orders_are_permutations_and_no_two_are_the_same_loop():
    orders = [tuple(simulator.slot_order(0, i).tolist()) for i in range(1500)]
    assert all(sorted(order) == list(range(simulator.PERIOD)) for order in orders)
    loops = {min(order, (0, *reversed(order[1:]))) for order in orders}
    assert len(loops) == len(orders)
    with pytest.raises(ConfigError):
        simulator.slot_order(0, 181_440)


def _order_blind(frames):
    """Statistics of a window's frames as a set: moments, their products, distances to nearest neighbours."""
    centred = frames - frames.mean(axis=0)
    second = np.einsum("ti,tj->ij", centred, centred)[np.triu_indices(frames.shape[1])] / len(frames)
    distances = np.sort(np.linalg.norm(frames[:, None] - frames, axis=-1) + 1e9 * np.eye(len(frames)), axis=1)
    moments = [frames.mean(axis=0), second, np.mean(centred**3, axis=0), np.mean(centred**4, axis=0)]
    return np.concatenate([*moments, distances[:, :3].mean(axis=0), np.quantile(distances[:, 0], [0.1, 0.5, 0.9])])


def _compare(start, length, smoothing=0.0):
    """Scores z between two drivers (150 clips each, one target): order-blind statistics, lag-1 products."""
    project = np.random.default_rng(0).standard_normal((327, 6)) / 18
    blind, lagged = [], []
    for driver in (0, 1):
        rows = []
        for clip in range(150):
            video = make(DYNAMICS, driver, 9, clip, 0, number=1000 * driver + clip, smoothing_seconds=smoothing)
            frames = normalised(video)[start : start + length] @ project
            seen = video.frame_mask[start : start + length]
            both = seen[1:] & seen[:-1]
            lag = np.mean(frames[1:][both][:, :, None] * frames[:-1][both][:, None], axis=0).ravel()
            rows.append((_order_blind(frames[seen]), lag))
        blind.append(np.stack([r[0] for r in rows]))
        lagged.append(np.stack([r[1] for r in rows]))

    def z(a, b):
        return (a.mean(axis=0) - b.mean(axis=0)) / np.sqrt((a.var(axis=0) + b.var(axis=0)) / len(a))

    return np.abs(z(*blind)), np.abs(z(*lagged))


@pytest.mark.parametrize(("start", "length"), [(0, 50), (7, 50), (13, 71)])
def test_frames_as_a_set_are_alike_for_all_drivers(start, length):
    blind, lagged = _compare(start, length)
    assert blind.max() < 4, blind  # some 40 statistics under the null hypothesis
    assert lagged.max() > 15, lagged


def test_the_comparison_would_notice_a_leak():
    assert _compare(0, 50, smoothing=0.04)[0].max() > 8, "smoothing writes neighbours into frames"


def test_nothing_but_the_order_depends_on_the_driver():
    first, second = (simulator.draw_driver(0, i, DYNAMICS) for i in (0, 1))
    np.testing.assert_array_equal(first.key_poses, second.key_poses)
    np.testing.assert_array_equal(first.noise_sds, second.noise_sds)
    lengths = {simulator.draw_clip(0, d, s, 0, DYNAMICS).num_frames for d in range(20) for s in range(3)}
    assert all(n % simulator.PERIOD == 0 for n in lengths) and len(lengths) > 1
    assert all(simulator.draw_generator(0, g, DYNAMICS).smoothing_seconds == 0 for g in simulator.GENERATORS)
    motion = first.motion(simulator.draw_clip(0, 0, 0, 0, DYNAMICS), fps=25.0, num_frames=100)
    assert not motion.blink.any() and not motion.translation.any() and motion.asymmetry == 0


# --------------------------------------------------------------------------------------------- difficulty


def _verification_aucs(config, people, length=100, size=128):
    """AUC at equal targets, untrained: random features of frames (mean; mean, variance), of neighbour pairs.

    Trials: two clips of a driver on one face (mated); one of them and a stranger's clip on that face.
    """
    rng, windows = np.random.default_rng(1), []
    for person in range(people):
        stranger = (person + 1) % people
        for number, (driver, sentence) in enumerate([(person, 0), (person, 1), (stranger, 2)]):
            generator = ("SIMA", "SIMB")[rng.integers(2)]
            video = make(config, driver, 5000 + person, sentence, 0, generator, number=10 * person + number)
            windows.append((normalised(video)[:length], video.frame_mask[:length]))
    project = rng.standard_normal((327, 48))
    scale = np.concatenate([x[m] @ project for x, m in windows[::5]]).std(axis=0)
    single, pair = rng.standard_normal((48, size)) * 0.2, rng.standard_normal((96, size)) * 0.15
    phase = rng.uniform(0, 2 * np.pi, size)
    descriptors = {"mean": [], "variance": [], "pairs": []}
    for frames, seen in windows:
        z = frames @ project / scale
        features, both = np.cos(z[seen] @ single + phase), seen[1:] & seen[:-1]
        descriptors["mean"].append(features.mean(axis=0))
        descriptors["variance"].append(np.concatenate([features.mean(axis=0), features.var(axis=0)]))
        descriptors["pairs"].append(np.cos(np.concatenate([z[1:], z[:-1]], axis=1)[both] @ pair + phase).mean(axis=0))
    out = {}
    for name, rows in descriptors.items():
        rows = np.stack(rows)
        rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).reshape(people, 3, -1)
        mated = np.sum(rows[:, 0] * rows[:, 1], axis=1)
        out[name] = area_under_curve(mated, np.sum(rows[:, 0] * rows[:, 2], axis=1))
    return out


def test_dynamics_only_is_chance_without_order_and_easy_with_it():
    people = 160
    aucs = _verification_aucs(DYNAMICS, people)
    # Standard deviation of the AUC of two samples of this size and one law.
    sampling_error = np.sqrt(1 / (6 * people))
    assert abs(aucs["mean"] - 0.5) < 3 * sampling_error, aucs
    assert abs(aucs["variance"] - 0.5) < 3 * sampling_error, aucs
    assert aucs["pairs"] > 0.8, aucs


def test_full_can_be_told_by_poses_and_by_pairs_of_poses():
    aucs = _verification_aucs(FULL, 120)
    assert min(aucs.values()) > 0.6, aucs
    assert max(aucs.values()) < 0.95, "untrained features should not solve it"


# --------------------------------------------------------------------------------------------- plans


def _count(sizes):
    return sum(sizes.people) * sizes.sentences * sizes.repetitions * (1 + sizes.cross_targets)


@pytest.mark.parametrize("name", sorted(simulator.PLANS))
def test_plans_are_disjoint_complete_and_repeatable(name):
    sizes = simulator.get_plan(name)
    videos = {split: simulator.plan(0, sizes, split) for split in simulator.SPLITS}
    assert videos["test"] == simulator.plan(0, sizes, "test")
    every = [v for split in videos.values() for v in split]
    assert len({v.video_id for v in every}) == len(every) == _count(sizes)
    people = {split: {v.driver for v in rows} | {v.target for v in rows} for split, rows in videos.items()}
    assert not people["train"] & people["test"] and not people["train"] & people["validation"]
    assert not people["validation"] & people["test"]
    for split, count in zip(simulator.SPLITS, sizes.people, strict=True):
        rows = videos[split]
        assert people[split] == {v.driver for v in rows} and len(people[split]) == count
        own = [v for v in rows if v.driver == v.target]
        assert {v.clip_id for v in own} == {v.clip_id for v in rows} and len(own) * (1 + sizes.cross_targets) == len(
            rows
        )
        assert all(v.clip_id == f"{v.driver}-{v.sentence}-r{v.repetition}" for v in rows)
        allowed = set(sizes.generators) | (set(sizes.unseen_generators) if split == "test" else set())
        assert {v.generator for v in rows} == allowed
    assert {v.sentence for v in videos["train"]} == {v.sentence for v in videos["test"]}


def test_a_larger_plan_keeps_the_people_of_a_smaller_one():
    small, large = (simulator.plan(0, simulator.get_plan(name), "train") for name in ("quickstart", "full"))
    assert {v.driver for v in small} < {v.driver for v in large}


def test_simulate_makes_the_video_of_a_row():
    row = simulator.plan(3, simulator.get_plan("tiny"), "test")[1]
    video, again = (simulator.simulate(row, 3, FULL, INDICES) for _ in range(2))
    np.testing.assert_array_equal(video.landmarks, again.landmarks)
    assert len(video.landmarks) == simulator.draw_clip(3, row.driver_index, 0, 0, FULL).num_frames


@pytest.mark.parametrize(
    "call",
    [
        lambda: simulator.get_config("fast"),
        lambda: simulator.get_plan("huge"),
        lambda: simulator.draw_generator(0, "SORA", FULL),
        lambda: simulator.plan(0, simulator.get_plan("tiny"), "dev"),
        lambda: simulator.SimulatorConfig("x", "order_only"),
    ],
)
def test_unknown_names_list_the_known_ones(call):
    with pytest.raises(UnknownName, match="known: "):
        call()


@pytest.mark.parametrize(
    "change",
    [{"min_frames": 105}, {"max_frames": 137}, {"max_gap": 3}, {"min_frames": 150}],
)
def test_configs_that_would_break_the_control_are_refused(change):
    with pytest.raises(ConfigError):
        dataclasses.replace(DYNAMICS, **change)


def test_videos_are_made_fast():
    make(FULL, 0, 0)
    start = time.process_time()  # of this process: other work on the machine does not count
    for i in range(20):
        make(FULL, i, i, number=i)
    assert (time.process_time() - start) / 20 < 0.05, "a video should take a few milliseconds"
