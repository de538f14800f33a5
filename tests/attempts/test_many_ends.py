"""The ends of many attempts in one write, which must end before the worker has to renew its leases."""

from itertools import count

import pytest

from qorworker import job
from qorworker.attempts import writer as module
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.rescue import _claimed
from qorworker.attempts.writer import End, Writer
from qorworker.definitions.registry import registry
from qorworker.models import Attempt, Job
from qorworker.testing import jobs
from tests.models.rows import make_job
from tests.testapp import jobs as app_jobs

pytestmark = pytest.mark.django_db(transaction=True)
MANY, FEW = 40, 12  # ends, and statements


@pytest.fixture
def atomic():
    @job(name="app.atomic", atomic=True)
    def handler() -> None: ...

    yield handler
    registry.unregister(handler.name)


def ends(writer, outcome, number=MANY, returned=None, committed=False, **fields):
    """Queue the ends of so many attempts, and return their jobs."""
    rows = [make_job("running", **fields) for _ in range(number)]
    for place, row in enumerate(rows):
        attempt = RunningAttempt(_claimed(row), "default", process_id=place)
        attempt.returned = returned and returned(place)
        writer.end(End(attempt, attempt.end(outcome, ""), outcome, committed=committed, peak_memory=1000 + place))
    return rows


@pytest.fixture
def writer():
    return Writer("default", 1, "host:1")


def test_return_values_of_many_are_kept_by_few_statements(writer, django_assert_max_num_queries):
    rows = ends(writer, "done", name=jobs.story.name, returned=str)
    with django_assert_max_num_queries(FEW):
        writer.flush(())
    assert [Job.objects.get(pk=row.pk).result for row in rows] == list(range(MANY))


def test_secrets_of_many_are_erased_by_few_statements(writer, django_assert_max_num_queries):
    arguments = app_jobs.secretive.arguments
    stored = arguments.dump(arguments.clean({"password": "open sesame"}))
    rows = ends(writer, "done", name=app_jobs.secretive.name, arguments=stored)
    assert Job.objects.get(pk=rows[0].pk).may_have_secrets
    with django_assert_max_num_queries(FEW):
        writer.flush(())
    assert all(row.status == "done" and row.erased_secrets for row in Job.objects.all())


def test_many_that_ended_in_their_own_transactions_are_completed_by_few_statements(
    writer, atomic, django_assert_max_num_queries
):
    rows = ends(writer, "done", name=atomic.name, committed=True)
    for row in rows:
        assert Job.objects.end_in_transaction(row.pk, 1, row.attempt_token)
    with django_assert_max_num_queries(FEW):
        writer.flush(())
    notes = Attempt.objects.order_by("job_id").values_list("worker_name", "process_id", "peak_memory")
    assert list(notes) == [("host:1", place, 1000 + place) for place in range(MANY)]


def test_doubtful_ends_that_take_too_long_are_left_to_the_next_write(writer, atomic, monkeypatch):
    ticks = count(step=module.SETTLING)
    monkeypatch.setattr(module, "monotonic", lambda: next(ticks))
    ends(writer, "failed", number=3, name=atomic.name)
    counts = []
    while writer.ends or writer.deferred:
        writer.flush(())
        counts.append(Job.objects.failed().count())
    assert counts == [1, 2, 3]
    assert set(Attempt.objects.values_list("outcome", flat=True)) == {"failed"}


def test_a_write_may_be_limited_to_a_number_of_ends_and_the_next_one_goes_on(writer):
    rows = ends(writer, "done", 5, name=jobs.story.name)
    writer.write_and_claim(None, most=2)
    assert [Job.objects.get(pk=row.pk).status for row in rows] == ["done"] * 2 + ["running"] * 3
    assert len(writer.ends) == 3
    writer.write_and_claim(None)
    assert {Job.objects.get(pk=row.pk).status for row in rows} == {"done"}
    assert writer.ends == []
