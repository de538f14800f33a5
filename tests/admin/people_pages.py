"""Pages for people who are responsible for jobs, with something to show on each. Browsers walk over them.

The types that the pages need are registered here; ``support.only_these_types`` takes them away with its own.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from django.urls import reverse

from qorworker import Every, JobContext, job
from qorworker.definitions.registry import registry
from qorworker.models import Calendar, Job, MessageRule, Question, Schedule
from qorworker.models.job_vitals import Sample, StackSource, stored_stack
from tests.admin.support import BASE, in_state, make_job, page_of, stored, user_with
from tests.admin.test_rehearsals import REPORT
from tests.security.people import a_batch, a_calendar, a_message, a_rule

RULES, MESSAGES, CALENDARS = (BASE.replace("/job/", f"/{name}/") for name in ("messagerule", "message", "calendar"))
MONTH = BASE.replace("/job/", "/schedule/") + "calendar/"
MIB = 1024 * 1024


def relabel(context: JobContext, prefix: str = "New") -> None:
    """Gives every product a new label."""


def publish(shop: str = "Berlin") -> None:
    """Publishes the prices of a shop."""


def addresses() -> dict[str, str]:
    """The address of each page, after its rows were made. The types of ``support.declare`` are there."""
    rehearsable = job(name="tests.relabel", title="Relabel", dry_run=True)(relabel)
    guarded = job(name="tests.publish", title="Publish prices", approval="testapp.change_shop")(publish)
    asks = user_with("qorworker.run_job", name="ann")
    done = in_state(registry.get("tests.greet"), "done", arguments=stored(registry.get("tests.greet"), subject="Tea"))
    return {
        **_messages(done),
        **_calendars(guarded, asks, done),
        "run-rehearsable": f"{BASE}run/{rehearsable.name}/",
        "job-rehearsed": page_of(_rehearsed(rehearsable)),
        "job-to-approve": page_of(guarded.using(user=asks).enqueue()),
        "list-to-approve": f"{BASE}?tab=awaiting",
        "job-vitals": page_of(_watched(registry.get("tests.open"))),
        "job-asking": page_of(_asking(registry.get("tests.open"))),
        "batches": BASE.replace("/job/", "/batch/"),
        "batch": reverse("admin:qorworker_batch_change", args=[a_batch(done).pk]),
    }


def _messages(about: Job) -> dict[str, str]:
    a_message(about)
    a_rule(about)
    given = {"on": ["failed", "worker_gone"], "mail": ["operations-of-the-shop@example.com"], "digest": "daily"}
    row = MessageRule.objects.create(
        name="Night shift", given=given, host="hooks.example.com", changed_at=about.enqueued_at, since=about.enqueued_at
    )
    return {
        "messages": MESSAGES,
        "rules": RULES,
        "rule-new": f"{RULES}add/",
        "rule": f"{RULES}{row.pk}/change/",
        "rule-delete": f"{RULES}{row.pk}/delete/",
    }


def _calendars(guarded: Any, asks: Any, ran: Job) -> dict[str, str]:
    """Days off, and the month and week in which schedules keep to them."""
    calendar: Calendar = a_calendar()
    to_approve = Schedule.objects.create_for(guarded, Every(hours=1), {}, name="hourly", by=asks)
    daily = Schedule.objects.create_for(ran.job_type, Every(days=1), dict(ran.arguments), name="every day")
    for hours in range(1, 7):
        at = ran.enqueued_at - dt.timedelta(hours=hours)
        took = {"last_attempted_at": at, "finished_at": at + dt.timedelta(minutes=hours)}
        make_job(ran.job_type, "exception" if hours == 3 else "done", schedule=daily, **took)
    return {
        "calendars": CALENDARS,
        "calendar-new": f"{CALENDARS}add/",
        "calendar": f"{CALENDARS}{calendar.pk}/change/",
        "calendar-delete": f"{CALENDARS}{calendar.pk}/delete/",
        "schedule-month": MONTH,
        "schedule-week": f"{MONTH}?view=week",
        "schedule-to-approve": reverse("admin:qorworker_schedule_change", args=[to_approve.pk]),
        "schedule-charts": reverse("admin:qorworker_schedule_change", args=[daily.pk]),
    }


def _rehearsed(job_type: Any) -> Job:
    arguments = stored(job_type, prefix="Old")
    return make_job(job_type, "done", is_dry_run=True, arguments=arguments, rehearsal_report=json.dumps(REPORT))


def _watched(job_type: Any) -> Job:
    """A running job with samples of its process, and its stack."""
    running = in_state(job_type, "running")
    samples = [Sample(5.0 * at, 40 * MIB * at, 1.5 * at, 300 * at, 0.4 * at, 0.0) for at in range(1, 8)]
    stack = 'File "/srv/app/jobs.py", line 7, in open_door\n    lock.acquire()  # one that is rather long as lines go'
    now = running.enqueued_at
    running.samples = json.dumps({"attempt": 1, "samples": samples})
    running.stack_requested_at, running.last_stack = now, stored_stack(stack, StackSource.PYTHON, now, now)
    running.save()
    return running


def _asking(job_type: Any) -> Job:
    asking = in_state(job_type, "scheduled", waits_for_answer=True)
    Question.objects.create(
        job=asking, key="#1", kind="person", attempt=1, text="Publish 1,204 prices?", asked_at=asking.enqueued_at
    )
    return asking
