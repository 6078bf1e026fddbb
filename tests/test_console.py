"""What is seen while it works: a line per stretch with its rate, silence in logs, the closing table."""

from __future__ import annotations

import io
import re
import time

import pyarrow as pa
from rich.console import Console

from dataprep.console import LineObserver, TerminalObserver, summary_table
from dataprep.manifest import BASE
from dataprep.progress import StageReport
from dataprep.summary import summarize


def screen(*, terminal: bool) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=terminal, width=120), written


def test_a_finished_line_keeps_the_rate_it_had() -> None:
    console, written = screen(terminal=True)
    observer = TerminalObserver(console)
    observer.start("tag + clip", 20)
    time.sleep(0.1)
    observer.advance(20)
    observer.finish()
    time.sleep(0.4)  # what comes later is none of its time
    observer.close()
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written.getvalue())
    rates = re.findall(r"20/20 +([\d.]+)/s", plain)
    assert len(rates) > 1
    assert len(set(rates)) == 1


def test_a_log_hears_nothing_of_what_goes_fast() -> None:
    console, written = screen(terminal=False)
    patient, hasty = LineObserver(console), LineObserver(console, patience_s=-1)
    for observer in (patient, hasty):
        observer.start("latents", 8)
        observer.advance(4)
        observer.finish()
    assert written.getvalue() == "latents: 4 of 8\n"


def test_the_closing_table_accounts_for_every_file_and_second() -> None:
    rows = [
        {"path": "a.png", "role": "train", "state": "active", "reason": None},
        {"path": "b.png", "role": "train", "state": "dropped", "reason": "dedup:duplicate: of a.png"},
        {"path": "c.png", "role": "train", "state": "quarantined", "reason": "scan:empty: no bytes"},
    ]
    table = pa.Table.from_pylist([dict.fromkeys(BASE.names) | row for row in rows], schema=BASE)
    console, written = screen(terminal=False)
    console.print(summary_table(summarize(table), [StageReport("scan", 3, 3, 1.25), StageReport("crop")]))
    text = written.getvalue()
    for words in ("files in RAW", "1  dedup:duplicate", "c.png: scan:empty: no bytes", "scan 1.2"):
        assert words in text
    assert "crop" not in text
