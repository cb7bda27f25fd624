"""Networks by name."""

import pytest
from ml_collections import ConfigDict

from fingerprint import options
from fingerprint.errors import ConfigError, UnknownName
from fingerprint.models import registry
from fingerprint.models.gcn_tap import GCNTAP


def test_every_known_name_builds():
    assert "gcn_tap" in registry.names()
    for name in registry.names():
        assert registry.build({"name": name, "landmark_set": "ibug68"}).landmark_set == "ibug68"


def test_options_reach_the_network():
    model = registry.build(
        ConfigDict({"name": "gcn_tap", "hidden": 3, "features": 5, "dropout": 0.1, "last_dropout": "vertex"})
    )
    assert isinstance(model, GCNTAP)
    assert (model.hidden, model.features, model.dropout, model.last_dropout) == (3, 5, 0.1, "vertex")


def test_the_default_configuration_builds():
    model = registry.build({**options.defaults().model, "landmark_set": "avaprintdb109"})
    assert (model.hidden, model.features) == (64, 256)


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu", None])
def test_auto_takes_a_form_and_a_chunk(platform):
    model = registry.build({"name": "gcn_tap", "form": "auto", "chunk": -1}, platform)
    assert model.form in ("dense", "jraph") and model.chunk >= 0


def test_unknown_names_and_options_list_the_known_ones():
    with pytest.raises(UnknownName, match="unknown model 'gcn_tab'; known: .*gcn_tap"):
        registry.build({"name": "gcn_tab"})
    with pytest.raises(ConfigError, match=r"no option depth, width; known: .*hidden"):
        registry.build({"name": "gcn_tap", "width": 3, "depth": 2})
    with pytest.raises(ConfigError, match="no option parent"):
        registry.build({"name": "gcn_tap", "parent": None})


def test_the_configuration_is_left_as_it_was():
    config = {"name": "gcn_tap", "form": "auto"}
    registry.build(config)
    assert config == {"name": "gcn_tap", "form": "auto"}
