"""Limits without a ``runworker``: what one holds stays queued, and is handed over when it may start."""

from itertools import count

import pytest

from qorworker import job
from qorworker.actions.notify import hand_over
from qorworker.attempts.in_process import run_stored
from qorworker.models import Job, LimitStart, database_now
from tests.backends.told import ToldBackend
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import leaving, written

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]
numbers = count()


@pytest.fixture(autouse=True)
def told(settings):
    paths = {"told": "tests.backends.told.ToldBackend", "now": "qorworker.backends.immediate.ImmediateBackend"}
    settings.QORWORKER = {"QUEUES": {name: {"BACKEND": path} for name, path in paths.items()}}
    ToldBackend.told.clear()
    return ToldBackend.told


def limited(**chosen):
    @job(name=f"app.limited{next(numbers)}", **chosen)
    def handler(number: int = 0) -> None: ...

    return handler


def run(made):
    return run_stored(made.pk, "default", worker_name="a test")


def test_what_a_limit_holds_stays_queued_and_is_told_again_when_there_is_a_place(told):
    job_type = limited(max_concurrency=1, queue_name="told", concurrency_key="number")
    first, second, other = job_type.enqueue_many([{"number": number} for number in (1, 1, 2)])
    now = database_now("default")
    Job.objects.update(handed_over_at=now)
    Job.objects.filter(pk=first.pk).update(status="running", attempt_token="f" * 32, lease_expires_at=now)
    assert run(second) is None
    assert run(other) == "done"
    assert hand_over("default") == 0
    first.refresh_from_db()
    assert written(leaving(first, "done")) == {first.pk}
    assert hand_over("default") == 1
    assert hand_over("default") == 0
    assert told == [second.pk]
    assert run(second) == "done"


def test_no_more_are_handed_over_than_there_are_places(told):
    limited(rate_limit="2/h", queue_name="told").enqueue_many([{}] * 5)
    assert [hand_over("default"), hand_over("default")] == [2, 0]
    first, second = told
    assert [run(Job(pk=pk)) for pk in (first, second)] == ["done", "done"]
    assert hand_over("default") == 0
    LimitStart.objects.all().delete()
    assert hand_over("default") == 2


def test_an_immediate_job_that_a_limit_holds_stays_queued(django_capture_on_commit_callbacks):
    job_type = limited(rate_limit="1/h", queue_name="now")
    with django_capture_on_commit_callbacks(execute=True):
        first, second = job_type.enqueue(), job_type.enqueue()
    assert [first.status, second.status] == ["done", "new"]


def test_jobs_from_before_their_type_had_a_limit_get_their_key_and_keep_to_it(told):
    first, second = limited(max_concurrency=1, queue_name="told").enqueue_many([{}] * 2)
    Job.objects.filter(pk=first.pk).update(status="running", attempt_token="f" * 32)
    Job.objects.filter(pk=second.pk).update(limit_key="")
    assert run(second) is None
    second.refresh_from_db()
    assert (second.status, second.limit_key, second.attempt) == ("new", first.limit_key, 0)
    Job.objects.filter(pk=first.pk).update(status="done", attempt_token=None)
    Job.objects.filter(pk=second.pk).update(limit_key="")
    assert run(second) == "done"
