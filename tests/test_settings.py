"""Settings: a mistake is named with its rule and range before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pytest
from pydantic import Field

from dataprep.errors import ConfigError
from dataprep.settings import build_stages, load_settings
from dataprep.stage import Stage
from dataprep.stages.clip import Clip
from dataprep.stages.curate import Curate
from dataprep.stages.prune import Prune
from dataprep.stages.reg import Reg
from dataprep.stages.scan import Scan
from dataprep.stages.tag import Tag


class Sift(Stage):
    """A stage with one setting of its own and one that the project may fill."""

    name = "sift"
    needs = pa.schema([])
    adds = pa.schema([])
    max_distance: Annotated[int, Field(ge=0, le=64, description="Hamming distance, bits")] = 4
    trigger: str | None = None
    resolution: int = 512


STAGES = (Sift,)


def sift(raw: Path, *overrides: str, **flags: str) -> Sift:
    settings = load_settings(raw, None, flags, overrides, STAGES)
    (stage,) = build_stages(settings, STAGES, {"resolution": 256, "family": "sd1"})
    assert isinstance(stage, Sift)
    return stage


def write(raw: Path, text: str) -> None:
    (raw / "dataprep.toml").write_text(text, encoding="utf-8")


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    assert sift(tmp_path) == Sift(resolution=256)


def test_the_file_in_raw_is_read(tmp_path: Path) -> None:
    write(tmp_path, 'trigger = "zwx"\n[sift]\nmax_distance = 7\n')
    assert sift(tmp_path) == Sift(max_distance=7, trigger="zwx", resolution=256)


def test_a_flag_wins_over_the_file_and_set_over_the_section(tmp_path: Path) -> None:
    write(tmp_path, 'trigger = "zwx"\n[sift]\nmax_distance = 7\n')
    assert sift(tmp_path, "sift.max_distance=9", trigger="sks") == Sift(
        max_distance=9, trigger="sks", resolution=256
    )


def test_a_sections_own_value_wins_over_the_projects(tmp_path: Path) -> None:
    write(tmp_path, "resolution = 512\n[sift]\nresolution = 768\n")
    assert sift(tmp_path).resolution == 768


def test_a_bare_word_in_set_is_a_string(tmp_path: Path) -> None:
    assert sift(tmp_path, "trigger=sks").trigger == "sks"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sift]\nmax_distance = 99\n", ["sift.max_distance", "99", "64", "Hamming distance, bits"]),
        ("[sift]\nmax_distanc = 3\n", ["sift.max_distanc", "no such setting", "max_distance"]),
        ("[sieve]\nx = 1\n", ["[sieve]", "no such stage", "sift"]),
        ("triger = 'sks'\n", ["triger", "no such setting", "'trigger'"]),
        ("trigger = ''\n", ["trigger", "at least 1 character"]),
        ("purpose = 'cat'\n", ["purpose", "character", "style"]),
        ("trigger = \n", ["dataprep.toml", "not valid TOML"]),
        ("resolution = 100\n", ["resolution", "multiple of 8"]),
        ("trigger = '  '\n", ["trigger", "at least 1 character"]),
        ("trigger = 'sks, girl'\n", ["trigger", "comma", "one tag"]),
        ("sift = 3\n", ["sift", "is a stage", "dataprep explain sift"]),
    ],
)
def test_a_mistake_is_named_with_its_rule(tmp_path: Path, text: str, words: list[str]) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        sift(tmp_path)
    for word in [*words, "dataprep.toml"]:
        assert word in str(caught.value)


def test_blanks_around_a_word_are_no_part_of_it(tmp_path: Path) -> None:
    assert sift(tmp_path, trigger=" sks ").trigger == "sks"


def test_a_mistake_on_the_command_line_is_not_laid_to_the_file(tmp_path: Path) -> None:
    write(tmp_path, "[sift]\nmax_distance = 7\n")
    with pytest.raises(ConfigError, match=r"^--set: sift\.max_distance: 99"):
        sift(tmp_path, "sift.max_distance=99")
    with pytest.raises(ConfigError, match=r"^--set: sift: this is a stage"):
        sift(tmp_path, "sift=9")
    with pytest.raises(ConfigError, match=r"^--set: \[sieve\]: there is no such stage"):
        sift(tmp_path, "sieve.max_distance=9")
    with pytest.raises(ConfigError, match=r"^--purpose: purpose: 'cat'"):
        sift(tmp_path, purpose="cat")


def test_one_entry_of_a_setting_that_is_a_table_can_be_set(tmp_path: Path) -> None:
    write(tmp_path, "[sift.train]\nepochs = 3\nrate = 1\n")
    settings = load_settings(tmp_path, None, {}, ["sift.train.rate=2", "sift.other.deep.name=4"], STAGES)
    assert settings.sections["sift"] == {"train": {"epochs": 3, "rate": 2}, "other": {"deep.name": 4}}
    with pytest.raises(ConfigError, match=r"sift\.max_distance is 4 and has no entries"):
        load_settings(tmp_path, None, {}, ["sift.max_distance=4", "sift.max_distance.x=1"], STAGES)


def test_set_without_a_value_says_the_form(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stage\.setting=value"):
        sift(tmp_path, "sift.max_distance")


def test_a_config_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(tmp_path, tmp_path / "other.toml", {}, (), STAGES)


def test_reg_is_relative_to_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "class").mkdir()
    write(tmp_path / "raw", 'reg = "../class"\n')
    settings = load_settings(tmp_path / "raw", None, {}, (), STAGES)
    assert settings.reg_folder() == tmp_path / "class"


def test_a_reg_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, 'reg = "nowhere"\n')
    with pytest.raises(ConfigError, match=r"reg: .*nowhere is not a folder"):
        load_settings(tmp_path, None, {}, (), STAGES).reg_folder()


def test_a_vocabulary_is_looked_for_beside_the_file_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, '[clip]\nvocabulary = "words.txt"\n')
    loaded = load_settings(tmp_path, None, {}, (), (Clip,))
    assert loaded.sections["clip"]["vocabulary"] == str(tmp_path.resolve() / "words.txt")
    told = load_settings(tmp_path, None, {}, ("clip.vocabulary=mine.txt",), (Clip,))
    assert told.sections["clip"]["vocabulary"] == "mine.txt"
    write(tmp_path, '[clip]\nvocabulary = "tagger"\n')
    assert load_settings(tmp_path, None, {}, (), (Clip,)).sections["clip"]["vocabulary"] == "tagger"


@pytest.mark.parametrize(
    "text", ["prune.general_threshold=0.02", "prune.character_threshold=0.02", "prune.clip_threshold=0.3"]
)
def test_a_threshold_below_the_floor_of_what_is_kept_stops_before_work(tmp_path: Path, text: str) -> None:
    stages = (Tag, Clip, Prune)
    name, _, value = text.partition("=")
    floor = "clip" if "clip" in name else "tag"
    with pytest.raises(
        ConfigError, match=rf"--set: {name}: .* is below {floor}.floor .* set {floor}.floor = {value}"
    ):
        build_stages(load_settings(tmp_path, None, {}, [text], stages), stages, {})
    both = load_settings(tmp_path, None, {}, [text, f"{floor}.floor={value}"], stages)
    assert len(build_stages(both, stages, {})) == 3


def test_a_concept_is_told_to_be_an_outfit_a_pose_or_an_object(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--purpose: .*outfit .*, pose .* or object"):
        load_settings(tmp_path, None, {"purpose": "concept"}, (), STAGES)


def test_the_encoding_of_captions_is_one_setting_for_all_who_read_them(tmp_path: Path) -> None:
    stages = (Scan, Curate)
    built = build_stages(load_settings(tmp_path, None, {}, ["caption_encoding=cp1251"], stages), stages, {})
    assert [stage.model_dump()["caption_encoding"] for stage in built] == ["cp1251", "cp1251"]
    with pytest.raises(ConfigError, match="'klingon' is no encoding"):
        load_settings(tmp_path, None, {}, ["caption_encoding=klingon"], stages)


def test_class_images_may_be_named_in_the_table_reg(tmp_path: Path) -> None:
    write(tmp_path, '[reg]\nsource = "class"\nsteps = 7\n')
    (tmp_path / "class").mkdir()
    (tmp_path / "other").mkdir()
    settings = load_settings(tmp_path, None, {}, (), (Reg,))
    assert settings.reg_folder() == tmp_path / "class"
    (stage,) = build_stages(settings, (Reg,), {})
    assert stage == Reg(steps=7)
    assert "source" not in stage.model_dump()
    flag = load_settings(tmp_path, None, {"reg": str(tmp_path / "other")}, (), (Reg,))
    assert flag.reg_folder() == tmp_path / "other"
    drawn = load_settings(tmp_path, None, {}, ("reg.source=generate",), (Reg,))
    assert (drawn.project.reg, drawn.told["reg"]) == ("generate", "--set")
    write(tmp_path, 'reg = "other"\n')
    assert load_settings(tmp_path, None, {}, (), (Reg,)).reg_folder() == tmp_path / "other"


@pytest.mark.parametrize(
    "text", ['reg = "generate"\n[reg]\nsteps = 7\n', "[reg]\nsteps = 7\n[reg]\nseed = 2\n"]
)
def test_reg_as_a_setting_and_as_a_table_is_refused_with_the_way_out(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_settings(tmp_path, None, {}, (), (Reg,))
    assert "not valid TOML" in str(error.value)
    assert ('write `source = "..."` under [reg]' in str(error.value)) == text.startswith("reg")
