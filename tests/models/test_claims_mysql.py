"""MariaDB and MySQL: after a walk with locks that took long, the rows are found without locks, then locked by key."""

import pytest
from django.db import connection

from qorworker.models.sql import Stretch, claim
from qorworker.models.sql import claims_mysql as module
from tests.models.rows import claim_ids, columns, make_job, somebody_else, wanted

pytestmark = [pytest.mark.only_on("mysql"), pytest.mark.django_db]


@pytest.fixture
def clock(monkeypatch):
    """``clock.step`` is what each walk takes."""

    class Clock:
        now, step = 1_000.0, 0.0

        def __call__(self):
            self.now += self.step
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    monkeypatch.setattr(module, "_resting", {})
    monkeypatch.setattr(module, "_empty", {})
    monkeypatch.setattr(module, "SLOW_ANSWER", 0.005)  # as it is, see tests/conftest.py
    return clock


@pytest.fixture
def by_key(monkeypatch):
    monkeypatch.setattr(module, "_resting", {connection.connection: float("inf")})


def locking(action):
    """The statements with which an action locks rows."""
    found = []

    def note(execute, sql, *more):
        found.append(sql)
        return execute(sql, *more)

    with connection.execute_wrapper(note):
        action()
    return [sql for sql in found if "FOR UPDATE" in sql]


@pytest.fixture
def range_above():
    """The priorities above 0, of which no job was seen."""
    return wanted(slots=2, limit=2, stretches={"default": [Stretch(2**31 - 1, 1), Stretch(0, 0)]})


def walks_with_locks():
    [lock] = locking(lambda: claim("default", wanted(slots=1, limit=1)))
    return "qorworker_job_claim" in lock


def test_a_quick_walk_locks_what_it_finds(clock):
    for _ in range(2):
        make_job()
        assert walks_with_locks()


def test_after_a_slow_one_the_next_walks_have_no_locks_for_twenty_times_as_long(clock):
    jobs = [make_job() for _ in range(4)]
    clock.step = 0.1
    assert walks_with_locks()
    clock.step = 0.0
    clock.now += 1.9
    assert not walks_with_locks()
    clock.now += 0.2
    assert walks_with_locks()
    assert [columns(job)["status"] for job in jobs] == ["running"] * 3 + ["new"]


def test_a_walk_that_brings_much_may_take_longer(clock):
    for _ in range(100):
        make_job()
    clock.step = 0.02
    assert len(claim_ids(slots=100, limit=100)) == 100
    make_job()
    assert walks_with_locks()


@pytest.mark.django_db(transaction=True)
def test_it_goes_on_behind_rows_that_others_have_locked(by_key):
    jobs = [make_job(priority=priority) for priority in (0, 0, 5, 0, -5, 5)]
    with somebody_else() as cursor:
        for job in (jobs[2], jobs[0]):
            cursor.execute("SELECT id FROM qorworker_job WHERE id = %s FOR UPDATE", [job.pk])
        assert claim_ids(slots=3, limit=3) == [jobs[number].pk for number in (5, 1, 3)]
        assert claim_ids(slots=3, limit=3) == [jobs[4].pk]
    assert claim_ids(slots=3, limit=3) == [jobs[2].pk, jobs[0].pk]


@pytest.mark.parametrize(
    "fields", [{"queue_name": "mail"}, {"queue_name": "Default"}, {"name": "app.other"}, {"limit_key": "app.job/"}]
)
def test_a_job_that_was_changed_before_it_was_locked_is_not_taken(by_key, monkeypatch, fields):
    job, changed = make_job(), make_job(**fields)
    monkeypatch.setattr(module, "_walk", lambda *args, **more: [(job.pk, 0), (changed.pk, 0)])
    assert claim_ids(slots=3, limit=3) == [job.pk]


def test_a_range_that_took_long_to_be_found_empty_is_left_out_for_twenty_times_as_long(clock, range_above):
    clock.step = 0.1
    assert claim("default", range_above) == []
    clock.step = 0.0
    above, other = make_job(priority=7), make_job()
    clock.now += 1.9
    assert [job.id for job in claim("default", range_above)] == [other.pk]
    clock.now += 0.2
    assert [job.id for job in claim("default", range_above)] == [above.pk]


def test_a_range_that_was_quickly_found_empty_is_asked_by_the_next_claim(clock, range_above):
    assert claim("default", range_above) == []
    above = make_job(priority=7)
    assert [job.id for job in claim("default", range_above)] == [above.pk]
