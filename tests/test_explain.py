"""`dataprep explain`: every setting has a meaning, and every needed column has a stage that adds it."""

from __future__ import annotations

import pytest

from dataprep.errors import ConfigError
from dataprep.explain import explain_text
from dataprep.pipeline import STAGES, Chain
from dataprep.settings import Project
from dataprep.stage import Stage
from dataprep.train.config import TrainConfig


@pytest.mark.parametrize("model", [Project, TrainConfig, *STAGES], ids=lambda model: model.__name__)
def test_every_setting_says_what_it_means(model: type[Stage]) -> None:
    silent = [name for name, info in model.model_fields.items() if not info.description]
    assert silent == []


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_stage_is_explained_with_its_settings_and_columns(stage: type[Stage]) -> None:
    text = explain_text(stage.name)
    for name in [*stage.model_fields, *stage.needs.names, *stage.adds.names]:
        assert f"`{name}`" in text


def test_the_overview_lists_the_chain_in_order() -> None:
    text = explain_text(None)
    places = [text.index(f"- `{stage.name}`") for stage in STAGES]
    assert places == sorted(places)


def test_an_unknown_topic_lists_the_topics() -> None:
    with pytest.raises(ConfigError, match="dedup"):
        explain_text("sieve")


def test_the_chain_is_complete_and_in_the_agreed_order() -> None:
    chain = Chain(tuple(stage() for stage in STAGES))
    names = (
        "scan curate fingerprint dedup crop split bucket tag clip caption prune reg texts latents export mask"
    )
    assert [stage.name for stage in chain.stages] == names.split()


def test_stopping_at_tag_still_writes_captions_and_absorbs_nothing() -> None:
    stages = Chain(tuple(stage() for stage in STAGES)).until("tag")
    assert [stage.name for stage in stages][-5:] == ["tag", "prune", "reg", "export", "mask"]
    assert next(stage for stage in stages if stage.name == "prune").absorbing is False  # type: ignore[attr-defined]


def test_until_an_unknown_stage_lists_the_stages() -> None:
    with pytest.raises(ConfigError, match="fingerprint"):
        Chain(tuple(stage() for stage in STAGES)).until("sieve")
