"""The audit: which user did what, when, and with what outcome. Rows are only ever added. All processes."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, NoReturn

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import BooleanField, Case, Q, When
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.models.clock import DatabaseNow
from qorworker.models.fields import RemarkField
from qorworker.models.indexes import PartialIndex
from qorworker.models.own import OwnQuerySet

# The address of the request that is being answered. Verbs know nothing of requests; the audit names the address.
caller_address: ContextVar[str | None] = ContextVar("caller_address", default=None)


class Origin(models.TextChoices):
    """Where the request for an action came from."""

    ADMIN = "admin", _("admin")
    CODE = "code", _("code")
    COMMAND = "command", _("command line")
    WORKER = "worker", _("worker")
    CALLBACK = "callback", _("callback")


DOORS: dict[str, Any] = {
    Origin.ADMIN: _("in the admin"),
    Origin.CODE: _("from code"),
    Origin.COMMAND: _("on the command line"),
    Origin.WORKER: _("by a worker"),
    Origin.CALLBACK: _("by a callback"),
}

# The labels of stored actions. An action is what was requested, even if it was refused.
ACTIONS: dict[str, Any] = {
    "enqueue": pgettext_lazy("audit", "Created"),
    "run": pgettext_lazy("audit", "Run"),
    "schedule": pgettext_lazy("audit", "Schedule"),
    "run now": pgettext_lazy("audit", "Run now"),
    "reschedule": pgettext_lazy("audit", "Update schedule"),
    "replace arguments": pgettext_lazy("audit", "Replace arguments"),
    "update": pgettext_lazy("audit", "Change"),
    "upgrade": pgettext_lazy("audit", "Upgrade arguments"),
    "cancel": pgettext_lazy("audit", "Cancel"),
    "abort": pgettext_lazy("audit", "Abort"),
    "pause": pgettext_lazy("audit", "Pause"),
    "resume": pgettext_lazy("audit", "Resume"),
    "answer": pgettext_lazy("audit", "Answer"),
    "decline": pgettext_lazy("audit", "Decline"),
    "expire": pgettext_lazy("audit", "Not answered in time"),
    "approve": pgettext_lazy("audit", "Approve"),
    "decline to approve": pgettext_lazy("audit", "Decline to approve"),
    "approve schedule": pgettext_lazy("audit", "Approve"),
    "decline schedule": pgettext_lazy("audit", "Decline to approve"),
    "mark failed": pgettext_lazy("audit", "Mark as failed"),
    "show the stack of": pgettext_lazy("audit", "Show stack"),
    "retry": pgettext_lazy("audit", "Retry"),
    "rerun": pgettext_lazy("audit", "Run again"),
    "run for real": pgettext_lazy("audit", "Run for real"),
    "delete": pgettext_lazy("audit", "Delete"),
    "save arguments": pgettext_lazy("audit", "Save arguments"),
    "delete saved arguments": pgettext_lazy("audit", "Delete saved arguments"),
    "prune": pgettext_lazy("audit", "Deleted because its retention time was over"),
    "create schedule": pgettext_lazy("audit", "Create schedule"),
    "change schedule": pgettext_lazy("audit", "Change schedule"),
    "upgrade schedule": pgettext_lazy("audit", "Upgrade arguments"),
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
    "create message rule": pgettext_lazy("audit", "Create rule for messages"),
    "change message rule": pgettext_lazy("audit", "Change rule for messages"),
    "delete message rule": pgettext_lazy("audit", "Delete rule for messages"),
    "test message rule": pgettext_lazy("audit", "Test rule for messages"),
    "send message again": pgettext_lazy("audit", "Send message again"),
    "needs attention": pgettext_lazy("audit", "Invalid declaration in code"),
    "leave code": pgettext_lazy("audit", "No longer declared in code"),
    "delete schedule": pgettext_lazy("audit", "Delete schedule"),
}
OUTCOMES: dict[str, Any] = {
    "ok": pgettext_lazy("audit", "done"),
    "too late": pgettext_lazy("audit", "too late"),
    "taken": pgettext_lazy("audit", "a matching job already existed"),
    "denied": pgettext_lazy("audit", "not allowed"),
}


REPEATED, LOOKED_AT = 60, 50  # a refusal is recorded once in so many seconds, and looked for among so many rows
ALLOWED, REFUSED = 200, 20  # newest entries of one row: of allowed requests, and of refused ones


def _is_within(seconds: float) -> Case:
    return Case(When(at__gte=DatabaseNow(-seconds), then=True), default=False, output_field=BooleanField())


class AuditQuerySet(OwnQuerySet["AuditEntry"]):
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
            **_user_columns(user, address),
        )

    def was_recorded_lately(
        self,
        action: str,
        *,
        outcome: str,
        user: Any,
        job: Any = None,
        job_name: str = "",
        schedule: Any = None,
        **details: Any,
    ) -> bool:
        """Return whether the same was recorded in the last ``REPEATED`` seconds. Only a few of the newest rows are
        read.
        """
        rows, numbers = self.order_by("-id"), [each.pk if each is not None else None for each in (job, schedule)]
        if job is not None:
            rows = rows.filter(job_id=job.pk)
        elif schedule is not None:
            rows = rows.filter(schedule_id=schedule.pk)
        entry = (action, outcome, str(user.pk), job.name if job is not None else job_name, *numbers, True)
        names = ("action", "outcome", "user_id", "job_name", "job_id", "schedule_id", "is_recent")
        newest = rows.annotate(is_recent=_is_within(REPEATED)).values_list(*names)
        return entry in [(*row[:-1], bool(row[-1])) for row in newest[:LOOKED_AT]]

    def record_many(
        self, action: str, jobs: Iterable[Any], *, user: Any = None, origin: str, outcome: str = "ok", **details: Any
    ) -> None:
        """Add the same entry for each of *jobs*."""
        facts = {"action": action, "origin": origin, "outcome": outcome, "details": details}
        common = {"at": DatabaseNow(), **facts, **_user_columns(user)}
        self.bulk_create(AuditEntry(job_id=job.pk, job_name=job.name, **common) for job in jobs)

    def of_job(self, job_id: int) -> AuditQuerySet:
        """Return the history of one job, the oldest entry first."""
        return self.filter(job_id=job_id).order_by("id")

    def last_done(self, job_id: int, action: str) -> AuditEntry | None:
        """Return the latest request for *action* with a job that was carried out; None if there is none."""
        return self.filter(job_id=job_id, action=action, outcome="ok").order_by("-id").first()

    def requesters(self, job_id: int, actions: Iterable[str]) -> list[tuple[str, str]]:
        """Return action and user id of the latest of these *actions* with a job, the newest first.

        The user id is empty for code. What code did in the name of a user, unless by a schedule, counts as done by
        code.
        """
        rows = self.filter(job_id=job_id, action__in=list(actions), outcome="ok").order_by("-id")
        requests = rows.values_list("action", "user_id", "origin")[:100]
        by_people = (Origin.ADMIN, Origin.WORKER)
        return [(action, user_id if origin in by_people else "") for action, user_id, origin in requests]

    def newest_apart(self, most: int) -> list[AuditEntry]:
        """Return the newest of these entries: at most *most* that were allowed, and a few that were refused."""
        newest = list(self[: most + REFUSED])
        refused = [entry for entry in newest if entry.outcome == "denied"]
        allowed = [entry for entry in newest if entry.outcome != "denied"]
        if len(newest) == most + REFUSED and len(allowed) < most:  # refusals may hide what was allowed
            allowed = list(self.exclude(outcome="denied")[:most])
        return sorted([*allowed[:most], *refused[:REFUSED]], key=lambda entry: -entry.pk)

    def of_schedule(self, schedule_id: int) -> AuditQuerySet:
        """Return the history of one schedule, the newest entry first."""
        return self.filter(schedule_id=schedule_id).order_by("-id")

    def update(self, **changes: Any) -> NoReturn:
        raise TypeError("Audit entries are never changed.")

    def delete(self) -> NoReturn:
        raise TypeError("Audit entries are never deleted.")


def account_of(user: Any) -> tuple[str, str]:
    """Return the id and the name of *user*, as rows keep them that outlive the account; empty texts for none."""
    if user is None or user.pk is None:
        return "", ""
    return str(user.pk), user.get_username()[:254]


def _user_columns(user: Any, address: str | None = None) -> dict[str, Any]:
    """Return the columns that name the user and the address; an anonymous user is not named."""
    number, name = account_of(user)
    return {
        "user_id": number,
        "user_name": name,
        "address": address or caller_address.get(),
    }


class AuditEntry(models.Model):
    at = models.DateTimeField(_("at"))
    action = models.CharField(_("action"), max_length=40)
    outcome = models.CharField(_("outcome"), max_length=20, default="ok")
    job_id = models.BigIntegerField(_("job"), null=True, blank=True)
    job_name = RemarkField(_("job type"), max_length=200, blank=True)
    schedule_id = models.BigIntegerField(_("schedule"), null=True, blank=True)
    user_id = models.CharField(max_length=64, blank=True)
    user_name = RemarkField(_("user"), max_length=254, blank=True)
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
        """Where the request came from, as shown beside user and action."""
        return str(DOORS.get(self.origin, self.origin))

    @property
    def outcome_label(self) -> str:
        return str(OUTCOMES.get(self.outcome, self.outcome))
