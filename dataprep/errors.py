"""The error tree. Every error names the thing, what was found, what was wanted, and what to do.

DataprepError
├── UserError        exit status 2: the user can mend it
│   ├── ConfigError  a setting, a flag or a project file
│   ├── InputError   the raw folder, the output folder, a prepared folder
│   └── ModelError   a model that is missing, half there, or not what it says it is
├── MachineError     exit status 3: memory, network; finished work is kept
│   └── DiskError    full, read-only, vanished
├── StageError       a bug: a stage broke its declaration; finished work is kept
└── RowError         one picture's fault; becomes `state` and `reason` of its row, never leaves the run
"""

from __future__ import annotations


class DataprepError(Exception):
    """Base of everything this program raises on purpose."""

    exit_status: int = 1


class UserError(DataprepError):
    """Something the user can mend: usage, settings, folders, models."""

    exit_status = 2


class ConfigError(UserError):
    """A setting, flag or project file is unknown, contradictory or out of range."""


class InputError(UserError):
    """A folder that was named cannot serve: missing, empty, nested wrongly, not ours."""


class ModelError(UserError):
    """A model can be neither found nor fetched, or its files do not fit together."""


class MachineError(DataprepError):
    """The machine's fault: memory, network. Finished work is kept."""

    exit_status = 3


class DiskError(MachineError):
    """The disk is full, read-only or vanished. Finished work is kept."""


class StageError(DataprepError):
    """A stage broke what it declares. This is a bug in the stage, not in the data."""


class RowError(DataprepError):
    """One row cannot be processed; it is quarantined and the others go on.

    Args:
        code: short machine-readable word, such as "decode" or "too-large".
        detail: what was found, for people.
        transient: True if another run may succeed (a file that was locked), so that it is not stored.
    """

    def __init__(self, code: str, detail: str, *, transient: bool = False) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.transient = transient
