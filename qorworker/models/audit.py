"""Who did what, when, and with what outcome: rows that are only ever added. Written by every process."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NoReturn

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils.translation import gettext_lazy as _

from qorworker.models.clock import DatabaseNow

# Where the request that is being answered came from. Verbs know nothing of requests; what they did is told with it.
caller_address: ContextVar[str | None] = ContextVar("caller_address", default=None)


class Origin(models.TextChoices):
    """Through which door an action came."""

    ADMIN = "admin", _("admin")
    CODE = "code", _("code")
    COMMAND = "command", _("command line")
    WORKER = "worker", _("worker")


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def record(
        self,
        action: str,
        *,
        job: Any = None,
        job_name: str = "",
        user: Any = None,
        origin: str = Origin.CODE,
        outcome: str = "ok",
        address: str | None = None,
        **details: Any,
    ) -> AuditEntry:
        """Add one entry. The names of user and job are copied, so that the entry outlives both."""
        known = user is not None and user.pk is not None  # an anonymous user has a name, but is nobody
        return self.create(
            at=DatabaseNow(),
            action=action,
            job_id=job.pk if job is not None else None,
            job_name=job.name if job is not None else job_name,
            user_id=str(user.pk) if known else "",
            user_name=user.get_username()[:254] if known else "",
            origin=origin,
            outcome=outcome,
            address=address or caller_address.get(),
            details=details,
        )

    def of_job(self, job_id: int) -> AuditQuerySet:
        """The history of one job, oldest first."""
        return self.filter(job_id=job_id).order_by("id")

    def update(self, **changes: Any) -> NoReturn:
        raise TypeError("Audit entries are never changed.")

    def delete(self) -> NoReturn:
        raise TypeError("Audit entries are never deleted.")


class AuditEntry(models.Model):
    at = models.DateTimeField(_("at"))
    action = models.CharField(_("action"), max_length=40)
    outcome = models.CharField(_("outcome"), max_length=20, default="ok")
    job_id = models.BigIntegerField(_("job"), null=True, blank=True)
    job_name = models.CharField(_("job type"), max_length=200, blank=True)
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
        indexes = (models.Index(fields=("job_id", "id"), name="qorworker_audit_job"),)

    def __str__(self) -> str:
        return f"{self.action} {self.job_name} #{self.job_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("Audit entries are never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Audit entries are never deleted.")
