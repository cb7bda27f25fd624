"""Both recipes say what they are, and what they are asked for comes in their order."""

import pytest

from fingerprint.errors import UnknownName
from fingerprint.generation import recipes, vbench_csv
from fingerprint.generation.networks import vbench


@pytest.mark.parametrize("mode", recipes.modes())
def test_every_metric_is_defined_once(mode):
    whole = recipes.recipe(mode)
    names = [definition.name for definition in whole]
    assert len(set(names)) == len(names)
    for definition in whole:
        assert definition.view in recipes.VIEWS and definition.says.endswith(".") and definition.source
    assert {"fid", "e_fid", "fvd", "psnr", "ssim", "csim"} <= set(names)


def test_only_the_published_recipe_looks_at_single_videos():
    per_video = {mode: {d.name for d in recipes.recipe(mode) if d.per_video} for mode in recipes.modes()}
    assert not {"fid", "kid", "fvd", "e_fid", "expression_fid"} & per_video["standard"]
    assert {"fid", "fvd", "e_fid"} <= per_video["published"]


def test_the_six_scores_have_one_list():
    assert recipes.CONSISTENCY == vbench_csv.DIMENSIONS == tuple(vbench.SCORES)


def test_what_is_asked_for():
    names = [definition.name for definition in recipes.recipe("standard", ["ssim", "fid", "consistency"])]
    assert names == ["fid", "ssim", *recipes.CONSISTENCY]
    assert [definition.name for definition in recipes.recipe("published", "psnr")] == ["psnr"]
    with pytest.raises(UnknownName, match="kid"):
        recipes.recipe("standard", ["vmaf"])
    with pytest.raises(UnknownName, match="standard"):
        recipes.recipe("faithful")
