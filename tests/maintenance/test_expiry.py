"""Runs of a schedule that must start within a time: withdrawn if they have not, and nothing else is."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest

from qorworker import Every, Plan, Schedule
from qorworker import job as qorworker_job
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.writer import End, Writer
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidSchedule
from qorworker.maintenance import expiry
from qorworker.maintenance.expiry import Expiry, expire
from qorworker.maintenance.scheduler import Scheduler
from qorworker.models import AuditEntry, Job, ScheduleSlot, database_now
from qorworker.models.clock import aware
from qorworker.models.sql import claim
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import somebody_else, wanted
from tests.testapp import jobs

pytestmark = pytest.mark.django_db


@pytest.fixture
def fired(clock):
    """A schedule whose job is waiting since a moment, and that job."""
    schedule = Schedule.objects.create_for(jobs.noop, Every(hours=1), name="hourly", expires=600)
    clock.forward(hours=1)
    Scheduler("default").look()
    return schedule, Job.objects.get()


def taken(job, **fields):
    """The attempt of a worker that has claimed the job."""
    Job.objects.filter(pk=job.pk).update(**fields)
    return RunningAttempt(claim("default", wanted(names=[job.name]))[0], "default")


def test_a_run_that_did_not_start_in_time_is_cancelled_and_says_why(clock, fired):
    _schedule, job = fired
    clock.forward(minutes=9, seconds=59)
    assert expire("default") == 0
    clock.forward(seconds=2)
    assert (expire("default"), expire("default")) == (1, 0)
    job.refresh_from_db()
    assert job.status == "cancelled"
    entry = AuditEntry.objects.of_job(job.pk).get()
    assert (entry.action, entry.origin) == ("cancel", "worker")
    assert entry.details == {"reason": "It did not start in the time that the schedule “hourly” gives it."}


def test_a_run_that_is_moved_to_a_later_time_while_it_is_being_cancelled_is_left_alone(clock, fired, monkeypatch):
    def move_first(self, ids):
        Job.objects.get().reschedule(aware(database_now("default")) + timedelta(days=1))
        return unlocked(self, ids)

    unlocked = Expiry._unlocked
    monkeypatch.setattr(Expiry, "_unlocked", move_first)
    clock.forward(minutes=11)
    assert expire("default") == 0
    assert Job.objects.get().status == "scheduled"


def test_the_next_run_comes_all_the_same(clock, fired):
    clock.forward(minutes=30)
    expire("default")
    clock.forward(minutes=30)
    Scheduler("default").look()
    assert sorted(Job.objects.values_list("status", flat=True)) == ["cancelled", "new"]


def test_what_runs_is_left_alone(clock, fired):
    taken(fired[1])
    clock.forward(hours=5)
    assert expire("default") == 0


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("failed", "scheduled"), ("interrupted", "new"), ("suspended", "new"), ("lost", "scheduled")],
)
def test_what_has_started_once_is_left_alone(clock, fired, outcome, status):
    writer, attempt = Writer("default", None, "worker"), taken(fired[1], max_attempts=2)
    writer.end(End(attempt, attempt.end(outcome, ""), outcome))
    writer.flush(())
    assert Job.objects.get().status == status
    clock.forward(hours=5)
    assert expire("default") == 0


def test_what_was_taken_and_handed_back_before_it_started_is_cancelled(clock, fired):
    writer = Writer("default", None, "worker")
    writer.hand_back(taken(fired[1]))
    writer.flush(())
    clock.forward(hours=5)
    assert expire("default") == 1


def test_what_somebody_started_by_hand_waits_on(clock, fired):
    schedule, job = fired
    by_hand = schedule.run_now()
    clock.forward(minutes=11)
    assert expire("default") == 1
    assert set(Job.objects.queued()) == {by_hand}
    assert Job.objects.get(status="cancelled") == job


def test_without_such_a_time_it_waits_however_long(clock, fired):
    fired[0].change(expires=0)
    clock.forward(days=400)
    assert expire("default") == 0


@pytest.mark.usefixtures("own_types")
@pytest.mark.parametrize("asks_for_approval", [False, True])
def test_where_nothing_expires_it_takes_a_question_or_two(clock, fired, django_assert_num_queries, asks_for_approval):
    fired[0].change(expires=0)
    for job_type in registry.all():
        if job_type.approval is not None:
            del registry._types[job_type.name]
    if asks_for_approval:
        qorworker_job(name="test.approved", approval="testapp.change_shop")(lambda: None)
    with django_assert_num_queries(1 + asks_for_approval):
        expire("default")


def test_many_are_cancelled_together(clock, fired, django_assert_max_num_queries):
    schedule, job = fired
    many = jobs.noop.using(schedule=schedule).enqueue_many([{}] * 50)
    Job.objects.update(run_after=job.run_after)
    clock.forward(minutes=11)
    for number, each in enumerate(many):
        ScheduleSlot.objects.create(
            schedule=schedule, revision=1, slot=str(number), job=each, planned_at=job.run_after,
            fired_at=job.run_after, outcome="fired",
        )  # fmt: skip
    with django_assert_max_num_queries(14):
        assert expire("default") == 51
    assert Job.objects.cancelled().count() == AuditEntry.objects.filter(action="cancel").count() == 51


def test_a_round_of_limited_length_goes_on_where_the_last_one_ended(clock, fired, monkeypatch):
    for number in range(2):
        Schedule.objects.create_for(jobs.noop, Every(hours=1), name=f"hourly {number}", expires=600)
    first, second, third = Schedule.objects.order_by("pk")
    ticks = count()
    monkeypatch.setattr(expiry, "monotonic", lambda: next(ticks))
    rounds = Expiry("default")
    clock.forward(minutes=11)
    assert (rounds.run(2), rounds.last) == (1, second.pk)
    assert (rounds.run(2), rounds.last) == (0, 0)
    assert (rounds.run(0), rounds.last) == (0, first.pk)


@pytest.mark.parametrize("value", [-1, 1.5, "60", True, 10**9])
def test_a_time_that_cannot_be_is_refused_where_it_stands(value):
    with pytest.raises(InvalidSchedule, match="expires"):
        Plan(Every(hours=1), expires=value)


@pytest.mark.only_on("postgresql", "mysql")
@pytest.mark.django_db(transaction=True)
def test_a_job_that_somebody_else_has_locked_holds_up_no_other(transactional_db, clock):
    for name in ("first", "second"):
        Schedule.objects.create_for(jobs.noop, Every(hours=1), name=name, expires=600)
    clock.forward(hours=1)
    Scheduler("default").fire_all()
    clock.forward(hours=1)
    held, other = Job.objects.order_by("schedule_id")
    with somebody_else() as cursor:
        cursor.execute("SELECT id FROM qorworker_job WHERE id = %s FOR UPDATE", [held.pk])
        assert expire("default") == 1
        other.refresh_from_db()
        assert other.status == "cancelled"
    assert expire("default") == 1
