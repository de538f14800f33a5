"""Fires due schedules, many in one transaction: each slot makes one job, however many processes do this.

Parents, cron, Celery's beat.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.actions.enqueue import made_ready, store_timed
from qorworker.arguments import files
from qorworker.definitions.registry import registry
from qorworker.definitions.unique import rule_of
from qorworker.exceptions import AlreadyEnqueued, InvalidSchedule, InvalidTransition
from qorworker.maintenance.candidates import Candidate
from qorworker.models import Job, Origin, Schedule, ScheduleSlot
from qorworker.models.clock import aware, stored
from qorworker.models.locks import short_waits
from qorworker.models.schedule_slot import SkipReason, SlotOutcome, left_out_rows
from qorworker.schedules.landing import Slot
from qorworker.schedules.timetable import Misfire, Overlap
from qorworker.text.cleaning import visible

logger = logging.getLogger(__name__)


@dataclass
class Firing:
    """What a due schedule does: which slots it runs, and for which one it waits then."""

    candidate: Candidate
    first: Slot
    run: Sequence[Slot] = ()
    missed: int = 0  # slots from the first one on that make no job
    left_out: Sequence[Slot] = ()  # slots on holidays
    after: Slot | None = None
    skip: str = ""  # why those in ``run`` make no jobs, either
    problem: str = ""  # why the schedule needs attention

    @property
    def schedule(self) -> Schedule:
        return self.candidate.schedule

    @property
    def minds_earlier_runs(self) -> bool:
        return bool(self.run) and not self.skip and self.schedule.overlap != Overlap.PARALLEL


def fires_alone(job_name: str, overlap: str) -> bool:
    """Return whether a schedule needs a transaction of its own: it may wait for locks of other transactions."""
    return overlap == Overlap.ABORT or rule_of(registry.get(job_name)) is not None


def planned(candidate: Candidate, now: dt.datetime) -> Firing:
    """Return what is due of a schedule. The slot after that follows from the last slot and not from now.

    :param now: the time of the database.
    """
    schedule, problem = candidate.schedule, candidate.problem
    first = schedule.waits_for
    assert first is not None
    try:
        table = schedule.timetable
        first = table.current(first)
        if first.moment > aware(now):  # a day off was added meanwhile
            return Firing(candidate, first, after=first, problem=problem)
        due = table.due(first, aware(now), schedule.misfire_cap if schedule.misfire == Misfire.ALL else 1)
        after = table.after(due.last.moment)
    except InvalidSchedule as error:
        return Firing(candidate, first, problem=str(error))
    run, missed = due.choose(schedule.misfire, aware(now))
    if schedule.overlap == Overlap.WAIT and not problem and len(run) > 1:
        run, after = run[:1], run[1]  # one after the other
    skip = SkipReason.UNFIT if problem else ""
    return Firing(candidate, due.first or first, run, missed, due.left_out, after, skip, problem)


def fire(firings: Sequence[Firing], using: str, now: dt.datetime) -> dict[int, bool | None]:
    """Fire schedules in one transaction.

    :param now: the time of the database.
    :returns: by the id of each schedule True if it moved on, False if it has to wait, None if another worker fires it.
    """
    with transaction.atomic(using=using):
        claimed = Schedule.objects.using(using).claim_slots([each.schedule for each in firings])
        mine = [each for each in firings if each.schedule.pk in claimed]
        waiting = _with_earlier_runs(mine, using)
        moving = [each for each in mine if each.schedule.pk not in waiting]
        _store(moving, using, now)
        moves = [(each.schedule.pk, each.after, each.problem) for each in moving]
        Schedule.objects.using(using).move_all_on(moves)
    for firing in moving:
        _log(firing)
    ids = [each.schedule.pk for each in firings]
    return {pk: pk not in waiting if pk in claimed else None for pk in ids}


def _with_earlier_runs(firings: Sequence[Firing], using: str) -> set[int]:
    """Return the ids of schedules that wait for an earlier run, and mark those that skip their slots for one."""
    by_id = {each.schedule.pk: each for each in firings if each.minds_earlier_runs}
    waiting = Job.objects.using(using).schedules_unfinished(list(by_id))
    for pk in sorted(waiting):
        firing = by_id[pk]
        if firing.schedule.overlap == Overlap.SKIP:
            firing.skip = SkipReason.OVERLAP
            waiting.remove(pk)
        elif firing.schedule.overlap == Overlap.ABORT and _end_earlier_runs(firing.schedule, using):
            waiting.remove(pk)
    return waiting


def _end_earlier_runs(schedule: Schedule, using: str) -> bool:
    """Cancel or abort the earlier runs of a schedule. Return whether all of them have ended."""
    unfinished = Job.objects.using(using).unfinished_of(schedule.pk)
    with short_waits(using):
        for job in unfinished:
            _end(job, _("The next run of the schedule “%(name)s” is due.") % {"name": schedule.name})
    return all(job.is_finished for job in unfinished)


def _end(job: Job, reason: str) -> None:
    with suppress(InvalidTransition):  # it has ended or started in the meantime: the next look decides
        if job.can_abort:
            job.abort(reason=reason, origin=Origin.WORKER)
        elif job.can_cancel:
            job.cancel(reason=reason, origin=Origin.WORKER)


def _store(firings: Sequence[Firing], using: str, now: dt.datetime) -> None:
    """Store the slots, and the jobs of those that fire, except for slots on record: their rows are unique."""
    slots, left = ScheduleSlot.objects.using(using), dict[Any, float]()
    rows = [(firing, *row) for firing in firings for row in _rows(firing, left)]
    slots.note_all([row for _firing, row, _when in rows])
    made, plain = [], []
    for firing, row, when in rows:
        if row.pk is None or row.outcome != SlotOutcome.FIRED:
            continue
        if rule_of(firing.candidate.job_type) is None:
            plain.append((row, _job(firing.candidate, when, using)))
        elif (job := _start_unique(firing.candidate, row, when, using)) is not None:
            made.append((row, job))
    store_timed([job for _row, job in plain], using, now)
    slots.made_jobs(made + plain)


def _rows(firing: Firing, left: dict[Any, float]) -> Iterator[tuple[ScheduleSlot, dt.datetime]]:
    """Yield the rows of slots that are to be stored, each with the time from which on its job may start.

    :param left: by user, how many more jobs they may have. It is filled here.
    """
    schedule, person = firing.schedule, firing.candidate.person
    if firing.missed:
        reason = {"outcome": SlotOutcome.SKIPPED, "reason": SkipReason.MISSED, "missed": firing.missed}
        yield ScheduleSlot.of(schedule, firing.first, **reason), stored(firing.first.moment)
    for row in left_out_rows(schedule, firing.left_out):
        yield row, row.planned_at
    for slot in firing.run:
        skip = firing.skip or (SkipReason.LIMIT if _has_most_jobs(person, left) else "")
        outcome = SlotOutcome.SKIPPED if skip else SlotOutcome.FIRED
        when = stored(slot.moment + slot.delay(str(schedule.pk), schedule.jitter))
        yield ScheduleSlot.of(schedule, slot, outcome=outcome, reason=skip), when


def _has_most_jobs(person: Any, left: dict[Any, float]) -> bool:
    """Return whether *person* may have no more jobs, and count one more if they may."""
    if person is None:
        return False
    if person.pk not in left:
        left[person.pk] = permissions.jobs_left(person)
    left[person.pk] -= 1
    return left[person.pk] < 0


def _job(candidate: Candidate, when: dt.datetime, using: str) -> Job:
    """Return a job of a schedule, which is not stored yet."""
    schedule = candidate.schedule
    job_type = candidate.job_type.using(run_after=when, schedule=schedule, database=using)
    job = made_ready(job_type, [files.lend(schedule.current_arguments, schedule.pk)])[0]
    job.run_after = when
    return job


def _start_unique(candidate: Candidate, row: ScheduleSlot, when: dt.datetime, using: str) -> Job | None:
    """Store a job by the rule of its type, and return it. None if there is a job like it, which the slot then names."""
    schedule = candidate.schedule
    prepared = candidate.job_type.using(run_after=when, schedule=schedule, database=using)
    with ExitStack() as stack:
        stack.enter_context(short_waits(using))
        if candidate.person is not None:
            stack.enter_context(permissions.enqueueing_for(candidate.person))
        try:
            job: Job | None = prepared.enqueue_as_stored(files.lend(schedule.current_arguments, schedule.pk))
        except AlreadyEnqueued as error:
            job = error.job
    if job is None or job.is_existing:
        ScheduleSlot.objects.using(using).made_none(row, job)
        return None
    return job


def _log(firing: Firing) -> None:
    name = firing.schedule.name
    if firing.missed:
        logger.warning("%s times of the schedule “%s” were missed and are not made up for.", firing.missed, name)
    if firing.problem:
        logger.warning("The schedule “%s” needs attention: %s", name, visible(firing.problem))
