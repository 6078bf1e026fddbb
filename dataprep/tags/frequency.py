"""How sure a share is: Wilson's bounds. Two hits in three pictures don't count like eighty in 120."""

from __future__ import annotations

from math import sqrt

Z_95 = 1.6449  # one-sided 95 %


def wilson_lower(hits: int, total: int, z: float = Z_95) -> float:
    """The share that the true share exceeds with one-sided confidence, 0..1; 0 for no pictures.

    Args:
        hits: pictures that have it.
        total: pictures looked at.
        z: normal quantile of the confidence; 1.645 is 95 %.
    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    return 0.0 if total == 0 else max(0.0, _centre(hits, total, z) - _half_width(hits, total, z))


def wilson_upper(hits: int, total: int, z: float = Z_95) -> float:
    """The share that the true share stays below with one-sided confidence, 0..1; 1 for no pictures."""
    return 1.0 if total == 0 else min(1.0, _centre(hits, total, z) + _half_width(hits, total, z))


def _centre(hits: int, total: int, z: float) -> float:
    return (hits / total + z * z / (2 * total)) / (1 + z * z / total)


def _half_width(hits: int, total: int, z: float) -> float:
    share = hits / total
    return z * sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
