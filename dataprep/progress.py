"""What a run tells while it works. The run calls an Observer; how it looks is cli.py's matter."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class StageReport:
    """What one stage did: rows it looked at, rows it had to compute, seconds it took."""

    name: str
    rows: int = 0
    computed: int = 0
    seconds: float = 0.0


class Observer:
    """Hears of a run's progress. This one says nothing; overwrite what you want to show."""

    def start(self, stages: str, rows: int) -> None:
        """Work on `rows` rows begins in a stretch of stages, such as "tag + clip"."""

    def advance(self, rows: int) -> None:
        """So many further rows of the current stretch are done."""

    def finish(self) -> None:
        """The current stretch is done."""


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Gather what stages say and warn of, to be shown together after the run, not amid its progress."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, collector = logging.getLogger("dataprep"), Collector(logging.INFO)
    logger.addHandler(collector)
    propagate, logger.propagate, level = logger.propagate, False, logger.level
    logger.setLevel(min(logging.INFO, level) if level else logging.INFO)
    try:
        yield messages
    finally:
        logger.propagate = propagate
        logger.setLevel(level)
        logger.removeHandler(collector)
