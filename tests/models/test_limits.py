"""Jobs of limited types: how many are claimed, from which key, and what holds the others."""

import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import pytest
from django.db import connection

from qorworker.actions.pruning import prune_limits
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.writer import Writer
from qorworker.definitions.limits import Limits, Rate, prefix_of
from qorworker.definitions.registry import job, registry
from qorworker.models import Job, Limit, LimitStart, database_now, held_by
from qorworker.models.sql import claim_limited, claim_one
from qorworker.models.sql import limits as sql
from qorworker.models.sql.places import places
from tests.models.rows import claim_ids, columns, leaving, make_job, race, somebody_else, token, wanted, written
from tests.support import wait_until

numbers = count()


@pytest.fixture
def limited():
    """Makes a job type with these options; it is forgotten after the test."""
    made = []

    def make(**chosen):
        @job(name=f"limited.job{next(numbers)}", **chosen)
        def handler(shop: int = 0) -> None:
            """Does nothing."""

        made.append(handler.name)
        return handler

    yield make
    for name in made:
        registry.unregister(name)


def make_limited(name="app.job", key="", status="new", **fields):
    return make_job(status, name=name, limit_key=prefix_of(name) + key, **fields)


def taken(limits, behind=None, locked=(), **changes):
    """What one look for jobs of the type app.job with these limits comes to."""
    order, by_prefix = wanted(**changes), {prefix_of("app.job"): limits}
    return claim_limited("default", order, by_prefix, behind or dict.fromkeys(order.queues, ""), locked)


def ids(found):
    return [each.id for each in found.claimed]


ONE, TWO = Limits(1), Limits(2)


@pytest.mark.django_db
class TestConcurrency:
    def test_jobs_that_are_left_to_others_are_not_claimed(self):
        left, other = make_limited(), make_limited()
        assert ids(taken(TWO, but=[left.pk])) == [other.pk]
        assert ids(taken(TWO, but=[left.pk])) == []
        assert columns(left)["status"] == "new"

    def test_jobs_of_a_newer_version_are_left_to_code_that_has_it(self):
        newer = make_limited(version=2)
        assert ids(taken(TWO)) == []
        assert claim_one("default", newer.pk, wanted()) is None
        assert columns(newer)["status"] == "new"
        assert ids(taken(TWO, versions=["2 app.job"])) == [newer.pk]

    @pytest.mark.only_on("postgresql", "mysql")  # SQLite has no locks of rows, and takes no job behind one that is left
    def test_a_newer_version_does_not_hold_up_the_jobs_behind_it(self):
        make_limited(version=2, priority=5)
        mine = make_limited()
        assert ids(taken(TWO)) == [mine.pk]

    def test_as_many_as_there_are_places_are_taken_the_best_first(self):
        low, high, old, _ = (make_limited(priority=priority) for priority in (-1, 5, 0, 0))
        assert ids(taken(TWO)) == [high.pk, old.pk]
        assert ids(taken(TWO)) == []
        assert columns(low)["status"] == "new"

    def test_no_more_than_the_free_slots_are_taken(self):
        jobs = [make_limited() for _ in range(3)]
        assert ids(taken(Limits(5), slots=2)) == [job.pk for job in jobs[:2]]

    def test_after_half_a_second_the_other_keys_are_left_to_the_next_look(self, monkeypatch):
        many = [make_limited(key=str(number)) for number in range(5)]
        clock, take = [0.0], sql.take

        def slow_take(*given, **more):
            clock[0] += 0.3
            return take(*given, **more)

        monkeypatch.setattr(sql, "monotonic", lambda: clock[0])
        monkeypatch.setattr(sql, "take", slow_take)
        found = [taken(ONE, slots=5) for _ in range(4)]
        assert list(map(ids, found)) == [[job.pk for job in some] for some in (many[:2], many[2:4], many[4:], [])]
        assert found[0].wait <= sql.BUSY

    def test_a_key_that_takes_longer_than_that_is_claimed_from_all_the_same(self, monkeypatch):
        job = make_limited()
        ticks = count()
        monkeypatch.setattr(sql, "monotonic", lambda: next(ticks))
        assert ids(taken(ONE)) == [job.pk]

    def test_each_key_has_places_of_its_own(self):
        first, _, third = (make_limited(key=key) for key in ("berlin", "berlin", "paris"))
        assert ids(taken(ONE)) == [first.pk, third.pk]

    @pytest.mark.parametrize("status", ["done", "exception", "killed", "new", "scheduled"])
    def test_the_end_of_an_attempt_frees_its_place_however_it_ends(self, status):
        make_limited()
        (claimed,) = taken(ONE).claimed
        waiting = make_limited(priority=9)
        assert ids(taken(ONE)) == []
        assert written(leaving(Job.objects.get(pk=claimed.id), status)) == {claimed.id}
        assert ids(taken(ONE)) == [waiting.pk]

    def test_a_running_job_of_a_dead_worker_keeps_its_place(self):
        make_limited(status="running", lease_expires_at=database_now("default") - timedelta(days=1))
        make_limited()
        assert ids(taken(ONE)) == []

    def test_jobs_of_other_types_and_keys_take_no_place(self):
        make_job("running")
        make_limited("other.job", status="running")
        make_limited(key="paris", status="running")
        mine = make_limited(key="berlin")
        assert ids(taken(ONE)) == [mine.pk]

    def test_queues_whose_names_differ_in_case_are_two(self):
        make_limited(queue_name="Mail", priority=9)
        for _ in range(2):
            make_job("new", queue_name="Mail", priority=9)
        mine = [make_limited(queue_name="mail") for _ in range(2)]
        assert ids(taken(TWO, queues=["mail"], slots=2)) == [job.pk for job in mine]

    def test_a_key_counts_over_all_queues(self):
        first, second = make_limited(queue_name="mail"), make_limited(queue_name="default")
        assert ids(taken(ONE, queues=["default", "mail"])) == [first.pk]
        assert ids(taken(ONE, queues=["default"])) == []
        assert columns(second)["status"] == "new"

    def test_the_claim_of_others_does_not_see_limited_jobs(self):
        make_limited(priority=9)
        unlimited = make_job()
        assert claim_ids() == [unlimited.pk]

    def test_types_that_may_not_be_taken_are_left_alone(self):
        make_limited("other.job")
        assert ids(taken(ONE)) == []

    def test_without_a_limit_any_longer_all_are_taken(self):
        jobs = [make_limited() for _ in range(3)]
        assert ids(taken(Limits())) == [job.pk for job in jobs]

    def test_what_comes_first_among_all_jobs_is_taken_and_the_rest_left_to_the_next(self):
        unlimited, behind = make_job(priority=5), make_limited(key="paris")
        first = make_limited(key="berlin", priority=6)
        found = taken(ONE, slots=2)
        assert ids(found) == [first.pk]
        assert found.wait == sql.BUSY
        assert claim_ids(slots=1, limit=1) == [unlimited.pk]
        assert columns(behind)["status"] == "new"

    def test_without_a_free_slot_it_says_whether_one_waits_that_comes_first(self):
        make_job()
        assert not taken(ONE, slots=0, limit=1).crowded
        make_limited(priority=1)
        found = taken(ONE, slots=0, limit=1)
        assert found.crowded
        assert ids(found) == []

    def test_the_worker_gets_what_it_needs(self):
        job = make_limited(key="berlin", arguments={"a": 1})
        order = wanted()
        (claimed,) = claim_limited("default", order, {prefix_of("app.job"): ONE}, {"default": ""}).claimed
        job.refresh_from_db()
        assert (claimed.id, claimed.attempt, claimed.token) == (job.pk, 1, order.token)
        assert claimed.limit_key == job.limit_key == "app.job/berlin"
        assert (job.status, job.attempt_token, job.worker_id) == ("running", order.token, 7)

    def test_a_queue_in_which_none_waits_is_told(self):
        make_limited(queue_name="mail")
        assert taken(ONE, {"default": "", "mail": ""}, queues=["default", "mail"]).empty == {"default"}


@pytest.mark.django_db
class TestManyKeys:
    def test_behind_the_keys_of_one_look_the_next_goes_on(self, monkeypatch):
        monkeypatch.setattr(sql, "KEYS", 3)
        for number in range(5):
            make_limited(key=f"k{number}", status="running")
            make_limited(key=f"k{number}")
        free = make_limited(key="k4-free")
        first = taken(ONE)
        assert (ids(first), first.behind, first.able) == ([], {"default": "app.job/k2"}, False)
        second = taken(ONE, first.behind)
        assert ids(second) == [free.pk] or ids(taken(ONE, second.behind)) == [free.pk]

    @pytest.mark.only_on("mysql")
    def test_keys_that_take_too_long_to_find_are_left_to_the_next_look(self, monkeypatch):
        """Each takes a round trip to the server."""
        job, *others = (make_limited(key=str(number)) for number in range(3))
        ticks = count(step=sql.FINDING)
        monkeypatch.setattr(sql, "monotonic", lambda: next(ticks))
        found = taken(ONE)
        assert ids(found) == [job.pk]
        assert found.behind == {"default": job.limit_key}
        assert ids(taken(ONE, found.behind)) == [others[0].pk]

    @pytest.mark.parametrize("limits", [ONE, Limits(None, Rate(1, 60.0)), Limits(2, Rate(2, 60.0))])
    def test_places_of_many_keys_take_two_statements(self, limits, django_assert_max_num_queries):
        keys = {make_limited(key=str(number)).limit_key: limits for number in range(30)}
        with django_assert_max_num_queries(2):
            found = places("default", keys)
        assert {each.free for each in found.values()} == {limits.max_concurrency or 1}
        assert found.keys() == keys.keys()

    def test_jobs_to_hand_over_that_take_too_long_to_find_are_left_to_the_next_look(self, monkeypatch):
        many = [make_limited(key=str(number)) for number in range(3)]
        ticks = count()
        monkeypatch.setattr(sql, "SHARE", 0.5)
        monkeypatch.setattr(sql, "FINDING", 1e9)
        monkeypatch.setattr(sql, "monotonic", lambda: next(ticks))
        found, after = [], ""
        for _ in range(4):
            some, after = sql.could_start("default", "default", {prefix_of("app.job"): TWO}, after)
            found.append(some)
        assert found == [*([job.pk] for job in many), []]

    def test_a_full_key_does_not_hide_the_others(self):
        make_limited(key="full", status="running")
        for _ in range(50):
            make_limited(key="full", priority=100)
        other = make_limited(key="other", priority=-100)
        assert ids(taken(ONE, slots=1)) == [other.pk]


@pytest.mark.django_db
class TestRates:
    def test_no_more_start_in_a_period_than_the_rate_allows(self):
        jobs = [make_limited() for _ in range(5)]
        rate = Limits(rate=Rate(3, 60))
        found = taken(rate)
        assert ids(found) == [job.pk for job in jobs[:3]]
        again = taken(rate)
        assert ids(again) == []
        assert 50 < again.wait <= 60

    def test_starts_out_of_the_period_count_no_more(self):
        [make_limited() for _ in range(4)]
        rate = Limits(rate=Rate(2, 60))
        taken(rate)
        LimitStart.objects.update(started_at=database_now("default") - timedelta(seconds=61))
        assert len(ids(taken(rate))) == 2
        assert LimitStart.objects.count() == 2  # what counts no more is forgotten

    def test_it_waits_for_the_oldest_start_that_counts(self):
        [make_limited() for _ in range(3)]
        rate = Limits(rate=Rate(2, 60))
        taken(rate, slots=1)
        LimitStart.objects.update(started_at=database_now("default") - timedelta(seconds=40))
        taken(rate, slots=1)
        assert 15 < taken(rate, slots=1).wait <= 20

    def test_another_attempt_is_another_start(self):
        make_limited()
        rate = Limits(rate=Rate(1, 60))
        (claimed,) = taken(rate).claimed
        written(leaving(Job.objects.get(pk=claimed.id), "new"))
        assert ids(taken(rate)) == []

    def test_an_attempt_that_is_handed_back_before_it_began_is_no_start(self, limited):
        name = limited(rate_limit=(3, timedelta(hours=1))).name
        many = [make_limited(name) for _ in range(4)]
        started = []
        for each in many[:3]:
            started.append(claim_one("default", each.pk, wanted()))
            last = LimitStart.objects.latest("pk").started_at
            wait_until(lambda last=last: database_now("default") > last)  # starts at the same moment are all alike
        before = list(LimitStart.objects.order_by("pk").values_list("pk", flat=True))
        assert claim_one("default", many[3].pk, wanted()) is None
        writer = Writer("default", 1, "host:1")
        writer.hand_back(RunningAttempt(started[1], "default"))
        writer.flush(())
        assert list(LimitStart.objects.order_by("pk").values_list("pk", flat=True)) == [before[0], before[2]]
        assert claim_one("default", many[3].pk, wanted()).id == many[3].pk

    def test_an_attempt_that_was_taken_away_gives_no_start_back(self, limited):
        job = make_limited(limited(rate_limit=(1, timedelta(hours=1))).name)
        claimed = claim_one("default", job.pk, wanted())
        Job.objects.filter(pk=job.pk).update(attempt_token=token())
        writer = Writer("default", 1, "host:1")
        writer.hand_back(RunningAttempt(claimed, "default"))
        writer.flush(())
        assert LimitStart.objects.count() == 1

    def test_both_limits_count(self):
        [make_limited() for _ in range(5)]
        assert len(ids(taken(Limits(2, Rate(1, 60))))) == 1
        LimitStart.objects.all().delete()
        assert len(ids(taken(Limits(2, Rate(9, 60))))) == 1

    def test_a_rate_counts_for_each_key(self):
        keys = [make_limited(key=key).pk for key in ("a", "b", "a")]
        assert ids(taken(Limits(rate=Rate(1, 60)))) == keys[:2]


@pytest.mark.django_db
class TestOneCertainJob:
    def test_it_is_taken_while_there_is_a_place_and_else_stays_as_it_is(self, limited):
        name = limited(max_concurrency=1).name
        first, second = make_limited(name), make_limited(name, status="scheduled")
        assert claim_one("default", first.pk, wanted()).limit_key == first.limit_key
        before = columns(second)
        assert claim_one("default", second.pk, wanted()) is None
        assert columns(second) == before
        first.refresh_from_db()
        written(leaving(first, "done"))
        assert claim_one("default", second.pk, wanted()).id == second.pk

    def test_before_its_time_it_is_taken_only_if_asked(self, limited):
        scheduled = make_limited(limited(max_concurrency=1).name, status="scheduled")
        assert claim_one("default", scheduled.pk, wanted(), early=False) is None
        assert claim_one("default", scheduled.pk, wanted()) is not None


@pytest.mark.django_db
class TestWhatHoldsAJob:
    def test_a_concurrency_names_the_jobs_that_hold_the_places(self, limited):
        name = limited(max_concurrency=2).name
        holding = [make_limited(name, key="%42erlin", status="running") for _ in range(2)]
        make_limited(name, key="paris", status="running")
        hold = held_by(make_limited(name, key="%42erlin"))
        assert (hold.kind, hold.key, hold.max_concurrency, hold.running) == ("concurrency", "Berlin", 2, holding)

    def test_a_rate_names_the_time_of_the_next_start(self, limited):
        job_type = limited(rate_limit="1/m")
        first, waiting = make_limited(job_type.name), make_limited(job_type.name)
        assert held_by(waiting) is None
        assert claim_one("default", first.pk, wanted())
        hold = held_by(waiting)
        assert (hold.kind, hold.key, str(hold.rate)) == ("rate", "", "1/m")
        left = (hold.until - database_now("default")).total_seconds()
        assert 50 < left <= 60

    def test_nothing_holds_what_can_start_or_does_not_wait(self, limited):
        name = limited(max_concurrency=1).name
        assert held_by(make_limited(name)) is None
        running = make_limited(name, status="running")
        assert [held_by(job) for job in (running, make_job(), make_limited(name, status="done"))] == [None] * 3

    def test_a_type_that_is_not_known_here_holds_nothing(self):
        make_limited("gone.job", status="running")
        assert held_by(make_limited("gone.job")) is None


@pytest.mark.django_db
def test_what_counts_no_more_is_forgotten():
    make_limited()
    taken(Limits(rate=Rate(1, 60)))
    assert prune_limits("default") == 0
    LimitStart.objects.update(started_at=database_now("default") - timedelta(days=3))
    Limit.objects.update(used_at=database_now("default") - timedelta(days=3))
    assert prune_limits("default", dry_run=True) == prune_limits("default") == 2
    assert not Limit.objects.exists()


@pytest.mark.django_db(transaction=True)
class TestManyAskAtOnce:
    def test_threads_together_never_take_more_than_there_are_places(self):
        for number in range(60):
            make_limited(key=f"k{number % 3}")
        done = []

        def worker():
            idle = 0
            while idle < 20:
                found = ids(taken(TWO, slots=3))
                idle = 0 if found else idle + 1
                for pk in found:
                    running = Counter(Job.objects.running().values_list("limit_key", flat=True))
                    assert max(running.values()) <= 2
                    written(leaving(Job.objects.get(pk=pk), "done"))
                    done.append(pk)

        outcomes = race(*[worker] * 4)
        assert outcomes == [None] * 4
        assert len(done) == len(set(done)) == 60

    def test_processes_together_keep_to_a_rate(self):
        [make_limited() for _ in range(30)]
        program = (
            "import django; django.setup()\n"
            "from qorworker.definitions.limits import Limits, Rate\n"
            "from tests.models.test_limits import taken, ids\n"
            "print('ready', flush=True); input()\n"
            "for _ in range(10): print(*ids(taken(Limits(rate=Rate(7, 600)), slots=2)), flush=True)\n"
        )
        environment = os.environ | {"QORWORKER_TEST_RUNNING_DATABASE": str(connection.settings_dict["NAME"])}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        workers = [subprocess.Popen([sys.executable, "-c", program], env=environment, **pipes) for _ in range(3)]
        assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 3
        found = [worker.communicate("go\n", timeout=60)[0].split() for worker in workers]
        assert [worker.returncode for worker in workers] == [0] * 3
        assert len([pk for mine in found for pk in mine]) == 7 == LimitStart.objects.count()

    @pytest.mark.only_on("postgresql", "mysql")
    def test_who_was_stopped_while_claiming_holds_up_nobody_else(self):
        stuck, free = make_limited(key="stuck", priority=9), make_limited(key="free")
        Limit.objects.create(limit_key=stuck.limit_key, used_at=database_now("default"))
        with somebody_else() as cursor:
            cursor.execute("SELECT 1 FROM qorworker_limit WHERE limit_key = %s FOR UPDATE", [stuck.limit_key])
            found = taken(ONE)
            assert ids(found) == [free.pk]
            assert found.wait == sql.BUSY
        assert ids(taken(ONE)) == [stuck.pk]

    @pytest.mark.only_on("postgresql", "mysql")
    def test_with_one_free_slot_what_comes_behind_a_locked_key_is_claimed(self):
        stuck, free = make_limited(key="stuck", priority=9), make_limited(key="free")
        with locked_keys(stuck):
            assert ids(taken(ONE, slots=1)) == [free.pk]
        assert ids(taken(ONE, slots=1)) == [stuck.pk]

    @pytest.mark.only_on("postgresql", "mysql")
    def test_a_job_whose_row_is_locked_holds_up_no_other_key(self):
        stuck, free = make_limited(key="stuck", priority=9), make_limited(key="free")
        with somebody_else() as cursor:
            cursor.execute("SELECT 1 FROM qorworker_job WHERE id = %s FOR UPDATE", [stuck.pk])
            assert ids(taken(ONE, slots=1)) == [free.pk]

    @pytest.mark.only_on("postgresql", "mysql")
    def test_a_job_whose_row_is_locked_holds_up_no_other_of_its_key(self):
        stuck, left, free = make_limited(priority=9), make_limited(), make_limited()
        with somebody_else() as cursor:
            cursor.execute("SELECT 1 FROM qorworker_job WHERE id = %s FOR UPDATE", [stuck.pk])
            assert ids(taken(ONE, slots=1, but=[left.pk])) == [free.pk]
            assert ids(taken(ONE, slots=1)) == []  # that is all that may run at once

    @pytest.mark.only_on("postgresql", "mysql")
    def test_however_slow_the_database_is_locked_keys_hold_up_no_other(self, monkeypatch):
        """Each claim takes so long that a look tries one key."""
        stuck = [make_limited(key=str(number), priority=9) for number in range(3)]
        free = make_limited(key="free")
        clock, take = [0.0], sql.take

        def slow_take(*given, **more):
            clock[0] += 1.0
            return take(*given, **more)

        monkeypatch.setattr(sql, "monotonic", lambda: clock[0])
        monkeypatch.setattr(sql, "take", slow_take)
        with locked_keys(*stuck):
            found, locked = [], set()
            while len(found) < 5 and not any(found):
                look = taken(ONE, slots=1, locked=locked)
                found, locked = [*found, ids(look)], look.locked
        assert found == [[], [], [], [free.pk]]
        assert not locked, "The locked ones have a better priority, and must have another chance."

    @pytest.mark.only_on("postgresql", "mysql")
    def test_locked_keys_are_tried_again_at_once_where_no_other_can_start(self):
        stuck = make_limited(key="stuck")
        with locked_keys(stuck):
            look = taken(ONE)
        assert (ids(look), look.locked) == ([], {stuck.limit_key})
        assert ids(taken(ONE, locked=look.locked)) == [stuck.pk]


@contextmanager
def locked_keys(*jobs):
    """Another process claims from the keys of these jobs, and was stopped while it did."""
    for each in jobs:
        Limit.objects.create(limit_key=each.limit_key, used_at=database_now("default"))
    with somebody_else() as cursor:
        for each in jobs:
            cursor.execute("SELECT 1 FROM qorworker_limit WHERE limit_key = %s FOR UPDATE", [each.limit_key])
        yield
