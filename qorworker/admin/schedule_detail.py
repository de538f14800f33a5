"""The page of one schedule: what it does, what comes next, what became of its last times, who did what. Web."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from statistics import median
from typing import Any

from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.template.response import TemplateResponse

from qorworker import permissions, words
from qorworker.admin import access, once
from qorworker.admin.asked import number
from qorworker.admin.media import FORM_MEDIA, SCHEDULE_MEDIA
from qorworker.admin.schedule_form import visible_schedule
from qorworker.admin.schedule_preview import NEXT, Time
from qorworker.admin.schedule_verbs import VERBS
from qorworker.exceptions import InvalidSchedule
from qorworker.models import AuditEntry, Job
from qorworker.models.schedule import Schedule
from qorworker.models.slot import ScheduleSlot, SlotOutcome
from qorworker.schedule_forms import PauseForm
from qorworker.status import JobStatus

ROWS = 30
AUDIT = 20


@dataclass(frozen=True)
class Row:
    """One line of the history: a time that came, or a run that somebody started."""

    at: Any
    slot: ScheduleSlot | None
    job: Job | None
    instead: Job | None = None  # was there, so that this time made none


def detail(model_admin: Any, request: HttpRequest, object_id: str) -> HttpResponseBase:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    pk = number(object_id)
    schedule = visible_schedule(request, pk) if pk is not None else None
    return access.not_found(request) if schedule is None else show(model_admin, request, schedule)


def show(
    model_admin: Any, request: HttpRequest, schedule: Schedule, form: PauseForm | None = None, status: int = 200
) -> HttpResponseBase:
    """The page; with *form* if a pause was asked for and cannot be."""
    job_type, user = schedule.job_type, request.user
    may_manage = permissions.can(user, "manage_schedule", job_type)
    jobs = permissions.visible_jobs(user, Job.objects.all())
    rows = history(schedule, jobs)
    form = form or PauseForm(zone=schedule.zone)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": schedule.title,
        "opts": Schedule._meta,
        "media": form.media + FORM_MEDIA + SCHEDULE_MEDIA,
        "schedule": schedule,
        "job_type": job_type,
        "words": _words(schedule),
        "times": _times(schedule),
        "arguments": _arguments(schedule, user),
        "may_manage": may_manage,
        "may_edit": may_manage and job_type is not None and not schedule.declared_in_code,
        "may_copy": may_manage and job_type is not None and permissions.can(user, "view_arguments", job_type),
        "may_delete": model_admin.has_delete_permission(request, schedule),
        "verbs": [verb for verb in VERBS.values() if verb.name != "pause" and may_manage and verb.offered(schedule)],
        "may_pause": may_manage and VERBS["pause"].offered(schedule),
        "token": once.new_token() if may_manage else "",
        "form": form,
        "rows": rows,
        "story": _story(rows),
        "audit": AuditEntry.objects.of_schedule(schedule.pk)[:AUDIT],
    }
    return TemplateResponse(request, "admin/qorworker/schedule/detail.html", context, status=status)


def history(schedule: Schedule, jobs: Any) -> list[Row]:
    """Its last times and its last runs by hand, the newest first."""
    slots = list(ScheduleSlot.objects.using(jobs.db).newest_of(schedule.pk)[:ROWS])
    mine = {job.pk: job for job in jobs.newest_of(schedule.pk)[: 2 * ROWS]}
    skipped = [slot.job_id for slot in slots if slot.outcome == SlotOutcome.SKIPPED and slot.job_id]
    instead = jobs.in_bulk(skipped) if skipped else {}
    of_slots = {slot.job_id for slot in slots if slot.outcome == SlotOutcome.FIRED}
    oldest = min((pk for pk in of_slots if pk is not None), default=0)
    rows = [
        Row(slot.planned_at, slot, mine.get(slot.job_id))
        if slot.outcome == SlotOutcome.FIRED
        else Row(slot.planned_at, slot, None, instead.get(slot.job_id))
        for slot in slots
    ]
    rows += [Row(job.enqueued_at, None, job) for pk, job in mine.items() if pk not in of_slots and pk > oldest]
    return sorted(rows, key=lambda row: row.at, reverse=True)[:ROWS]


def _words(schedule: Schedule) -> str:
    try:
        return words.describe(schedule.rule)
    except InvalidSchedule:
        return schedule.expression


def _times(schedule: Schedule) -> list[Time]:
    try:
        return [Time(moment, schedule.zone) for moment in schedule.upcoming(NEXT)]
    except InvalidSchedule:
        return []


def _arguments(schedule: Schedule, user: Any) -> list[Any] | None:
    """As people may see them; None for those who may not."""
    if schedule.job_type is None or not permissions.can(user, "view_arguments", schedule.job_type):
        return None
    return schedule.job_type.arguments.display(schedule.arguments)


def _story(rows: list[Row]) -> dict[str, Any]:
    """How the runs on the page went."""
    ended = [row.job for row in rows if row.job is not None and row.job.is_finished]
    done = [job.duration for job in ended if job.status == JobStatus.DONE and job.duration is not None]
    return {
        "ended": len(ended),
        "done": sum(job.status == JobStatus.DONE for job in ended),
        "median": dt.timedelta(seconds=median(length.total_seconds() for length in done)) if done else None,
        "longest": max(done, default=None),
    }
