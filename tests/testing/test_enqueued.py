"""Assertions about enqueued jobs: what fits, what does not, and what a failure says."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import transaction
from django.test import TestCase

from qorworker import Secret, job
from qorworker.models import database_now
from qorworker.testing import JobTestMixin, assert_enqueued, capture_jobs, refute_enqueued
from tests.job_types import own_types  # noqa: F401
from tests.testapp import jobs
from tests.testapp.models import Shop

pytestmark = pytest.mark.django_db
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def pay(own_types):  # noqa: F811
    @job(name="test.pay")
    def pay(shop: Shop, amount: Decimal, password: Secret[str] = "") -> None:
        pass

    return pay


@pytest.fixture
def berlin():
    return Shop.objects.create(name="Berlin")


def test_captured_are_the_jobs_of_the_block_in_order():
    jobs.noop.enqueue()
    with capture_jobs() as captured:
        first = jobs.noop_again.enqueue(number=1)
        with transaction.atomic():
            jobs.noop.enqueue()
            transaction.set_rollback(True)
        second = jobs.noop.using(run_after=HOUR).enqueue()
    assert captured == [first, second]


def test_captured_are_the_jobs_also_if_the_block_fails():
    captured = []

    def fails():
        nonlocal captured
        with capture_jobs() as captured:
            jobs.noop.enqueue()
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert len(captured) == 1


def test_a_job_is_found_by_those_of_its_arguments_that_matter(pay, berlin):
    made = pay.enqueue(shop=berlin, amount="2.50", password="open sesame")
    for arguments in (None, {"amount": "2.50"}, {"amount": Decimal("2.5")}, {"shop": berlin}, {"shop": berlin.pk}):
        assert assert_enqueued(pay, arguments) == [made]
    assert assert_enqueued(pay, {"password": "open sesame", "amount": 2.5}) == [made]
    for arguments in ({"amount": 3}, {"shop": berlin.pk + 1}, {"password": "guessed"}, {"amount": "much"}):
        refute_enqueued(pay, arguments)
        with pytest.raises(AssertionError):
            assert_enqueued(pay, arguments)


def test_a_job_is_found_by_time_queue_and_priority(pay, berlin):
    when = database_now("default") + 2 * HOUR
    soon = pay.using(run_after=HOUR, queue_name="mail").enqueue(shop=berlin, amount=1)
    later = pay.using(run_after=when, priority=7).enqueue(shop=berlin, amount=1)
    assert assert_enqueued(pay, run_after=HOUR) == [soon]
    assert assert_enqueued(pay, run_after=later.run_after) == [later]
    assert assert_enqueued(pay, queue_name="mail") == assert_enqueued(pay, priority=0) == [soon]
    assert assert_enqueued(pay, priority=7) == [later]
    assert assert_enqueued(pay, count=2) == [soon, later]
    refute_enqueued(pay, run_after=3 * HOUR)
    refute_enqueued(pay, queue_name="mail", priority=7)


def test_a_failure_says_what_there_is_instead_and_no_secret(pay, berlin):
    pay.using(run_after=HOUR, queue_name="mail", priority=7).enqueue(shop=berlin, amount=1, password="open sesame")
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(pay, {"amount": 2}, queue_name="mail")
    first, line = str(caught.value).splitlines()
    assert first == "No job of test.pay with arguments={'amount': 2}, queue_name='mail' was enqueued. There are:"
    assert "test.pay(" in line
    assert "is scheduled in queue mail, priority 7, for 2" in line
    assert "open sesame" not in str(caught.value)


def test_a_failure_without_any_job_says_so(pay):
    with pytest.raises(AssertionError, match=r"^No job of test\.pay was enqueued\. There are no jobs at all\.$"):
        assert_enqueued(pay)


def test_a_wrong_number_is_told(pay, berlin):
    pay.enqueue(shop=berlin, amount=1)
    with pytest.raises(AssertionError, match=r"^1 and not 2 jobs of test\.pay were enqueued\."):
        assert_enqueued(pay, count=2)
    with pytest.raises(AssertionError, match=r"^1 and not 0 jobs"):
        assert_enqueued(pay, count=0)
    assert assert_enqueued(jobs.noop, count=0) == []


def test_what_should_not_be_there_is_named(pay, berlin):
    made = pay.enqueue(shop=berlin, amount=1)
    with pytest.raises(
        AssertionError, match=rf"No job of test\.pay should have been enqueued\. There are:\n  #{made.pk} "
    ):
        refute_enqueued(pay)


def test_an_argument_that_the_type_does_not_have_is_a_mistake_of_the_test(pay):
    for ask in (assert_enqueued, refute_enqueued):
        with pytest.raises(ValueError, match=r"test\.pay has no argument price"):
            ask(pay, {"price": 1})


class TestTheMixin(JobTestMixin, TestCase):
    def test_it_has_every_helper(self):
        with self.captureJobs() as captured:
            jobs.noop_again.enqueue(number=1)
        assert self.assertEnqueued(jobs.noop_again, {"number": 1}) == captured
        self.assertNotEnqueued(jobs.noop_again, {"number": 2})
        assert [run.status for run in self.drainJobs()] == ["done"]
        assert self.runJob(jobs.noop).status == "done"
        with self.immediateJobs():
            job = jobs.noop.enqueue()
        assert job.status == "done"
