"""The page of one schedule: its purpose, its next times, the results of its last times, and its audit. Web."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from statistics import median
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import access, links, rendering, run_chart, tokens
from qorworker.admin.media import FORM_MEDIA, SCHEDULE_MEDIA
from qorworker.admin.parameters import number
from qorworker.admin.schedules.form import visible_schedule
from qorworker.admin.schedules.forms import PauseForm
from qorworker.admin.schedules.preview import Time, left_out, times_of
from qorworker.admin.schedules.verbs import APPROVAL_VERBS, VERBS, lacking, question_of
from qorworker.admin.verbs import Verb
from qorworker.exceptions import InvalidSchedule
from qorworker.models import AuditEntry, Calendar, Job
from qorworker.models.schedule import Schedule
from qorworker.models.schedule_slot import ScheduleSlot, SlotOutcome
from qorworker.queries import last_runs
from qorworker.schedules import describe
from qorworker.status import JobStatus

ROWS = 30
AUDIT = 20


@dataclass(frozen=True)
class Row:
    """One line of the history: a time that has come, or a run that a user started."""

    at: Any
    slot: ScheduleSlot | None
    job: Job | None
    instead: Job | None = None  # the job that existed already, so that this time made none


def detail(model_admin: Any, request: HttpRequest, object_id: str) -> HttpResponseBase:
    """Show ``schedule/<id>/change/``, or 404 if the user may not see the schedule."""
    pk = number(object_id)
    schedule = visible_schedule(request, pk) if pk is not None else None
    return access.not_found(request) if schedule is None else show(model_admin, request, schedule)


def show(
    model_admin: Any, request: HttpRequest, schedule: Schedule, form: PauseForm | None = None, status: int = 200
) -> HttpResponseBase:
    """Return the page of *schedule*. *form* has the errors of a pause that was refused."""
    job_type, user = schedule.job_type, request.user
    may_manage = permissions.can(user, "manage_schedule", job_type)
    jobs = permissions.Visibility(user).jobs
    rows = history(schedule, jobs)
    form = form or PauseForm(zone=schedule.zone)
    return rendering.page(
        request,
        "schedule/detail.html",
        Schedule._meta,
        title=schedule.title,
        media=form.media + FORM_MEDIA + SCHEDULE_MEDIA,
        schedule=schedule,
        job_type=job_type,
        words=_words(schedule),
        times=(times := _times(schedule)),
        left_out=left_out(schedule, times[-1].moment) if times else "",
        calendar=_calendar(request, schedule),
        arguments=_arguments(schedule, user),
        attention=_attention(schedule, user),
        may_manage=may_manage,
        may_edit=may_manage and job_type is not None and not schedule.declared_in_code,
        may_copy=may_manage and job_type is not None and permissions.can(user, "view_arguments", job_type),
        may_delete=model_admin.has_delete_permission(request, schedule),
        verbs=[verb for verb in VERBS.values() if verb.name != "pause" and _is_offered(verb, schedule, user)],
        decisions=[
            {"verb": verb, "question": question_of(verb, schedule)}
            for verb in APPROVAL_VERBS.values()
            if _is_offered(verb, schedule, user)
        ],
        may_pause=may_manage and VERBS["pause"].offered(schedule),
        token=tokens.new_token(user) if may_manage else "",
        form=form,
        rows=rows,
        story=_story(rows),
        chart=run_chart.chart_of(request, last_runs.of_schedule(jobs, schedule.pk)),
        audit=AuditEntry.objects.of_schedule(schedule.pk).newest_apart(AUDIT),
        status=status,
    )


def _is_offered(verb: Verb, schedule: Schedule, user: Any) -> bool:
    return verb.offered(schedule) and not lacking(verb, user, schedule)


def history(schedule: Schedule, jobs: Any) -> list[Row]:
    """Return the last slots of *schedule* and its last runs by hand, the newest first; they show only *jobs*."""
    slots = list(ScheduleSlot.objects.using(jobs.db).newest_of(schedule.pk)[:ROWS])
    visible = {job.pk: job for job in jobs.newest_of(schedule.pk)[: 2 * ROWS]}
    skipped = [slot.job_id for slot in slots if slot.outcome == SlotOutcome.SKIPPED and slot.job_id]
    instead = jobs.in_bulk(skipped) if skipped else {}
    of_slots = {slot.job_id for slot in slots if slot.outcome == SlotOutcome.FIRED}
    oldest = min((pk for pk in of_slots if pk is not None), default=0)
    rows = [
        Row(slot.planned_at, slot, visible.get(slot.job_id))
        if slot.outcome == SlotOutcome.FIRED
        else Row(slot.planned_at, slot, None, instead.get(slot.job_id))
        for slot in slots
    ]
    rows += [Row(job.enqueued_at, None, job) for pk, job in visible.items() if pk not in of_slots and pk > oldest]
    return sorted(rows, key=lambda row: row.at, reverse=True)[:ROWS]


def _words(schedule: Schedule) -> str:
    try:
        return describe.describe(schedule.rule)
    except InvalidSchedule:
        return schedule.expression


def _times(schedule: Schedule) -> list[Time]:
    try:
        return times_of(schedule)
    except InvalidSchedule:
        return []


def _calendar(request: HttpRequest, schedule: Schedule) -> dict[str, str] | None:
    """Return the calendar that it follows, with the address of its page if the user may see that."""
    if not schedule.calendar:
        return None
    calendar = Calendar.objects.filter(name=schedule.calendar).first()
    url = ""
    if calendar is not None and permissions.may_see_calendars(request.user):
        url = links.url_if_there(request, "qorworker_calendar_change", calendar.pk)
    return {"title": str(calendar or schedule.calendar), "url": url}


def _arguments(schedule: Schedule, user: Any) -> list[Any] | None:
    """Return the arguments as *user* may see them; None if that is not allowed."""
    if schedule.job_type is None or not permissions.can(user, "view_arguments", schedule.job_type):
        return None
    return schedule.job_type.arguments.display(schedule.arguments)


def _attention(schedule: Schedule, user: Any) -> str:
    """Explain why it needs attention. The stored reason may quote arguments, which not every user may see."""
    if not schedule.needs_attention or permissions.can(user, "view_arguments", schedule.job_type):
        return schedule.needs_attention
    return _("It cannot run as it is. To see why, you need the right to see its arguments.")


def _story(rows: list[Row]) -> dict[str, Any]:
    """Return how many of the runs on the page ended and how long they took."""
    ended = [row.job for row in rows if row.job is not None and row.job.is_finished]
    done = [job.duration for job in ended if job.status == JobStatus.DONE and job.duration is not None]
    return {
        "ended": len(ended),
        "done": sum(job.status == JobStatus.DONE for job in ended),
        "median": dt.timedelta(seconds=median(length.total_seconds() for length in done)) if done else None,
        "longest": max(done, default=None),
    }
