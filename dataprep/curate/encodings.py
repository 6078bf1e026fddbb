"""Text of caption files in any encoding. Owns the decision whether their bytes say enough to be believed.

UTF-8 and UTF-16 prove themselves. Other bytes are read in every likely encoding, and each reading is judged
by how much it looks like words; where two that differ look alike, the text is in doubt, and whoever asked
must leave the file as it is.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import AfterValidator

_WORD: Final = re.compile(r"[^\W\d_]+")
_SIGNS: Final = frozenset("“”„‘’‚«»‹›–—…•·°©®™×¿¡€£、。・「」『』！？（）：；～　ー，【】《》")
_MARGIN: Final = 0.15  # by which the best reading must be better than the next
_LIKELY: Final = 0.55  # what the best must reach


@dataclass(frozen=True)
class Text:
    """A caption file's content as text: no byte order mark, LF, outer white space gone."""

    text: str
    encoding: str  # what it was read as
    guessed: bool = False  # True: the bytes do not say their encoding; the text may be wrong
    others: tuple[str, ...] = ()  # guessed, and these encodings are as likely: do not believe the text

    @property
    def doubtful(self) -> bool:
        """Whether other readings are as likely as this one."""
        return bool(self.others)


def checked_encoding(name: str | None) -> str | None:
    """An encoding's name, if it is one. Raises ValueError."""
    if name is not None:
        try:
            b"a".decode(name)
        except (LookupError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{name!r} is no encoding of text; wanted one such as cp1251, cp1250, shift_jis, gbk, big5"
            ) from error
    return name


EncodingName = Annotated[str | None, AfterValidator(checked_encoding)]


def decode(data: bytes, encoding: str | None = None, known: Collection[str] = ()) -> Text:
    """Text of a caption file's bytes. Never fails: the last resort is Windows-1252 with replacement.

    Args:
        data: the file.
        encoding: what the user says that files are that are not UTF-8.
        known: words or tags that the file had before, lower case: a reading that has them is right.
    """
    found = _certain(data) or _named(data, encoding) or _guess(data, known)
    text = found.text.replace("\ufeff", "").replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")
    return Text(text.strip(), found.encoding, found.guessed, found.others)


def _certain(data: bytes) -> Text | None:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return Text(data.decode("utf-16", "replace"), "utf-16", False)
    if b"\x00" in data:
        # Text without a mark: most letters of tags are ASCII, so the zero bytes tell which half comes first.
        encoding = "utf-16-le" if data[1::2].count(0) >= data[0::2].count(0) else "utf-16-be"
        text = _read(data, encoding)
        return None if text is None else Text(text, encoding, True)
    text = _read(data, "utf-8")
    return None if text is None else Text(text, "utf-8", False)


def _named(data: bytes, encoding: str | None) -> Text | None:
    text = None if encoding is None else _read(data, encoding)
    return None if text is None or encoding is None else Text(text, encoding, False)


def _read(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _guess(data: bytes, known: Collection[str]) -> Text:
    readings = [(name, text) for name in _PRIOR if (text := _read(data, name)) is not None]
    if not readings:
        return Text(data.decode("cp1252", "replace"), "cp1252", True, ("cp1251",))
    scored = sorted(
        ((_likelihood(text, name, known), name, text) for name, text in readings), key=lambda each: -each[0]
    )
    best, encoding, text = scored[0]
    close = [
        name
        for score, name, other in scored[1:]
        if _plain(other) != _plain(text) and (score > best - _MARGIN or best < _LIKELY)
    ]
    return Text(text, encoding, True, tuple(close[:3]) or (("?",) if best < _LIKELY else ()))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip()


def _likelihood(text: str, encoding: str, known: Collection[str]) -> float:
    """How much a reading looks like words of a language that is written so, 0..1; 2: certain."""
    foreign = [word for word in _WORD.findall(text) if not word.isascii()]
    tags = [tag for part in re.split(r"[,，、\n]", text) if not (tag := part.strip().casefold()).isascii()]
    if tags and all(tag.replace("_", " ") in known for tag in tags):
        return 2.0
    scores = [_word_score(word, encoding) for word in foreign] + [_sign_score(text)]
    # Icelandic, which has the first of these, has none of the second; Turkish, of the same bytes, does.
    mixed = encoding == "cp1252" and re.search("[ýðþ]", text, re.I) and re.search("[çü]", text, re.I)
    likely = 0.5 * min([*scores, 0.3] if mixed else scores) + 0.5 * sum(scores[:-1], 0.0) / max(
        len(foreign), 1
    )
    # That Chinese reads as nothing but common Korean syllables gets less likely with every one of them.
    common = sum(letter in _SYLLABLES for word in foreign for letter in word)
    return likely + min(0.3, 0.07 * common) if encoding == "cp949" and likely > _LIKELY else likely


def _sign_score(text: str) -> float:
    """1 for a text whose other signs are such as people type, 0 for one full of symbols."""
    signs = [sign for sign in text if ord(sign) > 127 and not sign.isalpha()]
    odd = [sign for sign in signs if sign not in _SIGNS]
    return 0.0 if odd else 1.0


def _word_score(word: str, encoding: str) -> float:
    scripts = {_script(letter) for letter in word}
    if len(scripts) > 1 and not scripts <= {"han", "kana"}:
        return 0.05  # no language mixes them in a word
    script = scripts.pop() if len(scripts) == 1 else "east"
    if script == "latin":
        return _latin(word, encoding) if encoding in _LATIN else 0.0
    if script == "cyrillic":
        return _cyrillic(word, encoding)
    if script in ("han", "kana", "hangul", "east"):
        return sum(_everyday(letter, encoding) for letter in word) / len(word)
    return 0.0


def _script(letter: str) -> str:
    code = ord(letter)
    for name, first, last in _SCRIPTS:
        if first <= code <= last:
            return name
    return "other"


def _latin(word: str, encoding: str) -> float:
    if encoding == "cp1254":
        return _turkish(word)
    marked = [letter for letter in word if ord(letter) > 127]
    if not _one_case(word) or (len(word) > 2 and 2 * len(marked) > len(word) + 1):
        return 0.1
    if any(letter.lower() not in _LATIN[encoding] for letter in marked):
        return 0.2
    if encoding == "cp1252" and _NOT_WESTERN.search(word.lower()):
        return 0.3
    return _PRIOR[encoding]


def _turkish(word: str) -> float:
    """How much a word looks Turkish: its vowels are of one sort, and it does not begin like a Slavic one."""
    lower = word.replace("I", "ı").replace("İ", "i").lower()
    if not _one_case(word) or _NOT_TURKISH.search(lower):
        return 0.2
    if set(lower) & frozenset("âîû"):
        return 0.5  # hardly ever written
    mixed = set(lower) & frozenset("eiöü") and set(lower) & frozenset("aıou")
    return 0.6 if mixed else _PRIOR["cp1254"]


def _cyrillic(word: str, encoding: str) -> float:
    if not _one_case(word):
        return 0.05
    lower = word.lower()
    if lower[0] in "ъьы" or (len(word) > 3 and not set(lower) & _VOWELS):
        return 0.2
    if any(letter not in _CYRILLIC for letter in lower):
        return 0.2
    return _PRIOR[encoding] * (0.6 if word.isupper() else 1.0)  # tags are small letters


def _one_case(word: str) -> bool:
    return word.islower() or word.isupper() or word.istitle()


def _everyday(letter: str, encoding: str) -> float:
    """How usual a letter is in texts of an East Asian encoding, 0..1."""
    code = ord(letter)
    if 0x3041 <= code <= 0x30FF:  # kana: only Japanese uses many
        return 1.0 if encoding in ("cp932", "euc_jp") else 0.4
    if 0xAC00 <= code <= 0xD7A3:
        # Hangul; the syllables that cp949 added to KS X 1001 are hardly ever written.
        return 0.0 if encoding != "cp949" else 0.9 if min(letter.encode(encoding)) >= 0xA1 else 0.1
    if 0x4E00 <= code <= 0x9FFF:
        first = letter.encode(encoding)[0]
        # Level-1 ideographs, the common ones, are coded first in each national standard.
        low, high = _COMMON.get(encoding, (1, 0))
        return _PRIOR[encoding] if low <= first <= high else 0.2
    return 0.0


# How likely an encoding is for somebody's caption, where all else is equal.
_PRIOR: Final = {
    "cp1252": 0.9,
    "cp1251": 0.9,
    "cp1250": 0.7,
    "cp1254": 0.9,  # differs from cp1252 in six letters
    "koi8-r": 0.75,
    "cp932": 0.85,
    "gb18030": 0.85,
    "big5": 0.8,
    "cp949": 0.85,
    "euc_jp": 0.75,
}
_COMMON: Final = {
    "gb18030": (0xB0, 0xD7),
    "cp932": (0x88, 0x97),
    "big5": (0xA4, 0xC6),
    "euc_jp": (0xB0, 0xCF),
}
_LATIN: Final = {
    "cp1252": frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœßðþ"),
    "cp1254": frozenset("çğıöşüâîû"),
    "cp1250": frozenset("ąćęłńóśźżáčďéěíňřšťúůýžäëöüßőűăâîôşţșțđľĺŕç"),
}
# Letters where no Western language has them, and where a Central European one has others of the same bytes:
# what hardly any of the 30,000 commonest words of twelve Western languages has, and many of seven others.
_NOT_WESTERN: Final = re.compile(
    "^(?:ê(?!tre|tes?$|xit)|è(?!re$|me$|[mptx])|ò(?![bpr])|[ìùûïãõëð])|[ìù].|[nbvm]ì$|ñ(?![aeiouáéíóú])"
    "|õ(?!e)|ã(?![oes]|$)|(?<!s)tã$|[jpcbgzu]ã$|[^aeiou]ï[^aeiou]|[^aeiouqgcvdbtzl]ê$|ê[dgkzæœ]|êc(?!h)"
    "|[jkw]ê|iê(?!n)|è[aejkoáíìùú]|[ejkáäéìíú]è|èn[íyìo]|[abo]èi|[iv]è$|œ(?:[clmnprwæ]|$)|[aeijouy]œ|[aoyêœ]æ|æa"
    "|ý.*[ýþð]|ð.*ý|[ýðþ].*[czçqw]|[czçqw].*[ýðþ]|û[ejkvz]|[ghntyz]û|ø[aouáíýù]|[aozáíú]ø|[pt]øi|ò[aou]|[oyà]ò|[bceio]þ|þã|þ.*[ãõñçêèàùâ]"
)
_NOT_TURKISH: Final = re.compile("[^a-zâçğıîöşûü]|[qwx]|^ğ|^[^aeıioöuüâîû]{2}|[aeıioöuüâîû]{2}")
# The syllables that Korean texts have most.
_SYLLABLES: Final = frozenset(
    "이다는에의가을하고지사를은도로기서한리자대인시어나전정그부일해과들장상수라스보아여주구만소성국제동원게계안면경적문신"
    "선조유관오실년미간중요있없것때같말내음물생연차공금분등무단민통위비반당바양발방현개직했습니까며거야러와모타프트레우르"
    "노마파머녀색눈빨란치숲꽃흰검긴짧옷창울교복산늘올려테"
)
_VOWELS: Final = frozenset("аеёиоуыэюяіїєўъ")
_CYRILLIC: Final = frozenset("абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґў")
_SCRIPTS: Final = (
    ("latin", 0x41, 0x24F),
    ("cyrillic", 0x400, 0x52F),
    ("kana", 0x3041, 0x30FF),
    ("han", 0x3005, 0x3007),
    ("han", 0x3400, 0x9FFF),
    ("hangul", 0xAC00, 0xD7A3),
)


def as_warning(name: str, data: bytes, text: Text) -> str:
    """For people: that a file's encoding is unknown, how it may be read, and what to do."""
    names: Iterable[str] = [text.encoding, *(other for other in text.others if other != "?")]
    tried = [(encoding, _read(data, encoding)) for encoding in names]
    shown = " or ".join(f"{encoding} ({_sample(said)!r})" for encoding, said in tried if said is not None)
    return (
        f"{name} is not UTF-8, and its bytes do not say what else it is: {shown or 'nothing known'}; it is "
        "left as it is and does not count until it is saved as UTF-8, or dataprep.toml says "
        f'caption_encoding = "{text.encoding}", or what is right'
    )


def _sample(text: str) -> str:
    return next((word for word in text.split() if not word.isascii()), text)[:24].strip(",")
