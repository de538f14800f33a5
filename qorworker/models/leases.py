"""The ownership of a running job: it belongs to the attempt whose token its row has. All processes.

These functions are methods of ``JobQuerySet``. *tokens* are always attempt tokens by job id.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

from django.db import IntegrityError, models, transaction

from qorworker.models.attempt import Attempt
from qorworker.models.clock import DatabaseNow
from qorworker.models.limits import LimitStart
from qorworker.status import Outcome

if TYPE_CHECKING:
    from qorworker.models.job_queries import JobQuerySet


def held(self: JobQuerySet, tokens: dict[int, str]) -> JobQuerySet:
    """Return those of the jobs in *tokens* that still belong to that attempt."""
    return self.filter(pk__in=list(tokens), attempt_token__in=set(tokens.values()))


def unlocked(self: JobQuerySet) -> JobQuerySet:
    """Return those of these rows that this transaction could lock now; all of them where rows have no locks."""
    features = transaction.get_connection(self.db).features
    if not features.has_select_for_update_skip_locked:
        return self
    free = self.select_for_update(skip_locked=True, no_key=features.has_select_for_no_key_update)
    return self.unfiltered().filter(pk__in=list(free.values_list("pk", flat=True)))


def renew(self: JobQuerySet, tokens: dict[int, str], lease: float) -> int:
    """Set the lease of these attempts to *lease* seconds from now, and return how many were renewed.

    Rows that another transaction has locked are skipped.
    """
    with transaction.atomic(using=self.db):
        return self.held(tokens).unlocked().update(lease_expires_at=DatabaseNow(lease))


def forget_starts(self: JobQuerySet, tokens: dict[int, str]) -> None:
    """Count the starts of these attempts no longer for the rates of their types: they are about to be handed back.

    This belongs into the transaction in which that is done. Rows that another transaction has locked are left alone:
    they cannot be handed back in it, either.
    """
    for pk, key in self.held(tokens).unlocked().values_list("pk", "limit_key"):
        claimed_at = self.filter(pk=pk).values("last_attempted_at")  # SQLite compares texts: only two columns are alike
        starts = LimitStart.objects.using(self.db).filter(limit_key=key, started_at__gte=models.Subquery(claimed_at))
        # The first is that of its claim: the key was locked between the two statements.
        starts.filter(pk__in=list(starts.order_by("started_at", "pk").values_list("pk", flat=True)[:1])).delete()


class Requests(NamedTuple):
    """What was requested of a running job."""

    abort: bool = False
    pause: bool = False
    stack_at: dt.datetime | None = None  # when its stack was requested, if that was since the attempt began


def requests(self: JobQuerySet, tokens: dict[int, str]) -> dict[int, Requests]:
    """Return what was requested of each job that still belongs to its attempt."""
    requested = ("abort_requested_at", "pause_requested_at", "stack_requested_at")
    rows = self.filter(pk__in=list(tokens)).values_list("pk", "attempt_token", *requested, "last_attempted_at")
    return {
        pk: Requests(abort_at is not None, pause_at is not None, _since(begun_at, stack_at))
        for pk, token, abort_at, pause_at, stack_at, begun_at in rows
        if tokens[pk] == token
    }


def _since(begun_at: dt.datetime | None, moment: dt.datetime | None) -> dt.datetime | None:
    return None if moment is None or (begun_at is not None and moment < begun_at) else moment


def end_in_transaction(self: JobQuerySet, pk: int, number: int, token: str, seconds: float = 0.0) -> bool:
    """Record in the open transaction, together with what the job wrote in it, that an attempt is done.

    The record decides: a process that ends an attempt for another one writes the same row, and only one of them can.
    The row of the job, which its worker writes all the time, is not touched.

    :param number: the number of the attempt.
    :param token: its token.
    :param seconds: how long it took.
    :returns: False if the job belongs to another attempt by now.
    """
    if not self.held({pk: token}).exists():
        return False
    times = {"started_at": DatabaseNow(-seconds), "finished_at": DatabaseNow()}
    try:
        with transaction.atomic(using=self.db):
            Attempt.objects.using(self.db).create(job_id=pk, number=number, outcome=Outcome.DONE, **times)
    except IntegrityError:
        return False
    return True


def ended_as(self: JobQuerySet, pk: int, attempt: int, status: str) -> JobQuerySet:
    """Return the job if attempt number *attempt* has led to *status*."""
    return self.filter(pk=pk, attempt=attempt, status=status)


def seize(self: JobQuerySet, pk: int, token: str, new_token: str, lease: float) -> int:
    """Give a running job whose lease is past to another owner, for *lease* seconds.

    :returns: 1, or 0 if the attempt with *token* has renewed its lease meanwhile.
    """
    past = self.not_responding().filter(pk=pk, attempt_token=token)
    return past.update(attempt_token=new_token, lease_expires_at=DatabaseNow(lease))


def expired_leases(self: JobQuerySet) -> dict[int, tuple[str, dt.datetime]]:
    """Return attempt token and lease of the running jobs whose lease is past by the database's clock, by job id.

    Locked rows are left out: their worker could not renew them either.
    """
    past = self.not_responding()
    ids = list(past.values_list("pk", flat=True))
    if not ids:
        return {}
    with transaction.atomic(using=self.db):
        rows = past.filter(pk__in=ids).unlocked().values_list("pk", "attempt_token", "lease_expires_at")
        return {pk: (token, lease) for pk, token, lease in rows if token and lease}
