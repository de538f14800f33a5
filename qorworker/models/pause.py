"""What is held back for a while: the queues and job types of which nothing is started. All processes."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from django.db import models, router, transaction
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from qorworker.exceptions import InvalidPause
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow, check_zone, database_now
from qorworker.models.verbs import wake

REASON_CHARS = 200


class PauseKind(models.TextChoices):
    """What is paused."""

    QUEUE = "queue", pgettext_lazy("pause", "queue")
    JOB_TYPE = "job type", pgettext_lazy("pause", "job type")


@dataclass(frozen=True)
class Paused:
    """The names of all that is paused: whoever starts jobs leaves these out."""

    queues: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    def holds(self, queue_name: str, name: str) -> bool:
        return queue_name in self.queues or name in self.names


class PauseQuerySet(models.QuerySet["Pause"]):
    def in_force(self) -> PauseQuerySet:
        """Those whose time is not over."""
        return self.filter(Q(until=None) | Q(until__gt=DatabaseNow()))

    def paused(self) -> Paused:
        """What is paused now; one look at a table of a few rows."""
        rows = list(self.in_force().values_list("kind", "name"))
        return Paused(
            frozenset(name for kind, name in rows if kind == PauseKind.QUEUE),
            frozenset(name for kind, name in rows if kind == PauseKind.JOB_TYPE),
        )

    def for_people(self) -> list[Pause]:
        """What is paused now, with who did it; of each the newest, queues first."""
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
        """Start no job of it from now on; this pause takes the place of an earlier one.

        Raises ``InvalidPause`` if *until* is past, ``ValueError`` if it has no zone and must have one, or has one.
        """
        if until is not None:
            check_zone(until, "A pause")
        using = self._write_database()
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
        """Start jobs of it again; False if it was not paused."""
        using = self._write_database()
        with transaction.atomic(using=using):
            if not self._end(using, kind, name):
                return False
            Pause(kind=kind, name=name).record(f"resume {kind}", by, origin, using=using)
            wake(using)

            def tell_backends() -> None:
                from qorworker.backends.handover import after_pause

                after_pause(using)

            transaction.on_commit(tell_backends, using=using, robust=True)
        return True

    def _end(self, using: str, kind: str, name: str) -> bool:
        """Delete its pauses, and all whose time is over; whether one was in force."""
        rows = self.using(using)
        mine = [row.pk for row in rows.in_force().filter(kind=kind, name=name) if row.name == name]
        rows.filter(Q(pk__in=mine) | Q(until__lte=DatabaseNow())).delete()
        return bool(mine)

    def _write_database(self) -> str:
        chosen: str | None = getattr(self, "_db", None)
        return chosen or router.db_for_write(Pause)


class Pause(models.Model):
    """A row for each queue and job type that is paused; of two for the same one the newer counts."""

    kind = models.CharField(max_length=10, choices=PauseKind.choices)
    name = models.CharField(max_length=200)
    paused_at = models.DateTimeField(gettext_lazy("paused at"))
    until = models.DateTimeField(gettext_lazy("paused until"), null=True, blank=True)
    reason = models.CharField(gettext_lazy("reason"), max_length=REASON_CHARS, blank=True)
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
        """The name as people know it."""
        from qorworker.registry import registry

        job_type = registry.find(self.name) if self.kind == PauseKind.JOB_TYPE else None
        return str(job_type.title) if job_type is not None else self.name

    def record(self, action: str, by: Any, origin: str, using: str | None = None, **details: Any) -> None:
        """Add to the audit what was done."""
        about = {"job_name": self.name} if self.kind == PauseKind.JOB_TYPE else {"queue": self.name}
        entries = AuditEntry.objects.using(using or self._state.db)
        told = {name: value for name, value in details.items() if value}
        entries.record(action, user=by, origin=origin, **about, **told)


class Queue(Pause):
    """What the admin's page of the queues hangs on; there is no row for each queue."""

    class Meta:
        proxy = True
        verbose_name = gettext_lazy("queue")
        verbose_name_plural = gettext_lazy("queues")
        default_permissions = ()
