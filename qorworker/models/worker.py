"""The row of each process that runs jobs: it writes the row, and pages show it. All processes."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.conf import settings as django_settings
from django.db import models, transaction
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.exceptions import InvalidRequest
from qorworker.models.alters import alters_data
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow
from qorworker.models.fields import RemarkField
from qorworker.models.own import OwnQuerySet, write_database

HEARTBEAT = 5.0  # seconds between two heartbeats
SILENT_AFTER = 20.0  # seconds without one after which a worker counts as gone


class WorkerRequest(models.TextChoices):
    """What users request of a worker. It looks for a request with each heartbeat."""

    NONE = "", pgettext_lazy("worker", "Work")
    PAUSE = "pause", pgettext_lazy("worker", "Pause")
    DRAIN = "drain", pgettext_lazy("worker", "Drain")


class WorkerKind(models.TextChoices):
    """What runs the jobs."""

    RUNWORKER = "runworker", "runworker"
    CELERY = "celery", "Celery"
    CRON = "cron", "cron"


class WorkerQuerySet(OwnQuerySet["Worker"]):
    def start(self, **fields: Any) -> Worker:
        """Create the row of a process that starts now."""
        worker = self.create(started_at=DatabaseNow(), heartbeat_at=DatabaseNow(), **fields)
        worker.refresh_from_db(using=self.db)
        return worker

    def alive(self) -> WorkerQuerySet:
        """Return workers that have sent a heartbeat lately and have not stopped."""
        return self.filter(stopped_at=None, heartbeat_at__gte=DatabaseNow(-SILENT_AFTER))

    def types_by_queue(self) -> dict[str, set[str]]:
        """Return for each queue that living workers serve the job types whose code at least one of them has."""
        types: dict[str, set[str]] = {}
        for queues, names in self.alive().values_list("queues", "job_types"):
            for queue in queues:
                types.setdefault(queue, set()).update(names)
        return types

    def taking(self) -> WorkerQuerySet:
        """Return workers that take jobs: no user has paused or drained them."""
        return self.filter(request=WorkerRequest.NONE, heeded=WorkerRequest.NONE)

    def runworkers(self) -> WorkerQuerySet:
        """Return workers that take jobs from the table. Those of Celery do not."""
        return self.filter(kind=WorkerKind.RUNWORKER)

    def request_of(self, pk: int) -> str:
        """Return what users request of a worker; nothing if its row is gone."""
        return self.filter(pk=pk).values_list("request", flat=True).first() or WorkerRequest.NONE

    def not_stopped(self) -> WorkerQuerySet:
        """Return workers that have not reported their end."""
        return self.filter(stopped_at=None)

    def of_machine(self, boot_id: str, pid_namespace: str) -> WorkerQuerySet:
        """Return workers whose process ids are valid in this process, too: same boot, same PID namespace."""
        return self.filter(boot_id=boot_id, pid_namespace=pid_namespace).exclude(boot_id="")

    def others_than(self, pk: int) -> WorkerQuerySet:
        """Return all workers but this one."""
        return self.exclude(pk=pk)

    def gone_since(self, moment: dt.datetime) -> WorkerQuerySet:
        """Return workers without a heartbeat since *moment*, and without a job that still has to be taken over."""
        return self.filter(heartbeat_at__lt=moment).exclude(jobs__status="running")

    def forget(self) -> int:
        """Delete these rows and nothing else, and return how many. Ended jobs keep the id of their worker."""
        ids = list(self.values_list("pk", flat=True))
        return self.filter(pk__in=ids)._raw_delete(self.db)

    def serves_on(self, host: str, queues: list[str]) -> bool:
        """Return whether one of these workers is on that machine and serves all these queues."""
        served = self.filter(host=host).values_list("queues", flat=True)
        return any(set(queues) <= set(names) for names in served)

    def serves(self, queue: str) -> bool:
        """Return whether one of these workers serves this queue."""
        return any(queue in names for names in self.values_list("queues", flat=True))

    def tick(self, host: str, queues: list[str]) -> None:
        """Record that cron has run on this machine, in one row for each machine. It never counts as a worker."""
        row = self.filter(host=host).exclude(ticked_at=None).first()
        if row is None:
            row = self.create(
                name=f"cron@{host}", kind=WorkerKind.CRON, host=host, process_id=0, version="", slots=0, queues=queues,
                started_at=DatabaseNow(), heartbeat_at=DatabaseNow(), stopped_at=DatabaseNow(), ticked_at=DatabaseNow(),
            )  # fmt: skip
        self.filter(pk=row.pk).update(
            queues=queues, heartbeat_at=DatabaseNow(), stopped_at=DatabaseNow(), ticked_at=DatabaseNow()
        )

    def last_tick(self) -> dt.datetime | None:
        """Return when cron ran last, on any machine."""
        return self.aggregate(last=models.Max("ticked_at"))["last"]  # type: ignore[no-any-return]

    def beat(self, pk: int, **changes: Any) -> bool:
        """Record a sign of life; False if the row is gone or was declared stopped."""
        return bool(self.filter(pk=pk, stopped_at=None).update(heartbeat_at=DatabaseNow(), **changes))

    def stop(self, pk: int) -> int:
        return self.filter(pk=pk, stopped_at=None).update(stopped_at=DatabaseNow())

    def stop_dead(self, pk: int) -> int:
        """Record that a worker has ended without reporting that."""
        return self.filter(pk=pk, stopped_at=None).update(stopped_at=DatabaseNow(), found_dead=True)

    def last_death(self, queue_name: str, seconds: float) -> dt.datetime | None:
        """Return when a worker of this queue was last found dead, or counted as gone. None if none was.

        A time in the future, which remains when the clock of the database goes back, is none.

        :param seconds: workers whose last sign of life is older do not matter.
        """
        until_now = models.Q(stopped_at=None) | models.Q(stopped_at__lte=DatabaseNow())
        gone = self.lately_gone(seconds).filter(until_now).values_list("queues", "stopped_at", "heartbeat_at")
        silence = dt.timedelta(seconds=SILENT_AFTER)
        return max(
            (stopped_at or heartbeat_at + silence for queues, stopped_at, heartbeat_at in gone if queue_name in queues),
            default=None,
        )

    def lately_gone(self, seconds: float) -> WorkerQuerySet:
        """Return workers that have not reported their end, and whose last sign of life was within these *seconds*.

        One that is not known to be dead may yet give another.
        """
        silent = models.Q(stopped_at=None, heartbeat_at__lt=DatabaseNow(-SILENT_AFTER)) | models.Q(found_dead=True)
        return self.filter(silent, heartbeat_at__gte=DatabaseNow(-seconds))


class Worker(models.Model):
    """A process that runs jobs. For display only: the lease in the row of a job decides which worker owns the job."""

    name = RemarkField(_("name"), max_length=200)
    kind = models.CharField(max_length=9, choices=WorkerKind.choices, default=WorkerKind.RUNWORKER, editable=False)
    host = RemarkField(_("host"), max_length=200)
    process_id = models.PositiveIntegerField(_("process id"))
    boot_id = models.CharField(max_length=64, blank=True)
    pid_namespace = models.CharField(max_length=64, blank=True)
    process_started = models.BigIntegerField(default=0)  # clock ticks after boot: reveals a reused process id
    cookie = models.CharField(max_length=32, blank=True)  # in the environment of every process it started
    version = models.CharField(_("version"), max_length=50)
    queues = models.JSONField(_("queues"), default=list)
    job_types = models.JSONField(_("job types"), default=list)
    versions = models.JSONField(default=list, editable=False)  # labels of their versions above the first
    slots = models.PositiveSmallIntegerField(_("slots"))
    memory = models.BigIntegerField(_("memory"), default=0)  # bytes, the whole tree
    trouble = models.TextField(_("trouble"), blank=True, editable=False)  # why it cannot run as many jobs as it should
    started_at = models.DateTimeField(_("started at"))
    heartbeat_at = models.DateTimeField(_("last sign of life"))
    stopped_at = models.DateTimeField(_("stopped at"), null=True, blank=True)
    found_dead = models.BooleanField(default=False, editable=False)  # its end was proved, and not reported by itself
    request = models.CharField(max_length=5, choices=WorkerRequest.choices, default=WorkerRequest.NONE, editable=False)
    requested_at = models.DateTimeField(null=True, editable=False)
    requested_by = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", db_constraint=False,
        db_index=False, editable=False,
    )  # fmt: skip
    request_reason = RemarkField(max_length=200, blank=True, editable=False)
    heeded = models.CharField(max_length=5, default=WorkerRequest.NONE, editable=False)  # the request that it follows
    ticked_at = models.DateTimeField(null=True, editable=False)  # when cron ran last, in the row of cron

    objects = WorkerQuerySet.as_manager()

    class Meta:
        base_manager_name = "objects"  # foreign keys, too, are followed where rows are written
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        default_permissions = ("view",)
        permissions = (("manage_worker", "Can drain, pause and stop workers"),)
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.name

    @property
    def takes_jobs(self) -> bool:
        """Whether it is neither paused nor drained; it may not have noticed such a request yet."""
        return self.request == self.heeded == WorkerRequest.NONE

    # Requests. The process reads them with its next heartbeat; nothing here sends a signal.

    @property
    def takes_requests(self) -> bool:
        """Whether it follows requests in its row. Celery's workers are controlled by Celery's own means."""
        return self.kind == WorkerKind.RUNWORKER and self.stopped_at is None

    @property
    def can_pause(self) -> bool:
        return self.takes_requests and self.request == WorkerRequest.NONE

    @property
    def can_resume(self) -> bool:
        return self.takes_requests and self.request == WorkerRequest.PAUSE

    @property
    def can_drain(self) -> bool:
        return self.takes_requests and self.request != WorkerRequest.DRAIN

    @alters_data
    def pause(self, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> None:
        """Let the worker take no more jobs until it is resumed. Its running jobs continue.

        :param by: the user who pauses it, for the page and the audit.
        :param reason: the reason, for the page and the audit.
        :param origin: where the request comes from, for the audit.
        :raises qorworker.exceptions.InvalidRequest: if it has stopped, is paused or drained, or belongs to Celery or
            cron.

        Example::

            Worker.objects.get(name=name).pause(by=request.user, reason="The disk is full.")
        """
        self._ask("pause worker", WorkerRequest.PAUSE, [WorkerRequest.NONE], by, reason, origin)

    @alters_data
    def resume(self, *, by: Any = None, origin: str = Origin.CODE) -> None:
        """Let a paused worker take jobs again.

        :param by: the user who resumes it, for the audit.
        :param origin: where the request comes from, for the audit.
        :raises qorworker.exceptions.InvalidRequest: if it is not paused, or is drained.
        """
        self._ask("resume worker", WorkerRequest.NONE, [WorkerRequest.PAUSE], by, "", origin)

    @alters_data
    def drain(self, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> None:
        """Let the worker take no more jobs, and end when its running jobs have ended.

        :param by: the user who drains it, for the page and the audit.
        :param reason: the reason, for the page and the audit.
        :param origin: where the request comes from, for the audit.
        :raises qorworker.exceptions.InvalidRequest: if it has stopped, is drained already, or belongs to Celery or
            cron.
        """
        self._ask("drain worker", WorkerRequest.DRAIN, [WorkerRequest.NONE, WorkerRequest.PAUSE], by, reason, origin)

    def _ask(self, action: str, request: str, before: list[str], by: Any, reason: str, origin: str) -> None:
        using = write_database(self)
        rows = Worker.objects.using(using).filter(
            pk=self.pk, kind=WorkerKind.RUNWORKER, stopped_at=None, request__in=before
        )
        with transaction.atomic(using=using):
            changed = rows.update(
                request=request, requested_at=DatabaseNow(), requested_by=by, request_reason=reason[:200]
            )
            details = {"worker": self.name, "reason": reason} if reason else {"worker": self.name}
            outcome = "ok" if changed else "too late"
            AuditEntry.objects.using(using).record(action, user=by, origin=origin, outcome=outcome, **details)
        if not changed:
            raise InvalidRequest(
                _now("The worker “%(worker)s” cannot do this now. Nothing was changed.") % {"worker": self.name}
            )
        self.refresh_from_db(using=using)
