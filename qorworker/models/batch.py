"""Many jobs that were enqueued together, and the two jobs that wait for their end. All processes.

The jobs point to their batch. What became of them is counted in their rows; only of those that were deleted does the
row of the batch keep something.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.db import models
from django.db.models import Count, Exists, OuterRef, Q, Value
from django.db.models.functions import Cast, StrIndex
from django.db.models.lookups import GreaterThan
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.models import batch_verbs
from qorworker.models.alters import asynchronous
from qorworker.models.exact import Exact
from qorworker.models.indexes import PartialIndex, PartialUniqueConstraint
from qorworker.models.own import OwnQuerySet
from qorworker.status import FINISHED, JobStatus
from qorworker.text.cleaning import visible

if TYPE_CHECKING:
    from qorworker.definitions.call import Call
    from qorworker.models.job import Job
    from qorworker.models.job_queries import JobQuerySet

TITLE_CHARS = 200
KEY_CHARS = 64  # of a hash
DELETED = "deleted"  # counts a job that was deleted before it had ended
ERRORS = 20  # of jobs that are gone: so many different ones are kept
ERROR_CHARS = 200


class BatchOutcome(models.TextChoices):
    """How the jobs of a batch have ended, all in all."""

    OPEN = "", pgettext_lazy("batch", "Running")
    DONE = "done", pgettext_lazy("batch", "Done")
    FAILED = "failed", pgettext_lazy("batch", "With failures")


class BatchQuerySet(OwnQuerySet["Batch"]):
    """Batches: ``enqueue`` makes one."""

    def open(self) -> BatchQuerySet:
        """Return those of which a job has not ended, as far as that was looked at."""
        return self.filter(ended_at=None)

    def enqueue(
        self,
        title: str,
        calls: Iterable[Call[Any]],
        *,
        then: Call[Any] | None = None,
        otherwise: Call[Any] | None = None,
        by: Any = None,
    ) -> Batch:
        """Store a batch with one job for each call: all of them or none, in one transaction.

        :param title: what the batch is called on pages; 1 to 200 characters.
        :param calls: what ``JobType.bind`` returns, of any job types. They are taken in portions, so a generator of a
            hundred thousand takes little memory.
        :param then: a call that runs once, when all jobs of the batch are done.
        :param otherwise: a call that runs once, when all have ended for the first time and some of them are not done.
        :param by: the user for whom they are enqueued, as the option ``user`` of ``using``.
        :raises TypeError: for what is no call; it names the place.
        :raises ValueError: for a title that cannot be stored, a call of another database, or a *then* or *otherwise*
            with options that it cannot have.
        :raises: what ``Call.enqueue`` raises.

        Example::

            Batch.objects.enqueue("Spring mailing", (send.bind(user=user) for user in users), then=report.bind())
        """
        from qorworker.actions import batching  # noqa: PLC0415 - stands above the rows

        return batching.enqueue(self, title, calls, then=then, otherwise=otherwise, by=by)

    aenqueue = asynchronous(enqueue)

    def forgettable(self, before: dt.datetime) -> BatchQuerySet:
        """Return those that ended before this time and of which no job exists any more."""
        jobs: Any = self.model._meta.get_field("then").related_model  # that module imports this one
        rows = jobs.objects.using(self.db)
        own, callbacks = rows.filter(batch_id=OuterRef("pk")), [OuterRef("then_id"), OuterRef("otherwise_id")]
        return self.filter(~Exists(own), ~Exists(rows.filter(pk__in=callbacks)), ended_at__lt=before)

    def of_types(self, names: Iterable[str]) -> BatchQuerySet:
        """Return those with a job of one of these types, also if it was deleted since."""
        stored = Exact(Cast("names", models.TextField()))
        # As ``json`` writes it, or as a database does that reads it.
        marks = {json.dumps(name, ensure_ascii=ascii) for name in names for ascii in (True, False)}
        rules = [GreaterThan(StrIndex(stored, Value(mark)), 0) for mark in sorted(marks)]
        return self.filter(reduce(or_, map(Q, rules))) if rules else self.none()

    def spawned_by(self, job: int, key: str | None = None) -> BatchQuerySet:
        """Return the batches that a job has spawned; with *key* the one with that key."""
        of_job = self.filter(spawned_by_id=job)
        return of_job if key is None else of_job.filter(spawn_key=stored_key(key))


class Batch(models.Model):
    """Jobs that were enqueued together: how many, for whom, and how they have ended."""

    title = models.CharField(_("title"), max_length=TITLE_CHARS)
    created_at = models.DateTimeField(_("created"))
    created_by = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_constraint=False,
        db_index=False, verbose_name=_("created by"),
    )  # fmt: skip
    total = models.PositiveIntegerField(_("jobs"), default=0)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)  # null again if a job is retried
    outcome = models.CharField(_("outcome"), max_length=6, choices=BatchOutcome.choices, blank=True, default="")
    then = models.ForeignKey(
        "qorworker.Job", models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    otherwise = models.ForeignKey(
        "qorworker.Job", models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    spawned_by = models.ForeignKey(
        "qorworker.Job", models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    spawn_key = models.CharField(max_length=KEY_CHARS, null=True, editable=False)  # noqa: DJ001 - null: not spawned
    rerun_of = models.ForeignKey(
        "self", models.DO_NOTHING, null=True, related_name="+", db_constraint=False, db_index=False
    )
    names = models.JSONField(default=list, editable=False)  # of the job types of its jobs
    gone = models.JSONField(default=dict, editable=False)  # of the jobs that were deleted, see ``note_gone``

    objects = BatchQuerySet.as_manager()

    is_existing = False  # True if ``context.spawn`` returned a batch that an earlier attempt had spawned

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("batch")
        verbose_name_plural = _("batches")
        default_permissions = ()
        ordering = ("-id",)
        indexes = (
            PartialIndex(name="qorworker_batch_open", fields=("id",), only=Q(ended_at__isnull=True)),
            PartialIndex(name="qorworker_batch_user", fields=("created_by", "id"), only=Q(created_by__isnull=False)),
        )
        constraints = (
            PartialUniqueConstraint(
                name="qorworker_batch_spawned", fields=("spawned_by", "spawn_key"), only=Q(spawned_by__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return f"{visible(self.title)} #{self.pk}"

    # Its state.

    @property
    def jobs(self) -> JobQuerySet:
        """Its jobs that still exist; without those that wait for its end."""
        return batch_verbs.jobs_of(self)

    @property
    def is_finished(self) -> bool:
        """Whether all its jobs had ended when this copy of its row was read."""
        return self.ended_at is not None

    def counts(self) -> dict[str, int]:
        """Return how many of its jobs have each status, those that were deleted since they ended included.

        One that was deleted before it had ended counts as ``"deleted"``.
        """
        rows = self.jobs.order_by().values_list("status").annotate(number=Count("pk"))
        counts = Counter(dict(rows))
        counts.update(self.gone_counts)
        return {status: counts[status] for status in (*JobStatus.values, DELETED) if counts[status]}

    @property
    def progress(self) -> int:
        """How many per cent of its jobs have ended. Takes a query."""
        return percent_ended(self.counts())

    @property
    def gone_counts(self) -> dict[str, int]:
        """How many of its jobs were deleted, by their last status."""
        return dict(self.gone.get("counts", {}))

    @property
    def has_lost_jobs(self) -> bool:
        """Whether jobs that were not done were deleted, so that they can never all be done."""
        return bool(self.gone_counts.keys() - {JobStatus.DONE.value})

    def note_gone(self, jobs: Iterable[Job]) -> None:
        """Keep what became of *jobs* of it, which are about to be deleted. To be called under locks of all these."""
        counts, errors = Counter(self.gone_counts), Counter(dict(self.gone.get("errors", [])))
        seconds, longest = float(self.gone.get("seconds", 0.0)), float(self.gone.get("longest", 0.0))
        for job in jobs:
            counts[job.status if job.status in FINISHED else DELETED] += 1
            if job.error:
                errors[job.error[:ERROR_CHARS]] += 1
            took = job.duration.total_seconds() if job.status in FINISHED and job.duration else 0.0
            seconds, longest = seconds + took, max(longest, took)
        top = [list(each) for each in errors.most_common(ERRORS)]
        self.gone = {"counts": dict(counts), "errors": top, "seconds": seconds, "longest": longest}

    # Its verbs.

    cancel = batch_verbs.cancel
    abort = batch_verbs.abort
    pause = batch_verbs.pause
    resume = batch_verbs.resume
    retry_failed = batch_verbs.retry_failed
    rerun = batch_verbs.rerun
    wait = batch_verbs.wait
    await_finished = batch_verbs.await_finished

    acancel = asynchronous(cancel)
    aabort = asynchronous(abort)
    apause = asynchronous(pause)
    aresume = asynchronous(resume)
    aretry_failed = asynchronous(retry_failed)
    arerun = asynchronous(rerun)


def percent_ended(counts: dict[str, int]) -> int:
    """Return how many per cent of the jobs that are counted have ended; 100 if there are none."""
    total = sum(counts.values())
    ended = sum(number for status, number in counts.items() if status in FINISHED or status == DELETED)
    return 100 * ended // total if total else 100


def stored_key(key: str) -> str:
    """Return *key* as it is stored: collations may take different texts for the same, but not different hashes."""
    return hashlib.sha256(key.encode()).hexdigest()


def title_problem(title: Any) -> str:
    """Return what is wrong with the title of a batch; empty if nothing is."""
    fits = isinstance(title, str) and title.strip() and len(title) <= TITLE_CHARS and title.isprintable()
    return "" if fits else f"must be a printable text of 1 to {TITLE_CHARS} characters"
