"""What became of each time of a schedule. The row is unique, so no time fires twice. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, models, transaction
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.models.clock import DatabaseNow, now_sql, stored
from qorworker.models.newest import newest_of
from qorworker.models.own import OwnQuerySet
from qorworker.models.sql.inserts import insert_returning
from qorworker.models.sql.parts import portions, weight
from qorworker.models.sql.updates import update_each
from qorworker.schedules.landing import Slot

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    from qorworker.models.job import Job
    from qorworker.models.schedule import Schedule

NOTED = ("schedule_id", "revision", "slot", "planned_at", "outcome", "reason", "missed", "holiday", "job_id")

HOLIDAY_CHARS = 100


class SlotOutcome(models.TextChoices):
    FIRED = "fired", pgettext_lazy("slot", "Started")
    SKIPPED = "skipped", pgettext_lazy("slot", "Skipped")


class SkipReason(models.TextChoices):
    """Why a time of a schedule made no job."""

    MISSED = "missed", _("No worker was running at that time.")
    OVERLAP = "overlap", _("An earlier run had not ended.")
    PERSON = "person", _("A user asked to skip it.")
    UNFIT = "unfit", _("Its arguments, rights, approval, queue or calendar did not allow a job.")
    UNIQUE = "unique", _("A matching job already existed.")
    HOLIDAY = "holiday", _("It was on a day off.")
    LIMIT = "limit", _("The user who is responsible for it had as many unfinished jobs as are allowed.")


class ScheduleSlotQuerySet(OwnQuerySet["ScheduleSlot"]):
    def note_all(self, slots: Sequence[ScheduleSlot]) -> list[ScheduleSlot]:
        """Record what becomes of slots, and return those that were not on record before."""
        connection = transaction.get_connection(self.db)
        if not connection.features.can_return_rows_from_bulk_insert:  # MySQL
            return [slot for slot in slots if self._saved(slot)]
        rows = [slot.values_for(connection) for slot in slots]
        columns = (*NOTED, f"fired_at={now_sql(connection)}")
        numbers = {}
        for some in portions(connection, rows, weight):
            found = insert_returning(connection, self.model, columns, some, "schedule_id, slot", leave_taken=True)
            numbers.update({(schedule, key): pk for pk, schedule, key in found})
        for slot in slots:
            slot.pk = numbers.pop((slot.schedule_id, slot.slot), None)
        return [slot for slot in slots if slot.pk is not None]

    def _saved(self, slot: ScheduleSlot) -> bool:
        slot.fired_at = DatabaseNow()
        try:
            with transaction.atomic(using=self.db):
                slot.save(using=self.db, force_insert=True)
        except IntegrityError:
            return False
        return True

    def note(self, schedule: Any, slot: Slot, **fields: Any) -> bool:
        """Record what becomes of *slot*. Return False, and record nothing, if it was recorded before."""
        return bool(self.note_all([self.model.of(schedule, slot, **fields)]))

    def made_jobs(self, jobs: Sequence[tuple[ScheduleSlot, Job]]) -> None:
        """Record the jobs that slots made."""
        update_each(self.db, self.model, ("job_id",), [(slot.pk, job.pk) for slot, job in jobs])

    def made_none(self, slot: ScheduleSlot, job: Job | None) -> None:
        """Record that *slot* made no job, because *job*, of which there may be no second one, was there."""
        self.filter(pk=slot.pk).update(outcome=SlotOutcome.SKIPPED, reason=SkipReason.UNIQUE, job=job)

    def planned_for(self, job_id: int) -> dt.datetime | None:
        """Return the time for which a job was made; None if no schedule made it."""
        return self.filter(job_id=job_id).values_list("planned_at", flat=True).first()

    def forgettable(self, before: dt.datetime) -> ScheduleSlotQuerySet:
        """Return slots before *moment* whose job has been deleted."""
        return self.filter(fired_at__lt=before, job=None)

    def newest_of(self, schedule_id: int) -> ScheduleSlotQuerySet:
        """Return the slots of a schedule, the newest first."""
        return newest_of(self, schedule_id)


class ScheduleSlot(models.Model):
    schedule = models.ForeignKey(
        "qorworker.Schedule", models.CASCADE, related_name="slots", db_constraint=False, db_index=False
    )
    revision = models.PositiveIntegerField()
    slot = models.CharField(max_length=32)  # its name: the local time that was meant, or the instant in UTC
    planned_at = models.DateTimeField(_("planned for"))
    fired_at = models.DateTimeField(_("at"))
    outcome = models.CharField(_("outcome"), max_length=10, choices=SlotOutcome.choices)
    reason = models.CharField(_("reason"), max_length=10, choices=SkipReason.choices, blank=True)
    missed = models.PositiveIntegerField(_("missed"), default=0)  # times from this one on that made no job
    holiday = models.CharField(
        _("holiday"), max_length=HOLIDAY_CHARS, blank=True
    )  # for which it was left out, or moved
    job = models.ForeignKey(
        "qorworker.Job",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_constraint=False,
        verbose_name=_("job"),
    )

    objects = ScheduleSlotQuerySet.as_manager()

    class Meta:
        verbose_name = _("time of a schedule")
        verbose_name_plural = _("times of schedules")
        default_permissions = ()
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("schedule", "revision", "slot"), name="qorworker_slot"),)
        indexes = (
            models.Index(fields=("schedule", "-id"), name="qorworker_slot_newest"),
            models.Index(fields=("schedule", "planned_at"), name="qorworker_slot_planned"),
        )

    def __str__(self) -> str:
        return f"{self.slot} {self.outcome}"

    def values_for(self, connection: BaseDatabaseWrapper) -> list[Any]:
        """Return what is stored in the columns of ``NOTED``, as the driver takes it."""
        field: Any = self._meta.get_field
        return [field(name).get_db_prep_save(getattr(self, name), connection) for name in NOTED]

    @classmethod
    def of(cls, schedule: Schedule, slot: Slot, **fields: Any) -> ScheduleSlot:
        """Return the row for *slot*, which is not stored yet."""
        key = {"schedule_id": schedule.pk, "revision": schedule.revision, "slot": slot.key}
        return cls(**key, planned_at=stored(slot.moment), holiday=slot.holiday[:HOLIDAY_CHARS], **fields)


def left_out_rows(schedule: Schedule, slots: Sequence[Slot]) -> list[ScheduleSlot]:
    """Return the rows for *slots* that are left out: one for each holiday, with the number of its slots."""
    rows = []
    for _holiday, group in groupby(slots, key=lambda slot: slot.holiday):
        first, *others = group
        fields = {"outcome": SlotOutcome.SKIPPED, "reason": SkipReason.HOLIDAY, "missed": 1 + len(others)}
        rows.append(ScheduleSlot.of(schedule, first, **fields))
    return rows
