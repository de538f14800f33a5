"""Jobs that run one after another."""

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model

from qorworker import chain
from qorworker.exceptions import InvalidArguments
from qorworker.models import Dependency, Job
from qorworker.testing.running import drain
from tests.models.rows import make_job
from tests.testapp import jobs

pytestmark = pytest.mark.django_db


def bound(*numbers):
    return [jobs.adds_up.bind(number=number) for number in numbers]


def statuses(made):
    return [Job.objects.get(pk=job.pk).status for job in made]


def test_each_job_waits_for_the_one_before():
    first, second, third = chain(*bound(1, 2, 3)).enqueue()
    assert [job.status for job in (first, second, third)] == ["new", "scheduled", "scheduled"]
    assert [list(job.parents) for job in (first, second, third)] == [[], [first], [second]]


def test_each_finds_what_the_one_before_has_returned():
    made = chain(*bound(1, 2, 3)).enqueue()
    drain()
    assert [Job.objects.get(pk=job.pk).result for job in made] == [1, 3, 6]


def test_a_failure_cancels_those_behind_it():
    made = chain(jobs.fail.bind(), *bound(1, 2)).enqueue()
    drain()
    assert statuses(made) == ["exception", "cancelled", "cancelled"]


def test_with_run_those_behind_a_failure_run():
    made = chain(jobs.fail.bind(), jobs.noop.bind(), jobs.noop.bind(), after_failure="run").enqueue()
    drain()
    assert statuses(made) == ["exception", "done", "done"]


def test_a_call_with_a_policy_of_its_own_keeps_it():
    made = chain(jobs.fail.bind(), jobs.noop.using(after_failure="run").bind(), after_failure="wait").enqueue()
    drain()
    assert statuses(made) == ["exception", "done"]


def test_a_call_that_waits_for_other_jobs_waits_for_these_too():
    other = make_job()
    first, second = chain(jobs.noop.bind(), jobs.noop.using(after=other).bind()).enqueue()
    assert list(second.parents) == sorted([other, first], key=lambda job: job.pk)


def test_it_is_enqueued_for_a_user():
    user = get_user_model().objects.create_user("ada")
    assert {job.created_by for job in chain(*bound(1, 2)).enqueue(by=user)} == {user}


def test_it_can_be_enqueued_again():
    flow = chain(*bound(1, 2))
    flow.enqueue()
    flow.enqueue()
    assert Dependency.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_coroutines_enqueue_it():
    made = async_to_sync(chain(*bound(1, 2)).aenqueue)()
    assert [job.status for job in made] == ["new", "scheduled"]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_stored_if_one_call_cannot_be(monkeypatch):
    def refuse(self, cleaned):
        raise InvalidArguments("app.job", {"number": ["No."]})

    flow = chain(jobs.noop.bind(), *bound(1))
    monkeypatch.setattr(type(jobs.adds_up), "enqueue_cleaned", refuse)
    with pytest.raises(InvalidArguments):
        flow.enqueue()
    assert not Job.objects.exists()


def test_an_empty_chain_is_refused():
    with pytest.raises(ValueError, match="at least one call"):
        chain()


@pytest.mark.parametrize("wrong", [jobs.noop, None, "job"])
def test_what_is_no_call_is_refused_by_its_place(wrong):
    with pytest.raises(TypeError, match="part 2 must be a call"):
        chain(jobs.noop.bind(), wrong)


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match=r"chain\(after_failure='stop'\): must be one of"):
        chain(jobs.noop.bind(), after_failure="stop")
