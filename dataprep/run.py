"""One run: check all, then per stage: key -> stored? -> compute -> store -> merge. Running is resuming."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from dataprep import __version__
from dataprep.classes import GENERATE, class_folder, orders, provide
from dataprep.curate.taken import note_taken, read_taken
from dataprep.digest import digest
from dataprep.errors import ConfigError, InputError, StageError
from dataprep.expand import expand
from dataprep.export.agreement import check_agreement
from dataprep.export.kohya_reader import describe, differences, read_folder
from dataprep.folders import CUT_SHORT, STATE_FOLDER, check_folders, is_cut_short, locked
from dataprep.inference.torch_compat import chosen_device
from dataprep.manifest import BASE, conform, empty_columns, merge
from dataprep.models import Model, family, resolve
from dataprep.pictures.pixels import PixelCache
from dataprep.pipeline import STAGES, Chain
from dataprep.progress import Observer, StageReport, collected_warnings
from dataprep.rows import RowStage, run_rows
from dataprep.settings import Settings, build_stages, load_settings
from dataprep.stage import Context, Stage
from dataprep.stages.latents import forget_lost
from dataprep.stages.texts import SUFFIX as TEXTS_SUFFIX
from dataprep.store import Blobs, LostBlob, write_bytes, write_table
from dataprep.tags.by_hand import hand_notes
from dataprep.tags.thresholds import check_floor

if TYPE_CHECKING:
    from dataprep.stages.reg import Reg

_LOG = logging.getLogger(__name__)
MANIFEST = "manifest.parquet"
METADATA_KEY = b"dataprep"
_TABLE_RESULTS_KEPT = 4
_DECODED_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Job:
    """What the user asked for. Everything that may change a result is in here, and nowhere else."""

    raw: Path
    out: Path
    config: Path | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)  # project settings given on the command line
    overrides: Sequence[str] = ()  # texts of --set
    until: str | None = None

    def save(self) -> None:
        """Remember the request in OUT, for `status`. Raises DiskError."""
        record = {
            "raw": str(self.raw.resolve()),
            "config": None if self.config is None else str(self.config.resolve()),
            "flags": {k: v for k, v in self.flags.items() if v is not None},
            "overrides": list(self.overrides),
            "until": self.until,
            "version": __version__,
        }
        write_bytes(self.out / STATE_FOLDER / "run.json", json.dumps(record, indent=1).encode())

    @classmethod
    def load(cls, out: Path) -> Job:
        """The request that last prepared `out`. Raises InputError."""
        path = out / STATE_FOLDER / "run.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            config = None if record["config"] is None else Path(record["config"])
            return cls(
                Path(record["raw"]), out, config, record["flags"], tuple(record["overrides"]), record["until"]
            )
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{out}: not a prepared folder: {path.name} is missing or damaged; run again"
            ) from error


@dataclass
class Outcome:
    """What a run did."""

    table: pa.Table
    out: Path
    settings: Settings
    stages: list[StageReport]
    models: Mapping[str, Model]
    seconds: float
    messages: list[str] = field(default_factory=list)  # for people: warnings, what sd-scripts will see
    wrong: list[str] = field(
        default_factory=list
    )  # what it would train otherwise than planned; in messages too

    @property
    def ending(self) -> str:
        """The last word: done, or how much is not as planned."""
        if not self.wrong:
            return f"done in {self.seconds:.1f} s: {self.out}"
        return (
            f"not as planned: {len(self.wrong)} differences (WRONG, above) in {self.out}; "
            f"`dataprep check {self.out}` says what to do"
        )

    def as_dict(self, summary: Mapping[str, Any]) -> dict[str, Any]:
        """For JSON, with a summary of the table."""
        return {
            "version": __version__,
            "out": str(self.out),
            "seconds": round(self.seconds, 3),
            "stages": [vars(stage) for stage in self.stages],
            "summary": summary,
            "messages": self.messages,
        }


@dataclass
class Planned:
    """A checked job: the chain's stages with their keys, and what they may use."""

    settings: Settings
    stages: tuple[Stage, ...]
    keys: tuple[str, ...]
    context: Context

    @property
    def draws(self) -> bool:
        """Whether class images are drawn by the base model."""
        return self.settings.project.reg == GENERATE and any(stage.name == "reg" for stage in self.stages)

    @property
    def writes(self) -> bool:
        """Whether the prepared folder is written: not by what stops before captions in a finished one."""
        return any(stage.scope == "sink" for stage in self.stages)

    @property
    def store(self) -> Path:
        """Folder of stored results."""
        return self.context.out / STATE_FOLDER / "store"


def plan(job: Job, *, device: str = "cpu", threads: int = 1, dry_run: bool = False) -> Planned:
    """Check folders, settings, the chain and the models, before any work.

    Raises:
        InputError, ConfigError, ModelError: what the user has to mend.
    """
    check_folders(job.raw, job.out, None)
    settings = load_settings(job.raw, job.config, job.flags, job.overrides, STAGES)
    reg = settings.reg_folder()
    check_folders(job.raw, job.out, reg)
    drawing = settings.project.reg == GENERATE
    if drawing:
        if settings.project.class_word is None:
            raise ConfigError("--reg generate draws pictures of the class: name it with --class-word")
        folder = class_folder(job.out.resolve())
        reg = folder if folder.is_dir() else None
    defaults = family(settings.project.models)
    built = build_stages(settings, STAGES, {"family": defaults.family, "resolution": defaults.resolution})
    check_agreement(built)
    stages = Chain(built).until(job.until)
    if is_cut_short(job.out, [stage.name for stage in stages]):
        stages = tuple(stage for stage in stages if stage.scope != "sink")
    _check_trigger(settings, stages)
    kinds = dict.fromkeys(kind for stage in stages for kind in _kinds(stage))
    if drawing and any(stage.name == "reg" for stage in stages):
        kinds["base"] = None
    models = {kind: resolve(settings.project.models, kind) for kind in kinds}
    check_floor(stages, models.get("tagger"), settings.told.get("tag.floor", settings.origin))
    keys = tuple(
        digest(stage.key(), [models[kind].key(stage.scope) for kind in _kinds(stage)]) for stage in stages
    )
    policy = next(stage for stage in built if stage.name == "scan").policy()  # type: ignore[attr-defined]
    context = Context(
        raw=job.raw.resolve(),
        out=job.out.resolve(),
        pixels=PixelCache(policy, _DECODED_BYTES),
        blobs=Blobs(job.out.resolve() / STATE_FOLDER / "blobs"),
        reg=reg,
        models=models,
        device=chosen_device(device) if models else "cpu",  # asking imports torch
        threads=threads,
        dry_run=dry_run,
    )
    return Planned(settings, stages, keys, context)


def _kinds(stage: Stage) -> tuple[str, ...]:
    """Kinds of model a stage takes, with those that it only takes when asked for."""
    return (*stage.models, *getattr(stage, "models_on_request", ()))


def run(job: Job, observer: Observer, *, device: str = "cpu", threads: int = 1) -> Outcome:
    """Prepare a folder: every stage, then the manifest, the report, and a look at what a trainer will see.

    Raises:
        UserError before any work; DiskError, StageError or KeyboardInterrupt with finished work kept.
    """
    from dataprep.report import write_report

    started = time.perf_counter()
    planned = plan(job, device=device, threads=threads)
    wrong: list[str] = []
    with locked(job.out), collected_warnings() as messages:
        if planned.writes:
            job.save()
        table, reports = execute(planned, observer)
        if planned.writes:
            table = table.replace_schema_metadata({METADATA_KEY: json.dumps(_metadata(planned)).encode()})
            write_table(job.out / MANIFEST, table)
            write_report(job.out)
            seen, wrong = _read_back(job.out, table, planned.settings.project.waive)
            told = [*_trigger_advice(planned), *hand_notes(table), *seen]
            messages += [*told, *(f"WRONG: {difference}" for difference in wrong)]
        else:
            note_taken(job.out, replace(read_taken(job.out), running=False))
            messages.append(CUT_SHORT.format(job.until))
    seconds = time.perf_counter() - started
    models = planned.context.models
    return Outcome(table, job.out, planned.settings, reports, models, seconds, messages, wrong)


def _trigger_advice(planned: Planned) -> list[str]:
    from dataprep.inference.tagger import read_labels
    from dataprep.tags.trigger import trigger_facts, trigger_report

    trigger, tagger = planned.settings.project.trigger, planned.context.models.get("tagger")
    if trigger is None:
        return []
    vocabulary = read_labels(tagger.path).tags if tagger else ()
    return [trigger_facts(trigger), *trigger_report(trigger, vocabulary=vocabulary)]


def _read_back(out: Path, table: pa.Table, waived: Sequence[str]) -> tuple[list[str], list[str]]:
    """What sd-scripts will see in the folder just written, and every difference that is not accepted."""
    if not (out / "dataset.toml").is_file():
        return [], []
    view = read_folder(out)
    return [describe(view)], [found for found in differences(view, table) if found.code not in waived]


def execute(planned: Planned, observer: Observer) -> tuple[pa.Table, list[StageReport]]:
    """All stages over a fresh table. Class images are drawn when it is known what the training set needs."""
    names = [stage.name for stage in planned.stages]
    cut = names.index("reg") + 1 if planned.draws else 0
    table, reports = _through(slice(0, cut), BASE.empty_table(), planned, observer)
    if planned.draws:
        settings = cast("Reg", planned.stages[cut - 1])
        if provide(orders(table, settings), planned.context, observer):
            context = replace(planned.context, reg=class_folder(planned.context.out))
            planned = replace(planned, context=context)
            table, reports = _through(slice(0, cut), BASE.empty_table(), planned, observer)
    try:
        done, rest = _through(slice(cut, None), table, planned, observer)
    except LostBlob as error:
        blobs = planned.context.blobs
        count = forget_lost(planned.store / "latents", blobs)
        count += forget_lost(planned.store / "texts", blobs, "texts_key", TEXTS_SUFFIX)
        _LOG.warning("%d results were gone or damaged in the store, and are made anew (%s)", count, error)
        done, rest = _through(slice(cut, None), table, planned, observer)
    return done, [*reports, *rest]


def _through(
    part: slice, table: pa.Table, planned: Planned, observer: Observer
) -> tuple[pa.Table, list[StageReport]]:
    """Some stages over a table; row stages that follow each other share a pass."""
    reports: list[StageReport] = []
    pairs = zip(planned.stages[part], planned.keys[part], strict=True)
    for is_row, group in groupby(pairs, key=lambda pair: pair[0].scope == "row"):
        if is_row:
            stretch = [RowStage(stage, key, planned.store, planned.context) for stage, key in group]
            table = run_rows(stretch, table, observer, planned.context.threads)
            reports.extend(stage.report for stage in stretch)
        else:
            for stage, key in group:
                table, report = run_whole(stage, key, table, planned, observer)
                reports.append(report)
    return table, reports


def run_whole(
    stage: Stage, key: str, table: pa.Table | None, planned: Planned, observer: Observer
) -> tuple[pa.Table, StageReport]:
    """A stage over the whole table. Table stages are stored under a key of all their input."""
    started = time.perf_counter()
    table = BASE.empty_table() if table is None else table
    observer.start(stage.name, table.num_rows)
    path = planned.store / stage.name / key / f"{_table_key(stage, table)}.parquet"
    computed = not (stage.scope == "table" and path.is_file())
    if computed:
        # A chain that stopped early lacks columns: they read as undecided.
        result = stage.open(planned.context)(empty_columns(table, stage.needs))
        if stage.expands:
            table = expand(table, result, stage.name)
        elif stage.scope == "source" and table.num_rows == 0:
            table = conform({n: result[n] for n in result.schema.names}, stage.adds, stage.name)
            if table.num_rows == 0:
                raise InputError(f"{planned.context.raw}: no pictures in it; put the raw pictures into it")
        else:
            result = _declared(stage, result)
            table = merge(table, result, stage.name)
        if stage.scope == "table" and not planned.context.dry_run:
            write_table(path, result)
            _forget_old(path.parent)
    else:
        table = merge(table, pq.read_table(path), stage.name)
    observer.advance(table.num_rows)
    observer.finish()
    rows = table.num_rows
    return table, StageReport(stage.name, rows, rows if computed else 0, time.perf_counter() - started)


def _declared(stage: Stage, result: pa.Table) -> pa.Table:
    verdict = [BASE.field(name) for name in ("state", "reason") if name in result.schema.names]
    names = result.schema.names
    if len(set(names)) != len(names):
        raise StageError(f"{stage.name}: returned a column twice: {names}")
    return conform({name: result[name] for name in names}, pa.schema([*stage.adds, *verdict]), stage.name)


def _table_key(stage: Stage, table: pa.Table) -> str:
    # Parquet writes values, never what lies under nulls or beyond slices, and (without Arrow's schema) not
    # whether a list's field is called item or element: equal tables are equal bytes.
    sink = pa.BufferOutputStream()
    # The verdicts so far are input of every table stage, whether it names them or not, and so are their
    # reasons: a stage that marks rows hands back those of the rows that it leaves as they are.
    names = dict.fromkeys([*stage.needs.names, "role", "state", "reason"])
    wanted = table.select([name for name in names if name in table.schema.names])
    pq.write_table(
        wanted.replace_schema_metadata(None).combine_chunks(), sink, compression="none", store_schema=False
    )
    return hashlib.blake2b(sink.getvalue(), digest_size=16).hexdigest()


def _forget_old(folder: Path) -> None:
    results = sorted(folder.glob("*.parquet"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in results[_TABLE_RESULTS_KEPT:]:
        path.unlink(missing_ok=True)


def _check_trigger(settings: Settings, stages: Sequence[Stage]) -> None:
    needs_trigger = any(stage.name == "prune" and getattr(stage, "absorbing", True) for stage in stages)
    if needs_trigger and settings.project.trigger is None and settings.project.purpose != "style":
        raise ConfigError(
            f"no trigger word: purpose {settings.project.purpose!r} binds the subject to a word; give one "
            'with --trigger, such as --trigger sks (or trigger = "sks" in dataprep.toml)'
        )


def _metadata(planned: Planned) -> dict[str, Any]:
    project = planned.settings.project
    return {
        "version": __version__,
        "trigger": project.trigger,
        "class_word": project.class_word,
        "settings": {
            "project": project.model_dump(mode="json"),
            **{stage.name: stage.model_dump(mode="json") for stage in planned.stages},
        },
        "stage_keys": {stage.name: key for stage, key in zip(planned.stages, planned.keys, strict=True)},
        # Only training and class images need the base model: elsewhere it is named, without the hash of files
        # that nobody looked for, and found when needed.
        "models": {"base": {"name": family(project.models).models["base"], "used": False}}
        | {
            kind: {"name": m.name, "path": str(m.path), "revision": m.revision, "sha256": m.sha256}
            for kind, m in planned.context.models.items()
        },
    }


def read_manifest(directory: Path) -> tuple[pa.Table, dict[str, Any]]:
    """The manifest of a prepared folder and its metadata. Raises InputError if it is missing or damaged."""
    from dataprep.folders import check_prepared

    path = check_prepared(directory)
    try:
        table = pq.read_table(path)
        return table, json.loads((table.schema.metadata or {})[METADATA_KEY])
    except (pa.ArrowInvalid, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged or not a dataprep manifest; run `dataprep run` again") from error
