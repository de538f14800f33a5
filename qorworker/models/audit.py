"""Who did what, when, and with what outcome: rows that are only ever added. Written by every process."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, NoReturn

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.models.clock import DatabaseNow
from qorworker.models.indexes import PartialIndex

# Where the request that is being answered came from. Verbs know nothing of requests; what they did is told with it.
caller_address: ContextVar[str | None] = ContextVar("caller_address", default=None)


class Origin(models.TextChoices):
    """Through which door an action came."""

    ADMIN = "admin", _("admin")
    CODE = "code", _("code")
    COMMAND = "command", _("command line")
    WORKER = "worker", _("worker")


DOORS: dict[str, Any] = {
    Origin.ADMIN: _("in the admin"),
    Origin.CODE: _("from code"),
    Origin.COMMAND: _("on the command line"),
    Origin.WORKER: _("by a worker"),
}

# What is stored, and how people read it; the action stands for what was asked, also if it was refused.
ACTIONS: dict[str, Any] = {
    "enqueue": pgettext_lazy("audit", "Created"),
    "run": pgettext_lazy("audit", "Run"),
    "schedule": pgettext_lazy("audit", "Schedule"),
    "run now": pgettext_lazy("audit", "Run now"),
    "reschedule": pgettext_lazy("audit", "Update schedule"),
    "replace arguments": pgettext_lazy("audit", "Replace arguments"),
    "update": pgettext_lazy("audit", "Change"),
    "cancel": pgettext_lazy("audit", "Cancel"),
    "abort": pgettext_lazy("audit", "Abort"),
    "mark failed": pgettext_lazy("audit", "Mark as failed"),
    "retry": pgettext_lazy("audit", "Retry"),
    "rerun": pgettext_lazy("audit", "Run again"),
    "delete": pgettext_lazy("audit", "Delete"),
    "save arguments": pgettext_lazy("audit", "Save arguments"),
    "delete saved arguments": pgettext_lazy("audit", "Delete saved arguments"),
    "prune": pgettext_lazy("audit", "Deleted because its time was over"),
    "create schedule": pgettext_lazy("audit", "Create schedule"),
    "change schedule": pgettext_lazy("audit", "Change schedule"),
    "pause schedule": pgettext_lazy("audit", "Pause schedule"),
    "resume schedule": pgettext_lazy("audit", "Resume schedule"),
    "skip next": pgettext_lazy("audit", "Skip next"),
    "run schedule": pgettext_lazy("audit", "Run now"),
    "pause queue": pgettext_lazy("audit", "Pause queue"),
    "resume queue": pgettext_lazy("audit", "Resume queue"),
    "pause job type": pgettext_lazy("audit", "Pause job type"),
    "resume job type": pgettext_lazy("audit", "Resume job type"),
    "pause worker": pgettext_lazy("audit", "Pause worker"),
    "resume worker": pgettext_lazy("audit", "Resume worker"),
    "drain worker": pgettext_lazy("audit", "Drain worker"),
    "leave code": pgettext_lazy("audit", "Not declared in code any more"),
    "delete schedule": pgettext_lazy("audit", "Delete schedule"),
}
OUTCOMES: dict[str, Any] = {
    "ok": pgettext_lazy("audit", "done"),
    "too late": pgettext_lazy("audit", "too late"),
    "taken": pgettext_lazy("audit", "another job like it was there"),
    "denied": pgettext_lazy("audit", "not allowed"),
}


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def record(
        self,
        action: str,
        *,
        job: Any = None,
        job_name: str = "",
        schedule: Any = None,
        user: Any = None,
        origin: str = Origin.CODE,
        outcome: str = "ok",
        address: str | None = None,
        **details: Any,
    ) -> AuditEntry:
        """Add one entry. The names of user and job are copied, so that the entry outlives both."""
        return self.create(
            at=DatabaseNow(),
            action=action,
            job_id=job.pk if job is not None else None,
            job_name=job.name if job is not None else job_name,
            schedule_id=schedule.pk if schedule is not None else None,
            origin=origin,
            outcome=outcome,
            details=details,
            **_told(user, address),
        )

    def record_many(
        self, action: str, jobs: Iterable[Any], *, user: Any = None, origin: str, outcome: str = "ok"
    ) -> None:
        """Add the same entry for each of *jobs*."""
        common = {"at": DatabaseNow(), "action": action, "origin": origin, "outcome": outcome, **_told(user)}
        self.bulk_create(AuditEntry(job_id=job.pk, job_name=job.name, **common) for job in jobs)

    def of_job(self, job_id: int) -> AuditQuerySet:
        """The history of one job, oldest first."""
        return self.filter(job_id=job_id).order_by("id")

    def who_asked(self, job_id: int, actions: Iterable[str]) -> list[tuple[str, str]]:
        """Who did one of these *actions* with a job, the newest first: action and user id, which is empty for code.

        What was done in somebody's name, but not through the admin, counts as done by code.
        """
        rows = self.filter(job_id=job_id, action__in=list(actions), outcome="ok").order_by("-id")
        asked = rows.values_list("action", "user_id", "origin")[:100]
        return [(action, user_id if origin == Origin.ADMIN else "") for action, user_id, origin in asked]

    def of_schedule(self, schedule_id: int) -> AuditQuerySet:
        """What was done with one schedule, the newest first."""
        return self.filter(schedule_id=schedule_id).order_by("-id")

    def update(self, **changes: Any) -> NoReturn:
        raise TypeError("Audit entries are never changed.")

    def delete(self) -> NoReturn:
        raise TypeError("Audit entries are never deleted.")


def _told(user: Any, address: str | None = None) -> dict[str, Any]:
    """Who it was and from where; an anonymous user has a name, but is nobody."""
    known = user is not None and user.pk is not None
    return {
        "user_id": str(user.pk) if known else "",
        "user_name": user.get_username()[:254] if known else "",
        "address": address or caller_address.get(),
    }


class AuditEntry(models.Model):
    at = models.DateTimeField(_("at"))
    action = models.CharField(_("action"), max_length=40)
    outcome = models.CharField(_("outcome"), max_length=20, default="ok")
    job_id = models.BigIntegerField(_("job"), null=True, blank=True)
    job_name = models.CharField(_("job type"), max_length=200, blank=True)
    schedule_id = models.BigIntegerField(_("schedule"), null=True, blank=True)
    user_id = models.CharField(max_length=64, blank=True)
    user_name = models.CharField(_("user"), max_length=254, blank=True)
    origin = models.CharField(_("origin"), max_length=10, choices=Origin.choices)
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    details = models.JSONField(_("details"), default=dict, encoder=DjangoJSONEncoder)

    objects = AuditQuerySet.as_manager()

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        default_permissions = ("view",)
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("job_id", "id"), name="qorworker_audit_job"),
            PartialIndex(fields=("schedule_id", "id"), name="qorworker_audit_sched", only=Q(schedule_id__isnull=False)),
        )

    def __str__(self) -> str:
        return f"{self.action} {self.job_name} #{self.job_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Audit entries are never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Audit entries are never deleted.")

    @property
    def action_label(self) -> str:
        return str(ACTIONS.get(self.action, self.action))

    @property
    def door(self) -> str:
        """Through which door it came, to be told beside who did what."""
        return str(DOORS.get(self.origin, self.origin))

    @property
    def outcome_label(self) -> str:
        return str(OUTCOMES.get(self.outcome, self.outcome))
