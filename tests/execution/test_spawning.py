"""Batches that a running job enqueues: for its user, once however often it is attempted."""

import asyncio

import pytest
from django.contrib.auth import get_user_model

from qorworker import Batch, JobContext, job
from qorworker.models import Job
from qorworker.queries.reasons import Why
from qorworker.testing.running import drain, run_job
from tests.job_types import own_types  # noqa: F401
from tests.testapp import jobs

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]


@pytest.fixture
def spawns(own_types):  # noqa: F811
    @job(name="test.spawns", title="Sends all", max_attempts=3)
    def spawns(
        context: JobContext, title: str = "", times: int = 1, *, fails: bool = False, key: str = ""
    ) -> list[object]:
        made = [
            context.spawn((jobs.noop_again.bind(number=number) for number in range(3)), title, key=key)
            for _time in range(times)
        ]
        if fails and context.attempt == 1:
            raise ValueError("later")
        return [[batch.pk, batch.is_existing] for batch in made]

    return spawns


def test_a_batch_is_enqueued_for_the_user_of_the_job(spawns):
    user = get_user_model().objects.create(username="ada")
    run = run_job(spawns.using(user=user).enqueue())
    batch = Batch.objects.get()
    assert run.result == [[batch.pk, False]]
    assert (batch.title, batch.total, batch.created_by, batch.spawned_by) == ("Sends all", 3, user, run.job)
    assert {each.created_by for each in batch.jobs.all()} == {user}


def test_another_attempt_gets_the_batch_of_the_earlier_one(spawns):
    stored = spawns.enqueue(title="Mails", fails=True)
    assert run_job(stored).status == "scheduled"
    batch = Batch.objects.get()
    assert run_job(stored).result == [[batch.pk, True]]
    assert Batch.objects.count() == 1
    assert batch.jobs.count() == 3


def test_two_of_the_same_title_in_one_attempt_need_keys(spawns):
    run = run_job(spawns, times=2)
    assert "has spawned a batch with the key 'Sends all'" in run.error
    assert Batch.objects.count() == 1  # what it has spawned stays, as whatever else it has stored


def test_a_key_tells_batches_apart(spawns):
    run_job(spawns, key="first")
    assert Batch.objects.spawned_by(Job.objects.get(name="test.spawns").pk, "first").exists()


def test_a_key_that_cannot_be_stored_is_refused(spawns):
    assert "key: must be a printable text of 1 to 200 characters" in run_job(spawns, title="x", key="y" * 201).error
    assert not Batch.objects.exists()


def test_a_new_job_spawns_a_batch_of_its_own(spawns):
    first = run_job(spawns).job
    run_job(first.rerun())
    assert Batch.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_coroutine_spawns_too(own_types):  # noqa: F811
    @job(name="test.spawns_async")
    async def spawns_async(context: JobContext) -> int:
        await asyncio.sleep(0)
        return (await context.aspawn([jobs.noop.bind()], "From a coroutine")).total

    assert run_job(spawns_async).result == 1


def test_a_callback_finds_its_batch_and_what_failed(own_types):  # noqa: F811
    @job(name="test.alarm")
    def alarm(context: JobContext) -> dict[str, object]:
        assert context.batch is not None
        return {"title": context.batch.title, "failed": [each.error for each in context.batch.jobs.failed()]}

    batch = Batch.objects.enqueue("Some fail", [jobs.noop.bind(), jobs.fail.bind()], otherwise=alarm.bind())
    drain()
    result = Job.objects.get(pk=batch.otherwise_id).result
    assert result == {"title": "Some fail", "failed": ["ValueError: no such luck"]}


def test_a_job_finds_the_batch_to_which_it_belongs(own_types):  # noqa: F811
    @job(name="test.member")
    def member(context: JobContext) -> str | None:
        return context.batch and context.batch.title

    Batch.objects.enqueue("Mine", [member.bind()])
    assert drain()[0].result == "Mine"
    assert run_job(member).result is None


def test_a_callback_says_for_which_batch_it_waits():
    batch = Batch.objects.enqueue("Some fail", [jobs.fail.bind()], then=jobs.noop.bind())
    [reason] = Job.objects.get(pk=batch.then_id).why_waiting()
    assert (reason.kind, reason.batch) == (Why.BATCH, batch.pk)
    assert str(reason) == "It waits until all jobs of the batch “Some fail” have ended."
    drain()
    [reason] = Job.objects.get(pk=batch.then_id).why_waiting()
    assert str(reason) == (
        "It waits until all jobs of the batch “Some fail” are done, and some have failed."
        " It starts once they have been retried and are done."
    )


def test_keys_that_a_collation_takes_for_the_same_are_different(own_types):  # noqa: F811
    @job(name="test.alike")
    def alike(context: JobContext) -> None:
        for key in ("mails", "Mails", "mäils"):
            context.spawn([jobs.noop_again.bind(number=1)], key=key)

    assert run_job(alike).status == "done"
    assert [batch.jobs.count() for batch in Batch.objects.all()] == [1, 1, 1]


def test_a_long_title_of_a_job_is_cut(own_types):  # noqa: F811
    @job(name="test.long", title="S" * 300)
    def long(context: JobContext) -> None:
        context.spawn([jobs.noop_again.bind(number=1)])

    assert run_job(long).status == "done"
    assert Batch.objects.get().title == "S" * 200


def test_a_job_at_the_end_of_a_batch_finds_the_batch_if_it_is_run_again(own_types):  # noqa: F811
    @job(name="test.report")
    def report(context: JobContext) -> str:
        return context.batch.title if context.batch else ""

    Batch.objects.enqueue("Mails", [jobs.noop_again.bind(number=1)], then=report.bind())
    drain()
    again = Job.objects.get(name="test.report").rerun()
    assert run_job(again).result == "Mails"
    assert run_job(again.rerun()).result == "Mails"
    assert run_job(report).result == ""
