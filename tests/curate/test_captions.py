"""Caption files in any encoding and shape."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprep.curate.captions import (
    KAOMOJI,
    decode,
    is_prose,
    prose_without_lead,
    same_prose,
    spaced,
    spelled,
    tag_key,
    tags_of,
    unique,
    without_lead,
)


@pytest.mark.parametrize(
    ("data", "text", "guessed"),
    [
        (b"1girl, solo\n", "1girl, solo", False),
        (codecs.BOM_UTF8 + b"1girl, solo\r\n", "1girl, solo", False),
        ("赤い髪, 青い目".encode(), "赤い髪, 青い目", False),
        ("1girl, café".encode("utf-16"), "1girl, café", False),
        ("1girl, solo".encode("utf-16-le"), "1girl, solo", True),
        ("1girl, solo".encode("utf-16-be"), "1girl, solo", True),
        ("1girl, café, naïve".encode("cp1252"), "1girl, café, naïve", True),
        ("1girl, ‘quoted’".encode("cp1252"), "1girl, ‘quoted’", True),
        ("少女, あかいかみ, スカート".encode("cp932"), "少女, あかいかみ, スカート", True),
        (
            "sks girl, long hair, 眼鏡、サングラス".encode("cp932"),
            "sks girl, long hair, 眼鏡、サングラス",
            True,
        ),
        ("sks girl, 制服, 青い目".encode("cp932"), "sks girl, 制服, 青い目", True),
        ("sks girl, 안경, 긴 머리".encode("cp949"), "sks girl, 안경, 긴 머리", True),
        ("sks girl, 眼镜, 长发".encode("gb18030"), "sks girl, 眼镜, 长发", True),
        ("红色头发, 蓝色眼睛, 女孩".encode("gb18030"), "红色头发, 蓝色眼睛, 女孩", True),
        ("빨간 머리, 소녀".encode("cp949"), "빨간 머리, 소녀", True),
        (b"", "", False),
        (b"\xef\xbb\xbf\r\n \r\n", "", False),
    ],
)
def test_any_encoding_gives_its_text(data: bytes, text: str, guessed: bool) -> None:
    assert (decode(data).text, decode(data).guessed) == (text, guessed)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_are_refused(data: bytes) -> None:
    text = decode(data).text
    assert "\ufeff" not in text
    assert "\r" not in text


@settings(deadline=None)
@given(st.text(max_size=60).filter(lambda text: "\x00" not in text and "\ufeff" not in text))
def test_text_written_as_utf8_is_read_back(text: str) -> None:
    expected = text.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\r", "\n").strip()
    assert decode(text.encode("utf-8", "replace")).text == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("long_hair", "long hair"),
        ("Long  Hair ", "long hair"),
        (r"kaga \(azur lane\)", "kaga (azur lane)"),
        ("kaga_(azur_lane)", "kaga (azur lane)"),
        (">_<", "> <"),
        ("^_^", "^ ^"),
        ("e\u0301toile", "\u00e9toile"),
    ],
)
def test_spellings_of_one_tag_are_equal(one: str, other: str) -> None:
    assert tag_key(one) == tag_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("v", "gloves"), ("hair bow", "hairbow"), (":d", ":p"), ("_", "__")]
)
def test_different_tags_stay_different(one: str, other: str) -> None:
    assert tag_key(one) != tag_key(other)


def test_typed_tags_are_written_as_typed_but_for_white_space_and_escapes() -> None:
    assert spelled("long_hair") == "long_hair"
    assert spelled(r"saber \(fate\)") == "saber (fate)"
    assert all(spelled(face) == face for face in KAOMOJI)
    assert tags_of("score_9, score_8_up, T_T, ;_;, my_lora_token") == (
        "score_9", "score_8_up", "T_T", ";_;", "my_lora_token",
    )  # fmt: skip
    assert spelled("MyChar") == "MyChar"


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("1girl, solo, blush", ("1girl", "solo", "blush")),
        ("1girl,solo,blush,", ("1girl", "solo", "blush")),
        ("1girl, , 1girl, Solo", ("1girl", "Solo")),
        ("1girl\nsolo\nlong hair", ("1girl", "solo", "long hair")),
        ("1girl solo long_hair", ("1girl", "solo", "long hair")),
        (
            "score_9 score_8_up 1girl T_T ;_; -_- >_< hat_(object)",
            ("score_9", "score_8_up", "1girl", "T_T", ";_;", "-_-", ">_<", "hat (object)"),
        ),
        ("photo of my_token in a park", ("photo of my_token in a park",)),
        ("long hair", ("long hair",)),
        ("赤い髪、青い目，笑顔", ("赤い髪", "青い目", "笑顔")),
        ("", ()),
    ],
)
def test_tags_of_any_shape(text: str, tags: tuple[str, ...]) -> None:
    assert tags_of(text) == tags


@pytest.mark.parametrize(
    ("text", "prose"),
    [
        ("1girl, solo, looking at viewer", False),
        ("1girl\nsolo\nlong hair", False),
        ("1girl, solo, ...", False),
        ("1girl, solo, !?", False),
        ("A girl with red hair stands in a field.", True),
        ("1girl, solo\nA girl with red hair stands in a field.", True),
        ("a photograph of a girl standing in a wide field of red flowers", True),
        ("赤い髪の少女が野原に立っている。", True),
        ("She waves at us, smiling.", True),
        ("sks girl, A photo of her, outdoors.", True),
        ("Hatsune Miku (racing), Solo, Hat.", False),
        ("1girl, solo, akebono hat, love live! sunshine!!", False),
        ("1girl, solo, gochuumon wa usagi desu ka?", False),
        ("akebono hat, love live! sunshine!!", False),
        ("1girl\nlove live! sunshine!!", False),
        ("1girl, solo, Is the Order a Rabbit?", False),
        ("1girl, solo, long hair, standing in rain.", False),
        ("A girl with pink hair, smiling, outdoors, in the rain.", True),
        ("What a day!", True),
        ("Sie steht im Regen.", True),
        ("1girl, looking at viewer, hat.", False),
        ("", False),
    ],
)
def test_prose_is_told_from_tags(text: str, prose: bool) -> None:
    assert is_prose(text) is prose


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("long_hair", "long hair"), ("saber_(fate)", "saber (fate)"),
        ("score_9", "score_9"), ("score_8_up", "score_8_up"),
        ("T_T", "T_T"), ("t_T", "t_T"), (";_;", ";_;"), ("-_-", "-_-"), ("o_O", "o_O"),
        ("^o_o^", "^o o^"), ("a_b", "a b"),
    ],
)  # fmt: skip
def test_a_boorus_spelling_gets_spaces_and_faces_keep_their_underscores(name: str, written: str) -> None:
    assert spaced(name) == written


def test_a_sentence_behind_known_tags_is_one_more_tag() -> None:
    assert is_prose("1girl, she looks at the sea.")
    assert not is_prose("1girl, solo, red hair, she looks at the sea.", ["1girl", "solo", "red hair"])


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("sks girl, smile", ("smile",)),
        ("sks, smile", ("smile",)),
        ("sks, girl, smile", ("smile",)),
        ("smile, sks girl", ("smile",)),
        ("smile, sks girl, SKS", ("smile",)),
        ("smile, girl", ("smile", "girl")),
        ("sksy, smile", ("sksy", "smile")),
    ],
)
def test_the_trigger_word_is_nobodys_tag(text: str, rest: tuple[str, ...]) -> None:
    assert without_lead(tags_of(text), "sks", "girl") == rest


def test_prose_loses_only_its_lead() -> None:
    assert prose_without_lead("sks girl, A girl named sks.", "sks", "girl") == "A girl named sks."
    assert prose_without_lead("sks stands there.", "sks", "girl") == "sks stands there."
    assert prose_without_lead("A girl.", None, None) == "A girl."


def test_lower_casing_all_of_a_sentence_is_an_editors_doing_and_one_word_is_a_persons() -> None:
    assert same_prose("Ms. Kaga  stands.", "ms. kaga stands.")
    assert not same_prose("ms. kaga stands.", "Ms. Kaga stands.")


@settings(deadline=None)
@given(st.lists(st.text(max_size=8), max_size=12))
def test_unique_is_idempotent_and_loses_no_tag(tags: list[str]) -> None:
    once = unique(tags)
    assert unique(once) == once
    assert {tag_key(tag) for tag in once} == {tag_key(tag) for tag in tags if tag.strip()}
