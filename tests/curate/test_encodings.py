from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from dataprep.curate.encodings import EncodingName, as_warning, decode

# Mostly ASCII with a few foreign words, as captions are.
CLEAR = {
    "cp1252": [
        "crème brûlée",
        "mädchen, weiß",
        "niña, sonrisa",
        "être, fête, forêt",
        "cœur, sœur, œil",
        "où",
        "coração, mãe, pão",
        "você, três, ciência",
        "blå ögon, hår",
        "blå øjne, bjørn",
        "lærer, kjære",
        "þoka, ævintýri",
        "caffè, perché, città",
        "sûr, flûte, mûre",
        "scène, élève",
        "irmã, maçã, lã",
    ],
    "cp1250": [
        "długie włosy",
        "černé šaty",
        "źródło",
        "růže",
        "uśmiech",
        "święto",
        "zamknięte oczy",
        "ręce",
        "modré oči",
        "noční obloha",
        "dievča",
        "tűz",
        "plajă",
        "đak",
        "otwarte usta, język",
        "księżyc",
        "ţinută",
    ],
    "cp1254": [
        "yeşil gözler",
        "sarışın, kırmızı elbise",
        "kızıl saç, güneş",
        "ağaç, gökyüzü",
        "şapka, gülümseme, yağmur",
        "kısa saç, çığlık",
        "Işık, şehir",
    ],
    "cp1251": ["длинные волосы", "шляпа", "довге волосся"],
    "koi8-r": ["длинные волосы", "голубые глаза, шляпа"],
    "cp932": ["長い髪", "眼鏡、サングラス", "白いシャツ"],
    "euc_jp": ["長い髪, ポニーテール", "白いシャツ"],
    "gb18030": ["红色连衣裙, 蓝眼睛", "坐在椅子上"],
    "big5": ["長髮, 藍眼睛, 微笑", "紅色連衣裙"],
    "cp949": ["파란 눈", "의자에 앉은"],
}
CASES = [(text, encoding) for encoding, texts in CLEAR.items() for text in texts]


@pytest.mark.parametrize(("text", "encoding"), CASES)
def test_words_of_a_language_tell_their_encoding(text: str, encoding: str) -> None:
    whole = f"sks girl, 1girl, {text}, long hair"
    found = decode(whole.encode(encoding))
    assert (found.text, found.guessed, found.doubtful) == (whole, True, False)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("眼鏡", "euc_jp"),
        ("少女", "gb18030"),
        ("Äç", "cp1252"),
        ("юбка", "koi8-r"),
        ("altın", "cp1254"),
        ("kardeş", "cp1254"),
    ],
)
def test_what_reads_as_well_otherwise_is_in_doubt_and_the_warning_names_file_and_way_out(
    text: str, encoding: str
) -> None:
    data = f"sks girl, {text}, solo".encode(encoding)
    found = decode(data)
    assert found.doubtful
    said = as_warning("img/1_sks/a.txt", data, found)
    assert said.startswith("img/1_sks/a.txt is not UTF-8")
    assert "caption_encoding" in said
    assert decode(data, encoding).text == f"sks girl, {text}, solo"
    assert not decode(data, encoding).guessed


def test_what_the_file_said_before_decides() -> None:
    data = "sks girl, 眼鏡, hat".encode("euc_jp")
    found = decode(data, known={"眼鏡", "1girl"})
    assert (found.text, found.doubtful) == ("sks girl, 眼鏡, hat", False)


def test_utf8_is_utf8_whatever_the_user_says_of_other_files() -> None:
    assert decode("шляпа".encode(), "cp1251").text == "шляпа"


def test_a_name_that_does_not_fit_the_bytes_is_no_answer() -> None:
    assert decode(b"sks girl, \xff\xfe\x81", "shift_jis").guessed


@pytest.mark.parametrize("name", ["cp9999", "base64", "utf-16x"])
def test_a_name_of_no_encoding_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="no encoding of text"):
        TypeAdapter(EncodingName).validate_python(name)
