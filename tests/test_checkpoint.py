"""Checkpoints and released models: whole or refused, by name."""

import json
import re
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from fingerprint import checkpoint
from fingerprint.checkpoint import CheckpointStore
from fingerprint.errors import CheckpointError

# Orbax abandons what it began reading of a damaged file.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine:RuntimeWarning"
)

DOCUMENT = {"iterator": {"next_index": 7}, "numbers": [1, 0.1, 1e-300], "text": "ü", "nothing": None}


def state(seed=0, width=4):
    rng = np.random.default_rng(seed)
    return {
        "params": {"gcn1": {"kernel": jnp.asarray(rng.normal(size=(3, width)), jnp.float32), "bias": jnp.zeros(width)}},
        "opt_state": [jnp.asarray(rng.integers(0, 9, 5), jnp.int32), (jnp.asarray([True, False]), jnp.float32(0.1))],
        "step": jnp.int32(seed),
    }


def same(one, two):
    one, two = checkpoint.flatten(one), checkpoint.flatten(two)
    return one.keys() == two.keys() and all(
        one[n].dtype == two[n].dtype and one[n].shape == two[n].shape and one[n].tobytes() == two[n].tobytes()
        for n in one
    )


def fill(directory, steps=(1, 2, 3), keep=3):
    store = CheckpointStore(directory, keep=keep)
    for step in steps:
        store.save(step, state(step), {**DOCUMENT, "step": step})
    store.close()


def reopened(directory, template=None, **options):
    store = CheckpointStore(directory)
    try:
        return store.restore(state() if template is None else template, **options)
    finally:
        store.close()


@pytest.fixture(scope="module")
def steps_on_disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "steps"
    fill(folder)
    return folder


@pytest.fixture
def steps(steps_on_disk, tmp_path):
    """Three whole steps, to be damaged."""
    return shutil.copytree(steps_on_disk, tmp_path / "checkpoints")


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


# ---------------------------------------------------------------------------------------------------------- checkpoints


def test_round_trip_is_exact(steps):
    step, restored, document = reopened(steps)
    assert step == 3 and same(restored, state(3)) and document == {**DOCUMENT, "step": 3}


def test_nothing_there_is_none(tmp_path):
    assert reopened(tmp_path / "new") is None


def test_the_newest_are_kept(tmp_path):
    fill(tmp_path, steps=range(1, 6), keep=2)
    store = CheckpointStore(tmp_path)
    assert store.steps() == [4, 5]
    store.close()
    assert reopened(tmp_path)[0] == 5


@pytest.mark.parametrize("where", [0.02, 0.5, 0.98])
def test_a_flipped_byte_in_any_file_is_found_or_harmless(steps_on_disk, tmp_path, where):
    """Never a wrong restore: an error that names the step, or exactly what was saved."""
    found = harmless = 0
    for number, path in enumerate(files_of(steps_on_disk / "3")):
        copy = shutil.copytree(steps_on_disk, tmp_path / str(number))
        damaged = copy / path.relative_to(steps_on_disk)
        if not damaged.stat().st_size:
            continue
        flip(damaged, int(where * damaged.stat().st_size))
        try:
            step, restored, document = reopened(copy)
        except CheckpointError as error:
            assert f"step 3 in {copy}" in str(error) and "damaged" in str(error)
            found += 1
            continue
        assert step == 3 and same(restored, state(3)) and document == {**DOCUMENT, "step": 3}, path
        harmless += 1
    assert found > 0


def test_a_flipped_byte_in_an_array_is_found(steps):
    """The file that holds the arrays, at many places."""
    largest = max(files_of(steps / "3" / "state"), key=lambda path: path.stat().st_size)
    content, found = largest.read_bytes(), 0
    positions = np.linspace(0, len(content) - 1, 24).astype(int).tolist()
    for position in positions:
        flip(largest, position)
        try:
            assert same(reopened(steps)[1], state(3))
        except CheckpointError as error:
            assert "step 3" in str(error)
            found += 1
        largest.write_bytes(content)
    assert found > len(positions) // 2


def test_a_silently_wrong_array_is_found_by_the_digest(tmp_path, monkeypatch):
    """What Orbax reads without complaint is compared with the digest all the same."""
    fill(tmp_path, steps=(1,))
    flatten = checkpoint.digest
    monkeypatch.setattr(checkpoint, "digest", lambda flat, document: flatten({**flat, "step": np.int32(9)}, document))
    with pytest.raises(CheckpointError, match="step 1 .*do not match their digest"):
        reopened(tmp_path)


def damage_all_arrays(step_folder):
    for path in files_of(step_folder / "state"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("how", ["truncated", "removed", "emptied", "seal changed"])
def test_a_damaged_newest_step_is_named_and_passed_over_only_when_asked(steps, how):
    match how:
        case "truncated":
            damage_all_arrays(steps / "3")
        case "removed":
            shutil.rmtree(steps / "3" / "state")
        case "emptied":
            for path in files_of(steps / "3" / "state"):
                path.write_bytes(b"")
        case "seal changed":
            (seal,) = [path for path in files_of(steps / "3" / "seal") if b"next_index" in path.read_bytes()]
            seal.write_bytes(re.sub(rb'("next_index": ?)7', rb"\g<1>8", seal.read_bytes()))
    with pytest.raises(CheckpointError, match=r"step 3 .*damaged.*older steps: \[1, 2\].*checkpoint.fallback=True"):
        reopened(steps)
    step, restored, document = reopened(steps, fallback=True)
    assert step == 2 and same(restored, state(2)) and document["step"] == 2
    # The damaged step is gone, so that the run can save it anew.
    store = CheckpointStore(steps)
    assert store.steps() == [1, 2]
    store.save(3, state(3), DOCUMENT)
    store.close()
    assert reopened(steps)[0] == 3


def test_no_whole_step_left_is_an_error_not_a_fresh_start(steps):
    for step in (1, 2, 3):
        damage_all_arrays(steps / str(step))
    with pytest.raises(CheckpointError, match=r"no whole checkpoint is left.*step 3.*step 2.*step 1"):
        reopened(steps, fallback=True)


@pytest.mark.parametrize("fallback", [False, True])
def test_another_architecture_is_refused_with_names_and_shapes(steps, fallback):
    other = state(width=6)
    other["params"]["gcn4"] = {"bias": jnp.zeros(2)}
    del other["opt_state"]
    with pytest.raises(CheckpointError) as error:
        reopened(steps, other, fallback=fallback)
    text = str(error.value)
    assert "step 3" in text and "another architecture" in text
    assert "params/gcn1/kernel: found (3, 4) float32, wanted (3, 6) float32" in text
    assert "missing params/gcn4/bias (2,)" in text and "extra opt_state/0 (5,)" in text
    assert reopened(steps)[0] == 3


def test_another_architecture_after_a_fallback_deletes_nothing(steps):
    damage_all_arrays(steps / "3")
    with pytest.raises(CheckpointError, match="step 2 .*another architecture"):
        reopened(steps, state(width=6), fallback=True)
    assert (steps / "3").is_dir()


def test_other_types_are_another_architecture(steps):
    other = state()
    other["step"] = jnp.float32(0)
    with pytest.raises(CheckpointError, match=r"step: found \(\) int32, wanted \(\) float32"):
        reopened(steps, other)


def test_the_digest_covers_names_types_shapes_bytes_and_document():
    flat = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(0, np.int32)}
    plain = checkpoint.digest(flat, {"x": 1})
    assert plain == checkpoint.digest(dict(reversed(flat.items())), {"x": 1})
    changed = [
        ({**flat, "a": np.zeros((3, 2), np.float32)}, {"x": 1}),
        ({**flat, "a": np.zeros((2, 3), np.int32)}, {"x": 1}),
        ({**flat, "a": np.full((2, 3), -0.0, np.float32)}, {"x": 1}),
        ({"a": flat["a"], "c": flat["b"]}, {"x": 1}),
        (flat, {"x": 2}),
        (flat, {"x": 1, "y": None}),
    ]
    assert len({plain, *(checkpoint.digest(*c) for c in changed)}) == 7


def test_flat_names_follow_the_tree():
    assert sorted(checkpoint.flatten(state())) == [
        "opt_state/0", "opt_state/1/0", "opt_state/1/1", "params/gcn1/bias", "params/gcn1/kernel", "step",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------------ released models


@pytest.fixture(scope="module")
def model_on_disk(tmp_path_factory):
    return checkpoint.save_model(tmp_path_factory.mktemp("models") / "model", state()["params"], DOCUMENT)


@pytest.fixture
def model(model_on_disk, tmp_path):
    return shutil.copytree(model_on_disk, tmp_path / "model")


def test_a_released_model_reads_back(model):
    flat, document, digest = checkpoint.load_model(model)
    assert document == DOCUMENT and digest == checkpoint.digest(flat, document)
    assert same(checkpoint.unflatten(flat, state()["params"], "here"), state()["params"])


def test_a_released_model_is_never_overwritten(model):
    before = {path: path.read_bytes() for path in files_of(model)}
    with pytest.raises(CheckpointError, match="exists; a released model is never overwritten"):
        checkpoint.save_model(model, state(1)["params"], {})
    assert {path: path.read_bytes() for path in files_of(model)} == before
    assert [path.name for path in model.parent.iterdir()] == ["model"]  # nothing half-written beside it


def test_a_document_that_is_no_json_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError):
        checkpoint.save_model(tmp_path / "model", state()["params"], {"array": np.zeros(2)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", [0.1, 0.6])
def test_a_flipped_byte_in_a_released_model_is_found_or_harmless(model_on_disk, tmp_path, where):
    original, found = checkpoint.load_model(model_on_disk), 0
    for number, path in enumerate(files_of(model_on_disk)):
        copy = shutil.copytree(model_on_disk, tmp_path / str(number))
        damaged = copy / path.relative_to(model_on_disk)
        flip(damaged, int(where * damaged.stat().st_size))
        try:
            flat, document, digest = checkpoint.load_model(copy)
        except CheckpointError as error:
            assert str(copy) in str(error) and "damaged" in str(error)
            found += 1
            continue
        assert same(flat, original[0]) and (document, digest) == original[1:]
    assert found > 0


@pytest.mark.parametrize("change", [("7", "8"), ('"ü"', '"u"'), ('"digest": "', '"digest": "0')])
def test_a_changed_document_is_found(model, change):
    path = model / "model.json"
    text = json.dumps(json.loads(path.read_text(encoding="utf-8")), ensure_ascii=False)
    assert change[0] in text
    path.write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(CheckpointError, match=f"{model} is damaged"):
        checkpoint.load_model(model)


def test_missing_weights_and_missing_models_are_named(model, tmp_path):
    shutil.rmtree(model / "weights")
    with pytest.raises(CheckpointError, match=f"{model} is damaged"):
        checkpoint.load_model(model)
    with pytest.raises(CheckpointError, match=r"no_such holds no model: wanted .*model.json.*best.json"):
        checkpoint.load_model(tmp_path / "no_such")
    (model / "model.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.load_model(model)


def test_the_best_model_is_pointed_to_and_the_one_before_stays(tmp_path):
    for step in (10, 20, 30):
        path = checkpoint.publish_best(tmp_path, step, state(step)["params"], {"step": step})
        assert checkpoint.resolve_model(tmp_path) == path == tmp_path / "models" / f"{step:08d}"
        flat, document, _ = checkpoint.load_model(tmp_path)
        assert document == {"step": step} and same(flat, checkpoint.flatten(state(step)["params"]))
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["00000020", "00000030"]
    # A run that was killed after publishing and before its checkpoint goes on from the model that the checkpoint knows,
    checkpoint.point_to_best(tmp_path, 20)
    assert checkpoint.resolve_model(tmp_path).name == "00000020"
    checkpoint.point_to_best(tmp_path, 10)  # which is gone: the pointer stays
    assert checkpoint.resolve_model(tmp_path).name == "00000020"
    # and makes the same step again.
    checkpoint.publish_best(tmp_path, 30, state(21)["params"], {"step": 30})
    assert same(checkpoint.load_model(tmp_path)[0], checkpoint.flatten(state(21)["params"]))
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["00000020", "00000030"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.json", "models"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": 3}'])
def test_a_damaged_pointer_is_an_error_of_ours(tmp_path, content):
    (tmp_path / "best.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match="best.json is damaged"):
        checkpoint.resolve_model(tmp_path)
