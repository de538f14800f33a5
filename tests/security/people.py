"""Who comes to the pages, and the jobs they come for."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.test import Client

from qorworker import Every, Plan
from qorworker.models import (
    Attempt,
    AuditEntry,
    Batch,
    Calendar,
    Holiday,
    Job,
    LogLine,
    Message,
    MessageRule,
    Pause,
    ResultsRow,
    Schedule,
    ScheduleSlot,
    Worker,
)
from tests.admin.support import in_state, make_job, stored, superuser, user_with

USING = (
    "qorworker.run_job", "qorworker.abort_job", "qorworker.reschedule_job", "qorworker.retry_job",
    "qorworker.delete_job",
)  # fmt: skip
READING = ("qorworker.view_job", "qorworker.view_job_log", "qorworker.view_job_arguments")

# Role -> permissions. What is asked for is a job of a type without a permission of its own, made by somebody else,
# but for the operator, who asks for one of the only type he may use. For owner and guest everybody sees only their own
# jobs; the owner asks for one, the guest for somebody else's.
ROLES: dict[str, tuple[str, ...] | None] = {
    "anonymous": None,
    "nobody": (),
    "viewer": ("qorworker.view_job", "qorworker.view_worker"),
    "reader": (*READING, "qorworker.view_worker"),
    "operator": ("testapp.change_shop", "qorworker.delete_job"),
    "stranger": ("testapp.change_shop", "qorworker.delete_job"),
    "owner": (*USING, *READING),
    "guest": (*USING, *READING),
    "root": None,
}


@dataclass
class Visit:
    """Somebody in front of a browser, and a job."""

    role: str
    client: Client
    job: Job
    worker: Worker
    schedule: Schedule
    batch: Batch
    message: Message
    rule: MessageRule
    calendar: Calendar


def visit(
    types: dict[str, Any], role: str, state: str, worker: Worker, settings: Any, is_paused: bool = False
) -> Visit:
    """A new browser with *role* signed in, and a job in *state* that has a bit of everything."""
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": role in ("owner", "guest")}
    client, user = Client(), None
    if role != "anonymous":
        user = superuser(role) if role == "root" else user_with(*(ROLES[role] or ()), name=role)
        client.force_login(user)
    if role == "operator":
        job = in_state(types["by_name"], state)
    else:
        arguments = stored(types["greet"], subject="between us")
        job = in_state(types["greet"], state, arguments=arguments, created_by=user if role == "owner" else None)
    told(job)
    return Visit(
        role, client, job, worker, a_schedule(job, is_paused), a_batch(job), a_message(job), a_rule(job), a_calendar()
    )


def a_message(job: Job) -> Message:
    """One about the job that did not arrive."""
    source, now = f"attempt {Message.objects.count()}", job.enqueued_at
    return Message.objects.create(job=job, rule="gone", source=source, event="failed", state="failed", created_at=now)


def a_rule(job: Job) -> MessageRule:
    """One that somebody has made."""
    row = MessageRule(
        given={"on": ["failed"], "mail": ["ops@example.com"]}, changed_at=job.enqueued_at, since=job.enqueued_at
    )
    row.save()
    row.name = f"rule {row.pk}"
    row.save()
    return row


def a_calendar() -> Calendar:
    """One with a day off, which no schedule uses."""
    calendar = Calendar.objects.create(name=f"calendar-{Calendar.objects.count()}")
    calendar.add(dt.date(2026, 12, 25), title="Christmas")
    return calendar


def a_batch(job: Job) -> Batch:
    """One for whoever has made the job, with the job in it."""
    facts = {"created_at": job.enqueued_at, "created_by": job.created_by, "names": [job.name]}
    batch = Batch.objects.create(title="A batch", total=1, **facts)
    Job.objects.filter(pk=job.pk).update(batch=batch)
    return batch


def a_schedule(job: Job, is_paused: bool = False) -> Schedule:
    """One that somebody else has made, for the type and with the arguments of this job."""
    job_type = job.job_type
    assert job_type is not None
    name = f"schedule {Schedule.objects.count()}"
    schedule = Schedule.objects.create_dumped(job_type, Plan(Every(days=1), name=name), dict(job.arguments))
    if is_paused:
        schedule.pause()
    return schedule


def told(job: Job, text: str = "a line") -> None:
    """Let a job have something to tell: a line of its log, a results row, an attempt."""
    moment = job.enqueued_at
    LogLine.objects.create(job=job, number=1, attempt=1, at=moment, level=20, text=text)
    ResultsRow.objects.create(job=job, number=1, attempt=1, cells=[{"value": text, "error": text}], has_error=True)
    Attempt.objects.create(
        job=job, number=1, started_at=moment, finished_at=moment, outcome="failed", error=text, worker_name="web-1:7",
        traceback=f'  File "/srv/app/{text}.py", line 7, in run\n    {text}\nValueError: {text}\n',
    )  # fmt: skip
    Job.objects.filter(pk=job.pk).update(log_lines=1, results_rows=1, results_errors=1)


def everything() -> list[list[tuple[Any, ...]]]:
    """All rows that requests could change, without the record of refusals."""
    tables = (
        Batch,
        Calendar,
        Holiday,
        Message,
        MessageRule,
        Job,
        LogLine,
        ResultsRow,
        Attempt,
        Worker,
        Schedule,
        ScheduleSlot,
        Pause,
    )
    queries = [f"SELECT * FROM {model._meta.db_table}" for model in tables]
    queries.append(f"SELECT * FROM {AuditEntry._meta.db_table} WHERE outcome <> 'denied'")
    with connection.cursor() as cursor:
        return [sorted(rows_of(cursor, query), key=repr) for query in queries]


def rows_of(cursor: Any, query: str) -> list[tuple[Any, ...]]:
    cursor.execute(query)
    return list(cursor.fetchall())


__all__ = ["ROLES", "Visit", "everything", "make_job", "told", "visit"]
