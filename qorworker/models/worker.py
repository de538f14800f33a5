"""One row for each process whose children run jobs: what people see of it. Written by it, read by everybody."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.conf import settings as django_settings
from django.db import models, router, transaction
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.exceptions import InvalidRequest
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow

HEARTBEAT = 5.0  # seconds between two signs of life
SILENT_AFTER = 20.0  # seconds without one after which a worker counts as gone


class WorkerRequest(models.TextChoices):
    """What people ask of a worker; it looks for this with each sign of life."""

    NONE = "", pgettext_lazy("worker", "Work")
    PAUSE = "pause", pgettext_lazy("worker", "Pause")
    DRAIN = "drain", pgettext_lazy("worker", "Drain")


class WorkerKind(models.TextChoices):
    """What runs the jobs."""

    RUNWORKER = "runworker", "runworker"
    CELERY = "celery", "Celery"
    CRON = "cron", "cron"


class WorkerQuerySet(models.QuerySet["Worker"]):
    def start(self, **fields: Any) -> Worker:
        """A row for a process that starts now."""
        worker = self.create(started_at=DatabaseNow(), heartbeat_at=DatabaseNow(), **fields)
        worker.refresh_from_db(using=self.db)
        return worker

    def alive(self) -> WorkerQuerySet:
        """Workers that showed a sign of life lately and have not stopped."""
        return self.filter(stopped_at=None, heartbeat_at__gte=DatabaseNow(-SILENT_AFTER))

    def taking(self) -> WorkerQuerySet:
        """Those that take jobs: nobody asked them to pause or to drain."""
        return self.filter(request=WorkerRequest.NONE, heeded=WorkerRequest.NONE)

    def runworkers(self) -> WorkerQuerySet:
        """Those that take jobs from the table: not Celery's."""
        return self.filter(kind=WorkerKind.RUNWORKER)

    def request_of(self, pk: int) -> str:
        """What people ask of a worker; none if its row is gone."""
        return self.filter(pk=pk).values_list("request", flat=True).first() or WorkerRequest.NONE

    def not_stopped(self) -> WorkerQuerySet:
        """Workers that never said that they stop."""
        return self.filter(stopped_at=None)

    def of_machine(self, boot_id: str, pid_namespace: str) -> WorkerQuerySet:
        """Workers whose process numbers mean something in this process: same boot, same PID namespace."""
        return self.filter(boot_id=boot_id, pid_namespace=pid_namespace).exclude(boot_id="")

    def others_than(self, pk: int) -> WorkerQuerySet:
        """All workers but this one."""
        return self.exclude(pk=pk)

    def gone_since(self, moment: dt.datetime) -> WorkerQuerySet:
        """Workers without a sign of life since *moment*, and without a job that still has to be taken over."""
        return self.filter(heartbeat_at__lt=moment).exclude(jobs__status="running")

    def forget(self) -> int:
        """Delete these rows and nothing else: ended jobs keep the number of their worker; how many there were."""
        found = list(self.values_list("pk", flat=True))
        return self.filter(pk__in=found)._raw_delete(self.db)

    def serves_on(self, host: str, queues: list[str]) -> bool:
        """Whether one of these workers is on that machine and serves all these queues."""
        served = self.filter(host=host).values_list("queues", flat=True)
        return any(set(queues) <= set(names) for names in served)

    def serves(self, queue: str) -> bool:
        """Whether one of these workers serves this queue."""
        return any(queue in names for names in self.values_list("queues", flat=True))

    def tick(self, host: str, queues: list[str]) -> None:
        """Note that cron has called on this machine; one row for each, which never counts as a worker."""
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
        """When cron called last, on whatever machine."""
        return self.aggregate(last=models.Max("ticked_at"))["last"]  # type: ignore[no-any-return]

    def beat(self, pk: int, **changes: Any) -> bool:
        """Record a sign of life; False if the row is gone or was declared stopped."""
        return bool(self.filter(pk=pk, stopped_at=None).update(heartbeat_at=DatabaseNow(), **changes))

    def stop(self, pk: int) -> int:
        return self.filter(pk=pk, stopped_at=None).update(stopped_at=DatabaseNow())


class Worker(models.Model):
    """A process that runs jobs. Display only: who owns a job is decided by the lease on the job."""

    name = models.CharField(_("name"), max_length=200)
    kind = models.CharField(max_length=9, choices=WorkerKind.choices, default=WorkerKind.RUNWORKER, editable=False)
    host = models.CharField(_("host"), max_length=200)
    process_id = models.PositiveIntegerField(_("process id"))
    boot_id = models.CharField(max_length=64, blank=True)
    pid_namespace = models.CharField(max_length=64, blank=True)
    process_started = models.BigIntegerField(default=0)  # clock ticks after boot: tells a reused process id
    cookie = models.CharField(max_length=32, blank=True)  # in the environment of every process it started
    version = models.CharField(_("version"), max_length=50)
    queues = models.JSONField(_("queues"), default=list)
    job_types = models.JSONField(_("job types"), default=list)
    slots = models.PositiveSmallIntegerField(_("slots"))
    memory = models.BigIntegerField(_("memory"), default=0)  # bytes, the whole tree
    started_at = models.DateTimeField(_("started at"))
    heartbeat_at = models.DateTimeField(_("last sign of life"))
    stopped_at = models.DateTimeField(_("stopped at"), null=True, blank=True)
    request = models.CharField(max_length=5, choices=WorkerRequest.choices, default=WorkerRequest.NONE, editable=False)
    requested_at = models.DateTimeField(null=True, editable=False)
    requested_by = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", db_constraint=False,
        db_index=False, editable=False,
    )  # fmt: skip
    request_reason = models.CharField(max_length=200, blank=True, editable=False)
    heeded = models.CharField(max_length=5, default=WorkerRequest.NONE, editable=False)  # what it goes by now
    ticked_at = models.DateTimeField(null=True, editable=False)  # when cron called last, in its row

    objects = WorkerQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        default_permissions = ("view",)
        permissions = (("manage_worker", "Can drain, pause and stop workers"),)
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.name

    @property
    def takes_jobs(self) -> bool:
        """Whether nobody asked it to pause or to drain; it may not have seen that yet."""
        return self.request == self.heeded == WorkerRequest.NONE

    # What can be asked of it. The process sees it with its next sign of life; nothing here sends a signal.

    @property
    def takes_requests(self) -> bool:
        """Whether it does what is asked of it here; Celery's workers are asked by Celery's own means."""
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

    def pause(self, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> None:
        """Let it take no more jobs until it is resumed; what runs goes on. Raises ``InvalidRequest``."""
        self._ask("pause worker", WorkerRequest.PAUSE, [WorkerRequest.NONE], by, reason, origin)

    def resume(self, *, by: Any = None, origin: str = Origin.CODE) -> None:
        """Let it take jobs again. Raises ``InvalidRequest`` if it is not paused, or drains."""
        self._ask("resume worker", WorkerRequest.NONE, [WorkerRequest.PAUSE], by, "", origin)

    def drain(self, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> None:
        """Let it take no more jobs and end when those that run have ended. Raises ``InvalidRequest``."""
        self._ask("drain worker", WorkerRequest.DRAIN, [WorkerRequest.NONE, WorkerRequest.PAUSE], by, reason, origin)

    def _ask(self, action: str, request: str, before: list[str], by: Any, reason: str, origin: str) -> None:
        using = router.db_for_write(Worker, instance=self)
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
