"""How things look in a terminal: progress lines, the closing table. Says nothing by itself: cli.py prints."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from dataprep.progress import Observer, StageReport
from dataprep.summary import Summary


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        seconds = task.finished_time or task.elapsed or 0
        over_all = task.completed / seconds if task.completed and seconds else None
        speed = over_all if task.finished else task.speed or over_all
        return Text(f"{speed:.1f}/s" if speed else "", style="cyan")


class TerminalObserver(Observer):
    """One progress line per stretch of stages, with rate and remaining time."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task: TaskID | None = None

    def start(self, stages: str, rows: int) -> None:
        """Open a line for this stretch."""
        if self._task is None:
            self._progress.start()
        self._task = self._progress.add_task(stages, total=rows)

    def advance(self, rows: int) -> None:
        """Move the line on."""
        if self._task is not None:
            self._progress.advance(self._task, rows)

    def finish(self) -> None:
        """Fill the line: a stage that begins with no rows (scan) ends with however many it found."""
        if self._task is not None:
            task = next(t for t in self._progress.tasks if t.id == self._task)
            self._progress.update(self._task, total=task.completed)

    def close(self) -> None:
        """Stop drawing; what was drawn stays."""
        if self._task is not None:
            self._progress.stop()


class LineObserver(Observer):
    """For logs: one line when a stretch takes longer than `patience_s`, none otherwise."""

    def __init__(self, console: Console, patience_s: float = 10.0) -> None:
        self._console = console
        self._patience_s = patience_s
        self._name, self._rows, self._done, self._spoke = "", 0, 0, time.monotonic()

    def start(self, stages: str, rows: int) -> None:
        """Remember the stretch."""
        self._name, self._rows, self._done, self._spoke = stages, rows, 0, time.monotonic()

    def advance(self, rows: int) -> None:
        """Say how far it is, at most once every `patience_s` seconds."""
        self._done += rows
        if time.monotonic() - self._spoke > self._patience_s:
            self._console.print(f"{self._name}: {self._done} of {self._rows}")
            self._spoke = time.monotonic()


def summary_table(summary: Summary, stages: list[StageReport]) -> Table:
    """The closing table of a run."""
    table = Table(title="What happened to every file", show_header=False, title_justify="left", expand=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("files in RAW", str(summary.files))
    table.add_row("kept for training", f"[green]{summary.kept}[/green]")
    for code, count in summary.dropped.items():
        table.add_row("left out", f"{count}  {code}")
    for path, reason in summary.quarantined_files[:20]:
        # As Text: a name may hold what Rich would take for its own markup or for an emoji.
        table.add_row("[yellow]quarantined[/yellow]", Text(f"{path}: {reason}"))
    if len(summary.quarantined_files) > 20:
        table.add_row("", f"... and {len(summary.quarantined_files) - 20} more, all in the report")
    if summary.buckets:
        table.add_row("buckets", "  ".join(f"{size}: {count}" for size, count in summary.buckets.items()))
    if summary.tags_by_fate:
        fates = "  ".join(f"{fate}: {count}" for fate, count in summary.tags_by_fate.items())
        table.add_row("tags", f"{summary.tags_kept} different in captions; {fates}")
    if summary.absorbed:
        shown = ", ".join(f"{tag} ({count})" for tag, count in summary.absorbed[:12])
        table.add_row("absorbed by the trigger", shown)
    if summary.repeats:
        table.add_row("folders", "  ".join(f"{name}" for name in summary.repeats))
    table.add_row("class images", f"{summary.reg} used, {summary.reg_left_out} left out")
    table.add_row("captions / latents", f"{summary.captions} / {summary.latents}")
    busy = [f"{s.name} {s.seconds:.1f}" for s in stages if s.seconds >= 0.05]
    if busy:
        table.add_row("seconds (all threads)", "  ".join(busy))
    return table
