"""What the list of schedules asks of the rows, and what that costs the databases while there are many."""

import datetime as dt

import pytest
from django.db import connection
from django.utils import timezone

from qorworker import Every, Schedule
from qorworker.models import Job, ScheduleSlot, database_now
from qorworker.models.clock import now_sql
from qorworker.queries.schedule_list import AT_ONCE, RUNS, last_runs
from tests.models.rows import make_job
from tests.models.test_limit_plans import plans_of, read_by
from tests.models.test_plans import analyze, fill, forget_all, indexes, reads_all
from tests.testapp import jobs

MANY, OTHERS = 50_000, 48
BUSY, RARE = 1_001, 1_002  # numbers of schedules: one with many jobs and times, one with three among many others
ENOUGH = 8_000  # rows, or hundreds of steps: many times what is needed, and a small part of what there is


@pytest.fixture
def schedule(db):
    return Schedule.objects.create_for(jobs.noop, Every(minutes=15))


def ran(schedule, minutes, status="done"):
    at = database_now("default") - dt.timedelta(minutes=minutes)
    return make_job(status, schedule=schedule, enqueued_at=at)


def left_out(schedule, minutes, reason="overlap", outcome="skipped"):
    at = database_now("default") - dt.timedelta(minutes=minutes)
    return ScheduleSlot.objects.create(
        schedule=schedule, revision=1, slot=str(minutes), planned_at=at, fired_at=at, outcome=outcome, reason=reason
    )


def told(schedule, of=None):
    return [run.reason or run.job.pk for run in last_runs([schedule.pk], of or Job.objects.all())[schedule.pk]]


def test_jobs_and_times_left_out_are_told_in_their_order_the_newest_last(schedule):
    first, second = ran(schedule, 60), ran(schedule, 15, "exception")
    left_out(schedule, 30)
    left_out(schedule, 15, reason="", outcome="fired")
    by_hand = ran(schedule, 1)
    assert told(schedule) == [first.pk, "overlap", second.pk, by_hand.pk]


def test_only_the_last_ones_are_told(schedule):
    made = [ran(schedule, 100 - number) for number in range(RUNS + 3)]
    left_out(schedule, 99)
    assert told(schedule) == [job.pk for job in made[3:]]


def test_each_has_its_own_and_those_of_no_schedule_are_nobody_s(schedule):
    other = Schedule.objects.create_for(jobs.noop, Every(minutes=15))
    ran(None, 5)
    mine, theirs = ran(schedule, 5), ran(other, 4)
    assert (told(schedule), told(other)) == ([mine.pk], [theirs.pk])
    assert last_runs([], Job.objects.all()) == {}


def test_jobs_that_are_not_asked_about_are_not_told(schedule):
    mine, theirs = ran(schedule, 5), ran(schedule, 4)
    assert told(schedule, of=Job.objects.exclude(pk=theirs.pk)) == [mine.pk]


def test_times_are_as_fields_of_models_have_them(schedule):
    job = ran(schedule, 5)
    left_out(schedule, 3)
    runs = last_runs([schedule.pk], Job.objects.all())[schedule.pk]
    assert [run.at for run in runs] == [job.enqueued_at, ScheduleSlot.objects.get().planned_at]
    assert [timezone.is_aware(run.at) for run in runs] == [timezone.is_aware(timezone.now())] * 2


def test_two_statements_tell_all_and_many_schedules_take_two_more(schedule, django_assert_num_queries):
    job = ran(schedule, 5)
    asked = [*range(job.schedule_id + 1, job.schedule_id + AT_ONCE), job.schedule_id]
    with django_assert_num_queries(2):
        assert len(last_runs(asked, Job.objects.all())[job.schedule_id]) == 1
    with django_assert_num_queries(3):  # of the one in the second part there are no jobs
        last_runs([*asked, asked[-2] + 9_000], Job.objects.all())


@pytest.fixture(scope="module", params=["cold", "fresh"])
def crowd(request, django_db_setup, django_db_blocker):
    """A schedule with many jobs and times, and one with three that are older than all of those."""
    with django_db_blocker.unblock():
        forget_all()
        ScheduleSlot.objects.all().delete()
        fill("done", 3, schedule_id=str(RARE))
        fill("done", MANY, schedule_id=str(BUSY), finished_at=now_sql(connection))
        fill("done", MANY)
        one = {"schedule_id": BUSY, "revision": 1, "planned_at": database_now("default"), "outcome": "fired"}
        times = (ScheduleSlot(**one, fired_at=one["planned_at"], slot=str(number)) for number in range(MANY))
        ScheduleSlot.objects.bulk_create(times, batch_size=5_000)
        if request.param == "fresh":
            analyze()
        yield
        forget_all()
        ScheduleSlot.objects.all().delete()


@pytest.mark.django_db
@pytest.mark.usefixtures("crowd")
def test_a_page_costs_a_few_rows_of_each_schedule_however_many_there_are():
    asked = [BUSY, RARE, *range(5_000, 5_000 + OTHERS)]

    def action():
        found = last_runs(asked, Job.objects.all())
        assert (len(found[BUSY]), len(found[RARE])) == (RUNS, 3)

    assert read_by(action) < ENOUGH
    plan = plans_of(action)
    assert reads_all(plan) == []
    assert "qorworker_job_schedule" in indexes(plan)
    assert "qorworker_slot_newest" in plan


@pytest.mark.django_db
@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("crowd", ["fresh"], indirect=True)  # without statistics PostgreSQL would rather sort
def test_how_the_last_run_ended_costs_a_few_rows_of_each_schedule():
    for number in (BUSY, RARE):
        made = Schedule.objects.create_for(jobs.noop, Every(minutes=15))
        Schedule.objects.filter(pk=made.pk).update(id=number)

    def action():
        assert list(Schedule.objects.in_need(Job.objects.all())) == []

    assert read_by(action) < ENOUGH


@pytest.mark.django_db
@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("crowd", ["fresh"], indirect=True)  # without statistics PostgreSQL would rather sort
@pytest.mark.parametrize("schedule", [BUSY, RARE])
def test_whether_an_earlier_run_goes_on_costs_a_few_rows(schedule):
    assert read_by(lambda: Job.objects.unfinished_of(schedule)) < ENOUGH


@pytest.mark.django_db
@pytest.mark.usefixtures("crowd")
def test_whether_earlier_runs_of_many_go_on_costs_a_few_rows_of_each():
    one = Schedule.objects.create_for(jobs.noop, Every(minutes=15))
    asked = [BUSY, RARE, *range(5_000, 5_000 + OTHERS)]
    for number in asked:
        one.pk, one.name = number, f"number {number}"
        one.save(force_insert=True)
    assert read_by(lambda: Job.objects.schedules_unfinished(asked)) < ENOUGH
