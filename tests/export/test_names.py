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
        "girl", "girl_1-010101", "girl_10-020202", "girl_2", "girl_1024x1024_sdxl-040404",
        "girl_-050505", "girl_1_0",
    ]  # fmt: skip
    assert unique_names(["girl_1", "boy"], ids(2), endings=endings[:2]) == ["girl_1", "boy"]


@pytest.mark.parametrize(
    ("stems", "names"),
    [
        (["b", "b_02"], ["b-000000", "b_02"]),
        (["1", "2", "10"], ["1-000000", "2", "10"]),
        (["01", "02", "10"], ["01", "02", "10"]),
        (["a", "A2"], ["a", "A2"]),
        (["x", "x_1", "x_02"], ["x-000000", "x_1", "x_02"]),
    ],
)
def test_a_name_without_a_cache_that_another_one_begins_with_is_told_apart(
    stems: list[str], names: list[str]
) -> None:
    ending = "_0768x0512_sd.npz"
    others = [ending] * (len(stems) - 1)
    assert unique_names(stems, ids(len(stems)), endings=[None, *others]) == names
    assert unique_names(stems, ids(len(stems)), endings=[ending, *others]) == stems


def test_a_name_made_of_anothers_id_does_not_hold_the_run_up() -> None:
    key = ids(2)[1]
    stems = ["b", f"b-{ids(1)[0][:6]}x", "b_1", f"b-{ids(1)[0]}y"]
    names = unique_names(stems, [*ids(1), key, *ids(4)[2:]], endings=["_0064x0064_sd.npz"] * 4)
    assert len(set(names)) == 4


@given(st.lists(st.tuples(st.text("a_10x", min_size=1, max_size=9), st.booleans()), max_size=12))
def test_the_first_cache_that_begins_with_a_name_is_its_own(pictures: list[tuple[str, bool]]) -> None:
    sizes = ["_1024x1024_sd.npz", "_0064x0128_sd.npz"] * 6
    endings = [size if cached else None for size, (_, cached) in zip(sizes, pictures, strict=False)]
    names = unique_names([stem for stem, _ in pictures], ids(len(pictures)), endings=endings)
    assert len({fold(name) for name in names}) == len(pictures)
    caches = sorted((name, name + end) for name, end in zip(names, endings, strict=True) if end is not None)
    for name, ending in zip(names, endings, strict=True):
        alike = [cache for _, cache in caches if cache.startswith(name)]
        assert alike[:1] == ([name + ending] if ending is not None else [])


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
