"""Standard output and error that can say any file's name, whatever the system's code page is."""

from __future__ import annotations

import io
import sys


def prepare_streams() -> None:
    """Write UTF-8 into files and pipes; on a terminal keep its encoding, with ? for what it lacks.

    Windows gives files and pipes a code page of 256 signs, in which most names cannot be written.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=stream.encoding if stream.isatty() else "utf-8", errors="replace")
