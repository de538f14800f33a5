"""Who holds the key of jobs of which there may be only one. A unique index decides, nobody's look. All processes.

``Job.unique_place`` says how a job stands to its ``unique_key``: 0, it holds the key; its own number, it gave the key
away when it started, and may have it again while it waits for another attempt; null, it has nothing to do with it any
more. Key and place are unique together.
"""

from __future__ import annotations

import copy
import datetime as dt
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, OperationalError, transaction
from django.db.models import BooleanField, Case, F, Value, When
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from qorworker.exceptions import AlreadyEnqueued
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow, database_now
from qorworker.models.rewriting import RewritingQuerySet
from qorworker.models.sql import BATCH, insert_unless_taken
from qorworker.status import WAITING, JobStatus
from qorworker.unique import PERIOD, RAISE, REPLACE, Unique

if TYPE_CHECKING:
    from qorworker.models.job import Job

HOLDS = 0
ROUNDS = 50  # in each of which somebody else was faster
ByKey = dict[Any, "Job"]
DEADLOCKS = {"40P01", 1213}  # PostgreSQL's and MariaDB's number of the error
PAUSES = (0.05, 0.2, 0.5)


class UniqueQuerySet(RewritingQuerySet):
    def enqueue_unique(
        self,
        jobs: Sequence[Job],
        rule: Unique,
        *,
        when: dt.datetime | dt.timedelta | None = None,
        user: Any = None,
        origin: str = Origin.CODE,
    ) -> list[Job]:
        """For each of *jobs* itself, stored now, or the one that holds its key. All of them or none.

        Raises ``AlreadyEnqueued`` if the rule says so.
        """
        for pause in (*PAUSES, 0.0):
            try:
                with transaction.atomic(using=self.db) if user is not None or len(jobs) > 1 else nullcontext():
                    made = self._enqueue_unique(jobs, rule, when, user, origin)
                    for job in {id(each): each for each in made if not each.is_existing}.values() if user else ():
                        AuditEntry.objects.using(self.db).record("enqueue", job=job, user=user, origin=origin)
                    return made
            except OperationalError as error:
                # Batches with the same keys in another order. In a transaction there is nothing left to try again.
                if not pause or transaction.get_connection(self.db).in_atomic_block or not _is_deadlock(error):
                    raise
                time.sleep(pause)
        return []

    def _enqueue_unique(
        self, jobs: Sequence[Job], rule: Unique, when: dt.datetime | dt.timedelta | None, user: Any, origin: str
    ) -> list[Job]:
        wanted = _one_of_each(jobs, rule)
        made: ByKey = {}
        for _round in range(ROUNDS):
            left = [job for key, job in wanted.items() if key not in made]
            if not left:
                return [_answer(job, made[job.unique_key]) for job in jobs]
            taken = self.holders([job.unique_key for job in left])
            for key, holder in taken.items():
                if self._gives_way(holder, wanted[key], rule, user, origin):
                    made[key] = holder
            free = [job for job in left if job.unique_key not in taken]
            made |= {job.unique_key: job for job in self._store(free, when, rule.period)}
        raise AlreadyEnqueued(None, _("The same job comes and goes all the time. Nothing was stored."))

    def _store(
        self, jobs: Sequence[Job], when: dt.datetime | dt.timedelta | None, period: dt.timedelta | None
    ) -> list[Job]:
        """Store those of *jobs* whose key is free; which they were. Waits for whoever is about to take or free one."""
        if transaction.get_connection(self.db).features.can_return_rows_from_bulk_insert:
            return insert_unless_taken(self.db, jobs, when, period)
        return [job for job in jobs if self._saved(job, when, period)]

    def _saved(self, job: Job, when: dt.datetime | dt.timedelta | None, period: dt.timedelta | None) -> bool:
        """For MySQL, which does not tell the numbers of many rows."""
        now = database_now(self.db)
        job.enqueued_at, job.run_after = now, now + when if isinstance(when, dt.timedelta) else when or now
        job.status = JobStatus.SCHEDULED if job.run_after > now else JobStatus.NEW
        job.unique_place, job.unique_until = HOLDS, now + period if period else None
        try:
            with transaction.atomic(using=self.db):
                job.save(using=self.db, force_insert=True)
        except IntegrityError:
            job.pk, job._state.adding = None, True
            return False
        return True

    # Whose key it is.

    def holders(self, keys: Collection[Any]) -> ByKey:
        """Who holds each of these keys. What is over is let go first, what waits again takes back what is free."""
        every, held = list(keys), ByKey()
        for start in range(0, len(every), BATCH):
            held.update(self._holders(every[start : start + BATCH]))
        return held

    def _holders(self, keys: Sequence[Any]) -> ByKey:
        is_over = Case(When(unique_until__lte=DatabaseNow(), then=True), default=False, output_field=BooleanField())
        held, again, over = ByKey(), ByKey(), []
        for job in self.filter(unique_key__in=keys, unique_place__isnull=False).annotate(is_over=is_over):
            job.is_existing = True
            if job.unique_place != HOLDS:
                again |= {job.unique_key: job} if job.status in WAITING else {}  # of several the oldest: it comes last
            elif getattr(job, "is_over", False):
                over.append(job.pk)
            else:
                held[job.unique_key] = job
        if over:
            self.filter(pk__in=over, unique_place=HOLDS, unique_until__lte=DatabaseNow()).update(unique_place=None)
        return held | {key: job for key, job in again.items() if key not in held and self._takes_back(job)}

    def _takes_back(self, job: Job) -> bool:
        """Give the key to a job that had it before and waits for another attempt; False if somebody was faster."""
        try:
            with transaction.atomic(using=self.db):
                list(self.filter(pk=job.pk).select_for_update().values_list("pk"))
                mine = self.filter(pk=job.pk, unique_place=job.pk, status__in=sorted(WAITING))
                return bool(mine.update(unique_place=HOLDS))
        except IntegrityError:
            return False

    def in_the_way(self) -> Job | None:
        """Who holds the key that this job, which has ended, has to take if it is queued again."""
        mine = self.filter(unique_key__isnull=False).exclude(unique_among=PERIOD).values_list("unique_key", flat=True)
        if (key := mine.first()) is None:
            return None
        return type(self)(self.model, using=self.db).holders([key]).get(key)

    def beside(self, job: Job, key: str) -> Job | None:
        """Who holds *key*, which *job* is about to have; None if it is free, or *job* takes part no more."""
        held = self.holders([job.unique_key, key])
        return held.get(key) if self.filter(pk=job.pk, unique_place__isnull=False).exists() else None

    # What is done about a conflict.

    def _gives_way(self, holder: Job, job: Job, rule: Unique, user: Any, origin: str) -> bool:
        """Whether *holder* stands for *job*; False if it does not have the key any more. Raises ``AlreadyEnqueued``."""
        if rule.on_conflict == RAISE:
            raise AlreadyEnqueued(holder, conflict_of(holder))
        if rule.on_conflict != REPLACE or self._replace(holder, job, user, origin):
            return True
        if self.filter(pk=holder.pk, unique_place=HOLDS).exists():
            holder.refresh_from_db(using=self.db)
            told = _("It keeps its arguments. Nothing was stored.")
            raise AlreadyEnqueued(holder, " ".join((conflict_of(holder), told)))
        return False

    def _replace(self, holder: Job, job: Job, user: Any, origin: str) -> bool:
        """Give *holder* the arguments of *job*, if it still waits with the key; with its number, place and time."""
        with transaction.atomic(using=self.db):
            row = self.filter(pk=holder.pk).select_for_update().first()
            changes = {"fingerprint": job.fingerprint, "limit_key": job.limit_key}
            if row is None or not self.filter(unique_place=HOLDS).rewrite(row, job.arguments, **changes):
                return False
            AuditEntry.objects.using(self.db).record("replace arguments", job=holder, user=user, origin=origin)
        holder.arguments, holder.fingerprint = job.arguments, job.fingerprint
        return True


def taken() -> Case:
    """For the UPDATE that queues an ended job again: it takes its key, if its rule is about what has not ended."""
    return Case(When(unique_among__in=("", PERIOD), then=F("unique_place")), default=Value(HOLDS))


def passed_on() -> Case:
    """For the UPDATE that gives a job another key: it holds that one, if it takes part at all."""
    return Case(When(unique_place__isnull=True, then=None), default=Value(HOLDS))


def given_back() -> Case:
    """For the UPDATE that ends a job: it gives its key away, if its rule is about what has not ended."""
    return Case(When(unique_among=PERIOD, then=F("unique_place")), default=None)


def conflict_of(job: Job, fill: Callable[..., str] = str.format, shown: str = "") -> str:
    """Why there is no second job like this one, in a sentence; for a page with ``format_html`` and a link."""
    given = {"title": job.title, "job": shown or f"#{job.pk}"}
    if job.status == JobStatus.RUNNING:
        return fill(_("“{title}” is running already, as job {job}."), **given)
    if job.status in WAITING:
        return fill(_("“{title}” is waiting already, as job {job}."), **given)
    if job.unique_until is None:
        return fill(_("“{title}” was there already, as job {job}."), **given)
    until = timezone.localtime(job.unique_until) if timezone.is_aware(job.unique_until) else job.unique_until
    told = _("“{title}” was enqueued already, as job {job}; it can be again from {time} on.")
    return fill(told, **given, time=date_format(until, "DATETIME_FORMAT"))


def _one_of_each(jobs: Sequence[Job], rule: Unique) -> ByKey:
    """For each key, at the place of the first job that has it, that job; the last one if arguments are replaced."""
    first: ByKey = {}
    for job in jobs:
        first.setdefault(job.unique_key, job)
    if rule.on_conflict == RAISE and len(first) < len(jobs):
        raise AlreadyEnqueued(None, _("The batch has the same job twice. Nothing was stored."))
    return first | {job.unique_key: job for job in jobs} if rule.on_conflict == REPLACE else first


def _answer(asked: Job, made: Job) -> Job:
    if made is asked or made.is_existing:
        return made
    again = copy.copy(made)  # twice in the batch
    again.is_existing = True
    return again


def _is_deadlock(error: OperationalError) -> bool:
    cause = error.__cause__
    return bool(DEADLOCKS & {getattr(cause, "sqlstate", None), *error.args[:1]})
