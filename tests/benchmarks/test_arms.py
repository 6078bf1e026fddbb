"""Four arms from one prepared folder: each differs in one thing, and what is done stays done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.arms import (
    CLASS_SAMPLES,
    Examiner,
    arms,
    asked_tags,
    deal_captions,
    fingerprint,
    one_run,
    orders,
    record,
    recorded,
    trained,
)
from benchmarks.claims import ALONE, CLASS, SETS, WITH, WITHOUT, Seen
from dataprep.pipeline import STAGES
from dataprep.settings import build_stages, load_settings
from dataprep.training.settings import load_config

TINY = " --w 64 --h 64 --s 2 --d 1"
LINES = {WITH: [f"sks girl, smile{TINY}"], CLASS: [f"girl{TINY}", f"girl{TINY}2"]}


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """A prepared folder's captions: nine training pictures and a class image."""
    for i in range(9):
        path = tmp_path / "img" / "5_sks girl" / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"sks girl, tag{i}", "utf-8")
    (tmp_path / "reg" / "1_girl").mkdir(parents=True)
    (tmp_path / "reg" / "1_girl" / "0.txt").write_text("girl", "utf-8")
    (tmp_path / "train.toml").write_text("network_dim = 4\n", "utf-8")
    return tmp_path


def texts(folder: Path) -> list[str]:
    """Training captions in the order of their pictures."""
    return [path.read_text("utf-8") for path in sorted(folder.glob("img/*/*.txt"))]


def test_dealt_captions_are_the_same_ones_and_none_is_its_own(captions: Path) -> None:
    before = texts(captions)
    deal_captions(captions, seed=3)
    after = texts(captions)
    assert sorted(after) == before
    assert not any(a == b for a, b in zip(after, before, strict=True))
    assert (captions / "reg" / "1_girl" / "0.txt").read_text("utf-8") == "girl"


def test_captions_are_dealt_by_the_seed(captions: Path) -> None:
    deal_captions(captions, seed=3)
    first = texts(captions)
    for seed, same in ((3, True), (4, False)):
        for i, path in enumerate(sorted(captions.glob("img/*/*.txt"))):
            path.write_text(f"sks girl, tag{i}", "utf-8")
        deal_captions(captions, seed)
        assert (texts(captions) == first) is same


def test_a_prompt_asks_for_its_tags_only() -> None:
    assert asked_tags("sks girl, red dress, outdoors --w 256 --d 1") == ("red dress", "outdoors")
    assert asked_tags("girl --w 256") == ()


def test_sets_ask_the_same_with_and_without_the_trigger() -> None:
    lines = orders()
    assert tuple(lines) == SETS
    assert [asked_tags(line) for line in lines[WITH]] == [asked_tags(line) for line in lines[WITHOUT]]
    assert all(line.startswith("sks girl") for line in lines[WITH] + lines[ALONE])
    assert all(line.startswith("girl") for line in lines[WITHOUT] + lines[CLASS])
    assert len(set(lines[CLASS])) == CLASS_SAMPLES


def test_arms_differ_from_the_full_recipe_in_one_thing() -> None:
    full, *others = arms(batch_size=4)
    assert (full.chain, full.training, full.dealt) == ((), (), False)
    assert [(bool(a.chain), bool(a.training), a.dealt) for a in others] == [
        (False, True, False),
        (True, False, False),
        (False, False, True),
    ]


def test_the_programs_own_settings_make_the_arms(tmp_path: Path) -> None:
    _, plain, unpruned, _ = arms(batch_size=4)
    stages = build_stages(load_settings(tmp_path, None, {}, unpruned.chain, STAGES), STAGES, {})
    prune = next(stage for stage in stages if stage.name == "prune").model_dump()
    assert not prune["absorbing"]
    assert "simple background" in prune["keep"]
    config, _ = load_config(None, plain.training)
    assert (config.use_reg, config.batch_size) == (False, 2)


def test_what_decides_a_run_is_in_its_key(captions: Path) -> None:
    before = fingerprint(captions, ("seed=1",), LINES)
    assert fingerprint(captions, ("seed=1",), LINES) == before
    assert fingerprint(captions, ("seed=2",), LINES) != before
    assert fingerprint(captions, ("seed=1",), {}) != before
    deal_captions(captions, seed=1)
    assert fingerprint(captions, ("seed=1",), LINES) != before


def test_findings_are_read_back_under_their_key_only(tmp_path: Path) -> None:
    sets = {CLASS: [Seen((0.25, 0.5, 1.0), ("smile",), ())], WITH: [Seen((0, 0, 0), (), ("smile",))]}
    assert recorded(tmp_path, "key") is None
    record(tmp_path, "key", {"arm": "full recipe"}, sets)
    assert recorded(tmp_path, "key") == sets
    assert recorded(tmp_path, "other") is None


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, prepare_drawings: Callable[[Path], Path]) -> Path:
    """A prepared folder of four drawings; one thread from here on, since two spin on work this small."""
    torch.set_num_threads(1)
    return prepare_drawings(tmp_path_factory.mktemp("arms"))


@pytest.mark.slow
def test_an_arm_is_trained_and_judged_once(prepared: Path, tmp_path: Path) -> None:
    before = texts(prepared)
    dealt, examiner, folder = arms(batch_size=2)[-1], Examiner(LINES), tmp_path / "run"
    first, _ = one_run(prepared, dealt, 1, 2, folder, examiner)
    assert [len(lot) for lot in first.sets.values()] == [1, 2]
    assert first.sets[WITH][0].asked == ("smile",)
    assert (folder / "lora.safetensors").is_file()
    assert (folder / "class-word-alone.png").is_file()
    assert not (folder / "prepared").exists()
    assert texts(prepared) == before, "the shared folder keeps its captions"

    again, said = one_run(prepared, dealt, 1, 2, folder, examiner)
    assert (again, said) == (first, "done before")
    _, said = one_run(prepared, dealt, 1, 3, folder, examiner)
    assert said != "done before", "other settings are another run"


@pytest.mark.slow
def test_a_killed_run_goes_on_unless_what_decides_it_changed(prepared: Path, tmp_path: Path) -> None:
    dealt, settings, log = (
        arms(batch_size=2)[-1],
        ("steps=2", "samples=false"),
        Path("prepared/log/train.jsonl"),
    )
    trained(prepared, dealt, 1, settings, tmp_path, "key")
    lora, captions = (tmp_path / "lora.safetensors").stat().st_ino, texts(tmp_path / "prepared")
    steps = (tmp_path / log).read_bytes()
    trained(prepared, dealt, 1, settings, tmp_path, "key")
    assert (tmp_path / log).read_bytes() == steps, "no step is made again"
    assert texts(tmp_path / "prepared") == captions, "captions are not dealt twice"
    assert (tmp_path / "lora.safetensors").stat().st_ino != lora
    trained(prepared, dealt, 2, (*settings, "seed=2"), tmp_path, "other key")
    assert (tmp_path / log).read_bytes() != steps
