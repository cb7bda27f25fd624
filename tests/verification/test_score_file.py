import csv

import numpy as np
import pytest
from made_up_videos import reenactments

from fingerprint.errors import ProtocolError, RatesError
from fingerprint.verification import protocols, score_file, trials


@pytest.fixture
def written(tmp_path):
    videos = reenactments()
    videos["video_id"] = np.char.add(videos["video_id"], ', "quoted"')
    found = protocols.all_pairs(videos, seed=0, enrolment_clips=3)
    rng = np.random.default_rng(0)
    scores = rng.normal(size=len(found)) * 10.0 ** rng.integers(-300, 300, size=len(found))
    scores[::5] = np.nan
    scores[1:4] = [0.1 + 0.2, 1.0, -0.0]
    path = tmp_path / "scores.csv"
    score_file.write(path, found, videos, scores)
    return path, found, videos, scores


def test_round_trip_is_exact(written, monkeypatch):
    path, found, videos, scores = written
    table = score_file.read(path)
    np.testing.assert_array_equal(
        table.scores.view(np.int64)[~np.isnan(scores)], scores.view(np.int64)[~np.isnan(scores)]
    )
    np.testing.assert_array_equal(np.isnan(table.scores), np.isnan(scores))
    np.testing.assert_array_equal(table.mated, found.mated)
    assert set(table.conditions) == set(trials.CONDITIONS)
    for name, flags in found.conditions.items():
        np.testing.assert_array_equal(table.conditions[name], flags)
    for field in ("reference_driver", "probe_driver"):
        names = [np.array(side.drivers)[getattr(side, field)] for side in (table, found)]
        np.testing.assert_array_equal(*names)
    np.testing.assert_array_equal(np.array(table.videos)[table.probe_index], videos["video_id"][found.probe_index])
    for mine, theirs in zip(table.template_index[::9], found.template_index[::9], strict=True):
        ids = [table.videos[row] for row in table.templates[mine]]
        assert ids == videos["video_id"][list(found.templates[theirs])].tolist()
    assert (table.protocol, table.seed, table.hash, table.notes) == (
        found.protocol,
        0,
        found.hash,
        found.notes,
    )
    assert [file.name for file in path.parent.iterdir()] == ["scores.csv"]
    whole = path.read_bytes()
    monkeypatch.setattr(score_file, "_CHUNK", 7)
    score_file.write(path, found, videos, scores)
    assert path.read_bytes() == whole


def test_one_row_a_trial_empty_where_acquisition_failed(written):
    path, found, _, scores = written
    with open(path, newline="") as file:
        assert next(file).startswith("# {")
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found)
    assert [row["score"] == "" for row in rows] == np.isnan(scores).tolist()
    assert rows[0]["template"].count("+") == 2


def test_missing_pairs_survive_as_failures(tmp_path):
    videos = reenactments()
    a, b = videos["video_id"][:2]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"enrol,test,label\n{a},{b},1\n{a},gone,1\ngone too,{b},0\n")
    score_file.write(tmp_path / "scores.csv", protocols.pairs_csv(pairs, videos), videos, np.array([0.5]))
    table = score_file.read(tmp_path / "scores.csv")
    np.testing.assert_array_equal(table.scores, [0.5, np.nan, np.nan])
    assert table.mated.tolist() == [True, True, False]
    assert table.reference_driver.tolist() == table.probe_driver.tolist() == [0, -1, -1]
    assert {"gone", "gone too"} <= set(table.videos)


def test_files_of_before_corpora_were_told_apart_are_read(written):
    path, found, _, scores = written
    head, *lines = path.read_text().splitlines()
    names = next(csv.reader(lines[:1]))
    kept = [index for index, name in enumerate(names) if name not in trials.CORPUS_CONDITIONS]
    with open(path, "w", newline="") as file:
        file.write(head + "\n")
        csv.writer(file, lineterminator="\n").writerows([row[index] for index in kept] for row in csv.reader(lines))
    table = score_file.read(path)
    np.testing.assert_array_equal(table.scores, scores)
    np.testing.assert_array_equal(table.conditions["same_target"], found.conditions["same_target"])
    assert not any(table.conditions[name].any() for name in trials.CORPUS_CONDITIONS)


def test_damaged_and_foreign_files_are_refused(written, tmp_path):
    path, *_ = written
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    cut = {
        "in a number": whole.rstrip(b"\n")[:-3],
        "last newline": whole[:-1],
        "after a row": b"".join(lines[:-4]),
        "in a row": whole[: len(whole) // 2],
        "after the header": b"".join(lines[:2]),
        "in the comment": whole[:40],
        "all": b"",
        "foreign": b"a,b\n1,2\n",
        "foreign comment": b"# [1]\na,b\n1,2\n",
        "other columns": lines[0] + b"a,b\n1,2\n",
        "no flag": whole.replace(b",true,", b",maybe,", 1),
    }
    for what, content in cut.items():
        path.write_bytes(content)
        with pytest.raises(RatesError, match="scores.csv"):
            score_file.read(path)
            pytest.fail(what)
    with pytest.raises(RatesError, match="cannot be read"):
        score_file.read(tmp_path / "absent.csv")


def test_failed_writes_leave_the_old_file(written, monkeypatch):
    path, found, videos, scores = written
    whole = path.read_bytes()
    with pytest.raises(RatesError, match="as many scores"):
        score_file.write(path, found, videos, scores[1:])
    joined = videos | {"video_id": np.char.add(videos["video_id"], "+")}
    with pytest.raises(ProtocolError, match="60 video ids contain"):
        score_file.write(path, found, joined, scores)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(score_file, "_write_rows", stop)
    with pytest.raises(KeyboardInterrupt):
        score_file.write(path, found, videos, scores)
    assert path.read_bytes() == whole
    assert [file.name for file in path.parent.iterdir()] == ["scores.csv"]


def test_quality_measures_stand_beside_the_scores(tmp_path):
    videos = reenactments()
    a, b, c = videos["video_id"][:3]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"enrol,test,label\n{a},{b},1\n{a},{c},1\n{a},gone,1\n")
    found, path = protocols.pairs_csv(pairs, videos), tmp_path / "scores.csv"
    measures = np.array([[np.log(100), 1.0], [np.log(70), 1 / 3]])
    score_file.write(path, found, videos, np.array([0.5, 0.25]), measures)
    table = score_file.read(path)
    np.testing.assert_array_equal(table.measures, [*measures, [np.nan, np.nan]])
    assert path.read_text().splitlines()[1].endswith('"score","log_frames","share_with_face"')
    score_file.write(path, found, videos, np.array([0.5, 0.25]))
    assert score_file.read(path).measures is None
    with pytest.raises(RatesError, match="2 trials want 2 measures each"):
        score_file.write(path, found, videos, np.array([0.5, 0.25]), measures[:, :1])
