"""The end of an attempt that is written for a worker that is gone."""

import pytest
from django.db import IntegrityError

from qorworker.attempts import rescue
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.writer import Writer
from qorworker.models.sql import claimed_with
from tests.models.rows import make_job

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_job_whose_row_is_locked_after_a_refusal_is_left_for_the_next_round(monkeypatch):
    job, rounds = make_job("running"), []

    def write(writer, ends, progressed, claim=None):
        [end] = ends
        if end.attempt.refusals == 0:
            raise IntegrityError("the project refuses it")
        rounds.append(end)
        assert len(rounds) < 10, "It asks again and again."
        return {job.pk}, None  # another transaction has locked it since then

    monkeypatch.setattr(Writer, "_write", write)
    seized = rescue.take_over("default", job.pk, job.attempt_token)
    assert rescue.end_lost("default", seized, None, "The worker is gone.") == 0


@pytest.mark.parametrize(
    ("records", "status", "crashes"),
    [([["moved", 1]], "scheduled", 1), ([["progress", 1, 7, None]], "exception", 3)],
)
def test_a_lost_attempt_counts_as_the_first_crash_if_it_got_further(records, status, crashes):
    job = make_job("running", max_attempts=9, attempt=3, crashes=2)
    [claimed] = claimed_with("default", [job.attempt_token])
    attempt = RunningAttempt(claimed, "default")
    for record in records:
        attempt.apply(record)
    Writer("default", None, "").flush([attempt])  # the last that its worker writes
    lost = rescue.take_over("default", job.pk, job.attempt_token)
    assert rescue.end_lost("default", lost, None, "The worker is gone.") == 1
    job.refresh_from_db()
    assert (job.status, job.crashes) == (status, crashes)
    assert ("three times in a row" in job.error) is (status == "exception")
