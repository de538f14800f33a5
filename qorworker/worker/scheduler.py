"""Makes jobs of schedules whose time has come. Whoever does it, and how many: each time makes one job.

Parent process, ticks of cron, tasks of Celery.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any

from django.contrib.auth import get_user_model
from django.core.files import File
from django.db import InterfaceError, OperationalError, transaction
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.arguments import files
from qorworker.conf import settings
from qorworker.exceptions import (
    AlreadyEnqueued,
    InvalidArguments,
    InvalidSchedule,
    InvalidTransition,
    JobTypeError,
    SecretsUnavailable,
)
from qorworker.models import Job, Origin, Schedule, ScheduleSlot, database_now
from qorworker.models.clock import aware, stored
from qorworker.models.patience import short_waits, waited_in_vain
from qorworker.models.slot import SkipReason, SlotOutcome
from qorworker.registry import JobType, registry
from qorworker.timetable import Due, Misfire, Overlap, Slot
from qorworker.unique import key_of, rule_of
from qorworker.worker.declared import follow_zones, synchronise
from qorworker.worker.processes import monotonic

logger = logging.getLogger(__name__)

LOOK = 1.0  # seconds between two looks at the table; a time that comes before is waited for exactly
SHARE = 0.2  # seconds that one look may take away from everything else
BUSY = 0.1  # seconds until a schedule is tried again that another worker is at
FAULTY = 60.0  # and one with which something unforeseen went wrong


class Scheduler:
    def __init__(self, using: str) -> None:
        self.using = using
        self.left_alone: dict[int, float] = {}  # number of a schedule -> until when, on this worker's clock
        self.prepared = False

    def prepare(self) -> None:
        """Bring the table up to what the code declares and to the rules of time zones; once."""
        if not self.prepared:
            synchronise(self.using)
            follow_zones(self.using)
            self.prepared = True

    def fire_all(self) -> int:
        """Fire all that is due now, for those who do not stay; how many schedules moved on."""
        self.prepare()
        fired, wait = self.look()
        while wait <= 0:
            moved, wait = self.look()
            fired += moved
        return fired

    def look(self) -> tuple[int, float]:
        """Fire what is due; how many schedules moved on, and in how many seconds the next look is due."""
        begun, moved = monotonic(), 0
        soon = Schedule.objects.using(self.using).soon(registry.names(), LOOK)
        self.left_alone = {pk: until for pk, until in self.left_alone.items() if until > begun}
        waits = [seconds for _pk, seconds in soon if seconds > 0]
        for pk, seconds in soon:
            if seconds > 0 or pk in self.left_alone:
                continue
            moved += self._try(pk)
            if monotonic() - begun > SHARE:
                return moved, 0.0
        return moved, 0.0 if moved else min([LOOK, *waits, *(until - begun for until in self.left_alone.values())])

    def _try(self, pk: int) -> bool:
        schedule = Schedule.objects.using(self.using).filter(pk=pk).first()
        if schedule is None or schedule.waits_for is None:
            return False
        pause = BUSY
        try:
            if (moved := fire(schedule, self.using)) is not None:
                pause = LOOK
        except (OperationalError, InterfaceError) as error:
            if not waited_in_vain(error):
                raise  # not this schedule's fault
            moved, pause = None, LOOK  # somebody's transaction has a job like its own, and may yet take it back
        except Exception:
            logger.exception("The schedule “%s” could not be fired.", schedule.name)
            moved, pause = False, FAULTY
        if not moved:
            self.left_alone[pk] = monotonic() + pause
        return bool(moved)


def fire(schedule: Schedule, using: str) -> bool | None:
    """Do what is due of a schedule, in one transaction; False if it has to wait, None if another worker is at it."""
    job_type = registry.get(schedule.job_name)
    problem = problem_of(schedule, job_type)
    with transaction.atomic(using=using):
        mine = Schedule.objects.using(using).claim_slot(schedule.pk, schedule.revision, schedule.next_key)
        first = mine.waits_for if mine is not None else None
        now = database_now(using)
        if mine is None or first is None or stored(first.moment) > now:
            return None
        try:
            due, after = _due(mine, first, now)
        except InvalidSchedule as error:
            return _move_on(mine, None, using, str(error))
        run, missed = due.choose(mine.misfire, aware(now))
        skip = SkipReason.UNFIT if problem else _overlap(mine, run, using)
        if skip is None:
            return False
        if mine.overlap == Overlap.WAIT and not skip and len(run) > 1:
            run, after = run[:1], run[1]  # one after the other
        if missed:
            _note_missed(mine, first, missed, using)
        for slot in run:
            if skip:
                ScheduleSlot.objects.using(using).note(mine, slot, outcome=SlotOutcome.SKIPPED, reason=skip)
            else:
                _start(mine, job_type, slot, using)
        return _move_on(mine, after, using, problem)


def problem_of(schedule: Schedule, job_type: JobType[Any]) -> str:
    """Why a schedule cannot make jobs: nobody may, its arguments do not fit, its queue is gone. Empty if it can."""
    if told := _lacks_right(schedule, job_type):
        return told
    if (queue := job_type.queue_name) not in settings.QUEUES:
        return _("There is no queue “%(name)s” any more.") % {"name": queue}
    try:
        loaded = job_type.arguments.load(schedule.arguments)
        if (rule := rule_of(job_type)) is not None:
            key_of(job_type, rule, schedule.arguments)
    except (InvalidArguments, JobTypeError, SecretsUnavailable) as error:
        return str(error)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # a form's own code
        logger.exception("The arguments of the schedule “%s” could not be checked.", schedule.name)
        return f"{type(error).__name__}: {error}"
    for value in loaded.values():
        if isinstance(value, File):
            value.close()
    return ""


def _lacks_right(schedule: Schedule, job_type: JobType[Any]) -> str:
    """Whether who made it in the admin may still run the job; what code has made is not asked for."""
    if schedule.answerable_id is None or settings.RECHECK_PERMISSIONS == "never":
        return ""
    user = get_user_model()._default_manager.filter(pk=schedule.answerable_id).first()
    if user is None:
        return _("Who changed it last has no account any more. Somebody who may run the job has to save it again.")
    if permissions.can(user, "run", job_type):
        return ""
    told = _("%(user)s, who changed it last, may not run this job. Somebody who may has to save it again.")
    return told % {"user": user.get_username()}


def _due(schedule: Schedule, first: Slot, now: dt.datetime) -> tuple[Due, Slot | None]:
    """What is due, and the slot after that. The next time follows from the last one, not from now."""
    table = schedule.timetable
    due = table.due(first, aware(now), schedule.misfire_cap if schedule.misfire == Misfire.ALL else 1)
    return due, table.after(due.slots[-1].moment)


def _overlap(schedule: Schedule, run: Sequence[Slot], using: str) -> str | None:
    """Empty if its time may run, the reason if it is left out, None if it has to wait for an earlier run to end."""
    if schedule.overlap == Overlap.PARALLEL or not run:
        return ""
    unfinished = Job.objects.using(using).unfinished_of(schedule.pk)
    if not unfinished:
        return ""
    if schedule.overlap == Overlap.SKIP:
        return SkipReason.OVERLAP
    if schedule.overlap == Overlap.ABORT:
        for job in unfinished:
            _end(job, _("The next run of the schedule “%(name)s” is due.") % {"name": schedule.name})
        unfinished = [job for job in unfinished if not job.is_finished]
    return None if unfinished else ""


def _end(job: Job, reason: str) -> None:
    with suppress(InvalidTransition):  # it has ended, or started, meanwhile: the next look tells
        if job.can_abort:
            job.abort(reason=reason, origin=Origin.WORKER)
        elif job.can_cancel:
            job.cancel(reason=reason, origin=Origin.WORKER)


def _start(schedule: Schedule, job_type: JobType[Any], slot: Slot, using: str) -> None:
    """A job and its row, or neither if this slot has been there before: the row is unique."""
    when = stored(slot.moment + slot.delay(str(schedule.pk), schedule.jitter))
    like_this = job_type.using(run_after=when, schedule=schedule, database=using)
    slots = ScheduleSlot.objects.using(using)
    if not slots.note(schedule, slot, outcome=SlotOutcome.FIRED):
        return
    with short_waits(using) if rule_of(job_type) else nullcontext():
        try:
            job: Job | None = like_this.enqueue_as_stored(files.lend(schedule.arguments, schedule.pk))
        except AlreadyEnqueued as error:
            job = error.job
    if job is None or job.is_existing:
        slots.made_none(schedule, slot, job)
    else:
        slots.made(schedule, slot, job)


def _note_missed(schedule: Schedule, first: Slot, missed: int, using: str) -> None:
    slots = ScheduleSlot.objects.using(using)
    slots.note(schedule, first, outcome=SlotOutcome.SKIPPED, reason=SkipReason.MISSED, missed=missed)
    logger.warning("%s times of the schedule “%s” were missed and are not made up for.", missed, schedule.name)


def _move_on(schedule: Schedule, after: Slot | None, using: str, problem: str) -> bool:
    if problem:
        logger.warning("The schedule “%s” needs attention: %s", schedule.name, problem)
    over = dict.fromkeys(("paused_at", "paused_until", "paused_by"))
    return Schedule.objects.using(using).move_on(schedule, after, needs_attention=problem, paused_reason="", **over)
