"""One row for each ``runworker`` process: what people see of it. Written by that process, read by everybody."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from qorworker.models.clock import DatabaseNow

HEARTBEAT = 5.0  # seconds between two signs of life
SILENT_AFTER = 20.0  # seconds without one after which a worker counts as gone


class WorkerQuerySet(models.QuerySet["Worker"]):
    def start(self, **fields: Any) -> Worker:
        """A row for a process that starts now."""
        worker = self.create(started_at=DatabaseNow(), heartbeat_at=DatabaseNow(), **fields)
        worker.refresh_from_db(using=self.db)
        return worker

    def alive(self) -> WorkerQuerySet:
        """Workers that showed a sign of life lately and have not stopped."""
        return self.filter(stopped_at=None, heartbeat_at__gte=DatabaseNow(-SILENT_AFTER))

    def not_stopped(self) -> WorkerQuerySet:
        """Workers that never said that they stop."""
        return self.filter(stopped_at=None)

    def of_machine(self, boot_id: str, pid_namespace: str) -> WorkerQuerySet:
        """Workers whose process numbers mean something in this process: same boot, same PID namespace."""
        return self.filter(boot_id=boot_id, pid_namespace=pid_namespace).exclude(boot_id="")

    def others_than(self, pk: int) -> WorkerQuerySet:
        """All workers but this one."""
        return self.exclude(pk=pk)

    def beat(self, pk: int, **changes: Any) -> bool:
        """Record a sign of life; False if the row is gone or was declared stopped."""
        return bool(self.filter(pk=pk, stopped_at=None).update(heartbeat_at=DatabaseNow(), **changes))

    def stop(self, pk: int) -> int:
        return self.filter(pk=pk, stopped_at=None).update(stopped_at=DatabaseNow())


class Worker(models.Model):
    """A ``runworker`` process. Display only: who owns a job is decided by the lease on the job."""

    name = models.CharField(_("name"), max_length=200)
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

    objects = WorkerQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        default_permissions = ("view",)
        permissions = (("manage_worker", "Can drain, pause and stop workers"),)
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.name
