"""Attempts that run in the process that claims them, as in Celery's children and where the caller runs its own jobs."""

from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import DataError, OperationalError

from qorworker import JobContext, job
from qorworker.attempts import attempt as attempt_module
from qorworker.attempts import in_process, vitals
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.in_process import AttemptMonitor, run_stored
from qorworker.attempts.rescue import _claimed
from qorworker.attempts.writer import Writer
from qorworker.database.answers import write_limit
from qorworker.models import Job, JobQuerySet, database_now
from qorworker.testing import jobs
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import make_job, somebody_else
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class TestAClaim:
    @pytest.fixture(autouse=True)
    def _without_pauses(self, monkeypatch):
        monkeypatch.setattr(in_process, "LOOK_PAUSES", (0.0, 0.0))

    @pytest.fixture
    def failing(self, monkeypatch):
        """``failing(error, first)``: the next claim raises this error, after calling *first* with its arguments."""
        claim_one = in_process.claim_one

        def make(error, first):
            def fail(*given, **more):
                monkeypatch.setattr(in_process, "claim_one", claim_one)
                first(*given, **more)
                raise error

            monkeypatch.setattr(in_process, "claim_one", fail)
            return claim_one

        return make

    def test_whose_answer_was_lost_is_found_and_its_job_runs(self, failing):
        job = make_job(name=jobs.story.name)
        failing(OperationalError("the server closed the connection"), in_process.claim_one)
        assert run_stored(job.pk, "default", worker_name="here") == "done"
        job.refresh_from_db()
        assert (job.status, job.attempt) == ("done", 1)

    def test_that_is_found_later_has_its_whole_lease_from_then_on(self, failing, monkeypatch):
        job = make_job(name=jobs.story.name)

        def claim_long_ago(*given, **more):
            claim_one(*given, **more)
            Job.objects.filter(pk=job.pk).update(lease_expires_at=database_now("default"))

        claim_one = failing(OperationalError("the server closed the connection"), claim_long_ago)
        leases, execute = [], in_process.execute

        def note(*given, **more):
            leases.append(Job.objects.get(pk=job.pk).lease_expires_at - database_now("default"))
            return execute(*given, **more)

        monkeypatch.setattr(in_process, "execute", note)
        assert run_stored(job.pk, "default", worker_name="here") == "done"
        assert leases[0].total_seconds() > 5

    @pytest.mark.parametrize("error", [OperationalError("the server closed the connection"), DataError("1406")])
    def test_that_was_not_carried_out_fails_and_leaves_the_job_to_the_next(self, failing, error):
        job = make_job(name=jobs.story.name)
        failing(error, lambda *given, **more: None)
        with pytest.raises(type(error)):
            run_stored(job.pk, "default", worker_name="here")
        assert run_stored(job.pk, "default", worker_name="here") == "done"


def test_a_job_that_gets_the_key_of_its_limit_late_is_not_started_before_its_time(own_types, monkeypatch):  # noqa: F811
    """A person moves it to another time just when it waits again."""

    @job(name="test.limited", max_concurrency=1)
    def limited() -> None:
        pass

    waiting = make_job(name="test.limited")
    later, flush = database_now("default") + timedelta(hours=1), Writer.flush

    def flush_and_move(writer, running):
        monkeypatch.setattr(Writer, "flush", flush)
        lost = flush(writer, running)
        Job.objects.get(pk=waiting.pk).reschedule(later)
        return lost

    monkeypatch.setattr(Writer, "flush", flush_and_move)
    assert run_stored(waiting.pk, "default", worker_name="here") is None
    waiting.refresh_from_db()
    assert (waiting.status, waiting.attempt) == ("scheduled", 0)


@pytest.mark.only_on("postgresql", "mysql")
def test_an_attempt_whose_row_is_locked_is_not_overdue_and_renewed_once_it_is_free():
    job = make_job("running", name=jobs.story.name)
    monitor = AttemptMonitor(
        RunningAttempt(_claimed(job), "default"), Writer("default", None, ""), lambda monitor: None
    )
    with somebody_else() as cursor:
        cursor.execute("SELECT 1 FROM qorworker_job WHERE id = %s FOR UPDATE", [job.pk])
        monitor.renewed_at -= 3600
        monitor._step()
        assert not monitor.is_overdue
        assert Job.objects.not_responding().exists()
    monitor._step()
    assert not Job.objects.not_responding().exists()


@pytest.mark.parametrize("observation", [1.8, 2.5, 5, 60])
def test_a_lease_is_renewed_and_written_within_the_observation(observation, settings, monkeypatch):
    """By the steps of the thread, which are as far apart as they may be, and with a write as slow as it may be."""
    settings.QORWORKER = {"LEASE": 15, "OBSERVATION": observation}
    job, clock, renewals = make_job("running", name=jobs.story.name), [1000.0], []
    monkeypatch.setattr(in_process, "monotonic", lambda: clock[0])
    monkeypatch.setattr(JobQuerySet, "renew", lambda jobs, tokens, lease: renewals.append(clock[0]) or 1)
    monitor = AttemptMonitor(
        RunningAttempt(_claimed(job), "default"), Writer("default", None, ""), lambda monitor: None
    )
    for _ in range(200):
        clock[0] += in_process.WRITE_INTERVAL
        monitor._step()
    gaps = [later - earlier for earlier, later in pairwise([1000.0, *renewals])]
    assert max(gaps) + write_limit() < observation
    assert min(gaps) >= in_process.WRITE_INTERVAL


class TestVitals:
    """What the thread beside a handler sees of it."""

    @pytest.fixture(autouse=True)
    def _without_delay(self, monkeypatch):
        monkeypatch.setattr(vitals, "INTERVAL", 0.5)
        monkeypatch.setattr(vitals, "FIRST", 0.1)
        monkeypatch.setattr(attempt_module, "FIRST", 0.1)

    def test_its_stack_is_read_while_it_runs(self, own_types):  # noqa: F811
        @job(name="tests.asks_for_its_stack")
        def asks_for_its_stack(context: JobContext) -> None:
            row = Job.objects.get(pk=context.job_id)
            row.request_stack()
            wait_until(lambda: not Job.objects.get(pk=row.pk).awaits_stack)

        row = make_job(name="tests.asks_for_its_stack")
        assert run_stored(row.pk, "default", worker_name="here") == "done"
        row.refresh_from_db()
        assert row.stack.source == "python"
        assert "in asks_for_its_stack" in row.stack.text
        assert "execute.py" not in row.stack.text.split("\nThread")[0]

    def test_samples_have_its_queries(self, own_types):  # noqa: F811
        @job(name="tests.waits_for_its_samples")
        def waits_for_its_samples(context: JobContext) -> None:
            wait_until(lambda: len(Job.objects.get(pk=context.job_id).vitals) >= 2)

        row = make_job(name="tests.waits_for_its_samples")
        assert run_stored(row.pk, "default", worker_name="here") == "done"
        row.refresh_from_db()
        last = row.vitals[-1]
        assert (last.queries > 0, last.memory > 0, row.vitals_attempt) == (True, True, 1)
