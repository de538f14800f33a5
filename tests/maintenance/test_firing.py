"""Schedules that are due together fire together: as each would alone, and with few statements."""

from __future__ import annotations

import datetime as dt
from unittest import mock

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import OperationalError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qorworker import At, Cron, Every, Schedule, Unique, job
from qorworker.maintenance import firing
from qorworker.maintenance import scheduler as module
from qorworker.maintenance.scheduler import AT_ONCE, Scheduler
from qorworker.models import Job, ScheduleSlot
from qorworker.signals import job_enqueued
from tests.job_types import own_types  # noqa: F401
from tests.maintenance.support import due_together, look, made
from tests.models.rows import make_job

pytestmark = pytest.mark.django_db
STATEMENTS = 0.25  # for each of many schedules; one alone takes a dozen


@pytest.fixture
def due(clock):
    """As many as fire together, and some more."""
    due_together(AT_ONCE + 20, clock.now)


class TestTogether:
    def test_each_makes_one_job_with_its_own_arguments_and_waits_for_its_own_next_time(self, due, clock, scheduler):
        assert scheduler.fire_all() == AT_ONCE + 20
        for schedule in Schedule.objects.all():
            (slot,) = schedule.slots.all()
            number = schedule.arguments["number"]
            assert (slot.outcome, slot.revision, slot.job.schedule, slot.job.arguments) == (
                "fired", 1, schedule, {"number": number},
            )  # fmt: skip
            assert (slot.job.status, slot.job.run_after, slot.planned_at) == ("new", slot.planned_at, schedule.anchor)
            assert schedule.next_slot == schedule.anchor + dt.timedelta(seconds=3600 + number)
        assert scheduler.fire_all() == 0
        assert Job.objects.count() == AT_ONCE + 20

    @pytest.mark.parametrize("overlap", ["skip", "parallel"])
    def test_many_take_a_fraction_of_a_statement_each(self, clock, scheduler, overlap):
        due_together(200, clock.now, overlap=overlap)
        statements = []

        def count(execute, sql, *more):
            statements.append(sql)
            return execute(sql, *more)

        with connection.execute_wrapper(count):
            assert scheduler.fire_all() == 200
        assert len(statements) <= 200 * STATEMENTS

    def test_those_that_may_wait_for_locks_fire_alone(self, due, scheduler, monkeypatch):
        made(At(dt.datetime(2020, 1, 1, tzinfo=dt.UTC)), overlap="abort")
        together, fire = [], module.fire

        def seen(firings, *more):
            together.append([each.schedule.overlap for each in firings])
            return fire(firings, *more)

        monkeypatch.setattr(module, "fire", seen)
        scheduler.fire_all()
        assert ["abort"] in together
        assert all(len(overlaps) == 1 or "abort" not in overlaps for overlaps in together)

    def test_signals_tell_of_every_job(self, due, scheduler, django_capture_on_commit_callbacks):
        told = []

        def note(job, **more):
            told.append(job.pk)

        job_enqueued.connect(note)
        try:
            with django_capture_on_commit_callbacks(execute=True):
                scheduler.fire_all()
        finally:
            job_enqueued.disconnect(note)
        assert sorted(told) == sorted(Job.objects.values_list("pk", flat=True))

    def test_many_missed_runs_are_stored_in_several_transactions(self, clock, scheduler, monkeypatch):
        due_together(5, clock.now, misfire="all", misfire_cap=100, overlap="parallel")
        clock.forward(hours=60)
        together, store = [], firing._store

        def seen(firings, *more):
            together.append(sum(len(each.run) for each in firings))
            store(firings, *more)

        monkeypatch.setattr(firing, "_store", seen)
        scheduler.fire_all()
        assert max(together) < 2 * AT_ONCE
        assert sum(together) == Job.objects.count() > 2 * AT_ONCE

    def test_a_database_that_does_not_tell_the_numbers_of_new_rows_stores_the_same(self, clock, scheduler, monkeypatch):
        """MySQL."""
        monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)
        due_together(3, clock.now)
        first = Schedule.objects.first()
        ScheduleSlot.objects.note(first, first.waits_for, outcome="fired")
        assert scheduler.fire_all() == 3
        assert sorted(job.arguments["number"] for job in Job.objects.all()) == [1, 2]
        assert all(slot.job.schedule_id == slot.schedule_id for slot in ScheduleSlot.objects.exclude(schedule=first))


class TestOneOfThemFails:
    def test_an_unforeseen_error_of_one_takes_no_other_with_it(self, due, scheduler, monkeypatch, caplog):
        job_of = firing._job

        def broken(candidate, *more):
            if candidate.schedule.name == "number 7":
                raise ValueError("unforeseen")
            return job_of(candidate, *more)

        monkeypatch.setattr(firing, "_job", broken)
        begun = module.monotonic()
        assert scheduler.fire_all() == AT_ONCE + 19
        (failed,) = scheduler.failed
        assert Schedule.objects.get(pk=failed).name == "number 7"
        assert scheduler.left_alone[failed] > begun + module.FAULTY
        assert not ScheduleSlot.objects.filter(schedule=failed).exists()
        assert [record.message for record in caplog.records] == ["The schedule “number 7” could not be fired."]
        assert Job.objects.count() == AT_ONCE + 19

    def test_what_failed_fires_alone_until_it_no_longer_fails(self, due, scheduler, monkeypatch):
        together, fire = [], module.fire

        def broken(firings, *more):
            names = [each.schedule.name for each in firings]
            together.append(len(names))
            if "number 7" in names:
                raise ValueError("unforeseen")
            return fire(firings, *more)

        with monkeypatch.context() as patch:
            patch.setattr(module, "fire", broken)
            scheduler.fire_all()
            assert [max(together), sum(number > 1 for number in together)] == [AT_ONCE, 2]
            scheduler.left_alone.clear()
            together.clear()
            scheduler.fire_all()
            assert together == [1]
        scheduler.left_alone.clear()
        assert scheduler.fire_all() == 1
        assert scheduler.failed == set()

    def test_a_fault_of_the_connection_leaves_nothing_and_the_others_fire_next_time(self, due, scheduler):
        def gone(execute, sql, *more):
            if sql.startswith("INSERT INTO qorworker_job"):
                raise OperationalError("the connection is gone")
            return execute(sql, *more)

        with connection.execute_wrapper(gone), pytest.raises(OperationalError):
            scheduler.look()
        assert (Job.objects.count(), ScheduleSlot.objects.count()) == (0, 0)
        assert scheduler.fire_all() == AT_ONCE + 20
        assert scheduler.failed == set()

    def test_a_slot_that_is_on_record_makes_no_job_and_the_others_do(self, due, clock, scheduler):
        first = Schedule.objects.first()
        ScheduleSlot.objects.note(first, first.waits_for, outcome="fired")
        assert scheduler.fire_all() == AT_ONCE + 20
        assert not Job.objects.filter(schedule=first).exists()
        assert Job.objects.count() == AT_ONCE + 19

    def test_arguments_that_no_longer_fit_concern_only_their_own_schedule(self, due, scheduler):
        Schedule.objects.filter(name="number 7").update(arguments={"gone": 1})
        assert scheduler.fire_all() == AT_ONCE + 20
        assert [each.name for each in Schedule.objects.in_need()] == ["number 7"]
        assert Job.objects.count() == AT_ONCE + 19


class TestTime:
    def test_a_look_ends_in_time_and_the_next_one_goes_on(self, due, scheduler, monkeypatch):
        monkeypatch.setattr(module, "SHARE", 0.0)
        moved, wait = scheduler.look()
        assert 0 < moved <= AT_ONCE
        assert wait == 0.0
        assert scheduler.look()[0] > 0

    def test_slow_checks_of_arguments_make_fewer_fire_together(self, due, scheduler, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(module, "SHARE", 0.0)
            patch.setattr(module, "CHECKING", 0.0)
            assert scheduler.look() == (1, 0.0)
            assert scheduler.at_once == 1
        assert scheduler.fire_all() == AT_ONCE + 19


# Whether many fire together or each of them alone, the same rows come of it.

RULES = [
    Every(minutes=7), Every(hours=1), Cron("*/10 * * * *", "UTC"), Cron("30 12 * * *", "Europe/Berlin"),
    At(dt.datetime(2026, 11, 22, 12, 20, tzinfo=dt.UTC)),
]  # fmt: skip
TYPES = ["plain", "returning", "raising", "limited"]
SCHEDULES = st.fixed_dictionaries(
    {
        "when": st.sampled_from(RULES),
        "overlap": st.sampled_from(["skip", "wait", "parallel", "abort"]),
        "misfire": st.sampled_from(["latest", "all", "skip"]),
        "misfire_cap": st.integers(1, 4),
        "jitter": st.sampled_from([0, 0, 600]),
    }
)
STATES = st.fixed_dictionaries(
    {
        "job_type": st.sampled_from(TYPES),
        "earlier": st.sampled_from(["", "", "new", "scheduled", "running", "done", "exception"]),
        "is_on_record": st.booleans(),
        "is_unfit": st.integers(0, 4).map(lambda number: number == 0),
        "of_person": st.booleans(),
    }
)


@pytest.fixture
def types(own_types):  # noqa: F811
    @job(name="test.plain", max_attempts=2)
    def plain(number: int) -> None:
        pass

    @job(name="test.returning", unique=Unique(by="number"))
    def returning(number: int) -> None:
        pass

    @job(name="test.raising", unique=Unique(on_conflict="raise"))
    def raising(number: int) -> None:
        pass

    @job(name="test.limited", max_concurrency=2, concurrency_key="number")
    def limited(number: int) -> None:
        pass

    return dict(zip(TYPES, [plain, returning, raising, limited], strict=True))


@pytest.fixture
def anna(settings):
    settings.QORWORKER = {**settings.QORWORKER, "JOBS_PER_USER": 3}
    anna = get_user_model().objects.create(username="anna", is_staff=True)
    anna.user_permissions.add(Permission.objects.get(codename="run_job"))
    return anna


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedules=st.lists(st.tuples(SCHEDULES, STATES), min_size=2, max_size=7), minutes=st.integers(5, 200))
def test_together_they_leave_the_rows_that_each_leaves_alone(clock, types, anna, schedules, minutes):
    with transaction.atomic():
        clock.show("2026-11-22T12:00:00+00:00")
        for number, (options, state) in enumerate(schedules):
            prepared(f"number {number}", types, anna, options, **state)
        clock.forward(minutes=minutes)
        together, alone = rows_left_by(AT_ONCE), rows_left_by(1)
        transaction.set_rollback(True)
    assert together == alone


def prepared(name, types, anna, options, job_type, earlier, is_on_record, is_unfit, of_person):
    """Make a schedule in a state."""
    by = {"by": anna, "origin": "admin"} if of_person else {}
    schedule = made(job_type=types[job_type], arguments={"number": 1}, name=name, **options, **by)
    if earlier:
        make_job(earlier, schedule=schedule, name=f"test.{job_type}", arguments={"number": 2})
    if is_on_record:
        ScheduleSlot.objects.note(schedule, schedule.waits_for, outcome="fired")
    if is_unfit:
        Schedule.objects.filter(pk=schedule.pk).update(arguments={"gone": 1})


def rows_left_by(at_once):
    """Fire all that is due, so many together, and return what then is in the tables. Nothing of it stays."""
    scheduler = Scheduler("default")
    scheduler.prepared, scheduler.at_once = True, at_once
    with (
        transaction.atomic(),
        mock.patch.object(module, "AT_ONCE", at_once),
        mock.patch.object(module.random, "randrange", return_value=0),
    ):
        look(scheduler)
        rows = all_rows()
        transaction.set_rollback(True)
    return rows


def all_rows():
    """Return all rows of schedules, slots and jobs. A job is known by its schedule and its time, not by its number."""
    stored = Job.objects.order_by("schedule", "run_after", "id").values()
    jobs = [{**values, "unique_place": None, "enqueued_at": None} for values in stored]
    known = {values.pop("id"): (values["schedule_id"], values["run_after"]) for values in jobs}
    slots = [
        {**values, "id": None, "job_id": known.get(values["job_id"])}
        for values in ScheduleSlot.objects.order_by("schedule", "id").values()
    ]
    return list(Schedule.objects.order_by("id").values()), slots, jobs
