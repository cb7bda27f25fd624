"""Curves, the embedding map, and figures of awkward data."""

from __future__ import annotations

import numpy as np
import pytest

from fingerprint.errors import RatesError
from fingerprint.reports import curves, embedding_map, figures

PNG = b"\x89PNG\r\n\x1a\n"


def names_drawn(report) -> set[str]:
    drawings = figures.draw_all(report)
    assert all(figures.is_figure_name(drawing.name) for drawing in drawings)
    assert all(bool(drawing.missing) != bool(drawing.png) for drawing in drawings)
    assert all(drawing.png.startswith(PNG) for drawing in drawings if drawing.png)
    return {drawing.name for drawing in drawings if drawing.png}


def test_roc_ends_and_rises():
    rng = np.random.default_rng(1)
    mated = rng.random(500) < 0.3
    roc = curves.roc_curve(rng.normal(size=500) + mated, mated)
    assert (roc.fmr[0], roc.tmr[0], roc.fmr[-1], roc.tmr[-1]) == (0, 0, 1, 1)
    assert (np.diff(roc.fmr) >= 0).all() and (np.diff(roc.tmr) >= 0).all()


def test_roc_equals_brute_force():
    scores = np.array([0.1, 0.4, 0.4, 0.7, 0.7, 0.7, 0.9, np.nan])
    mated = np.array([False, False, True, False, True, True, True, True])
    roc = curves.roc_curve(scores, mated)
    known = ~np.isnan(scores)
    points = {(0.0, 0.0)}
    for threshold in scores[known]:
        accepted = scores[known] >= threshold
        points.add((round(accepted[~mated[known]].mean(), 9), round(accepted[mated[known]].mean(), 9)))
    assert set(zip(roc.fmr.round(9).tolist(), roc.tmr.round(9).tolist(), strict=True)) == points


def test_tied_scores_make_one_line():
    roc = curves.roc_curve(np.zeros(10), np.arange(10) < 4)
    assert roc.fmr.tolist() == [0, 1] and roc.tmr.tolist() == [0, 1]
    fmr, fnmr = curves.det_curve(roc)
    assert np.abs(fmr + fnmr).max() < 1e-9  # probit of x and of 1 - x: the diagonal of the ROC, bent
    assert np.abs(fmr).min() < 1e-2 and len(fmr) > 100


def test_large_curves_are_thinned_onto_the_exact_curve():
    rng = np.random.default_rng(2)
    mated = rng.random(40_000) < 0.1
    scores = rng.normal(size=40_000) + 2 * mated
    whole, thin = curves.roc_curve(scores, mated, max_points=10**6), curves.roc_curve(scores, mated)
    assert len(whole.fmr) > 30_000 and len(thin.fmr) <= 2001
    exact = set(zip(whole.fmr.tolist(), whole.tmr.tolist(), strict=True))
    assert set(zip(thin.fmr.tolist(), thin.tmr.tolist(), strict=True)) <= exact
    auc = [np.trapezoid(roc.tmr, roc.fmr) for roc in (whole, thin)]
    assert abs(auc[0] - auc[1]) < 1e-4
    tail = thin.fmr[(thin.fmr > 0) & (thin.fmr < 1e-3)]
    assert len(tail) > 20  # where a DET plot looks


def test_roc_wants_both_classes():
    with pytest.raises(RatesError, match="0 mated and 3 non-mated"):
        curves.roc_curve(np.array([1.0, 2, 3, np.nan]), np.array([False, False, False, True]))


def test_probit():
    found = curves.probit(np.array([0.0, 0.5, 0.975, 1.0]), lowest=0.001)
    assert found[1] == 0 and found[2] == pytest.approx(1.959964, abs=1e-6)
    assert found[0] == -found[3] == pytest.approx(-3.090232, abs=1e-6)


def test_tsne_parts_two_clusters():
    rng = np.random.default_rng(3)
    label = np.arange(60) % 2
    points = rng.normal(size=(60, 12)) + 8 * label[:, None]
    places = embedding_map.tsne(points, seed=0)
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (label[distance.argmin(axis=1)] == label).all()
    gap = np.linalg.norm(places[label == 0].mean(axis=0) - places[label == 1].mean(axis=0))
    assert gap > 2 * max(places[label == side].std() for side in (0, 1))
    assert np.array_equal(places, embedding_map.tsne(points, seed=0))


def test_tsne_finds_what_two_components_hide():
    rng = np.random.default_rng(4)
    label = np.arange(120) % 10
    points = 6 * np.eye(10)[label] + 0.7 * rng.normal(size=(120, 10))

    def purity(places):
        distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
        np.fill_diagonal(distance, np.inf)
        return (label[distance.argsort(axis=1)[:, :8]] == label[:, None]).mean()

    assert purity(embedding_map.tsne(points, seed=0)) > 0.98 > purity(embedding_map.pca(points, 2))


@pytest.mark.parametrize("points", [np.zeros((10, 3)), np.eye(3), np.ones((1, 2)), np.eye(6)[[0, 0, 1, 1, 2, 2]]])
def test_tsne_of_degenerate_points_is_finite(points):
    places = embedding_map.tsne(points, seed=0)
    assert places.shape == (len(points), 2) and np.isfinite(places).all()


def test_pca_keeps_distances():
    points = np.random.default_rng(5).normal(size=(20, 3)) @ np.random.default_rng(6).normal(size=(3, 9))
    found = embedding_map.pca(points, 3)
    assert np.linalg.norm(found[0] - found[7]) == pytest.approx(np.linalg.norm(points[0] - points[7]))
    assert embedding_map.pca(points[:2], 4).shape == (2, 4)


def test_all_figures_of_the_sample(report):
    expected = {
        "roc",
        "det",
        "scores",
        "training_loss",
        "training_validation",
        "embedding_driver",
        "embedding_target",
    }
    assert names_drawn(report) == expected | {"attention_1", "attention_2"}


def test_awkward_parts_are_left_out_with_a_reason(sample, report):
    example = report.attention[0]
    bad = [
        example | {"weights": np.full(60, np.nan)},
        example | {"weights": np.full(60, 1 / 60)},
        example | {"frame_mask": np.zeros(60, bool)},
        {"video_id": "bare", "weights": np.arange(5.0)},
    ]
    changed = sample.replace(
        report,
        attention=bad,
        training=[{"step": 1, "loss": float("inf")}, {"step": None, "validation/auc": 0.5}, {}],
        embeddings=np.ones_like(report.embeddings),
    )
    assert names_drawn(changed) == {"roc", "det", "scores", "attention_4"}
    missing = {drawing.name: drawing.missing for drawing in figures.draw_all(changed)}
    assert missing["embedding_driver"] == "all videos have the same embedding: the network collapsed"


def test_embeddings_of_failed_videos_are_left_out(sample, report):
    embeddings = report.embeddings.copy()
    embeddings[5:] = np.nan
    assert "embedding_driver" in names_drawn(sample.replace(report, embeddings=embeddings))
    embeddings[1:] = np.nan
    assert "embedding_driver" not in names_drawn(sample.replace(report, embeddings=embeddings))


def test_infinite_scores_and_a_single_hard_class_are_drawn(sample, report):
    scores = report.scores.copy()
    scores[:2] = np.inf, -np.inf
    changed = sample.replace(report, scores=scores, same_target=report.mated)
    assert {"roc", "det", "scores"} <= names_drawn(changed)


def test_names_are_drawn_literally(sample, report):
    odd = ["$x", "$a_{$", "_hidden", "", "名前", "tab\there"]
    names = [odd[index % len(odd)] for index in range(len(report.embeddings))]
    drawn = names_drawn(sample.replace(report, embedding_driver=names, embedding_target=names))
    assert {"embedding_driver", "embedding_target"} <= drawn
