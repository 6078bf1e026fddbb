"""What a .safetensors file says of itself: how it was trained, on what, and what its tensors are.

Reads the header and the single numbers called alpha; no tensor is loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataprep.errors import InputError
from dataprep.lora.header import Header, TensorInfo, read_header
from dataprep.lora.network_keys import Content, read_content
from dataprep.lora.parameters import PARAMETERS, flattened

_TAGS_SHOWN = 30
_BAR_WIDTH = 30
_LEGACY_OFFSET, _LEGACY_BYTES = 0x100000, 0x10000  # where the older hash of the WebUI looks
_SCALARS = {"F16": "<e", "F32": "<f", "F64": "<d", "I32": "<i", "I64": "<q"}
_FAMILIES = {
    "sd_v1": "Stable Diffusion 1.x",
    "sd_v2": "Stable Diffusion 2.x",
    "sd_v2_v": "Stable Diffusion 2.x",
    "sdxl_base_v1-0": "SDXL",
    "sd3": "Stable Diffusion 3",
    "flux1": "FLUX",
}
_HIDDEN = ("ss_tag_frequency", "ss_bucket_info", "ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_datasets")
_RECIPES = ("sd_merge_models", "sd_merge_recipe", "modelspec.merged_from")
_LONG_TEXT = 300
_LINES_SHOWN = 200
_LONG_JSON = 20_000_000  # characters; the largest published tag lists stay under one million


@dataclass(frozen=True)
class Report:
    """All that is known of one file."""

    path: Path
    file_bytes: int
    content: Content
    alphas: Mapping[float, int]  # alpha -> modules
    metadata: Mapping[str, str]
    tags: Mapping[str, int]  # over all training folders, most frequent first
    folders: Mapping[str, tuple[int, int]]  # folder -> (pictures, repeats)
    buckets: Mapping[str, int]  # "WxH" -> pictures x repeats
    hashes: Mapping[str, str]  # what was checked -> "matches" or what is wrong
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; nested JSON in the metadata stays the text that it is."""
        return {**asdict(self), "path": str(self.path), "family": self.family}

    @property
    def family(self) -> str | None:
        """Of the base model: by the tensors, else by the metadata, None where neither tells."""
        return self.content.family or _FAMILIES.get(self.metadata.get("ss_base_model_version", ""))

    @property
    def told_by_tensors(self) -> dict[str, str]:
        """What the tensors say of training, under the metadata's names; nothing of ranks that differ."""
        found = {"ss_v2": "True"} if self.content.family == "Stable Diffusion 2.x" else {}
        if "LoRA" in self.content.kind:
            module = {"FLUX": "lora_flux", "Stable Diffusion 3": "lora_sd3"}.get(self.family or "", "lora")
            found["ss_network_module"] = f"networks.{module}"
        if len(self.content.ranks) == 1:
            (rank,) = self.content.ranks
            found |= {"ss_network_dim": str(rank)}
            if len(self.alphas) <= 1:  # without one a change is not scaled, as by an alpha that is the rank
                found |= {"ss_network_alpha": f"{next(iter(self.alphas), rank):g}"}
        return found


def inspect_file(path: Path, *, check_hashes: bool = False) -> Report:
    """Read one file.

    Args:
        path: a .safetensors file.
        check_hashes: also read the whole file once and compare it with the hashes in its metadata.
    Raises:
        InputError: it cannot be read or is not what it says.
    """
    if path.is_dir():
        raise InputError(
            f"{path}: a folder; name one of its files, such as unet/diffusion_pytorch_model.safetensors. "
            "How a fine-tuned model was trained stands in its training.json"
        )
    header = read_header(path)
    problems = list(header.problems)
    content = read_content(header.tensors)
    metadata = {_whole(name): _whole(text) for name, text in header.metadata.items()}
    family = _FAMILIES.get(metadata.get("ss_base_model_version", ""))
    if family and content.family and family != content.family:
        problems.append(f"its metadata says {family}, its tensors are of {content.family}")
    folders, buckets = _dataset(metadata, problems)
    return Report(
        path,
        header.file_bytes,
        content,
        _alphas(header),
        metadata,
        _tags(metadata, problems),
        folders,
        buckets,
        _hashes(header) if check_hashes else {},
        tuple(problems),
    )


def _nested(metadata: Mapping[str, str], name: str, problems: list[str]) -> Any:  # noqa: ANN401 - any JSON
    if name not in metadata or metadata[name] in ("", "None"):
        return None
    if len(metadata[name]) > _LONG_JSON:
        problems.append(f"{name} has {len(metadata[name]) / 1e6:.0f} MB of JSON, and is not read")
        return None
    try:
        return json.loads(metadata[name])
    except (ValueError, RecursionError):
        problems.append(f"{name} is not valid JSON")
        return None


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value < 2**63 else 0


def _whole(text: str) -> str:
    """Without halves of characters, which JSON can spell and no terminal or file can take."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _tags(metadata: Mapping[str, str], problems: list[str]) -> dict[str, int]:
    value = _nested(metadata, "ss_tag_frequency", problems)
    tags: Counter[str] = Counter()
    for folder in value.values() if isinstance(value, dict) else ():
        for tag, count in folder.items() if isinstance(folder, dict) else ():
            tags[_whole(tag.strip())] += _count(count)
    return dict(tags.most_common())


def _dataset(
    metadata: Mapping[str, str], problems: list[str]
) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    folders: dict[str, tuple[int, int]] = {}
    buckets: Counter[str] = Counter()
    for name in ("ss_dataset_dirs", "ss_reg_dataset_dirs"):
        value = _nested(metadata, name, problems)
        for folder, facts in value.items() if isinstance(value, dict) else ():
            if isinstance(facts, dict):
                folders[_whole(folder)] = (_count(facts.get("img_count")), _count(facts.get("n_repeats")))
    infos = [_nested(metadata, "ss_bucket_info", problems)]
    datasets = _nested(metadata, "ss_datasets", problems)
    sets = datasets if isinstance(datasets, list) else []
    infos += [each.get("bucket_info") for each in sets if isinstance(each, dict)]
    for info in infos:
        found = info.get("buckets") if isinstance(info, dict) else None
        for bucket in found.values() if isinstance(found, dict) else ():
            if isinstance(bucket, dict) and isinstance(bucket.get("resolution"), list):
                buckets[_whole("x".join(map(str, bucket["resolution"])))] += _count(bucket.get("count"))
    return folders, dict(buckets.most_common())


def _alphas(header: Header) -> dict[float, int]:
    """Values of the single numbers called alpha, a few bytes each."""
    alphas: Counter[float] = Counter()
    scalars = [
        tensor
        for name, tensor in header.tensors.items()
        if name.endswith(".alpha") and math.prod(tensor.shape) == 1
    ]
    with header.path.open("rb") as file:
        for tensor in scalars:
            file.seek(header.data_offset + tensor.start)
            value = _number(tensor, file.read(tensor.end - tensor.start))
            if value is not None:
                alphas[value] += 1
    return dict(alphas.most_common())


def _number(tensor: TensorInfo, data: bytes) -> float | None:
    if tensor.dtype == "BF16":  # the upper half of a float32
        tensor, data = TensorInfo("F32", (), 0, 4), b"\0\0" + data
    layout = _SCALARS.get(tensor.dtype)
    if layout is None or len(data) != struct.calcsize(layout):
        return None
    return float(struct.unpack(layout, data)[0])


def _hashes(header: Header) -> dict[str, str]:
    found: dict[str, str] = {}
    with header.path.open("rb") as file:
        if "sshs_model_hash" in header.metadata:
            file.seek(header.data_offset)
            actual = hashlib.file_digest(file, "sha256").hexdigest()
            found["sshs_model_hash"] = _verdict(header.metadata["sshs_model_hash"], actual)
        if "sshs_legacy_hash" in header.metadata:
            file.seek(max(0, header.data_offset + _LEGACY_OFFSET - _length_before(header)))
            actual = hashlib.sha256(file.read(_LEGACY_BYTES)).hexdigest()[:8]
            found["sshs_legacy_hash"] = _verdict(header.metadata["sshs_legacy_hash"], actual)
    return found


def _length_before(header: Header) -> int:
    """Bytes before the tensors when the metadata was hashed: with its ss_* entries only, padded to 8."""
    metadata = {name: text for name, text in header.metadata.items() if name.startswith("ss_")}
    document: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    for name, tensor in header.tensors.items():
        document[name] = {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": [tensor.start, tensor.end],
        }
    length = len(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace"))
    return 8 + length + -length % 8


def _verdict(stated: str, actual: str) -> str:
    return "matches" if stated == actual else f"does not match: {actual} in the file, {stated} stated"


def describe(report: Report) -> str:
    """A report in words."""
    content = report.content
    lines = [f"{report.path}  {report.file_bytes / 1e6:.1f} MB", _headline(report), ""]
    lines += [f"! {_short(problem)}" for problem in report.problems]
    lines += [f"{name}: {verdict}" for name, verdict in report.hashes.items()]
    if not report.hashes and any(name.startswith("sshs_") for name in report.metadata):
        lines.append("  hashes        stated, not checked: --hashes reads the whole file and compares")
    if content.modules:
        lines += [
            f"  rank          {_spread(content.ranks)}",
            f"  alpha         {_spread(report.alphas)}",
            f"  number format {', '.join(content.dtypes)}",
        ]
    told = flattened(report.metadata)
    for title, group in PARAMETERS.items():
        shown = [
            f"  {key.removeprefix('ss_'):28} {_short(told[key])}  ({parameter.meaning})"
            for key, parameter in group.items()
            if told.get(key, "None") not in ("", "None")
        ]
        if shown:
            lines += ["", f"{title}:", *shown]
    lines += _dataset_lines(report) + _recipe_lines(report) + _other_lines(report)
    if not report.metadata:
        lines.append("It has no metadata: its author or a converter took it out.")
    return "\n".join(lines)


def _headline(report: Report) -> str:
    content = report.content
    parts = ", ".join(f"{count} in the {part}" for part, count in content.parts.items())
    stated = _FAMILIES.get(report.metadata.get("ss_base_model_version", ""))
    said = f"{stated} (by its metadata; the tensors do not tell)" if stated else "an unknown base model"
    head = f"{content.kind} for {content.family or said}"
    return f"{head}: {content.modules} modules ({parts})" if content.modules else head


def _spread(values: Mapping[Any, int]) -> str:
    if not values:
        return "not in the file"
    if len(values) == 1:
        return f"{next(iter(values)):g}"
    return ", ".join(f"{value:g} in {count}" for value, count in values.items())


def _dataset_lines(report: Report) -> list[str]:
    lines = []
    if report.folders:
        lines += ["", "folders:"]
        lines += [
            f"  {_short(name)}: {images} pictures x {n}" for name, (images, n) in report.folders.items()
        ]
    if report.buckets:
        lines += ["", "buckets:", *_bars(report.buckets)]
    if report.tags:
        lines += ["", f"tags ({len(report.tags)}):", *_bars(report.tags)]
    return lines


def _bars(counts: Mapping[str, int]) -> list[str]:
    top = max(*counts.values(), 1)
    shown = list(counts.items())[:_TAGS_SHOWN]
    lines = [f"  {_short(name, 40):40} {n:6} {'#' * round(_BAR_WIDTH * n / top)}" for name, n in shown]
    return lines + ([f"  and {len(counts) - len(shown)} more"] if len(counts) > len(shown) else [])


def _recipe_lines(report: Report) -> list[str]:
    lines = []
    for name in _RECIPES:
        if name in report.metadata:
            lines += ["", f"{name}:", _pretty(report.metadata[name])]
    return lines


def _pretty(text: str) -> str:
    with suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=1, ensure_ascii=False)
    return _printable(text[:4000])


def _other_lines(report: Report) -> list[str]:
    known = {key for group in PARAMETERS.values() for key in group} | {*_HIDDEN, *_RECIPES}
    other = sorted(name for name in report.metadata if name not in known)
    lines = []
    for title, own in (("model card (modelspec):", True), ("other metadata:", False)):
        shown = [
            f"  {_short(name, 40):32} {_short(report.metadata[name])}"
            for name in other
            if name.startswith("modelspec.") is own
        ]
        more = [f"  and {len(shown) - _LINES_SHOWN} more"] if len(shown) > _LINES_SHOWN else []
        lines += ["", title, *shown[:_LINES_SHOWN], *more] if shown else []
    return lines


def compare(one: Report, other: Report) -> str:
    """Two files side by side: what differs, then what only one of them says."""
    pairs = [(name, *values) for name, *values in _facts(one, other) if values[0] != values[1]]
    same = len(_facts(one, other)) - len(pairs)
    lines = [f"{'':28} {_short(one.path.name, 38):38} {_short(other.path.name, 38)}"]
    lines += [f"{_short(name, 28):28} {_short(a, 38):38} {_short(b, 38)}" for name, a, b in pairs]
    more = [f"and {len(lines) - _LINES_SHOWN} more differ"] if len(lines) > _LINES_SHOWN else []
    return "\n".join([*lines[:_LINES_SHOWN], *more, f"{same} further entries are equal"])


def _facts(one: Report, other: Report) -> list[tuple[str, str, str]]:
    facts = [
        ("kind", one.content.kind, other.content.kind),
        ("family", one.family or "-", other.family or "-"),
        ("modules", str(one.content.modules), str(other.content.modules)),
        ("rank", _spread(one.content.ranks), _spread(other.content.ranks)),
        ("alpha", _spread(one.alphas), _spread(other.alphas)),
        ("number format", ", ".join(one.content.dtypes), ", ".join(other.content.dtypes)),
        ("problems", "; ".join(one.problems) or "-", "; ".join(other.problems) or "-"),
    ]
    facts += [
        (f"{name} checked", one.hashes.get(name, "-"), other.hashes.get(name, "-"))
        for name in dict.fromkeys([*one.hashes, *other.hashes])
    ]
    names = dict.fromkeys([*one.metadata, *other.metadata])
    facts += [
        (n, one.metadata.get(n, "-"), other.metadata.get(n, "-")) for n in sorted(names) if n not in _HIDDEN
    ]
    tags = sorted(
        {*one.tags, *other.tags}, key=lambda tag: -max(one.tags.get(tag, 0), other.tags.get(tag, 0))
    )
    facts += [(f"tag: {t}", str(one.tags.get(t, 0)), str(other.tags.get(t, 0))) for t in tags[:_TAGS_SHOWN]]
    return facts


def _short(text: str, limit: int = _LONG_TEXT) -> str:
    if len(text) > limit:
        text = f"{text[: limit - 3]}..."
    return _printable(text.replace("\n", " "))


def _printable(text: str) -> str:
    """Without control characters: a file's metadata must not steer the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)
