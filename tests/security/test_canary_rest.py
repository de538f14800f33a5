"""Markup in the texts beside a job: of batches, schedules, queues, calendars, messages, questions and rehearsals.

On every page it is text, and each is seen as text on one of them.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Annotated

import pytest
from django.test import Client
from django.utils import timezone

from qorworker import Arg, Every, Plan, job, pause_queue
from qorworker.actions.summarising import summarise
from qorworker.arguments.described import describe
from qorworker.definitions.registry import registry
from qorworker.models import Attempt, Batch, Calendar, Job, Message, MessageRule, Preset, Question, Schedule, Worker
from qorworker.models.job_vitals import stored_stack
from qorworker.models.question import QuestionKind, QuestionState
from tests.admin.support import a_worker, make_job, page_of, stored, superuser, text_of
from tests.security.canaries import as_text, canary, raw
from tests.security.walk import path, routes

pytestmark = [pytest.mark.django_db, pytest.mark.once]

NAME = "tests.rest"
SUBJECTS = {
    "batch": Batch, "schedule": Schedule, "worker": Worker, "message": Message, "messagerule": MessageRule,
    "calendar": Calendar,
}  # fmt: skip
INPUTS = {
    "batch", "schedule", "schedule_reason", "attention", "calendar_title", "holiday", "queue_reason", "type_reason",
    "rule", "rule_mail", "message_rule", "message_to", "message_error", "question", "field", "answer", "declined",
    "answered_by", "meta_key", "meta_value", "returned", "stack", "preset", "sample_before",
    "sample_after", "table", "mail_subject", "mail_to", "mail_body", "attachment",
}  # fmt: skip


@pytest.fixture
def planted(types):
    job_type = job(name=NAME, title="The rest", dry_run=True)(rest)
    jobs = [about_a_run(job_type), waiting(job_type), rehearsed(job_type)]
    summarise("default")  # the page of the failures reads the sums
    yield jobs
    registry.unregister(NAME)


def rest(text: str = "a") -> None:
    """Is never run here."""


def about_a_run(job_type) -> Job:
    """A job that has failed, in a batch, with all that others say about it."""
    now = timezone.now()
    row = make_job(
        job_type, "exception", arguments=stored(job_type), attempt=1, meta={canary("meta_key"): canary("meta_value")},
        return_value=json.dumps(canary("returned")), last_attempted_at=now, started_at=now, finished_at=now,
        stack_requested_at=now, last_stack=stored_stack(canary("stack"), "python", now, now), error="wrong",
    )  # fmt: skip
    Attempt.objects.create(
        job=row, number=1, started_at=now, finished_at=now, outcome="failed", exception_class=canary("exception")
    )
    batch = Batch.objects.create(title=canary("batch"), total=1, created_at=now, names=[NAME])
    Job.objects.filter(pk=row.pk).update(batch=batch)
    about = {"job": row, "created_at": now, "event": "failed", "state": "failed"}
    Message.objects.create(
        **about, rule=canary("message_rule"), source="1", recipient=canary("message_to"), error=canary("message_error")
    )
    rule = {"on": ["failed"], "mail": [canary("rule_mail")]}
    MessageRule.objects.create(name=canary("rule"), given=rule, changed_at=now, since=now)
    plan = Plan(Every(days=1), name=canary("schedule"))
    schedule = Schedule.objects.create_dumped(job_type, plan, stored(job_type))
    schedule.pause(reason=canary("schedule_reason"))
    Schedule.objects.filter(pk=schedule.pk).update(needs_attention=canary("attention"))
    calendar = Calendar.objects.create(name="closed", title=canary("calendar_title"))
    calendar.add(dt.date(2026, 12, 25), title=canary("holiday"))
    Preset.objects.create(job_name=NAME, name=canary("preset"), is_shared=True, arguments=stored(job_type))
    a_worker(trouble=canary("trouble"))
    pause_queue("reports", reason=canary("queue_reason"))
    job_type.pause(reason=canary("type_reason"))
    return row


def waiting(job_type) -> Job:
    """A job that has asked several times, and still waits for an answer."""
    row = make_job(job_type, "scheduled", arguments=stored(job_type), attempt=1, waits_for_answer=True)
    asked = {"job": row, "kind": QuestionKind.PERSON, "attempt": 1, "asked_at": timezone.now()}
    fields = describe({"note": Annotated[str, Arg(label=canary("field"))]})
    closed = {"closed_at": timezone.now(), "user_id": "1", "user_name": canary("answered_by")}
    Question.objects.create(**asked, key="1", text=canary("question"), fields=fields)
    Question.objects.create(
        **asked, **closed, key="2", text="Why?", fields=fields, state=QuestionState.ANSWERED,
        answer={"note": canary("answer")},
    )  # fmt: skip
    Question.objects.create(
        **asked, **closed, key="3", text="No?", state=QuestionState.DECLINED, reason=canary("declined")
    )
    return row


def rehearsed(job_type) -> Job:
    sample = {"before": {"name": canary("sample_before")}, "after": {"name": canary("sample_after")}}
    report = {
        "models": [
            {
                "database": "default", "table": "testapp_shop", "model": "testapp.Shop", "created": 0, "changed": 1,
                "deleted": 0, "samples": [{"kind": "changed", "pk": "7", **sample}],
            },
            {
                "database": "default", "table": canary("table"), "model": "", "created": 0, "changed": 0, "deleted": 2,
                "samples": [],
            },
        ],
        "statements": [], "mails_count": 1, "jobs": {}, "hooks": 0, "refusals": [],
        "mails": [
            {
                "subject": canary("mail_subject"), "from": "a@example.com", "to": [canary("mail_to")], "cc": [],
                "bcc": [], "recipients": 1, "body": canary("mail_body"), "attachments": [canary("attachment")],
            }
        ],
    }  # fmt: skip
    return make_job(
        job_type, "done", arguments=stored(job_type), is_dry_run=True, rehearsal_report=json.dumps(report), attempt=1
    )


def addresses(jobs):
    """Every page about each of the rows, and those about none."""
    for route in routes():
        model = SUBJECTS.get(route.partition("/")[0])
        for row in model.objects.all() if model is not None else jobs:
            parts = {"pk": row.pk, "object_id": row.pk, "name": NAME, "field": "shop"}
            if "questions" in route:
                parts["number"] = Question.objects.filter(key="1").get().pk
            yield path(route, **parts)


def test_text_is_text_on_the_pages_of_all_that_stands_beside_a_job(planted):
    visitor, seen = Client(), set()
    visitor.force_login(superuser("root"))
    for url in [*dict.fromkeys(addresses(planted)), *map(page_of, planted)]:
        answer = visitor.get(url)
        assert answer.status_code < 500, url
        body, kind = text_of(answer), answer.get("Content-Type", "")
        if kind.startswith("text/html"):
            assert raw(body) == [], url
            seen |= {name for name in INPUTS if as_text(name) in body}
        elif kind.startswith("application/json") and not answer.streaming:
            for part in answer.json().get("parts", {}).values():
                assert raw(part) == [], url
        elif body:
            assert answer["Content-Disposition"].startswith("attachment"), url
    assert INPUTS - seen == set()
