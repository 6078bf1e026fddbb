from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from dataprep.inference.torch_compat import prepare_torch
from dataprep.manifest import SCORE
from dataprep.models import Model, pins
from dataprep.stage import Context
from dataprep.stages.clip import Clip

Make = Callable[..., dict[str, Any]]
Tabulate = Callable[[list[dict[str, Any]]], pa.Table]
CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prepare_torch()
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("clip")
    weights = open_clip.model.CLIP(**CONFIG).state_dict()
    save_file(
        {name: w.contiguous().clone() for name, w in weights.items()}, folder / "open_clip_model.safetensors"
    )
    text = json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}})
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def seeing(context: Context, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setenv("DATAPREP_CACHE", str(tmp_path / "cache"))
    return replace(context, models={"clip": Model("clip", "tiny", folder, "sha")})


def with_tags(table: pa.Table, tags: list[dict[str, str]]) -> pa.Table:
    cells = [[{"tag": t, "score": 0.5, "category": c} for t, c in row.items()] for row in tags]
    return table.append_column("tag_scores", pa.array(cells, pa.list_(SCORE)))


def scores(result: pa.Table, row: int = 0) -> dict[str, tuple[float, str]]:
    return {s["tag"]: (s["score"], s["category"]) for s in result["clip_scores"][row].as_py()}


def test_concepts_and_second_opinions_are_scored(
    seeing: Context, placed_row: Make, as_table: Tabulate
) -> None:
    table = with_tags(
        as_table([placed_row("a.png")]), [{"hat": "general", "safe": "rating", "night": "general"}]
    )
    result = Clip(concepts=("beach", "night"), floor=0.0).open(seeing)(table)
    found = scores(result)
    assert {tag: category for tag, (_, category) in found.items()} == {
        "beach": "concept",
        "night": "concept",
        "hat": "opinion",
    }
    assert all(0 <= score <= 1 for score, _ in found.values())
    assert result["clip_score_kind"].to_pylist() == ["softmax against null prompts"]


def test_scores_do_not_depend_on_the_batch(seeing: Context, placed_row: Make, as_table: Tabulate) -> None:
    rows = [placed_row(f"{i * 'x'}.png") for i in (1, 2, 3)]
    table = with_tags(as_table(rows), [{"hat": "general"}, {"smile": "general"}, {}])
    run = Clip(floor=0.0).open(seeing)
    together = run(table)
    for i in range(3):
        alone = scores(run(table.slice(i, 1)))
        assert scores(together, i).keys() == alone.keys()
        for tag, (score, _) in scores(together, i).items():
            assert score == pytest.approx(alone[tag][0], abs=1e-5)


def test_concepts_under_the_floor_are_left_out_but_opinions_never(
    seeing: Context, placed_row: Make, as_table: Tabulate
) -> None:
    table = with_tags(as_table([placed_row("a.png")]), [{"hat": "general"}])
    result = Clip(floor=1.0).open(seeing)(table)
    assert list(scores(result)) == ["hat"]


def test_a_damaged_picture_marks_only_its_own_row(
    seeing: Context, placed_row: Make, as_table: Tabulate
) -> None:
    rows = [placed_row("a.png"), placed_row("bb.png")]
    (seeing.raw / "bb.png").unlink()
    result = Clip().open(seeing)(with_tags(as_table(rows), [{}, {}]))
    assert result["error"].to_pylist()[0] is None
    assert result["error"].to_pylist()[1].startswith("io")


def test_a_models_own_words_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Clip().key()
    known = pins("clip")
    changed = {name: replace(pin, facts={**pin.facts, "concepts": ["other"]}) for name, pin in known.items()}
    monkeypatch.setattr("dataprep.models.pins", lambda _: changed)
    assert Clip().key() != before


def test_no_concepts_at_all_still_gives_opinions(
    seeing: Context, placed_row: Make, as_table: Tabulate
) -> None:
    table = with_tags(as_table([placed_row("a.png")]), [{"hat": "general"}])
    assert list(scores(Clip(concepts=()).open(seeing)(table))) == ["hat"]
    nothing = Clip(concepts=(), opinions=False).open(seeing)(table)
    assert nothing["clip_scores"].to_pylist() == [[]]


def test_words_come_from_a_file_or_from_the_tagger_too(
    seeing: Context, placed_row: Make, as_table: Tabulate, tmp_path: Path
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("beach\nhat\n", encoding="utf-8")
    table = with_tags(as_table([placed_row("a.png")]), [{}])
    stage = Clip(concepts=("night",), vocabulary=str(words), floor=0.0)
    assert set(scores(stage.open(seeing)(table))) == {"night", "beach", "hat"}
    key = stage.key()
    words.write_text("beach\n", encoding="utf-8")
    assert stage.key() != key
    listed = tmp_path / "tagger"
    listed.mkdir()
    (listed / "tags.txt").write_text("long_hair\nrating:safe\n", encoding="utf-8")
    both = replace(seeing, models={**seeing.models, "tagger": Model("tagger", "t", listed, "x")})
    found = Clip(concepts=(), vocabulary="tagger", floor=0.0).open(both)(table)
    assert set(scores(found)) == {"long hair"}


@pytest.mark.parametrize("templates", [("a picture",), ("{}", "a picture of")])
def test_a_phrase_without_a_place_for_the_concept_is_refused(templates: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="the concept's place"):
        Clip(templates=templates)
