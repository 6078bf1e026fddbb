"""Findings about the folder: what the trainer will read, whether it is up to date, which models made it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from dataprep.checks.finding import Finding, Prepared, plural
from dataprep.curate.decisions import JOURNAL, read_journal
from dataprep.curate.heirs import gone_pictures
from dataprep.curate.inherited import without_place
from dataprep.curate.journal_guard import loss
from dataprep.curate.last_run import raw_changes
from dataprep.errors import InputError
from dataprep.export.difference import CODES as DIFFERENCES
from dataprep.export.difference import LATENTS, OPTIONS, OTHERWISE, STOPS, TEXTS, Difference
from dataprep.export.kohya_reader import read_data_dirs
from dataprep.export.receipt import retouched
from dataprep.models import KINDS, pins

CODES = frozenset(
    {
        "unfinished-run",
        "edited-since-the-run",
        "raw-changed",
        "picture-edited",
        "damaged-decisions",
        "lost-edits",
        "no-data-set",
        *DIFFERENCES,
        "foreign-caches",
        "train-toml-differs",
        "miniature-models",
        "models-of-unknown-origin",
        "model-licences",
    }
)
_FILE = re.compile(r"^((?:img|reg)/[^:]+): ")
_CONFIGURATION = re.compile(r"^(?:dataset|train)\.toml")


def up_to_date(prepared: Prepared) -> Iterator[Finding]:
    """Whether the last run ended, and took over what people changed."""
    if prepared.unfinished:
        yield Finding(
            "unfinished-run",
            "serious",
            "the last run was stopped before its end",
            (),
            "pictures, captions and latents may be of different settings",
            "run again; it carries on",
        )
    if prepared.edits:
        yield Finding(
            "edited-since-the-run",
            "warning",
            f"{plural(len(prepared.edits), 'file')} changed by hand since the last run",
            tuple(sorted({found.file for found in prepared.edits})),
            "the manifest and the counts here do not know these changes yet",
            "run again: your changes are kept and merged",
        )
    if rewritten := raw_changes(prepared.directory):
        yield Finding(
            "raw-changed",
            "warning",
            f"{plural(len(rewritten), 'raw picture')} changed or gone since the last run",
            tuple(rewritten),
            "prepared pictures, captions and latents are of the files as they were",
            "run again; what was decided by hand stays",
        )
    if changed := retouched(prepared.directory):
        yield Finding(
            "picture-edited",
            "serious",
            f"{plural(len(changed), 'prepared picture')} changed by hand: latents do not belong to it",
            tuple(changed),
            "latents that are made of the raw picture show the old pixels; `dataprep train` refuses them",
            "edit the raw picture and run again; or take the change back: "
            + ("" if all(entry["retouched"] is not None for entry in changed.values()) else "run, ")
            + "delete the edited one, and run again, which writes it anew (deleted once more after that, "
            "the picture is left out)",
        )


def held_decisions(prepared: Prepared) -> Iterator[Finding]:
    """Whether every decision made by hand is written whole, and held by a picture that is there."""
    if views := without_place(prepared.directory):
        yield Finding(
            "lost-edits",
            "warning",
            f"edits of {plural(len(views), 'view')} are held by no picture",
            tuple(views),
            "the file, or a copy of it, is there, but no such view is cut: its caption was made by hand",
            "look at split.views, split.min_side and scan.frames; if you want no such view, waive this",
        )
    if gone := gone_pictures(prepared.directory):
        yield Finding(
            "lost-edits",
            "warning",
            f"edits of {plural(len(gone), 'picture')} are held by no picture any more",
            tuple(sorted(str(row["path"]) for row in gone)),
            "the raw file is gone, and no other has its name or looks the same: its caption was made by hand",
            "put the picture back, under any name, and run again; if you took it out for good, waive this",
        )
    if (lost := loss(prepared.directory)) is not None:
        yield Finding(
            "damaged-decisions",
            "serious",
            lost,
            (),
            "the next run stops at it: without these decisions their captions would be the machine's again",
            "`dataprep undo` brings them back; or mend the file, one JSON object a line",
        )
    elif damaged := read_journal(prepared.directory).damaged:
        yield Finding(
            "damaged-decisions",
            "warning",
            f"{JOURNAL}: {plural(len(damaged), 'line')} that cannot be read",
            (),
            "a program was killed while it wrote",
            f"look at line {damaged[0]}; a decision made by hand may have to be made again",
        )


def as_the_trainer_sees_it(prepared: Prepared) -> Iterator[Finding]:
    """What sd-scripts would train otherwise than planned, file by file."""
    if isinstance(prepared.view, InputError):
        yield Finding(
            "no-data-set",
            "serious",
            str(prepared.view),
            (),
            "sd-scripts and `dataprep train` read the folder through dataset.toml",
            "run again, to the end",
        )
        return
    edited = {found.file.rpartition(".")[0] for found in prepared.edits}
    kinds: dict[str, list[Difference]] = defaultdict(list)
    for difference in prepared.differences:
        match = _FILE.match(difference)
        if match and match[1].rpartition(".")[0] in edited and difference.startswith("caption ", match.end()):
            continue  # told as an edit
        kinds[difference.code].append(difference)
    for code, found in kinds.items():
        yield _told(code, found)
    if prepared.view.notes:
        yield Finding(
            "foreign-caches",
            "note",
            f"caches of other families lie about: {prepared.view.notes[0]}",
            prepared.view.notes,
            "this family's trainer does not look at them; another one would, whatever pictures say by now",
            "delete them if you do not train that family from here",
        )
    if not kinds and (prepared.directory / "train.toml").is_file():
        yield from _by_folders(prepared)


def _by_folders(prepared: Prepared) -> Iterator[Finding]:
    """Whether sd-scripts would see the same with train.toml and folders, without dataset.toml."""
    try:
        same = read_data_dirs(prepared.directory) == prepared.view
    except InputError:
        same = False
    if not same:
        yield Finding(
            "train-toml-differs",
            "note",
            "with --train_data_dir img in place of dataset.toml, sd-scripts would train otherwise",
            ("train.toml",),
            "train.toml was changed, and lacks resolution, buckets or caption_extension, or has others",
            "use --dataset_config dataset.toml; or delete train.toml and run again to have it written anew",
        )


# Why a difference matters, and what to do.
_ADVICE = {
    STOPS: ("training does not start, or breaks off", "run again; if it stays, mend or remove these files"),
    LATENTS: (
        "the trainer takes latents as they are, or computes those anew that its options do not fit",
        "run again: it writes the right latents; an option that is named goes back to what it was",
    ),
    TEXTS: (
        "sd-scripts takes text-encoder outputs as they are, whatever the caption says by now",
        "run again: it writes them anew, or removes them; an option that is named goes back to what it was",
    ),
    OPTIONS: (
        "sd-scripts makes other samples of the folder than were planned and counted here",
        "take it out again, or delete the file and run again; or say it in dataprep.toml under "
        f'[export.train]; or, if it is meant so, accept it there with waive = ["{OPTIONS}"]',
    ),
    OTHERWISE: ("sd-scripts reads the folder, not the manifest", "run again, or take foreign files out"),
}


def _told(code: str, found: list[Difference]) -> Finding:
    files = {match[1] for text in found if (match := _FILE.match(text))}
    files |= {match[0] for text in found if (match := _CONFIGURATION.match(text))}
    title = "; ".join(found) if code == OPTIONS else found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 and code != OPTIONS else ""
    return Finding(code, "serious", f"{title}{more}", tuple(sorted(files)), *_ADVICE[code])


def models(prepared: Prepared) -> Iterator[Finding]:
    """What to know of the models that made this folder."""
    used = prepared.about.get("models", {})
    small = sorted(
        kind for kind, model in used.items() if "miniature" in f"{model.get('name')}{model.get('path')}"
    )
    if small:
        yield Finding(
            "miniature-models",
            "note",
            f"made with the miniature family ({', '.join(small)})",
            (),
            "it is for trying and testing: it knows drawn figures of one kind, and nothing of real pictures",
            'for real pictures run again with models = "sd15" or "sdxl"',
        )
    unpinned = sorted(
        f"{kind} {model.get('name')}"
        for kind, model in used.items()
        if kind not in small and not model.get("revision") and model.get("used", True)
    )
    if unpinned:
        yield Finding(
            "models-of-unknown-origin",
            "note",
            f"local models without a recorded revision: {', '.join(unpinned)}",
            (),
            "their licence decides what you may do with the LoRA, and nobody else can repeat this set",
            "note where they came from and under which licence; `dataprep models list` shows the known ones",
        )


def licences(prepared: Prepared) -> Iterator[Finding]:
    """The licences of the known models that made this folder, which bind what is made with them."""
    known = {
        f"{kind} {model['name']}": str(pin.facts["licence"])
        for kind, model in prepared.about.get("models", {}).items()
        if kind in KINDS
        and (pin := pins(kind).get(str(model.get("name")))) is not None
        and "licence" in pin.facts
    }
    unknown = sorted(
        f"{kind} {model['name']}"
        for kind, model in prepared.about.get("models", {}).items()
        if kind in KINDS and model.get("revision") and pins(kind).get(str(model.get("name"))) is None
    )
    if unknown:
        yield Finding(
            "model-licences",
            "note",
            f"models whose licence is not known to this program: {', '.join(unknown)}",
            (),
            "a model's licence decides what you may do with what is made with it, the LoRA as well",
            "read it at the model's page before you publish anything",
        )
    if known:
        yield Finding(
            "model-licences",
            "note",
            f"licences: {', '.join(f'{name}: {licence}' for name, licence in sorted(known.items()))}",
            (),
            "the base model's licence binds the LoRA as well; OpenRAIL licences forbid some uses",
            "read them at the models' pages before you publish the LoRA",
        )
