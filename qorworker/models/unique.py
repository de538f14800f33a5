"""Unique jobs: which job owns a unique key. The unique index decides, never a prior read. All processes.

``Job.unique_place`` says how a job stands to its ``unique_key``. 0: it holds the key. Its own id: it released the key
when it started, and may take it back while it waits for another attempt. NULL: it has released the key for good. Key
and place are unique together.
"""

from __future__ import annotations

import copy
import datetime as dt
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import BooleanField, Case, F, Value, When
from django.utils.translation import gettext as _

from qorworker.definitions.unique import PERIOD, RAISE, REPLACE, Unique
from qorworker.exceptions import AlreadyEnqueued
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow, database_now
from qorworker.models.sql import BATCH, insert_unless_taken
from qorworker.status import WAITING, JobStatus
from qorworker.text.moments import date_and_clock, local

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.job_queries import JobQuerySet

HOLDS = 0
ROUNDS = 50  # after so many lost races the jobs are refused
ByKey = dict[Any, "Job"]
# Whether the user for whom jobs are enqueued may replace the arguments of a job. None for code, which may.
replaceable: ContextVar[Callable[[Any], bool] | None] = ContextVar("replaceable", default=None)
DEADLOCKS = {"40P01", 1213}  # PostgreSQL's and MariaDB's number of the error
PAUSES = (0.05, 0.2, 0.5)


def enqueue_unique(
    self: JobQuerySet,
    jobs: Sequence[Job],
    rule: Unique,
    *,
    when: dt.datetime | dt.timedelta | None = None,
    user: Any = None,
    origin: str = Origin.CODE,
) -> list[Job]:
    """Store those of *jobs* whose unique key is free: all of them or none.

    :param when: a datetime, a timedelta from now, or None for now.
    :param user: the user who enqueues them; each then gets an audit entry.
    :returns: for each of *jobs* the job itself, or the one that holds its key.
    :raises qorworker.exceptions.AlreadyEnqueued: if the rule says so.
    """
    for pause in (*PAUSES, 0.0):
        try:
            with transaction.atomic(using=self.db) if user is not None or len(jobs) > 1 else nullcontext():
                answers = _enqueue_unique(self, jobs, rule, when, user, origin)
                for job in {id(each): each for each in answers if not each.is_existing}.values() if user else ():
                    AuditEntry.objects.using(self.db).record("enqueue", job=job, user=user, origin=origin)
                return answers
        except OperationalError as error:
            # Batches with the same keys in another order. Inside a transaction nothing can be retried.
            if not pause or transaction.get_connection(self.db).in_atomic_block or not _is_deadlock(error):
                raise
            time.sleep(pause)
    return []


def _enqueue_unique(
    rows: JobQuerySet,
    jobs: Sequence[Job],
    rule: Unique,
    when: dt.datetime | dt.timedelta | None,
    user: Any,
    origin: str,
) -> list[Job]:
    candidates = _one_of_each(jobs, rule)
    settled: ByKey = {}
    for _round in range(ROUNDS):
        open_ones = [job for key, job in candidates.items() if key not in settled]
        if not open_ones:
            return [_answer(job, settled[job.unique_key]) for job in jobs]
        held = rows.holders([job.unique_key for job in open_ones])
        for key, holder in held.items():
            if _gives_way(rows, holder, candidates[key], rule, user, origin):
                settled[key] = holder
        free = [job for job in open_ones if job.unique_key not in held]
        settled |= {job.unique_key: job for job in _store(rows, free, when, rule.period)}
    raise AlreadyEnqueued(None, _("Other processes keep enqueueing the same job. Nothing was stored; try again."))


def _store(
    rows: JobQuerySet, jobs: Sequence[Job], when: dt.datetime | dt.timedelta | None, period: dt.timedelta | None
) -> list[Job]:
    """Store those of *jobs* whose key is free, and return them. Wait for transactions that take or free a key."""
    if transaction.get_connection(rows.db).features.can_return_rows_from_bulk_insert:
        return insert_unless_taken(rows.db, jobs, when, period)
    return [job for job in jobs if _saved(rows, job, when, period)]


def _saved(rows: JobQuerySet, job: Job, when: dt.datetime | dt.timedelta | None, period: dt.timedelta | None) -> bool:
    """Do the same for one job on MySQL, which does not return the ids of many rows."""
    now = database_now(rows.db)
    job.enqueued_at, job.run_after = now, now + when if isinstance(when, dt.timedelta) else when or now
    job.status = JobStatus.SCHEDULED if job.run_after > now else JobStatus.NEW
    job.unique_place, job.unique_until = HOLDS, now + period if period else None
    try:
        with transaction.atomic(using=rows.db):
            job.save(using=rows.db, force_insert=True)
    except IntegrityError:
        job.pk, job._state.adding = None, True
        return False
    return True


# Which job holds a key.


def holders(self: JobQuerySet, keys: Collection[Any]) -> ByKey:
    """Return the job that holds each of these *keys*, by key.

    Keys whose period is over are released first. A job that waits for another attempt takes back a key that is free.
    """
    every, held = list(keys), ByKey()
    for start in range(0, len(every), BATCH):
        held.update(_holders(self, every[start : start + BATCH]))
    return held


def _holders(rows: JobQuerySet, keys: Sequence[Any]) -> ByKey:
    is_over = Case(When(unique_until__lte=DatabaseNow(), then=True), default=False, output_field=BooleanField())
    held, again, over = ByKey(), ByKey(), []
    for job in rows.filter(unique_key__in=keys, unique_place__isnull=False).annotate(is_over=is_over):
        job.is_existing = True
        if job.unique_place != HOLDS:
            again |= {job.unique_key: job} if job.status in WAITING else {}  # of several the oldest: it comes last
        elif getattr(job, "is_over", False):
            over.append(job.pk)
        else:
            held[job.unique_key] = job
    if over:
        rows.filter(pk__in=over, unique_place=HOLDS, unique_until__lte=DatabaseNow()).update(unique_place=None)
    return held | {key: job for key, job in again.items() if key not in held and _takes_back(rows, job)}


def _takes_back(rows: JobQuerySet, job: Job) -> bool:
    """Give the key to a job that had it before and waits for another attempt. False if another job was faster."""
    try:
        with transaction.atomic(using=rows.db):
            list(rows.filter(pk=job.pk).select_for_update().values_list("pk"))
            row = rows.filter(pk=job.pk, unique_place=job.pk, status__in=sorted(WAITING))
            return bool(row.update(unique_place=HOLDS))
    except IntegrityError:
        return False


def in_the_way(self: JobQuerySet) -> Job | None:
    """Return the job that holds the key which this one, which has ended, must take when it is queued again."""
    keyed = self.filter(unique_key__isnull=False).exclude(unique_among=PERIOD)
    if (key := keyed.values_list("unique_key", flat=True).first()) is None:
        return None
    return self.unfiltered().holders([key]).get(key)


def beside(self: JobQuerySet, job: Job, key: str) -> Job | None:
    """Return the job that holds *key*, which *job* is about to get.

    None if the key is free, or if *job* has released its own for good.
    """
    held = self.holders([job.unique_key, key])
    return held.get(key) if self.filter(pk=job.pk, unique_place__isnull=False).exists() else None


# How a conflict is resolved.


def _gives_way(rows: JobQuerySet, holder: Job, job: Job, rule: Unique, user: Any, origin: str) -> bool:
    """Return whether *holder* stands for *job*; False if it does not hold the key any more.

    Raise ``AlreadyEnqueued`` if the rule says so.
    """
    may_replace = replaceable.get()
    if rule.on_conflict == RAISE or (rule.on_conflict == REPLACE and may_replace and not may_replace(holder)):
        raise AlreadyEnqueued(holder, conflict_of(holder))
    if rule.on_conflict != REPLACE or _replace(rows, holder, job, user, origin):
        return True
    if rows.filter(pk=holder.pk, unique_place=HOLDS).exists():
        holder.refresh_from_db(using=rows.db)
        remark = _("It keeps its arguments. Nothing was stored.")
        raise AlreadyEnqueued(holder, " ".join((conflict_of(holder), remark)))
    return False


def _replace(rows: JobQuerySet, holder: Job, job: Job, user: Any, origin: str) -> bool:
    """Give *holder* the arguments of *job* if it still waits with the key. It keeps its id, priority and time."""
    with transaction.atomic(using=rows.db):
        row = rows.filter(pk=holder.pk).select_for_update().first()
        changes = {"fingerprint": job.fingerprint, "version": job.version, "limit_key": job.limit_key, "by": user}
        if row is None or not rows.filter(unique_place=HOLDS).rewrite(row, job.arguments, **changes):
            return False
        requester = {"user": user, "origin": origin} if user is not None else _by_schedule(job)
        AuditEntry.objects.using(rows.db).record("replace arguments", job=holder, **requester)
    holder.arguments, holder.fingerprint = job.arguments, job.fingerprint
    return True


def _by_schedule(job: Job) -> dict[str, Any]:
    """Return user and origin for the audit of *job*, which no user enqueues: those of its schedule, or code."""
    if job.schedule_id is None or job.created_by_id is None:
        return {"origin": Origin.CODE}
    people = get_user_model()._default_manager
    return {"user": people.filter(pk=job.created_by_id).first(), "origin": Origin.WORKER}


def taken() -> Case:
    """Return the ``unique_place`` of an ended job that is queued again: it takes its key unless that has a period."""
    return Case(When(unique_among__in=("", PERIOD), then=F("unique_place")), default=Value(HOLDS))


def passed_on() -> Case:
    """Return the ``unique_place`` of a job that gets another key: it holds that one unless it has released its own."""
    return Case(When(unique_place__isnull=True, then=None), default=Value(HOLDS))


def given_back() -> Case:
    """Return the ``unique_place`` of a job that ends: it releases its key unless that has a period."""
    return Case(When(unique_among=PERIOD, then=F("unique_place")), default=None)


def conflict_of(job: Job, fill: Callable[..., str] = str.format, shown: str = "") -> str:
    """Return a sentence that says why no second job like this one was stored.

    :param fill: what fills the sentence; a page gives ``format_html``.
    :param shown: how the job is shown, if not by its number; a page gives a link.
    """
    facts = {"title": job.title, "job": shown or f"#{job.pk}"}
    if job.status == JobStatus.RUNNING:
        return fill(_("“{title}” is already running as job {job}."), **facts)
    if job.status in WAITING:
        return fill(_("“{title}” is already waiting as job {job}."), **facts)
    if job.unique_until is None:
        return fill(_("“{title}” already exists as job {job}."), **facts)
    text = _("“{title}” was already enqueued as job {job}; it can be enqueued again from {time} on.")
    return fill(text, **facts, time=date_and_clock(local(job.unique_until)))


def _one_of_each(jobs: Sequence[Job], rule: Unique) -> ByKey:
    """Return one job for each key, in the order of the keys: the first, or the last if arguments are replaced."""
    first: ByKey = {}
    for job in jobs:
        first.setdefault(job.unique_key, job)
    if rule.on_conflict == RAISE and len(first) < len(jobs):
        raise AlreadyEnqueued(None, _("The batch has the same job twice. Nothing was stored."))
    return first | {job.unique_key: job for job in jobs} if rule.on_conflict == REPLACE else first


def _answer(job: Job, settled: Job) -> Job:
    if settled is job or settled.is_existing:
        return settled
    again = copy.copy(settled)  # the batch has it twice
    again.is_existing = True
    return again


def _is_deadlock(error: OperationalError) -> bool:
    cause = error.__cause__
    return bool(DEADLOCKS & {getattr(cause, "sqlstate", None), *error.args[:1]})
