"""Keys of content: one hash function over canonical JSON, so that equal content has equal keys anywhere."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest(*parts: Any) -> str:  # noqa: ANN401 - any JSON value is content
    """Hex key (32 digits) of JSON-like parts; dict order does not matter.

    Raises:
        TypeError: if a part is not JSON-like (str, int, float, bool, None, list, tuple, dict).
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
