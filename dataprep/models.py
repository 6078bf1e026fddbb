"""Models by name: families, where each model is found, and proof that its files are still the same.

Owns the search order: a pinned path beside this program, a local folder, the Hugging Face cache, the hub.
"""

from __future__ import annotations

import difflib
import functools
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from dataprep.digest import digest
from dataprep.errors import ModelError
from dataprep.inference.pretrained import CONFIG, NO_PICKLES, WEIGHTS, pretrained
from dataprep.model_files import (
    PIPELINE_INDEX,
    TABLES,
    WEIGHTS_SUFFIXES,
    accepted,
    fetched,
    hashes,
    model_files,
    pipeline_files,
    recheck,
    recorded_revision,
    recorded_sha256,
    tables_sha256,
    verified,
)
from dataprep.model_whole import check_weights, check_whole

KINDS: Final = ("tagger", "clip", "vae", "base")
BaseFamily = Literal["sd1", "sd2", "sdxl", "sd3", "flux"]
LOCAL_MODELS: Final = "DATAPREP_MODELS"  # environment variable: a folder with one sub-folder per model
_BASE_FAMILIES: Final[tuple[BaseFamily, ...]] = get_args(BaseFamily)
_FAMILIES_TEXT: Final = ", ".join(_BASE_FAMILIES)
_OTHERS: Final = f"""
Other base models: models = 'sdxl, family=flux, vae=MODEL, base=MODEL', with a family of {_FAMILIES_TEXT},
where MODEL is a name above, a folder, a .safetensors file, or owner/repository (its revision and sha256 are
recorded at first use). The base is needed for drawn class images and text-encoder outputs only."""
_DEEPDANBOORU: Final = ("model.onnx", "tags.txt")
# What lies beside a tagger's network and decides what its numbers mean.
_BESIDE_TAGGER: Final = ("selected_tags.csv", "tags.csv", "tags.txt", "tags-character.txt", "config.json")


@dataclass(frozen=True)
class Model:
    """A model whose files are here and whole.

    Attributes:
        kind: tagger, clip, vae or base.
        name: its name in pins.toml, or the path or repository that was asked for.
        path: its folder, or its single file.
        sha256: of its files, hex; two models with equal sha256 measure equally.
        revision: commit of the repository it came from, None for local files.
        tables: hash of a tagger's tables of thresholds, "" where it has none.
    """

    kind: str
    name: str
    path: Path
    sha256: str
    revision: str | None = None
    tables: str = ""

    def key(self, scope: str) -> str:
        """What a stage's results depend on: those that measure rows know nothing of thresholds."""
        return digest(self.sha256, self.tables) if self.tables and scope != "row" else self.sha256


@dataclass(frozen=True)
class Family:
    """Models that belong together: name per kind, and what the base model was trained at."""

    name: str
    family: BaseFamily
    resolution: int  # px
    models: Mapping[str, str]


@dataclass(frozen=True)
class Pin:
    """What is known of one model before it is here."""

    kind: str
    name: str
    path: str | None = None  # relative to the assets
    repo: str | None = None
    revision: str | None = None
    sha256: str | None = None
    folder: str = ""  # sub-folder of the repository that is the model
    files: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()  # fetched too where they exist
    facts: Mapping[str, Any] = field(default_factory=dict)  # thresholds, input conventions


def assets() -> Path:
    """Folder of pins.toml and the miniature family: in the wheel, or `models/` of a checkout."""
    shipped = Path(__file__).parent / "_models"
    return shipped if (shipped / "pins.toml").is_file() else Path(__file__).parent.parent / "models"


@functools.cache
def _pins_file() -> dict[str, dict[str, Any]]:
    path = assets() / "pins.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); install dataprep again") from error


def families() -> tuple[str, ...]:
    """Names of the model families."""
    return tuple(name for name in _pins_file() if name not in KINDS)


def family(models: str) -> Family:
    """The family of a `models` setting: `NAME` or `NAME, kind=MODEL, ...`.

    Args:
        models: such as "sd15", "sd15, tagger=wd-eva02-large-v3" or "sdxl, family=flux, vae=./ae.sft".
    Raises:
        ModelError: no such family or kind.
    """
    name, *overrides = (part.strip() for part in models.split(","))
    table = _pins_file().get(name)
    if table is None or name in KINDS:
        raise ModelError(
            f"models = {name!r}: there is no such family; known are {', '.join(families())}. A single "
            "model is replaced by naming its kind: models = 'sd15, tagger=MODEL'"
        )
    chosen = {kind: str(table[kind]) for kind in ("family", *KINDS)}
    for override in overrides:
        kind, equals, wanted = (part.strip() for part in override.partition("="))
        if kind not in chosen or not equals or not wanted:
            raise ModelError(
                f"models: {override!r} was found; wanted kind=MODEL with a kind of {', '.join(KINDS)}, "
                f"or family= one of {_FAMILIES_TEXT}"
            )
        chosen[kind] = wanted
    wanted = chosen.pop("family")
    told = next((known for known in _BASE_FAMILIES if known == wanted), None)
    if told is None:
        raise ModelError(f"models: family={wanted} was found; wanted one of {_FAMILIES_TEXT}")
    return Family(name, told, int(table["resolution"]), chosen)


def pins(kind: str) -> dict[str, Pin]:
    """The known models of a kind, by name."""
    return {name: _pin(kind, name, table) for name, table in _pins_file().get(kind, {}).items()}


def _pin(kind: str, name: str, table: Mapping[str, Any]) -> Pin:
    facts = dict(table)
    where = {key: facts.pop(key) for key in ("path", "repo", "revision", "sha256", "folder") if key in facts}
    files, optional = tuple(facts.pop("files", ())), tuple(facts.pop("optional", ()))
    return Pin(kind, name, **where, files=files, optional=optional, facts=facts)


def facts(model: Model) -> Mapping[str, Any]:
    """What pins.toml says of a model (thresholds, format), by its name or its repository's; may be empty."""
    for pin in pins(model.kind).values():
        repo = pin.repo or pin.name
        if model.name in (pin.name, repo) or Path(model.name).name == Path(repo).name:
            return pin.facts
    return {}


def resolve(models: str, kind: str) -> Model:
    """The model of one kind that a `models` setting names, found or fetched, its files verified.

    Args:
        models: a family, see `family`.
        kind: tagger, clip, vae or base.
    Raises:
        ModelError: it can be neither found nor fetched, or its files changed since its first use.
    """
    return find(kind, family(models).models[kind])


def fetch(name: str) -> list[Model]:
    """The models that a name means, found or fetched: a family's, or the known ones of this name.

    Args:
        name: such as "sd15", "sd15, tagger=MODEL", "wd-eva02-large-v3" or "clip=ViT-B-32/openai".
    Raises:
        ModelError: nothing is known by this name, or it can be neither found nor fetched.
    """
    kind, equals, wanted = (part.strip() for part in name.partition("="))
    if kind in KINDS and equals:
        return [find(kind, wanted)]
    known = [kind for kind in KINDS if name in pins(kind)]
    if known and name not in families():
        return [find(kind, name) for kind in known]
    if name.partition(",")[0].strip() not in families():
        every = sorted({*families(), *(model for kind in KINDS for model in pins(kind))})
        near = difflib.get_close_matches(name, every, 3)
        meant = f"Did you mean {' or '.join(near)}? " if near else ""
        raise ModelError(
            f"{name!r} is no known family or model. {meant}`dataprep models list` shows all; others are "
            "got by kind, such as tagger=owner/repository or clip=ViT-B-32/openai"
        )
    return [resolve(name, kind) for kind in KINDS]


def find(kind: str, name: str) -> Model:
    """A model by its name in pins.toml, by a local path, or by `owner/repository`.

    Raises:
        ModelError: it can be neither found nor fetched, or its files changed since its first use.
    """
    pin = pins(kind).get(name)
    if pin is None:
        return _unpinned(kind, name)
    if pin.path is not None:
        return _local(kind, name, assets() / pin.path)
    return _pinned(pin)


def _unpinned(kind: str, name: str) -> Model:
    path = Path(name).expanduser()
    if path.exists():
        return _local(kind, name, _absolute(path))
    if kind == "clip" and "@" in name:
        # weights alone don't say their architecture: ViT-B-32@/path/to/weights.safetensors
        return _local(kind, name, _absolute(Path(name.partition("@")[2]).expanduser()))
    if kind == "clip" and (found := pretrained(name)) is not None:
        optional = _default_files(kind)[1]
        ways = [Pin(kind, name, repo=found.repo, files=way, optional=optional) for way in found.layouts]
        return _pinned(*ways)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        known = next((pin for pin in pins(kind).values() if pin.repo == name), None)
        pin = known or Pin(kind, name, None, name, None, None, "", *_default_files(kind, name))
        return _pinned(pin, *(_other_layouts(kind, name) if known is None else ()))
    raise ModelError(
        f"{kind} {name!r}: no such path, and not a known name; known are {', '.join(pins(kind))}. "
        "Or name a folder, or a Hugging Face repository as owner/name"
    )


def _absolute(path: Path) -> Path:
    """Where a model is; a linked file keeps its name: the hub's cache links to names that tell no format."""
    return path.absolute() if path.is_file() and path.suffix else path.resolve()


def _other_layouts(kind: str, repo: str) -> tuple[Pin, ...]:
    """How a repository that pins.toml doesn't know may be laid out instead."""
    match kind:
        case "tagger":
            beside = ("tags-character.txt", "*.json")
            return (Pin(kind, repo, repo=repo, files=_DEEPDANBOORU, optional=beside),)
        case "vae":  # a whole model's repository, such as FLUX's and SD3's
            files = tuple(f"vae/{file}" for file in _default_files(kind)[0])
            return (Pin(kind, repo, repo=repo, folder="vae", files=files),)
    return ()


def _default_files(kind: str, repo: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Needed and optional files of a repository that pins.toml doesn't know, of a base model by its index."""
    match kind:
        case "tagger":
            return ("model.onnx", "selected_tags.csv"), ("*.json", "thresholds.csv")
        case "clip":
            return (CONFIG, WEIGHTS), ("*.json", "*.txt", "*.model")
        case "vae":
            return ("config.json", "diffusion_pytorch_model.safetensors"), ()
    sd15 = pins("base")["sd15"]
    root, _ = _located(Pin("base", repo, repo=repo, files=(PIPELINE_INDEX,)), [], fetch=True)
    return (root and pipeline_files(root / PIPELINE_INDEX)) or (sd15.files, sd15.optional)


def _local(kind: str, name: str, path: Path) -> Model:
    files = model_files(path)
    if not files:
        raise ModelError(
            f"{kind} {name!r}: {path} is not there or holds no model files; wanted files ending in "
            f"{', '.join(sorted(WEIGHTS_SUFFIXES))}. {_miniature_hint(name)}"
        )
    folder = path.parent if path.is_file() else path
    check_weights(folder, files)
    if kind != "tagger":
        return Model(kind, name, path, hashes(path, files))
    if path.is_file():
        files = (path.name, *(file for file in _BESIDE_TAGGER if (folder / file).is_file()))
    measures = [file for file in files if file not in TABLES]
    return Model(kind, name, path, hashes(folder, measures), tables=tables_sha256(folder))


def _pinned(*ways: Pin) -> Model:
    """A model that is laid out in the first of these ways that is found."""
    tried: list[str] = []
    for pin in ways:
        root, revision = _located(pin, tried, fetch=True)
        if root is not None:
            return _held(pin, root, revision)
    pin, name = ways[0], Path(ways[0].repo or "").name
    raise ModelError(
        f"{pin.kind} {pin.name!r} can be neither found nor fetched. Tried:\n"
        + "".join(f"  - {line}\n" for line in tried)
        + (NO_PICKLES if pin.kind == "clip" else "")
        + f"To use it without a network, put {', '.join(pin.files)} into a folder named {name}, and set "
        f"{LOCAL_MODELS} to the folder above it. {_miniature_hint(pin.name)}"
    )


def _held(pin: Pin, root: Path, revision: str | None) -> Model:
    """The model in a folder, its files held against the pin or their first use."""
    source = f"{pin.kind}:{pin.repo}"
    if recorded_sha256(source) != hashes(root, pin.files):
        check_whole(pin.kind, root, pin.files)  # half a file must not become what later uses are held to
    sha256 = verified(source, root, pin.files, revision, pin.sha256)
    folder = root / pin.folder
    beside = [file for file in _BESIDE_TAGGER if file not in pin.files and (folder / file).is_file()]
    if pin.kind == "tagger" and beside:  # formats and the like, which people may add and change
        sha256 = digest(sha256, hashes(folder, beside))
    alone = pin.kind == "clip" and len(pin.files) == 1  # weights, whose architecture the name says
    tables = tables_sha256(folder) if pin.kind == "tagger" else ""
    return Model(pin.kind, pin.name, folder / pin.files[0] if alone else folder, sha256, revision, tables)


def _located(pin: Pin, tried: list[str], *, fetch: bool) -> tuple[Path | None, str | None]:
    """The folder with a pinned model's files, and its commit; (None, None) if there is none."""
    if pin.path is not None:
        root = assets() / pin.path
        return (root, None) if root.exists() and model_files(root) else (None, None)
    local = _in_local_folder(pin, tried)
    if local is not None:
        return local, None
    wanted = pin.revision or recorded_revision(f"{pin.kind}:{pin.repo}")
    return fetched(pin.repo or "", wanted, pin.files, pin.optional, tried, fetch=fetch)


def _in_local_folder(pin: Pin, tried: list[str]) -> Path | None:
    base = os.environ.get(LOCAL_MODELS)
    if not base:
        tried.append(f"a local folder: {LOCAL_MODELS} is not set")
        return None
    for name in dict.fromkeys((pin.name, Path(pin.repo or "").name)):
        folder = Path(base).expanduser() / name
        if folder.is_dir() and all((folder / file).is_file() for file in pin.files):
            return folder
        tried.append(f"{folder}: {'lacks some of the files' if folder.is_dir() else 'is not there'}")
    return None


def _miniature_hint(name: str) -> str:
    if name == "miniature":
        return "The miniature family ships with dataprep; install it again, or run models/miniature/make.py"
    return "To try everything now with the built-in miniature family: `dataprep run ... --models miniature`"


def list_text() -> str:
    """The families and their models, and which are on this machine, as text."""
    lines = []
    for name in families():
        chosen = family(name)
        lines.append(f"{name}: {chosen.family}, {chosen.resolution} px")
        for kind, model in chosen.models.items():
            lines.append(f"  {kind:<7}{model:<22}{_whereabouts(pins(kind)[model])}")
    lines.append("\nSingle models, for models = 'FAMILY, kind=MODEL':")
    for kind in KINDS:
        for name, pin in pins(kind).items():
            lines.append(f"  {kind:<7}{name:<22}{_whereabouts(pin)}")
    return "\n".join([*lines, _OTHERS])


def _whereabouts(pin: Pin) -> str:
    root, _ = _located(pin, [], fetch=False)
    if root is not None:
        return f"here: {root}"
    return f"not here; {pin.repo}" if pin.repo else "not here"


def verify_text(*, accept: bool = False) -> str:
    """Every model that was used, read again and held against its sha256, as text.

    Args:
        accept: take what changed for right, once it is whole, and hold later uses to it.
    Raises:
        ModelError: files changed since their first use, or are not whole.
    """
    lines = (
        [f"{source}: accepted: {told}" for source, told in accepted(check_whole).items()] if accept else []
    )
    results = recheck()
    text = "\n".join([*lines, *(f"{source}: {verdict}" for source, verdict in results.items())])
    if changed := sum(verdict.startswith("CHANGED") for verdict in results.values()):
        raise ModelError(
            f"{text}\n{changed} changed since first use. If that is on purpose, `dataprep models verify "
            "--accept` takes the files as they are for right; else put the former files back (in the hub's "
            "cache: delete that folder, and they are fetched again)"
        )
    return text or "no model was fetched yet"
