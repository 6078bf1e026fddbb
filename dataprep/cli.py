"""The commands. Printing and exit codes live only here; heavy imports are inside the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from dataprep import __version__
from dataprep.device import checked_device
from dataprep.errors import DataprepError, DiskError, InputError, MachineError
from dataprep.streams import prepare_streams

if TYPE_CHECKING:
    from rich.console import Console

    from dataprep.run import Job, Outcome


class _Commands(TyperGroup):
    """Turns our errors into one message and the exit status of the command contract."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - click's own signature
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            said = str(stop) or "finished work is kept: run the same command again"
            raise _ended(130, f"interrupted; {said}") from None
        except DataprepError as error:
            raise _ended(error.exit_status, f"error: {error}") from error
        except MemoryError as error:
            status = MachineError.exit_status
            raise _ended(status, "error: out of memory; finished work is kept: try --threads 1") from error
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise _ended(DiskError.exit_status, f"error: {what}; finished work is kept") from error


def _ended(status: int, message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(status)


app = typer.Typer(
    cls=_Commands,
    help="From a raw folder of pictures to a training-ready LoRA data set, and to the LoRA.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(help="The models that stages use: list, get, verify.", no_args_is_help=True)
app.add_typer(models_app, name="models")
reg_app = typer.Typer(help="Class images: how many are needed, and how they are used.", no_args_is_help=True)
app.add_typer(reg_app, name="reg")

Prepared = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `dataprep run` prepared.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
DeviceOption = Annotated[str, typer.Option(callback=checked_device, help="auto, cpu or cuda.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="STAGE.SETTING=VALUE", help="Overrule one setting.")
]


@app.command()
def run(
    raw: Annotated[Path, typer.Argument(metavar="RAW", help="Folder of raw pictures; never written to.")],
    trigger: Annotated[
        str | None, typer.Option(help="The word the LoRA will answer to, such as sks.")
    ] = None,
    class_word: Annotated[str | None, typer.Option(help="What the subject is one of, such as girl.")] = None,
    purpose: Annotated[str | None, typer.Option(help="character, style, outfit, pose or object.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; default: RAW-prepared.")] = None,
    models: Annotated[str | None, typer.Option(help="Model family; see `dataprep models list`.")] = None,
    reg: Annotated[
        str | None, typer.Option(help="Folder of class images; or generate: the base model draws them.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file; default: RAW/dataprep.toml.")] = None,
    until: Annotated[str | None, typer.Option(help="Stop after this stage, to curate by hand.")] = None,
    absorb: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="The trigger takes this tag over.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Never absorbed, overlapped or blacklisted.")
    ] = None,
    caption: Annotated[
        str | None, typer.Option(help="A sentence for every picture: none, coca or endpoint.")
    ] = None,
    overrides: SetOption = None,
    device: DeviceOption = "auto",
    threads: Annotated[int, typer.Option(min=0, help="0: as many as there are cores.")] = 0,
    dry_run: Annotated[bool, typer.Option(help="Say what would be done; write nothing.")] = False,
    strict: Annotated[bool, typer.Option(help="Exit with 1 if a picture was quarantined.")] = False,
    as_json: AsJson = False,
) -> None:
    """Prepare RAW for training: dedup, crop, buckets, tags, pruning, class images, latents, kohya layout."""
    from dataprep.folders import default_out
    from dataprep.run import Job

    flags = {
        "trigger": trigger,
        "class_word": class_word,
        "purpose": purpose,
        "models": models,
        "reg": reg if reg in (None, "generate") else str(Path(reg).resolve()),
    }
    told = [*(overrides or ()), *_lists({"prune.absorb": absorb, "prune.keep": keep})]
    told += [] if caption is None else [f"caption.by={caption}"]
    job = Job(raw, out or default_out(raw), config, flags, tuple(told), until)
    if dry_run:
        _print_forecast(job, device, as_json)
        return
    outcome = _prepare(job, device, threads, quiet=as_json)
    _print_outcome(outcome, as_json)
    if strict and any(state == "quarantined" for state in outcome.table["state"].to_pylist()):
        raise typer.Exit(1)


def _lists(named: dict[str, list[str] | None]) -> list[str]:
    """Lists from the command line as --set texts."""
    return [f"{name}={json.dumps(tags, ensure_ascii=False)}" for name, tags in named.items() if tags]


@app.command()
def status(directory: Prepared, as_json: AsJson = False) -> None:
    """Say what is stale and would run again, and why, and which files were edited by hand."""
    from dataprep.curate.snapshots import edits_text
    from dataprep.run import Job

    _print_forecast(Job.load(directory), "cpu", as_json)
    if not as_json and (edits := edits_text(directory)):
        typer.echo("\n".join(["edited since the last run; the next one takes it over:", *edits]))


@app.command()
def explain(
    topic: Annotated[str | None, typer.Argument(metavar="[STAGE]", help="A stage, or `train`.")] = None,
) -> None:
    """Show settings with defaults and ranges, and the columns that each stage reads and adds."""
    from dataprep.explain import explain_text

    typer.echo(explain_text(topic), nl=False)


@app.command()
def show(
    directory: Prepared,
    image: Annotated[str, typer.Argument(help="Its raw path, prepared file, stem or id.")],
    as_json: AsJson = False,
) -> None:
    """Tell one image's whole story: where it came from, every tag's score, rule and fate."""
    from dataprep.run import read_manifest
    from dataprep.story import find_row, story

    row = find_row(read_manifest(directory)[0], image)
    typer.echo(json.dumps(row, indent=1, ensure_ascii=False) if as_json else story(row))


@app.command()
def check(
    directory: Prepared,
    waive: Annotated[list[str] | None, typer.Option(help="Findings to accept, by code.")] = None,
    as_json: AsJson = False,
) -> None:
    """List findings before training; exit status 1 if any is serious."""
    from dataprep import check as gate

    left_out = frozenset(waive or ()) | gate.waived(directory)
    findings, seen = gate.check(directory, left_out), gate.seen(directory)
    if as_json:
        found = {"sd_scripts": seen, "findings": [finding.as_dict() for finding in findings]}
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        typer.echo(gate.as_text(findings, seen, left_out))
    if any(finding.severity == "serious" for finding in findings):
        raise typer.Exit(1)


@app.command()
def report(directory: Prepared) -> None:
    """Write report.html: pictures, plots, every file's fate."""
    from dataprep.report import write_report

    typer.echo(str(write_report(directory)))


@app.command()
def undo(
    directory: Prepared,
    to: Annotated[str | None, typer.Option(metavar="RUN", help="Which run; default: the one before.")] = None,
) -> None:
    """Bring captions and decisions back to an earlier run; edits made since are kept, to come back to."""
    from dataprep.curate.snapshots import undo as go_back

    typer.echo(go_back(directory, to))


@app.command()
def export(
    directory: Prepared,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write, or to bring up to date.")],
    to: Annotated[str, typer.Option(help="onetrainer, ai-toolkit, simpletuner, imagefolder or webdataset.")],
) -> None:
    """Write the same set for another trainer."""
    from dataprep.export.targets import export_to

    typer.echo(export_to(directory, to, out)[1])


@app.command()
def push(
    directory: Prepared,
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The data set on the Hub.")],
    public: Annotated[bool, typer.Option(help="Let everybody see it; default: private.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Upload; else only say what would be.")] = False,
) -> None:
    """Put the set on the Hugging Face Hub, private unless told; first only say what would be sent."""
    from dataprep.export.push import ask, plan_push
    from dataprep.export.push import push as upload

    plan = plan_push(directory, repo, public=public)
    typer.echo(str(plan))
    typer.echo(ask(plan).there)
    typer.echo(upload(plan) if yes else "nothing was sent: this was a dry run; add --yes to upload")


@reg_app.command("plan")
def reg_show(directory: Prepared) -> None:
    """Say how many class images a trainer will use, against training pictures x repeats, by bucket."""
    from dataprep.class_plan import reg_plan
    from dataprep.run import read_manifest

    typer.echo(reg_plan(read_manifest(directory)[0]))


@app.command()
def train(
    directory: Prepared,
    config: Annotated[Path | None, typer.Option(help="Default: DIR/train.toml.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on, with the stopped run's settings.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew: a stopped one is lost.")] = False,
    extract: Annotated[
        Path | None,
        typer.Option(metavar="TUNED", help="Instead turn this fine-tuned model into a LoRA, by SVD."),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Train a LoRA on the prepared folder; writes DIR/model/NAME.safetensors."""
    from dataprep.training.terminal import energy_text, extract_lora, next_text, train_folder

    told = tuple(overrides or ())
    if extract is not None:
        path, kept = extract_lora(directory, extract, config, told, device)
        typer.echo(f"{energy_text(kept)}\nLoRA: {path}")
        return
    typer.echo(next_text(train_folder(directory, config, told, resume, device, _console(), restart=restart)))


@app.command()
def sample(
    lora: Annotated[Path, typer.Argument(metavar="LORA", help="What was trained: file, or tuned folder.")],
    prompt: Annotated[list[str], typer.Option(help="May end in kohya options: --w --h --s --l --d --n.")],
    out: Annotated[Path | None, typer.Option(help="Folder; default: samples/ beside the LoRA.")] = None,
    base: Annotated[Path | None, typer.Option(help="Base model; default: the one it was trained on.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Draw pictures with a LoRA, a learned word or a fine-tuned model."""
    from dataprep.training.terminal import sample_lora

    for path in sample_lora(lora, prompt, out, base, device, typer.echo):
        typer.echo(str(path))


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE.safetensors")],
    other: Annotated[Path | None, typer.Argument(help="A second file, to compare.")] = None,
    as_config: Annotated[bool, typer.Option(help="Print a train.toml with its parameters.")] = False,
    out: Annotated[Path | None, typer.Option(help="With --as-config: a new file to write it to.")] = None,
    hashes: Annotated[bool, typer.Option(help="Read the whole file and check its hashes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read a LoRA's or checkpoint's header: training parameters, tags, hashes; never the tensors."""
    from dataprep.lora.inspect import compare, describe, inspect_file
    from dataprep.lora.parameters import save_config

    reports = [inspect_file(path, check_hashes=hashes) for path in (file, other) if path is not None]
    if as_config or out:
        typer.echo(save_config(reports[0].metadata, out, reports[0].told_by_tensors), nl=False)
    elif as_json:
        typer.echo(json.dumps([report.as_dict() for report in reports], indent=1, ensure_ascii=False))
    else:
        typer.echo(describe(reports[0]) if len(reports) == 1 else compare(*reports))


@models_app.command("list")
def models_list() -> None:
    """List the families and their models, and which are on this machine."""
    from dataprep.models import list_text

    typer.echo(list_text())


@models_app.command("get")
def models_get(
    name: Annotated[str, typer.Argument(help="A family, a known model, or KIND=MODEL.")],
) -> None:
    """Fetch all models of a family, or one model, now."""
    from dataprep.models import fetch

    for model in fetch(name):
        typer.echo(f"{model.kind}: {model.path}")


@models_app.command("verify")
def models_verify(accept: Annotated[bool, typer.Option(help="Take changed files for right")] = False) -> None:
    """Compare every recorded model with its sha256."""
    from dataprep.models import verify_text

    typer.echo(verify_text(accept=accept))


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"dataprep {__version__}")
        raise typer.Exit


def _console(*, quiet: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=True, quiet=quiet)


def _prepare(job: Job, device: str, threads: int, *, quiet: bool) -> Outcome:
    import os

    from dataprep.console import LineObserver, TerminalObserver
    from dataprep.run import run as run_job

    console = _console(quiet=quiet)
    observer = TerminalObserver(console) if console.is_terminal else LineObserver(console)
    try:
        return run_job(job, observer, device=device, threads=threads or os.cpu_count() or 1)
    finally:
        if isinstance(observer, TerminalObserver):
            observer.close()


def _print_outcome(outcome: Outcome, as_json: bool) -> None:
    from rich.console import Console

    from dataprep.console import summary_table
    from dataprep.summary import summarize

    summary = summarize(outcome.table)
    if as_json:
        typer.echo(json.dumps(outcome.as_dict(summary.as_dict()), indent=1, ensure_ascii=False))
    else:
        Console().print(summary_table(summary, outcome.stages))
        for line in outcome.messages:
            typer.echo(line)
        typer.echo(outcome.ending)
    if not summary.kept:
        nothing = f"error: no picture is left to train on; {outcome.out / 'report.html'} says why of each"
        raise _ended(InputError.exit_status, nothing)
    if outcome.wrong:
        raise typer.Exit(1)
    if as_json:
        return
    typer.echo(
        f"next: look at {outcome.out / 'report.html'}, edit captions under {outcome.out / 'img'},\n"
        f"      run again, dataprep check {outcome.out}, then dataprep train {outcome.out}"
    )


def _print_forecast(job: Job, device: str, as_json: bool) -> None:
    from dataprep.forecast import forecast

    steps = forecast(job, device=device)
    if as_json:
        typer.echo(json.dumps([vars(step) for step in steps], indent=1, ensure_ascii=False))
    else:
        typer.echo("\n".join(str(step) for step in steps))


def main() -> None:
    """Entry point of the `dataprep` command."""
    prepare_streams()
    app()


if __name__ == "__main__":
    main()
