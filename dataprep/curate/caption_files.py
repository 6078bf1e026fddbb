"""Caption files that lie beside pictures: which picture has its caption from which, and what became of each.

Decides who owns a caption: `a.png.txt` goes to a.png alone, `a.txt` and `a.caption` to every picture of the
stem a; a picture's own comes first, then .txt before .caption, and what has no text counts as none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from dataprep.curate.captions import decode
from dataprep.curate.encodings import as_warning
from dataprep.pictures.formats import IMAGE_SUFFIXES
from dataprep.pictures.walk import Found

CAPTION_SUFFIXES = (".txt", ".caption")  # in order of preference
_LONGEST_BYTES = 1 << 20  # even, for UTF-16
_NAMED = 5


@dataclass(frozen=True)
class CaptionFile:
    """One file that is a caption by its name.

    Attributes:
        name: of the file.
        text: its text, stripped; None where there is none that can be believed.
        pictures: those that have their caption from it.
        account: what became of it, for people.
        warning: what somebody has to look at, None if nothing.
        passed_over: None, or by which file: its pictures have another caption from there.
    """

    name: str
    text: str | None
    pictures: tuple[str, ...]
    account: str
    warning: str | None = None
    passed_over: str | None = None


def pair_captions(
    found: Iterable[Found], encoding: str | None = None
) -> tuple[list[CaptionFile], list[Found]]:
    """The caption files of the pictures found, and what is left when they are taken out, by name.

    A caption file that cannot be read is in both, left with that as its fault.

    Args:
        found: pictures, captions and others.
        encoding: of captions that are not UTF-8; None: told by their bytes.
    """
    found = list(found)
    pictures = _by_stem(found)
    files: list[CaptionFile] = []
    rest: list[Found] = []
    given: dict[str, CaptionFile] = {}  # picture -> where its caption is from
    for item in sorted(found, key=lambda item: _preference(item.name, pictures)):
        owners = pictures.get(str(PurePosixPath(item.name).with_suffix("")), [])
        if PurePosixPath(item.name).suffix.lower() not in CAPTION_SUFFIXES or not owners:
            rest.append(item)
            continue
        file = _read(item, owners, [name for name in owners if name not in given], encoding)
        if isinstance(file, Found):
            rest.append(file)
            files.append(_unread(file))
            continue
        if file.text is not None and not file.pictures:
            file = _passed_over(file, owners[0], given[owners[0]])
        if file.text is not None:
            given |= dict.fromkeys(file.pictures, file)
        files.append(file)
    return files, sorted(rest, key=lambda item: item.name)


def tell(files: Iterable[CaptionFile]) -> list[str]:
    """What somebody has to look at, a line for each matter."""
    files = list(files)
    lines = [file.warning for file in files if file.warning]
    left = [f"{file.name} ({file.passed_over} is used)" for file in files if file.passed_over]
    if left:
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        listed = ", ".join(left[:_NAMED])
        lines.append(f"not used, as their pictures have other captions ({len(left)}): {listed}{more}")
    return lines


def _by_stem(found: Iterable[Found]) -> dict[str, list[str]]:
    """Names without their suffix, and whole names -> pictures."""
    pictures: dict[str, list[str]] = defaultdict(list)
    for item in found:
        if PurePosixPath(item.name).suffix.lower() in IMAGE_SUFFIXES:
            pictures[str(PurePosixPath(item.name).with_suffix(""))].append(item.name)
            pictures[item.name].append(item.name)
    return pictures


def _preference(name: str, pictures: dict[str, list[str]]) -> tuple[bool, int, str]:
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    rank = CAPTION_SUFFIXES.index(suffix) if suffix in CAPTION_SUFFIXES else len(CAPTION_SUFFIXES)
    own = PurePosixPath(path.stem).suffix.lower() in IMAGE_SUFFIXES
    return not own, rank, name


def _read(item: Found, owners: list[str], pictures: list[str], encoding: str | None) -> CaptionFile | Found:
    """The file as the caption of those of its pictures that have none; with its fault if it has one."""
    if item.fault:
        return item
    try:
        with item.path.open("rb") as file:
            data = file.read(_LONGEST_BYTES + 1)
    except OSError as error:
        detail = f"the caption of {_names(owners)} cannot be read: {error.strerror}"
        return replace(item, stat=None, fault=("io", detail))
    cut_off = len(data) > _LONGEST_BYTES
    text = decode(_without_half_letter(data[:_LONGEST_BYTES]) if cut_off else data, encoding)
    if text.doubtful:
        account = "a caption that is not used: its bytes do not say what encoding they are in"
        return CaptionFile(item.name, None, (), account, as_warning(item.name, data, text))
    if not text.text:
        return CaptionFile(item.name, None, (), "a caption file without text")
    account, warning = f"a caption, read with {_names(pictures)}", None
    if text.guessed:
        account += f" as {text.encoding}"
        warning = f"{item.name} is not UTF-8; it was read as {text.encoding}, look whether that is right"
    if cut_off:
        account += "; of more than 1 MiB only the first is used"
        warning = f"{item.name} has more than 1 MiB; only the first is used as a caption, look what it is"
    return CaptionFile(item.name, text.text, tuple(pictures), account, warning)


def _unread(item: Found) -> CaptionFile:
    detail = item.fault[1] if item.fault else ""
    return CaptionFile(item.name, None, (), "a caption that cannot be read", f"{item.name}: {detail}")


def _without_half_letter(data: bytes) -> bytes:
    """Without the UTF-8 letter that was cut through at the end, which would belie its encoding."""
    for back in range(1, 4):
        if data[-back] & 0xC0 == 0xC0:
            return data[:-back]
        if data[-back] & 0x80 == 0:
            break
    return data


def _passed_over(file: CaptionFile, picture: str, used: CaptionFile) -> CaptionFile:
    if used.text == file.text:
        return replace(file, account=f"a caption; {picture} has the same from {used.name}", warning=None)
    account = f"a caption that is not used: {picture} has its caption from {used.name}"
    return replace(file, account=account, warning=None, passed_over=used.name)


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
