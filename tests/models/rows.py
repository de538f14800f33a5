"""Rows for the tests of the models, and the two ways to be somebody else: a second connection, and a race."""

import secrets
import threading
from contextlib import contextmanager
from datetime import timedelta

from django.db import connection, connections

from qorworker.models import Attempt, Job, Outcome, database_now
from qorworker.models.sql import AttemptUpdate, Claim, claim, exchange

STATUSES = ("new", "scheduled", "running", "done", "exception", "killed", "cancelled")


def token():
    return secrets.token_hex(16)


def make_job(status="new", **fields):
    now = database_now("default")
    defaults = {"name": "app.job", "run_after": now, "enqueued_at": now}
    if status == "running":
        past = now - timedelta(seconds=1)
        defaults |= {"attempt": 1, "attempt_token": token(), "lease_expires_at": past, "started_at": now}
        defaults |= {"last_attempted_at": now, "worker_id": 1}
    elif status in ("done", "exception", "killed"):
        defaults |= {"attempt": 1, "started_at": now, "last_attempted_at": now, "finished_at": now}
    return Job.objects.create(status=status, **(defaults | fields))


def ended(outcome=Outcome.DONE, *, status=None, at=None, waited=2.0, ran=8.0, error="", job=None, number=1, **fields):
    """A job, and the attempt that ended it."""
    at = at or database_now("default")
    started = at - ran * timedelta(seconds=1)
    if job is None:
        status = status or {"done": "done", "aborted": "killed"}.get(outcome, "exception")
        due = started - waited * timedelta(seconds=1)
        job = make_job(status, run_after=due, last_attempted_at=started, finished_at=at, attempt=number, **fields)
    Attempt.objects.create(
        job=job, number=number, started_at=started, finished_at=at, outcome=outcome, exception_class=error
    )
    return job


def wanted(**changes):
    defaults = {"worker_id": 7, "token": token(), "queues": ["default"], "names": ["app.job"]}
    defaults |= {"slots": 10, "limit": 10, "short": (), "lease": 15.0}
    return Claim(**(defaults | changes))


def claim_ids(**changes):
    return [job.id for job in claim("default", wanted(**changes))]


def leaving(job, status, **fields):
    """The update with which the attempt that now runs *job* goes to *status*."""
    return AttemptUpdate(id=job.pk, token=job.attempt_token, status=status, **fields)


def written(*updates):
    """Ids of the jobs whose attempts still had them."""
    return exchange("default", updates).ours


def columns(job):
    """Everything that is stored of *job*."""
    return Job.objects.filter(pk=job.pk).values().get()


@contextmanager
def somebody_else():
    """A second connection to the same database, with a transaction open until the end of the block."""
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            yield cursor
        other.rollback()
    finally:
        other.close()


def race(*contenders):
    """Run all at the same time, each on a connection of its own; what each returned, or the error it raised."""
    start, outcomes = threading.Barrier(len(contenders)), [None] * len(contenders)

    def run(place, contender):
        try:
            connection.ensure_connection()
            start.wait(10)
            outcomes[place] = contender()
        except Exception as error:
            outcomes[place] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(contenders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes
