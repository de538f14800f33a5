"""Adds up how jobs have ended, in rows that the dashboard reads. Workers, ticks of cron, commands.

Nobody who runs a job does anything for it. From time to time the attempts that have been added are read, grouped by the
database, and their sums are stored together with the mark that says how far that went: so each counts once, whoever is
killed, and however many do it at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.db import transaction

from qorworker.actions.news import news
from qorworker.conf import settings
from qorworker.models.sql import summaries as sql
from qorworker.models.sql.summaries import Group, Range
from qorworker.models.summary import FINE, Summary, SummaryMark, kept_since, sums_of
from qorworker.system.processes import monotonic

FEWEST, FIRST, MOST = 100, 1_000, 20_000  # rows at a time
QUICK = 0.05  # seconds of a round after which the next one gets more rows
EVERY = 60.0  # seconds between two rounds
RECENT = 45.0  # seconds after a round in which no other process begins one


def summarise_if_due(using: str, seconds: float) -> bool:
    """Do what ``summarise`` does, unless somebody did so lately."""
    return SummaryMark.is_recent(using, RECENT) or summarise(using, seconds)


def summarise(using: str, seconds: float | None = None) -> bool:
    """Add up all that is new, and return True. Return False if it takes more than *seconds*: the rest comes later.

    A round begins with few rows, and gets more if that is quick. So it is short also where the rows are of very many
    types and hours: the parent of a worker has leases to renew meanwhile.
    """
    begun, most = monotonic(), min(FIRST, MOST)
    while (before := monotonic()) and _one_round(using, most):
        took = monotonic() - before
        if seconds is not None and monotonic() - begun >= seconds:
            return False
        most = min(2 * most, MOST) if took < QUICK else max(most // 2, FEWEST) if took > 4 * QUICK else most
    return True


def _one_round(using: str, most: int) -> bool:
    """Add up the next *most* rows of what is new. Return whether there may be more."""
    mark = SummaryMark.current(using)
    attempts = news(using, sql.ATTEMPTS, mark.attempt, mark.attempt_gaps, most)
    entries = news(using, sql.ENTRIES, mark.entry, mark.entry_gaps, most)
    if attempts.is_empty and entries.is_empty:
        return False
    groups = [*_groups(sql.ended, using, attempts.ranges), *_groups(sql.cancelled, using, entries.ranges)]
    mark.attempt, mark.attempt_gaps = attempts.last, attempts.gaps
    mark.entry, mark.entry_gaps = entries.last, entries.gaps
    kept = kept_since(settings.SUMMARY_DAYS, using)
    with transaction.atomic(using=using):
        # First of all: it locks the row until the end, and on SQLite the database.
        if not mark.move_on(using):
            return True  # another process was faster, perhaps with fewer rows
        rows = Summary.objects.using(using)
        rows.add(sums_of(groups, kept))
        rows.forget(kept)
    return attempts.may_have_more or entries.may_have_more


def _groups(read: Callable[..., list[Group]], using: str, ranges: Sequence[Range]) -> list[Group]:
    return read(using, ranges, FINE) if ranges else []
