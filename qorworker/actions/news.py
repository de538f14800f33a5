"""Finds the rows that a table has got since it was last read, each once. Workers, ticks of cron, commands.

Ids are given out before their rows are committed. So the ids that are missing are remembered, and looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qorworker.models.clock import database_timestamp
from qorworker.models.sql import summaries as sql
from qorworker.models.sql.summaries import Range

MOST_LATE = 500  # rows at a time that have come late
MOST_GAPS = 100  # ranges of missing ids that are kept, the highest ones
GAPS_KEPT = 86_400  # seconds after which a missing id will not come any more


@dataclass(frozen=True)
class News:
    """The rows of a table that were not read yet."""

    ranges: list[Range]
    last: int
    gaps: list[list[int]]
    is_empty: bool
    may_have_more: bool


def news(using: str, table: str, after: int, known: Sequence[Sequence[int]], most: int) -> News:
    """Return the next *most* rows with ids above *after*, and those that have come in *known* gaps."""
    now = _now(using) if known else 0
    old = [[first, last, seen] for first, last, seen in known if seen > now - GAPS_KEPT]
    late = sql.ids_in(using, table, [(first, last) for first, last, _seen in old], MOST_LATE) if old else []
    for pk in late:
        old = [part for gap in old for part in _without(gap, pk)]
    last, count = sql.next_ids(using, table, after, most)
    missing = sql.missing_ids(using, table, after, last)[-MOST_GAPS:] if count < last - after else []
    ranges = [*((pk, pk) for pk in late), *_between(missing, after + 1, last)]
    now = now or (_now(using) if missing else 0)
    gaps = [*old, *([first, end, now] for first, end in missing)][-MOST_GAPS:]
    return News(ranges, last, gaps, not (late or count), count == most or len(late) == MOST_LATE)


def _now(using: str) -> int:
    """The time by the clock of the database: a machine whose clock is wrong must not give up the gaps of others."""
    return int(database_timestamp(using))


def _without(gap: Sequence[int], pk: int) -> Iterable[list[int]]:
    first, last, seen = gap
    if not first <= pk <= last:
        return [[first, last, seen]]
    return [[low, high, seen] for low, high in ((first, pk - 1), (pk + 1, last)) if low <= high]


def _between(missing: Iterable[Range], first: int, last: int) -> Iterable[Range]:
    """Yield the ranges from *first* to *last* that are not *missing*.

    A row that is committed from now on in one of these is so counted as soon as the gap is looked at.
    """
    for low, high in missing:
        if first < low:
            yield first, low - 1
        first = high + 1
    if first <= last:
        yield first, last
