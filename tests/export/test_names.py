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
