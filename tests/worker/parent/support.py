"""What the tests of the parent's parts have in common."""

import secrets

from qorworker.attempts.attempt import RunningAttempt
from qorworker.models.sql import Claim, claim_one
from qorworker.system.processes import monotonic


def given(dispatcher, child, *many):
    """Claim these jobs, give them to the child, and return their attempts."""
    attempts = []
    for job in many:
        claimed = claim_one("default", job.pk, Claim(worker_id=1, token=secrets.token_hex(16), lease=15.0))
        attempt = RunningAttempt(claimed, "default")
        dispatcher.active.add(attempt)
        child.attempts.append(attempt)
        child.served += 1
        job.number = child.served
        attempts.append(attempt)
    dispatcher._begin(child, attempts[0], monotonic())
    return attempts


def flushed(dispatcher, *many):
    """Write what waits to be written, and return the status and the attempt of each job."""
    dispatcher.writer.flush(dispatcher.active)
    for job in many:
        job.refresh_from_db()
    return [(job.status, job.attempt) for job in many]


def end(job, outcome="done", **details):
    """The record of a child about the end of its attempt."""
    return ["end", job.number, {"outcome": outcome, **details}]
