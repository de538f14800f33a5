"""The end of an attempt that is written for a worker that is gone."""

import pytest
from django.db import IntegrityError

from qorworker.attempts import rescue
from qorworker.attempts.writer import Writer
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
