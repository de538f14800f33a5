"""Pauses: the queues and job types of which no job is started for a while. All processes."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from django.db import models, transaction
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidPause
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow, check_zone, database_now
from qorworker.models.fields import RemarkField
from qorworker.models.own import OwnQuerySet
from qorworker.models.waking import wake

REASON_CHARS = 200


class PauseKind(models.TextChoices):
    """What is paused: a queue or a job type."""

    QUEUE = "queue", pgettext_lazy("pause", "queue")
    JOB_TYPE = "job type", pgettext_lazy("pause", "job type")


@dataclass(frozen=True)
class Paused:
    """The names of all paused queues and job types. Nothing of these is started."""

    queues: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    def holds(self, queue_name: str, name: str) -> bool:
        return queue_name in self.queues or name in self.names


class PauseQuerySet(OwnQuerySet["Pause"]):
    def in_force(self) -> PauseQuerySet:
        """Return the pauses whose time is not over."""
        return self.filter(Q(until=None) | Q(until__gt=DatabaseNow()))

    def paused(self) -> Paused:
        """Return what is paused now, by one query of a table of a few rows."""
        rows = list(self.in_force().values_list("kind", "name"))
        return Paused(
            frozenset(name for kind, name in rows if kind == PauseKind.QUEUE),
            frozenset(name for kind, name in rows if kind == PauseKind.JOB_TYPE),
        )

    def for_people(self) -> list[Pause]:
        """Return what is paused now, with the users who paused it: the newest pause of each name, queues first."""
        rows = self.in_force().select_related("paused_by").order_by("id")
        newest = {(row.kind, row.name): row for row in rows}
        return sorted(newest.values(), key=lambda row: (row.kind != PauseKind.QUEUE, row.name))

    def start(
        self,
        kind: str,
        name: str,
        *,
        by: Any = None,
        reason: str = "",
        until: dt.datetime | None = None,
        origin: str = Origin.CODE,
    ) -> Pause:
        """Pause a queue or a job type from now on. An earlier pause of the same name is replaced.

        :param kind: a ``PauseKind``.
        :param name: the name of the queue or the job type.
        :param by: the user who pauses it, for pages and the audit.
        :param reason: the reason, for pages and the audit.
        :param until: when the pause ends by itself, with a zone if ``USE_TZ`` is on; None: never.
        :param origin: where the request comes from, for the audit.
        :raises qorworker.exceptions.InvalidPause: if *until* is past.
        :raises ValueError: if *until* has a zone where the project has none, or lacks one.
        """
        if until is not None:
            check_zone(until, "A pause")
        using = self.db
        with transaction.atomic(using=using):
            now = database_now(using)
            if until is not None and until <= now:
                raise InvalidPause(_("A pause ends in the future."))
            self._end(using, kind, name)
            pause = self.using(using).create(
                kind=kind, name=name, paused_at=now, until=until, reason=reason[:REASON_CHARS], paused_by=by
            )
            pause.record(f"pause {kind}", by, origin, reason=reason, until=until and until.isoformat())
        return pause

    def end(self, kind: str, name: str, *, by: Any = None, origin: str = Origin.CODE) -> bool:
        """Delete a pause, and return False if nothing was paused. ``pausing.resume`` also notifies the backends."""
        using = self.db
        with transaction.atomic(using=using):
            if not self._end(using, kind, name):
                return False
            Pause(kind=kind, name=name).record(f"resume {kind}", by, origin, using=using)
            wake(using)
        return True

    def _end(self, using: str, kind: str, name: str) -> bool:
        """Delete the pauses of this name, and all whose time is over. Return whether one of this name was in force."""
        rows = self.using(using)
        ids = [row.pk for row in rows.in_force().filter(kind=kind, name=name) if row.name == name]
        rows.filter(Q(pk__in=ids) | Q(until__lte=DatabaseNow())).delete()
        return bool(ids)


class Pause(models.Model):
    """A row for each paused queue and job type; of two rows for the same one the newer counts."""

    kind = models.CharField(max_length=10, choices=PauseKind.choices)
    name = models.CharField(max_length=200)
    paused_at = models.DateTimeField(gettext_lazy("paused at"))
    until = models.DateTimeField(gettext_lazy("paused until"), null=True, blank=True)
    reason = RemarkField(gettext_lazy("reason"), max_length=REASON_CHARS, blank=True)
    paused_by = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_constraint=False,
        db_index=False, verbose_name=gettext_lazy("paused by"),
    )  # fmt: skip

    objects = PauseQuerySet.as_manager()

    class Meta:
        verbose_name = gettext_lazy("pause")
        verbose_name_plural = gettext_lazy("pauses")
        default_permissions = ()
        permissions = (
            ("pause_queue", "Can pause and resume queues"),
            ("pause_job_type", "Can pause and resume job types"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def title(self) -> str:
        """The name that users see."""
        job_type = registry.find(self.name) if self.kind == PauseKind.JOB_TYPE else None
        return str(job_type.title) if job_type is not None else self.name

    def record(self, action: str, by: Any, origin: str, using: str | None = None, **details: Any) -> None:
        """Add to the audit what was done."""
        about = {"job_name": self.name} if self.kind == PauseKind.JOB_TYPE else {"queue": self.name}
        entries = AuditEntry.objects.using(using or self._state.db)
        facts = {name: value for name, value in details.items() if value}
        entries.record(action, user=by, origin=origin, **about, **facts)


class Queue(Pause):
    """What the admin's page of the queues is registered for; queues have no rows."""

    class Meta:
        proxy = True
        verbose_name = gettext_lazy("queue")
        verbose_name_plural = gettext_lazy("queues")
        default_permissions = ()
