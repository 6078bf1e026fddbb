from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataprep.export.names import fold, safe_name, unique_names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a:b/c\\d*e?", "a_b_c_d_e_"),
        ("con", "_con"),
        ("COM1.x", "_COM1.x"),
        ("a. ", "a"),
        ("...", "_"),
        ("", "_"),
        ("e\u0301te\u0301", "été"),
        ("猫", "猫"),
        ("a\udce9", "a_"),
        ("a\u200bb", "a_b"),
    ],
)
def test_names_are_safe_everywhere(text: str, name: str) -> None:
    assert safe_name(text) == name


@pytest.mark.parametrize(("text", "name"), [("été", "ete"), ("猫 2", "_ 2"), ("ｆｕｌｌ", "full")])
def test_names_are_ascii_on_request(text: str, name: str) -> None:
    assert safe_name(text, ascii_only=True) == name


def ids(count: int) -> list[str]:
    return [f"{number:02x}" * 16 for number in range(count)]


def test_colliding_stems_are_told_apart_and_others_keep_their_names() -> None:
    names = unique_names(["a", "A", "b", "straße", "STRASSE"], ids(5))
    assert names == ["a-000000", "A-010101", "b", "straße-030303", "STRASSE-040404"]


def test_a_name_that_looks_like_a_told_apart_one_does_no_harm() -> None:
    names = unique_names(["a", "A", "a-000000"], ids(3))
    assert len({fold(name) for name in names}) == 3


def test_a_name_that_anothers_cache_begins_with_is_told_apart() -> None:
    stems = ["girl", "girl_1", "girl_10", "girl_2", "girl_1024x1024_sdxl", "girl_", "girl_1_0"]
    endings = ["_1024x1024_sdxl.npz"] * 5 + ["_0832x1216_sdxl.npz"] * 2
    names = unique_names(stems, ids(7), endings=endings)
    assert names == [
        "girl", "girl_1-010101", "girl_10-020202", "girl_2", "girl_1024x1024_sdxl-040404", "girl_-050505",
        "girl_1_0",
    ]  # fmt: skip
    # Without the short name, the others are free.
    assert unique_names(stems[1:], ids(7)[1:], endings=endings[1:])[:2] == ["girl_1", "girl_10"]
    assert unique_names(["x", "x_1", "x_02"], ids(3), endings=["_0768x0512_sd.npz"] * 3) == [
        "x",
        "x_1",
        "x_02",
    ]


@given(st.lists(st.text("a_10x", min_size=1, max_size=9), max_size=12))
def test_no_name_is_the_beginning_of_anothers_cache(stems: list[str]) -> None:
    endings = ["_1024x1024_sd.npz", "_0064x0128_sd.npz"] * 6
    names = unique_names(stems, ids(len(stems)), endings=endings[: len(stems)])
    assert len({fold(name) for name in names}) == len(stems)
    for name in names:
        others = [other + end for other, end in zip(names, endings, strict=False) if len(other) < len(name)]
        assert not any(cache.startswith(name) for cache in others)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(st.lists(st.text(max_size=100), max_size=12), st.booleans())
def test_any_stems_get_unique_safe_names(stems: list[str], ascii_only: bool) -> None:
    names = unique_names(stems, ids(len(stems)), ascii_only=ascii_only)
    assert len({fold(name) for name in names}) == len(stems)
    for name in names:
        assert len(name.encode("utf-8")) <= 255 - len("_0000x0000_sdxl.npz")
        assert name.strip(" .") == name
        assert not ascii_only or name.isascii()


def test_a_removed_picture_renames_only_its_twin() -> None:
    before = dict(zip(ids(3), unique_names(["a", "A", "b"], ids(3)), strict=True))
    after = dict(zip(ids(3)[1:], unique_names(["A", "b"], ids(3)[1:]), strict=True))
    assert after[ids(3)[2]] == before[ids(3)[2]]
