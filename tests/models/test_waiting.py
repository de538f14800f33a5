"""Waiting for the end of a job: what returns, what is refused, and how long it takes."""

import asyncio
import datetime as dt
import time

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError

from qorworker.exceptions import JobTimeout, QorWorkerError
from qorworker.models import Job, waiting
from tests.models.rows import make_job, race


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["done", "exception", "killed", "cancelled"])
def test_a_job_that_has_ended_is_not_waited_for_also_inside_a_transaction(status):
    job = make_job("new")
    Job.objects.filter(pk=job.pk).update(status=status)
    job.wait(timeout=0)
    assert job.status == status


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["new", "scheduled", "running"])
def test_inside_a_transaction_it_is_refused(status):
    job = make_job(status)
    with pytest.raises(TransactionManagementError, match=f"Job {job.pk} is {status}, and its end cannot be waited for"):
        job.wait(timeout=5)


@pytest.mark.django_db(transaction=True)
def test_the_wait_ends_with_the_job_and_has_its_row():
    job = make_job("running")

    def end():
        Job.objects.filter(pk=job.pk).transition("done", attempt_token=None, return_value="[1]")

    assert race(lambda: job.wait(timeout=30), end) == [None, None]
    assert (job.status, job.result) == ("done", [1])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("timeout", [0.05, dt.timedelta(milliseconds=50)])
def test_a_wait_that_takes_too_long_says_where_the_job_is(timeout):
    job, begun = make_job("running"), time.monotonic()
    with pytest.raises(JobTimeout, match=f"Job {job.pk} is still running after 0.05 seconds") as caught:
        job.wait(timeout)
    assert time.monotonic() - begun >= 0.05
    assert (caught.value.job_id, caught.value.status) == (job.pk, "running")
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, QorWorkerError)


@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_deleted_meanwhile_is_not_waited_for():
    job = make_job("running")
    Job.objects.filter(pk=job.pk).delete()
    with pytest.raises(Job.DoesNotExist):
        job.wait(timeout=5)


@pytest.mark.django_db(transaction=True)
def test_the_pauses_grow_up_to_a_second():
    looks = waiting.pauses(make_job("running"), "default", None)
    found = [next(looks) for _ in range(20)]
    assert found[0] == 0.01
    assert found == sorted(found)
    assert found[-1] == 1.0


@pytest.mark.django_db(transaction=True)
def test_coroutines_wait_without_holding_up_others():
    ended, late = make_job("running"), make_job("running")

    async def both():
        waits = asyncio.create_task(ended.await_finished(timeout=30))
        with pytest.raises(JobTimeout):
            await late.await_finished(timeout=0.05)
        await sync_to_async(Job.objects.filter(pk=ended.pk).transition)("done", attempt_token=None)
        await waits
        await sync_to_async(connections.close_all)()  # those of the thread that did the work

    asyncio.run(both())
    assert ended.status == "done"


@pytest.mark.django_db(transaction=True)
def test_what_was_enqueued_in_a_transaction_can_be_waited_for_after_it():
    with transaction.atomic():
        job = make_job("new")
    with pytest.raises(JobTimeout):
        job.wait(timeout=0)
