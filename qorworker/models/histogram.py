"""Durations as numbers of cases in buckets: added up over any time, they still tell the median. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping

# Where buckets end, in seconds: each is 1.41 times as wide as the one before. The last one has no end.
BOUNDS = tuple(0.001 * 2 ** (step / 2) for step in range(61))


def bucket_of(seconds: float) -> str:
    """Return the number of the bucket that has *seconds*, as a text: the names in JSON are texts."""
    return str(bisect_right(BOUNDS, seconds))


def quantile(cases: Mapping[str, int], share: float) -> float | None:
    """Return the seconds that this *share* of the cases did not take longer than; None without cases.

    It is right to within a fifth: within a bucket, cases count as spread evenly on a logarithmic scale.
    """
    rank, before = math.ceil(share * sum(cases.values())), 0
    for number, count in sorted((int(bucket), count) for bucket, count in cases.items()):
        if count and before + count >= rank:
            low, high = _ends(number)
            return low * (high / low) ** ((rank - before - 0.5) / count)  # type: ignore[no-any-return]
        before += count
    return None


def _ends(number: int) -> tuple[float, float]:
    low = BOUNDS[number - 1] if number else BOUNDS[0] / 2
    return low, BOUNDS[number] if number < len(BOUNDS) else low
