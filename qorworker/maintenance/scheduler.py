"""Fires due schedules: each slot makes one job, however many processes do this. Parents, cron, Celery's beat."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.files import File
from django.db import InterfaceError, InternalError, OperationalError, transaction
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.arguments import files
from qorworker.conf import settings
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.definitions.unique import key_of, rule_of
from qorworker.exceptions import (
    AlreadyEnqueued,
    InvalidArguments,
    InvalidSchedule,
    InvalidTransition,
    JobTypeError,
    SecretsUnavailable,
    UploadsUnavailable,
)
from qorworker.maintenance.declared import follow_zones, sync_declared
from qorworker.models import Job, Origin, Schedule, ScheduleSlot, database_now
from qorworker.models.clock import aware, stored
from qorworker.models.locks import short_waits, waited_in_vain
from qorworker.models.schedule_slot import SkipReason, SlotOutcome
from qorworker.schedules.timetable import Due, Misfire, Overlap, Slot
from qorworker.system.processes import monotonic
from qorworker.text.cleaning import visible

logger = logging.getLogger(__name__)

LOOK = 1.0  # seconds between two looks at the table; an earlier slot is met exactly
SHARE = 0.2  # seconds of one look, so that other duties get their turn
BUSY = 0.1  # seconds before a schedule that another worker fires is tried again
FAULTY = 60.0  # the same after an unforeseen error


class Scheduler:
    """Fires due schedules, and remembers which ones to leave alone for a while."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.doubted: set[int] = set()  # ids of schedules with which the driver failed
        self.left_alone: dict[int, float] = {}  # id of a schedule -> until when, on this worker's clock
        # For very many due schedules, in several looks: however long these take, each gets its turn before any other
        # gets a second one.
        self.tried: set[int] = set()  # ids of those that had their turn
        self.has_moved = False  # whether one of them moved on
        self.prepared = False

    def prepare(self) -> None:
        """Sync the table with the code and the rules of time zones, once."""
        if not self.prepared:
            sync_declared(self.using)
            follow_zones(self.using)
            self.prepared = True

    def fire_all(self) -> int:
        """Fire all that is due now, and return how many schedules moved on."""
        self.prepare()
        fired, wait = self.look()
        while wait <= 0:
            moved, wait = self.look()
            fired += moved
        return fired

    def look(self) -> tuple[int, float]:
        """Fire what is due. Return how many schedules moved on, and the seconds until the next look."""
        begun, moved = monotonic(), 0
        soon = Schedule.objects.using(self.using).soon(registry.startable_names(), LOOK)
        self.left_alone = {pk: until for pk, until in self.left_alone.items() if until > begun}
        waits = [seconds for _pk, seconds in soon if seconds > 0]
        due = [pk for pk, seconds in soon if seconds <= 0 and pk not in self.left_alone and pk not in self.tried]
        for pk in due:
            moved += self._try(pk)
            self.tried.add(pk)
            self.has_moved = self.has_moved or bool(moved)
            if pk != due[-1] and monotonic() - begun > SHARE:
                return moved, 0.0
        has_moved, self.has_moved, self.tried = self.has_moved, False, set()
        return moved, 0.0 if has_moved else min([LOOK, *waits, *(until - begun for until in self.left_alone.values())])

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
                raise  # no fault of this schedule
            # An open transaction has a job like its own, and may yet roll back, or has locked a run that is to end.
            moved, pause = None, LOOK
        except Exception as error:
            if isinstance(error, InternalError) and pk not in self.doubted:
                # A fault of the connection, unless it recurs on a new one. The other schedules fire first.
                self.doubted.add(pk)
                self.left_alone[pk] = monotonic() + LOOK
                raise
            logger.exception("The schedule “%s” could not be fired.", schedule.name)
            moved, pause = False, FAULTY
        self.doubted.discard(pk)
        if not moved:
            self.left_alone[pk] = monotonic() + pause
        return bool(moved)


def fire(schedule: Schedule, using: str) -> bool | None:
    """Fire the due slots of a schedule in one transaction.

    Returns False if it has to wait, and None if another worker fires it.
    """
    job_type = registry.get(schedule.job_name)
    person = responsible_for(schedule)
    problem = problem_of(schedule, job_type, person)
    with transaction.atomic(using=using):
        locked = Schedule.objects.using(using).claim_slot(schedule.pk, schedule.revision, schedule.next_key)
        first = locked.waits_for if locked is not None else None
        now = database_now(using)
        if locked is None or first is None or stored(first.moment) > now:
            return None
        try:
            due, after = _due(locked, first, now)
        except InvalidSchedule as error:
            return _move_on(locked, None, using, str(error))
        run, missed = due.choose(locked.misfire, aware(now))
        skip = SkipReason.UNFIT if problem else _overlap(locked, run, using)
        if skip is None:
            return False
        if locked.overlap == Overlap.WAIT and not skip and len(run) > 1:
            run, after = run[:1], run[1]  # one after the other
        if missed:
            _note_missed(locked, first, missed, using)
        for slot in run:
            reason = skip or (SkipReason.LIMIT if person is not None and permissions.has_most_jobs(person) else "")
            if reason:
                ScheduleSlot.objects.using(using).note(locked, slot, outcome=SlotOutcome.SKIPPED, reason=reason)
            else:
                _start(locked, job_type, slot, using, person)
        return _move_on(locked, after, using, problem)


def responsible_for(schedule: Schedule) -> Any:
    """Return the user who last changed the schedule in the admin. None for code, anonymous without an account."""
    if schedule.answerable_id is None:
        return None
    return get_user_model()._default_manager.filter(pk=schedule.answerable_id).first() or AnonymousUser()


def problem_of(schedule: Schedule, job_type: JobType[Any], person: Any) -> str:
    """Return why a schedule cannot make jobs: lacking rights, invalid arguments, a missing queue. Empty if it can."""
    if problem := _lacks_right(person, job_type):
        return problem
    if (queue := job_type.queue_name) not in settings.QUEUES:
        return _("The queue “%(name)s” no longer exists.") % {"name": queue}
    try:
        loaded = job_type.arguments.load(schedule.arguments)
        if (rule := rule_of(job_type)) is not None:
            key_of(job_type, rule, schedule.arguments)
    except UploadsUnavailable:
        return ""  # the job waits for its storage, like a job that code enqueues
    except (InvalidArguments, JobTypeError, SecretsUnavailable) as error:
        return str(error)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # a form's own code, which gets the secrets, too
        mask = job_type.arguments.mask_of(json.dumps(schedule.arguments))
        text = mask(f"{type(error).__name__}: {error}")
        cause = None if mask else error
        logger.error(
            "The arguments of the schedule “%s” could not be checked: %s", schedule.name, visible(text), exc_info=cause
        )
        return text
    for value in loaded.values():
        if isinstance(value, File):
            value.close()
    return ""


def _lacks_right(user: Any, job_type: JobType[Any]) -> str:
    """Return why the responsible *user* may no longer run the job. Empty if they may, and for code."""
    if user is None or settings.RECHECK_PERMISSIONS == "never":
        return ""
    if user.is_anonymous:
        return _(
            "The user who last changed it no longer has an account. A user who is allowed to run the job has to save "
            "it again."
        )
    if permissions.can(user, "run", job_type):
        return ""
    sentence = _("%(user)s, who last changed it, may not run this job. A user who is allowed to has to save it again.")
    return sentence % {"user": user.get_username()}


def _due(schedule: Schedule, first: Slot, now: dt.datetime) -> tuple[Due, Slot | None]:
    """Return what is due, and the slot after that, which follows from the last slot and not from now."""
    table = schedule.timetable
    due = table.due(first, aware(now), schedule.misfire_cap if schedule.misfire == Misfire.ALL else 1)
    return due, table.after(due.slots[-1].moment)


def _overlap(schedule: Schedule, run: Sequence[Slot], using: str) -> str | None:
    """Return the reason if a run is skipped, empty if it may start, None if it waits for an earlier run."""
    if schedule.overlap == Overlap.PARALLEL or not run:
        return ""
    unfinished = Job.objects.using(using).unfinished_of(schedule.pk)
    if not unfinished:
        return ""
    if schedule.overlap == Overlap.SKIP:
        return SkipReason.OVERLAP
    if schedule.overlap == Overlap.ABORT:
        with short_waits(using):
            for job in unfinished:
                _end(job, _("The next run of the schedule “%(name)s” is due.") % {"name": schedule.name})
        unfinished = [job for job in unfinished if not job.is_finished]
    return None if unfinished else ""


def _end(job: Job, reason: str) -> None:
    with suppress(InvalidTransition):  # it has ended or started in the meantime: the next look decides
        if job.can_abort:
            job.abort(reason=reason, origin=Origin.WORKER)
        elif job.can_cancel:
            job.cancel(reason=reason, origin=Origin.WORKER)


def _start(schedule: Schedule, job_type: JobType[Any], slot: Slot, using: str, person: Any) -> None:
    """Store a job with its slot, or neither if this slot exists already: its row is unique."""
    when = stored(slot.moment + slot.delay(str(schedule.pk), schedule.jitter))
    prepared = job_type.using(run_after=when, schedule=schedule, database=using)
    slots = ScheduleSlot.objects.using(using)
    if not slots.note(schedule, slot, outcome=SlotOutcome.FIRED):
        return
    with ExitStack() as stack:
        if rule_of(job_type):
            stack.enter_context(short_waits(using))
        if person is not None:
            stack.enter_context(permissions.enqueueing_for(person))
        try:
            job: Job | None = prepared.enqueue_as_stored(files.lend(schedule.arguments, schedule.pk))
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
        logger.warning("The schedule “%s” needs attention: %s", schedule.name, visible(problem))
    unpaused = dict.fromkeys(("paused_at", "paused_until", "paused_by"))
    return Schedule.objects.using(using).move_on(schedule, after, needs_attention=problem, paused_reason="", **unpaused)
