"""What became of each time of a schedule. The row is unique, so no time fires twice. All processes."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, models, transaction
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.models.clock import DatabaseNow, stored
from qorworker.models.newest import newest_of
from qorworker.models.own import OwnQuerySet
from qorworker.schedules.timetable import Slot

if TYPE_CHECKING:
    from qorworker.models.job import Job


class SlotOutcome(models.TextChoices):
    FIRED = "fired", pgettext_lazy("slot", "Started")
    SKIPPED = "skipped", pgettext_lazy("slot", "Skipped")


class SkipReason(models.TextChoices):
    """Why a time of a schedule made no job."""

    MISSED = "missed", _("No worker was running at that time.")
    OVERLAP = "overlap", _("An earlier run had not ended.")
    PERSON = "person", _("A user asked to skip it.")
    UNFIT = "unfit", _("Its arguments no longer fitted.")
    UNIQUE = "unique", _("A matching job already existed.")
    LIMIT = "limit", _("The user who is responsible for it had as many unfinished jobs as are allowed.")


class ScheduleSlotQuerySet(OwnQuerySet["ScheduleSlot"]):
    def note(self, schedule: Any, slot: Slot, **fields: Any) -> bool:
        """Record what becomes of *slot*. Return False, and record nothing, if it was recorded before."""
        try:
            with transaction.atomic(using=self.db):
                self.create(
                    schedule_id=schedule.pk,
                    revision=schedule.revision,
                    slot=slot.key,
                    planned_at=stored(slot.moment),
                    fired_at=DatabaseNow(),
                    **fields,
                )
        except IntegrityError:
            return False
        return True

    def made(self, schedule: Any, slot: Slot, job: Job) -> None:
        """Record the job that *slot* made."""
        self.filter(schedule_id=schedule.pk, revision=schedule.revision, slot=slot.key).update(job=job)

    def made_none(self, schedule: Any, slot: Slot, job: Job | None) -> None:
        """Record that *slot* made no job, because *job*, of which there may be no second one, was there."""
        slots = self.filter(schedule_id=schedule.pk, revision=schedule.revision, slot=slot.key)
        slots.update(outcome=SlotOutcome.SKIPPED, reason=SkipReason.UNIQUE, job=job)

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
        indexes = (models.Index(fields=("schedule", "-id"), name="qorworker_slot_newest"),)

    def __str__(self) -> str:
        return f"{self.slot} {self.outcome}"
