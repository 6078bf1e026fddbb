from __future__ import annotations

from pathlib import Path

import pytest

from dataprep.errors import ConfigError
from dataprep.models import Model
from dataprep.stages.prune import Prune
from dataprep.stages.tag import Tag
from dataprep.tags.absorb import Purpose
from dataprep.tags.thresholds import Thresholds, check_floor, model_thresholds


def test_categories_have_their_own_thresholds_and_single_tags_outrank_them() -> None:
    thresholds = Thresholds(0.3, 0.8, {"hat": 0.6})
    limits = thresholds.of(
        ["smile", "saber", "fate", "hat"], ["general", "character", "copyright", "general"]
    )
    assert limits.tolist() == pytest.approx([0.3, 0.8, 0.8, 0.6])


def test_the_users_threshold_outranks_the_models() -> None:
    known = Thresholds(0.3, 0.8, {"hat": 0.6, "saber": 0.7})
    tags, categories = ["smile", "hat", "saber"], ["general", "general", "character"]
    for general, character, expected in (
        (0.5, 0.9, [0.5, 0.5, 0.9]),
        (0.5, None, [0.5, 0.5, 0.7]),
        (None, 0.9, [0.3, 0.6, 0.9]),
    ):
        chosen = known.chosen(general, character, "character")
        assert chosen.of(tags, categories).tolist() == pytest.approx(expected)


def test_a_style_is_tagged_lower_unless_the_user_says_a_number() -> None:
    card = Thresholds(0.4, 0.8, {"hat": 0.6})
    style = card.chosen(None, None, "style")
    assert style.general == pytest.approx(0.3)
    assert style.per_tag["hat"] == pytest.approx(0.45)
    assert card.chosen(0.4, None, "style").general == 0.4
    assert card.chosen(None, None, "character").general == 0.4


@pytest.mark.parametrize("purpose", ["outfit", "pose", "object"])
def test_concepts_are_tagged_as_coarsely_as_styles(purpose: Purpose) -> None:
    assert Thresholds(0.4, 0.8).chosen(None, None, purpose).general == pytest.approx(0.3)


def test_thresholds_and_base_rates_are_read_from_the_models_own_files(tmp_path: Path) -> None:
    rows = ["0,general,9,600", "1,explicit,9,400", "2,long_hair,0,250", "3,^_^,0,5", "4,miku,4,10"]
    (tmp_path / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *rows]), "utf-8")
    (tmp_path / "thresholds.csv").write_text("name,threshold\ngeneral,0.3\ncharacter,0.8\n^_^,0.6\n", "utf-8")
    known = model_thresholds(Model("tagger", "mine", tmp_path, "x"))
    assert (known.general, known.character, dict(known.per_tag)) == (0.3, 0.8, {"^_^": 0.6})
    assert known.said == "the files of mine"
    assert known.base_rates["long hair"] == 0.25


def test_a_model_brings_its_cards_thresholds_and_its_own_table(tmp_path: Path) -> None:
    text = "tag_id,name,category,best_threshold\n0,a_b,0,0.7\n"
    (tmp_path / "selected_tags.csv").write_text(text, encoding="utf-8")
    known = model_thresholds(Model("tagger", "wd-eva02-large-v3", tmp_path, "x"))
    assert (known.general, known.character, dict(known.per_tag)) == (0.5296, 0.85, {"a b": 0.7})
    assert "wd-eva02-large-v3" in known.said


def test_an_unknown_model_gets_the_usual_thresholds(tmp_path: Path) -> None:
    assert model_thresholds(Model("tagger", "mine", tmp_path, "x")).general == 0.35
    assert model_thresholds(None) == Thresholds()


@pytest.mark.parametrize(
    ("floor", "prune", "wrong"),
    [
        (0.34, Prune(), None),
        (
            0.4,
            Prune(),
            r"dataprep\.toml: tag\.floor: 0\.4 is above the threshold of general tags, 0\.35 \(this prog",
        ),
        (0.4, Prune(general_threshold=0.4), None),
        (
            0.3,
            Prune(purpose="style"),
            r"general tags, 0\.262 .*purpose style.* set tag\.floor to 0\.262 or less",
        ),
        (
            0.9,
            Prune(general_threshold=0.95),
            r"character tags, 0\.85 .*or prune\.character_threshold to 0\.9$",
        ),
    ],
)
def test_a_floor_above_the_models_own_threshold_is_refused_with_its_cure(
    tmp_path: Path, floor: float, prune: Prune, wrong: str | None
) -> None:
    (tmp_path / "selected_tags.csv").write_text("tag_id,name,category\n0,hat,0\n", encoding="utf-8")
    model = Model("tagger", "mine", tmp_path, "x")
    if wrong is None:
        check_floor([Tag(floor=floor), prune], model, "dataprep.toml")
        return
    with pytest.raises(ConfigError, match=wrong):
        check_floor([Tag(floor=floor), prune], model, "dataprep.toml")
    check_floor([Tag(floor=floor)], model, "dataprep.toml")  # nothing is pruned: nothing to compare


def test_tags_whose_own_threshold_is_under_the_floor_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "tag_id,name,category,best_threshold\n0,hat,0,0.1\n1,cap,0,0.3\n"
    (tmp_path / "selected_tags.csv").write_text(text, encoding="utf-8")
    check_floor([Tag(floor=0.2), Prune()], Model("tagger", "mine", tmp_path, "x"), "dataprep.toml")
    assert "tag.floor: 0.2 is above the thresholds that the model ships for 1 of its tags" in caplog.text
