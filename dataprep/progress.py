"""What a run tells while it works. The run calls an Observer; how it looks is cli.py's matter."""

from __future__ import annotations

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
