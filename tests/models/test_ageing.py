"""Jobs that wait rise: how far, which, and what that costs."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from qorworker.models import Job, database_now
from qorworker.models.ageing import HIGHEST, OLDEST, Ageing
from tests.models.rows import claim_ids, make_job, somebody_else
from tests.testapp import jobs

ONE = {"default": 1.0}  # point a minute


def waiting_for(minutes, **fields):
    return make_job(run_after=database_now("default") - timedelta(minutes=minutes, seconds=1), **fields)


def raised(rates=ONE, seconds=60.0):
    return Ageing().raise_waiting(Job.objects.all(), rates, seconds)


def priorities(*jobs):
    return [Job.objects.values_list("priority", "base_priority").get(pk=job.pk) for job in jobs]


@pytest.mark.django_db
class TestTheRise:
    def test_a_job_gains_points_for_each_minute_that_it_waits(self):
        new, old, older = waiting_for(0), waiting_for(3), waiting_for(10, priority=-20)
        assert sorted(raised()) == sorted([("default", 3, old.pk), ("default", -10, older.pk)])
        assert priorities(new, old, older) == [(0, None), (3, 0), (-10, -20)]

    def test_it_goes_on_from_the_priority_that_it_had_first(self):
        job = waiting_for(3)
        raised()
        assert raised() == []
        Job.objects.filter(pk=job.pk).update(run_after=database_now("default") - timedelta(minutes=7, seconds=1))
        assert raised() == [("default", 7, job.pk)]
        assert priorities(job) == [(7, 0)]

    def test_it_ends_at_the_highest_priority(self):
        job = waiting_for(1000, priority=90)
        raised()
        assert priorities(job) == [(HIGHEST, 90)]
        assert raised() == []

    @pytest.mark.parametrize("status", ["scheduled", "running", "done"])
    def test_only_jobs_that_can_start_rise(self, status):
        waiting_for(60, status=status)
        assert raised() == []

    def test_other_queues_stay_as_they_are(self):
        waiting_for(60, queue_name="mail")
        assert raised() == []
        assert [queue for queue, *_ in raised({"mail": 0.5, **ONE})] == ["mail"]

    def test_jobs_with_limits_rise_in_their_own_lines(self):
        waiting = [waiting_for(5, limit_key=key, priority=priority) for key in ("", "a", "b") for priority in (0, 10)]
        assert len(raised()) == 6
        assert [priority for priority, _ in priorities(*waiting)] == [5, 15] * 3

    def test_the_oldest_of_each_line_rise_first(self):
        waiting = [waiting_for(5) for _ in range(OLDEST + 1)]
        assert {pk for *_, pk in raised()} == {job.pk for job in waiting[:OLDEST]}
        assert raised() == [("default", 5, waiting[OLDEST].pk)]

    def test_a_round_ends_after_its_time(self):
        waiting_for(5)
        assert raised(seconds=-1) == []

    def test_a_retry_keeps_what_the_job_has_reached_and_a_new_run_does_not(self):
        job = waiting_for(30, name=jobs.noop.name)
        raised()
        Job.objects.filter(pk=job.pk).update(status="exception", finished_at=database_now("default"))
        job.refresh_from_db()
        job.retry()
        assert raised() == []
        assert priorities(job, job.rerun()) == [(30, 0), (0, None)]

    def test_one_that_is_started_early_rises_from_then_on(self):
        job = make_job("scheduled", run_after=database_now("default") + timedelta(hours=1))
        job.run_now()
        assert raised() == []
        Job.objects.filter(pk=job.pk).update(run_after=database_now("default") - timedelta(minutes=2, seconds=1))
        assert raised() == [("default", 2, job.pk)]

    def test_the_next_round_goes_on_where_that_one_has_ended(self, monkeypatch):
        keys = [("default", key) for key in "abc"] + [("mail", key) for key in "ab"]
        for queue, key in keys:
            waiting_for(60, queue_name=queue, limit_key=key)
        ageing, found = Ageing(), []
        for _round in range(7):
            looks = iter([0.0, 0.0, 2.0])  # the end of the round, its first line, and its second one, which is too late
            monkeypatch.setattr("qorworker.models.ageing.monotonic", lambda looks=looks: next(looks, 2.0))
            found += ageing.raise_waiting(Job.objects.all(), {"mail": 1.0, **ONE}, 1.0)
        risen = {(job.queue_name, job.limit_key) for job in Job.objects.filter(base_priority=0)}
        assert risen == set(keys)
        assert len(found) == len(keys)

    def test_a_line_that_is_gone_ends_no_round(self):
        ageing = Ageing()
        job = waiting_for(60, limit_key="b")
        ageing.place = "default", ("a", 7)
        assert ageing.raise_waiting(Job.objects.all(), ONE, 60.0) == [("default", 60, job.pk)]
        assert ageing.place is None

    def test_a_job_with_a_low_priority_is_not_passed_for_ever(self):
        low, claimed = waiting_for(0, priority=0), []
        for minute in range(60):  # each brings one more job with a higher priority, and a place for one
            make_job(priority=50)
            Job.objects.filter(pk=low.pk).update(
                run_after=database_now("default") - timedelta(minutes=minute, seconds=1)
            )
            raised({"default": 2.0})
            claimed += claim_ids(slots=1, limit=1)
            if low.pk in claimed:
                break
        assert claimed.index(low.pk) == 25  # at 50 points it is the oldest

    def test_a_job_that_has_risen_is_claimed_before_a_newer_one(self):
        old = waiting_for(30)
        make_job(priority=20)
        raised()
        assert claim_ids(slots=1, limit=1) == [old.pk]

    def test_one_round_takes_a_few_statements_for_each_line_however_many_wait(self):
        for priority in range(3):
            for _ in range(40):
                waiting_for(0, priority=priority)
        with CaptureQueriesContext(connection) as captured:
            raised()
        assert len(captured) <= 3 * 4 + 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.only_on("postgresql", "mysql")
def test_a_row_that_another_session_has_locked_is_left_alone():
    locked, free = waiting_for(5), waiting_for(5)
    with somebody_else() as cursor:
        cursor.execute("SELECT id FROM qorworker_job WHERE id = %s FOR UPDATE", [locked.pk])
        assert raised() == [("default", 5, free.pk)]
