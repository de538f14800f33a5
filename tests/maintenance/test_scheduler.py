"""What becomes of a schedule whose time has come: by policy, across clock changes, and when others are at it too."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from django import forms
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import InternalError, OperationalError, connection, transaction
from django.utils import timezone
from django.views.debug import ExceptionReporter

from qorworker import At, Cron, Every, Schedule, Secret, Unique, job
from qorworker.maintenance import scheduler as module
from qorworker.maintenance.firing import fire
from qorworker.maintenance.scheduler import FAULTY, LOOK, Scheduler
from qorworker.models import AuditEntry, Job, ScheduleSlot
from qorworker.models.clock import aware, stored
from qorworker.models.sql import schedules as sql
from qorworker.text.masking import MASK
from tests.job_types import own_types  # noqa: F401
from tests.maintenance.support import fire_read, fired, look, made, read
from tests.models.rows import race, somebody_else
from tests.support import empty_tables
from tests.testapp import jobs
from tests.testapp.models import Shop

pytestmark = pytest.mark.django_db


def out_of_order(firings, using, now):
    raise InternalError("the driver lost its place")


def skipped() -> list[tuple[str, str, int]]:
    slots = ScheduleSlot.objects.filter(outcome="skipped").order_by("id")
    return list(slots.values_list("slot", "reason", "missed"))


def end_all(status="done"):
    Job.objects.update(status=status, attempt_token=None)


class TestMoreThanOneReadingTakes:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch):
        monkeypatch.setattr(sql, "LIMIT", 3)

    def test_those_of_unknown_types_are_in_the_way_of_no_others(self, clock, scheduler):
        for number in range(4):
            made(Every(minutes=5), name=f"of code that is gone {number}")
        Schedule.objects.update(job_name="gone")
        made(Every(minutes=15))
        clock.forward(minutes=15)
        assert look(scheduler) == 1
        assert fired() == ["22. 12:15"]

    def test_those_that_wait_for_an_earlier_run_are_in_the_way_of_no_others(self, clock, scheduler):
        waiting = [made(Every(minutes=5), overlap="wait", name=f"waiting {number}") for number in range(4)]
        clock.forward(minutes=5)
        assert look(scheduler) == len(waiting)
        made(Every(minutes=15))
        clock.forward(minutes=15)
        for _ in range(3):
            clock.forward(seconds=1)
            scheduler.look()
        assert fired()[len(waiting) :] == ["22. 12:20"]


class TestInTime:
    def test_each_slot_makes_one_job_that_knows_its_schedule(self, clock, scheduler):
        schedule = made(Every(minutes=15), jobs.noop_again, arguments={"number": 7})
        assert look(scheduler) == 0
        for _ in range(3):
            clock.forward(minutes=15)
            assert look(scheduler) == 1
            assert look(scheduler) == 0
            end_all()
        assert fired() == ["22. 12:15", "22. 12:30", "22. 12:45"]
        assert {(job.schedule, job.arguments["number"], job.created_by) for job in Job.objects.all()} == {
            (schedule, 7, None)
        }
        slots = ScheduleSlot.objects.order_by("id")
        assert [slot.job for slot in slots] == list(Job.objects.order_by("id"))
        assert {(slot.outcome, slot.reason, slot.revision) for slot in slots} == {("fired", "", 1)}

    def test_late_it_fires_for_the_time_that_was_meant(self, clock, scheduler):
        made(Every(minutes=15))
        clock.forward(minutes=18)
        look(scheduler)
        assert fired() == ["22. 12:15"]
        assert aware(Schedule.objects.get().next_slot).minute == 30

    def test_once_is_once(self, clock, scheduler):
        made(At(dt.datetime(2026, 11, 22, 13, tzinfo=dt.UTC)))
        clock.forward(hours=1)
        assert look(scheduler) == 1
        clock.forward(days=400)
        assert look(scheduler) == 0
        assert Schedule.objects.get().next_slot is None

    def test_a_spread_makes_the_job_start_later_than_planned(self, clock, scheduler):
        made(Every(minutes=15), jitter=600, overlap="parallel")
        for _ in range(10):
            clock.forward(minutes=15)
            look(scheduler)
        delays = {
            (aware(slot.job.run_after) - aware(slot.planned_at)).total_seconds() for slot in ScheduleSlot.objects.all()
        }
        assert len(delays) > 5
        assert all(0 <= delay <= 600 for delay in delays)
        assert "scheduled" in set(Job.objects.values_list("status", flat=True))

    def test_the_wait_ends_exactly_when_the_next_is_due(self, clock, scheduler):
        made(Every(minutes=15))
        assert scheduler.look() == (0, LOOK)
        clock.forward(minutes=14, seconds=59.75)
        assert scheduler.look() == (0, 0.25)

    def test_nothing_is_written_when_nothing_is_due(self, clock, scheduler, django_assert_num_queries):
        made(Every(minutes=15))
        with django_assert_num_queries(1):
            scheduler.look()
        assert not ScheduleSlot.objects.exists()

    def test_the_clock_of_the_worker_does_not_matter(self, clock, scheduler, monkeypatch):
        made(Every(minutes=15))
        clock.forward(minutes=15)

        def wrong():
            raise AssertionError("read the clock of this machine")

        monkeypatch.setattr(timezone, "now", wrong)
        look(scheduler)
        assert fired() == ["22. 12:15"]

    def test_secrets_reach_the_handler(self, clock, scheduler):
        made(Every(minutes=15), jobs.secretive, arguments={"password": "opensesame"})
        clock.forward(minutes=15)
        look(scheduler)
        loaded = jobs.secretive.arguments.load(Job.objects.get().arguments)
        assert loaded["password"].get_secret_value() == "opensesame"

    def test_schedules_of_unknown_types_are_left_to_others(self, clock, scheduler):
        schedule = made(Every(minutes=15))
        Schedule.objects.update(job_name="elsewhere.job")
        clock.forward(hours=2)
        assert look(scheduler) == 0
        assert Schedule.objects.get().next_slot == schedule.next_slot


class TestFailures:
    """Each occurrence is a job of its own: attempts are counted for it alone, and its failure stops nothing."""

    def test_a_failed_run_does_not_stop_the_next(self, clock, scheduler):
        made(Every(minutes=15), jobs.fail_twice, arguments={"ledger": "x"})
        for _ in range(10):
            clock.forward(minutes=15)
            look(scheduler)
            end_all("exception")
        assert set(Job.objects.values_list("attempt", "max_attempts")) == {(0, 3)}
        assert Job.objects.count() == 10


class TestClockChanges:
    @pytest.mark.parametrize(
        ("rule", "zone", "begin", "hours", "expected"),
        [
            ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 24, ["29. 01:00"]),
            ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 24, ["25. 00:30"]),
            (
                "*/15 1 * * *", "America/New_York", "2026-10-31T12:00", 24,
                [f"01. 0{hour}:{minute:02}" for hour in (5, 6) for minute in (0, 15, 30, 45)],
            ),
            ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 24, []),
            ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00", 24, ["03. 15:30"]),
            ("30 0 * * *", "America/Santiago", "2026-09-05T12:00", 24, ["06. 04:00"]),
            ("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00", 47, ["29. 22:00", "30. 10:00", "30. 22:00"]),
        ],
    )  # fmt: skip
    def test_each_time_comes_once(self, clock, scheduler, rule, zone, begin, hours, expected):
        clock.show(f"{begin}:00+00:00")
        made(Cron(rule, zone), overlap="parallel")
        for _ in range(hours * 12):
            clock.forward(minutes=5)
            look(scheduler)
        assert fired() == expected

    def test_a_clock_of_the_database_that_goes_back_repeats_nothing(self, clock, scheduler):
        made(Every(minutes=15), overlap="parallel")
        clock.forward(minutes=15)
        look(scheduler)
        clock.forward(hours=-1)
        assert look(scheduler) == 0
        clock.forward(hours=1, minutes=15)
        look(scheduler)
        assert fired() == ["22. 12:15", "22. 12:30"]

    def test_a_clock_of_the_database_that_jumps_ahead_and_back_repeats_nothing(self, clock, scheduler):
        made(Every(minutes=15), overlap="parallel")
        clock.forward(hours=1)
        look(scheduler)
        clock.forward(hours=-1)
        for _ in range(8):
            clock.forward(minutes=15)
            look(scheduler)
        assert fired() == ["22. 13:00", "22. 13:15", "22. 13:30", "22. 13:45", "22. 14:00"]


class TestMissed:
    def down(self, clock, scheduler, **more):
        made(Cron("* * * * *", "UTC"), overlap="parallel", **more)
        clock.forward(hours=3)
        look(scheduler)

    def test_the_latest_runs(self, clock, scheduler):
        self.down(clock, scheduler)
        assert fired() == ["22. 15:00"]
        assert skipped() == [("2026-11-22T12:01:00Z", "missed", 179)]

    def test_all_run_up_to_a_number(self, clock, scheduler):
        self.down(clock, scheduler, misfire="all", misfire_cap=100)
        assert len(fired()) == 100
        assert (fired()[0], fired()[-1]) == ("22. 13:21", "22. 15:00")
        assert skipped() == [("2026-11-22T12:01:00Z", "missed", 80)]
        assert ScheduleSlot.objects.filter(outcome="fired").count() == 100

    def test_those_that_are_made_up_for_do_not_skip_each_other(self, clock, scheduler):
        made(Every(hours=1), misfire="all")
        clock.forward(hours=3)
        look(scheduler)
        assert fired() == ["22. 13:00", "22. 14:00", "22. 15:00"]

    def test_skipped_ones_do_not_run(self, clock, scheduler):
        made(Cron("30 12 * * *", "UTC"), misfire="skip")
        clock.forward(hours=3)
        look(scheduler)
        assert fired() == []
        assert skipped() == [("2026-11-22T12:30", "missed", 1)]
        clock.show("2026-11-23T12:35:00+00:00")
        look(scheduler)
        assert fired() == ["23. 12:30"]

    def test_the_next_time_follows_from_the_last_one(self, clock, scheduler):
        self.down(clock, scheduler)
        assert Schedule.objects.get().next_key == "2026-11-22T15:01:00Z"
        clock.forward(seconds=30)
        assert look(scheduler) == 0


class TestOverlap:
    def test_skip(self, clock, scheduler):
        made(Every(minutes=15))
        for _ in range(3):
            clock.forward(minutes=15)
            look(scheduler)
        assert fired() == ["22. 12:15"]
        assert skipped() == [("2026-11-22T12:30:00Z", "overlap", 0), ("2026-11-22T12:45:00Z", "overlap", 0)]
        end_all()
        clock.forward(minutes=15)
        look(scheduler)
        assert fired()[1:] == ["22. 13:00"]

    @pytest.mark.parametrize("status", ["new", "scheduled", "running"])
    def test_what_has_not_ended_counts(self, clock, scheduler, status):
        made(Every(minutes=15))
        clock.forward(minutes=15)
        look(scheduler)
        Job.objects.update(status=status, attempt_token="x" if status == "running" else None)
        clock.forward(minutes=15)
        look(scheduler)
        assert len(fired()) == 1

    def test_parallel(self, clock, scheduler):
        made(Every(minutes=15), overlap="parallel")
        for _ in range(3):
            clock.forward(minutes=15)
            look(scheduler)
        assert len(fired()) == 3

    def test_wait(self, clock, scheduler):
        made(Every(minutes=15), overlap="wait")
        clock.forward(minutes=15)
        look(scheduler)
        clock.forward(minutes=16)
        assert look(scheduler) == 0
        assert Schedule.objects.get().next_key == "2026-11-22T12:30:00Z"
        end_all()
        look(scheduler)
        assert fired() == ["22. 12:15", "22. 12:30"]

    def test_those_that_wait_run_one_after_the_other(self, clock, scheduler):
        made(Every(minutes=15), overlap="wait", misfire="all", misfire_cap=2)
        clock.forward(hours=1)
        look(scheduler)
        assert fired() == ["22. 12:45"]
        end_all()
        look(scheduler)
        assert fired() == ["22. 12:45", "22. 13:00"]
        assert skipped() == [("2026-11-22T12:15:00Z", "missed", 2)]

    def test_abort(self, clock, scheduler):
        made(Every(minutes=15), overlap="abort")
        clock.forward(minutes=15)
        look(scheduler)
        Job.objects.update(status="running", attempt_token="x")
        clock.forward(minutes=15)
        assert look(scheduler) == 0
        old = Job.objects.get()
        assert old.abort_requested_at is not None
        assert AuditEntry.objects.get(job_id=old.pk, action="abort").details == {
            "reason": "The next run of the schedule “Noop” is due."
        }
        Job.objects.update(status="killed", attempt_token=None)
        look(scheduler)
        assert fired() == ["22. 12:15", "22. 12:30"]

    def test_what_has_not_begun_is_cancelled(self, clock, scheduler):
        made(Every(minutes=15), overlap="abort")
        clock.forward(minutes=15)
        look(scheduler)
        clock.forward(minutes=15)
        look(scheduler)
        assert list(Job.objects.order_by("id").values_list("status", flat=True)) == ["cancelled", "new"]

    def test_a_schedule_that_waits_is_no_hurry_and_holds_up_no_other(self, clock, scheduler):
        made(Every(minutes=15), overlap="wait")
        clock.forward(minutes=15)
        look(scheduler)
        made(Every(minutes=15), name="other")
        clock.forward(minutes=15)
        moved, wait = scheduler.look()
        assert (moved, wait) == (1, 0.0)
        moved, wait = scheduler.look()
        assert moved == 0
        assert 0.5 < wait <= LOOK


@pytest.mark.only_on("postgresql", "mysql")
@pytest.mark.django_db(transaction=True)
def test_a_run_to_be_ended_that_somebody_else_has_locked_is_ended_later(transactional_db, clock, scheduler):
    made(Every(minutes=15), overlap="abort")
    clock.forward(minutes=15)
    scheduler.fire_all()
    clock.forward(minutes=15)
    with somebody_else() as cursor:
        cursor.execute("SELECT id FROM qorworker_job FOR UPDATE", [])
        assert scheduler.fire_all() == 0
    assert list(Job.objects.values_list("status", flat=True)) == ["new"]
    assert look(scheduler) == 1
    assert list(Job.objects.order_by("id").values_list("status", flat=True)) == ["cancelled", "new"]


class TestMoreSchedulesThatWaitThanOneLookReaches:
    """A slow database: each takes longer than the share of a look, and all of them longer than their pause."""

    @pytest.fixture
    def tries(self, clock, monkeypatch):
        for number in range(5):
            made(Every(minutes=15), name=f"waits {number}", overlap="wait")
        clock.forward(minutes=15)
        look(Scheduler("default"))
        clock.forward(minutes=15)
        tries, now = [], [0.0]

        def slow(firings, *more):
            if len(tries) >= 100:
                pytest.fail("It does not come to an end.")
            tries.extend(each.schedule.name for each in firings)
            now[0] += 0.4
            return fire(firings, *more)

        monkeypatch.setattr(module, "fire", slow)
        monkeypatch.setattr(module, "AT_ONCE", 1)
        monkeypatch.setattr(module, "SHARE", 0.2)
        monkeypatch.setattr(module.random, "randrange", lambda number: 0)
        monkeypatch.setattr(module, "monotonic", lambda: now[0])
        return tries

    def test_a_younger_one_gets_its_turn_after_them(self, tries, clock, scheduler):
        made(Every(minutes=15), name="younger")
        clock.forward(minutes=16)
        while not scheduler.look()[0]:
            assert len(tries) < 10
        assert (sorted(set(tries[:-1])), tries[5:]) == ([f"waits {number}" for number in range(5)], ["younger"])

    def test_firing_all_that_is_due_comes_to_an_end(self, tries, scheduler):
        assert scheduler.fire_all() == 0
        assert len(tries) == 5


class TestArgumentsThatNoLongerFit:
    @pytest.fixture
    def unfit(self, clock):
        made(Every(minutes=15), jobs.noop_again, arguments={"number": 7})
        Schedule.objects.update(arguments={"number": 7, "gone": 1}, fingerprint="old")
        clock.forward(minutes=15)

    def test_nothing_runs_and_somebody_is_told(self, unfit, clock, scheduler):
        assert look(scheduler) == 1
        schedule = Schedule.objects.get()
        assert "gone" in schedule.needs_attention
        assert list(Schedule.objects.in_need()) == [schedule]
        assert skipped() == [("2026-11-22T12:15:00Z", "unfit", 0)]
        assert schedule.next_key == "2026-11-22T12:30:00Z"
        assert fired() == []

    def test_when_they_fit_again_it_goes_on(self, unfit, clock, scheduler):
        look(scheduler)
        Schedule.objects.update(arguments={"number": 7})
        clock.forward(minutes=15)
        look(scheduler)
        assert fired() == ["22. 12:30"]
        assert Schedule.objects.get().needs_attention == ""

    def test_a_form_that_fails_in_a_way_of_its_own_is_told_too(self, clock, scheduler, monkeypatch):
        made(Every(minutes=15))
        clock.forward(minutes=15)
        monkeypatch.setattr(type(jobs.noop.arguments), "load", lambda self, stored: 1 / 0)
        look(scheduler)
        assert Schedule.objects.get().needs_attention == "ZeroDivisionError: division by zero"

    def test_an_error_that_quotes_a_secret_is_told_without_it(self, clock, scheduler, monkeypatch, caplog):
        def refuse(instance, value):
            raise ValueError(f"{value!r} is no key")

        class KeyForm(forms.ModelForm):
            class Meta:
                model, fields, widgets = Shop, ["name"], {"name": forms.PasswordInput}

        @job(name="signs_in", form=KeyForm)
        def signs_in(arguments) -> None:
            """Gets the form as an unsaved row."""

        made(Every(minutes=15), signs_in, arguments={"name": "opensesame"})
        clock.forward(minutes=15)
        monkeypatch.setattr(Shop._meta.get_field("name"), "save_form_data", refuse)
        look(scheduler)
        assert Schedule.objects.get().needs_attention == f"ValueError: '{MASK}' is no key"
        assert "could not be checked" in caplog.text
        assert "opensesame" not in caplog.text

    def test_the_report_of_a_rule_that_fails_does_not_have_a_secret(self, own_types, clock, scheduler, caplog):  # noqa: F811
        def key(arguments):
            return 1 / 0

        @job(name="counts_by_key", max_concurrency=1, concurrency_key=key)
        def counts_by_key(password: Secret[str]) -> None:
            """Has a limit for each key."""

        made(Every(minutes=15), counts_by_key, arguments={"password": "opensesame"})
        clock.forward(minutes=15)
        look(scheduler)
        (record,) = (each for each in caplog.records if each.exc_info)
        frames = ExceptionReporter(None, *record.exc_info).get_traceback_frames()
        assert "could not be fired" in record.getMessage()
        assert "opensesame" not in str([frame["vars"] for frame in frames])

    def test_a_queue_that_is_gone(self, clock, scheduler, settings):
        made(Every(minutes=15))
        clock.forward(minutes=15)
        queues = {"other": settings.QORWORKER["QUEUES"]["other"]}
        settings.QORWORKER = {**settings.QORWORKER, "QUEUES": queues}
        look(scheduler)
        assert Schedule.objects.get().needs_attention == "The queue “default” no longer exists."


class TestRightsOfWhoMadeIt:
    @pytest.fixture
    def anna(self):
        anna = get_user_model().objects.create(username="anna", is_staff=True)
        anna.user_permissions.add(Permission.objects.get(codename="run_job"))
        return anna

    def attention(self, clock, scheduler) -> str:
        clock.forward(minutes=15)
        look(scheduler)
        return Schedule.objects.get().needs_attention

    def test_while_they_may_run_it_it_runs(self, clock, scheduler, anna):
        made(Every(minutes=15), by=anna, origin="admin")
        assert (self.attention(clock, scheduler), len(fired())) == ("", 1)

    def test_when_they_may_not_any_more_it_stops_until_somebody_saves_it(self, clock, scheduler, anna):
        schedule = made(Every(minutes=15), by=anna, origin="admin")
        anna.user_permissions.clear()
        sentence = "anna, who last changed it, may not run this job. A user who is allowed to has to save it again."
        assert (self.attention(clock, scheduler), fired()) == (sentence, [])
        boss = get_user_model().objects.create(username="boss", is_superuser=True)
        schedule.change(by=boss, origin="admin")
        assert (self.attention(clock, scheduler), len(fired())) == ("", 1)

    def test_without_an_account_too(self, clock, scheduler, anna):
        made(Every(minutes=15), by=anna, origin="admin")
        anna.delete()
        assert self.attention(clock, scheduler).startswith("The user who last changed it no longer has an account.")
        assert (fired(), Schedule.objects.get().created_by) == ([], None)

    def test_what_code_has_made_asks_for_nobodys_rights(self, clock, scheduler, anna):
        made(Every(minutes=15), by=anna)
        anna.user_permissions.clear()
        assert (self.attention(clock, scheduler), len(fired())) == ("", 1)

    def test_its_jobs_count_against_the_limit_of_the_user(self, clock, scheduler, anna, settings):
        settings.QORWORKER = {**settings.QORWORKER, "JOBS_PER_USER": 2}
        made(Every(minutes=15), by=anna, origin="admin", overlap="parallel")
        for _ in range(4):
            assert self.attention(clock, scheduler) == ""
        assert len(fired()) == 2
        assert [reason for _moment, reason, _missed in skipped()] == ["limit", "limit"]
        Job.objects.all().cancel()
        assert (self.attention(clock, scheduler), len(fired())) == ("", 3)

    def test_the_limit_of_users_does_not_hold_what_code_has_made(self, clock, scheduler, anna, settings):
        settings.QORWORKER = {**settings.QORWORKER, "JOBS_PER_USER": 1}
        made(Every(minutes=15), by=anna, overlap="parallel")
        for _ in range(3):
            self.attention(clock, scheduler)
        assert len(fired()) == 3

    def test_a_user_without_an_account_has_no_limit_where_rights_are_not_checked_again(
        self, clock, scheduler, anna, settings
    ):
        settings.QORWORKER = {**settings.QORWORKER, "JOBS_PER_USER": 1, "RECHECK_PERMISSIONS": "never"}
        made(Every(minutes=15), by=anna, origin="admin", overlap="parallel")
        anna.delete()
        for number in (1, 2):
            assert (self.attention(clock, scheduler), len(fired())) == ("", number)

    @pytest.mark.parametrize("may_see", [True, False])
    def test_it_replaces_the_arguments_of_a_job_only_if_the_user_may_see_that(
        self,
        clock,
        scheduler,
        anna,
        settings,
        may_see,
        own_types,  # noqa: F811
    ):
        settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
        codenames = ["view_job", "view_all_jobs"] if may_see else ["view_job"]
        anna.user_permissions.add(*Permission.objects.filter(codename__in=codenames))

        @job(name="test.replacing", unique=Unique(by="name", among="waiting", on_conflict="replace"))
        def replacing(name: str, text: str) -> None:
            pass

        boss = get_user_model().objects.create(username="boss")
        hidden = replacing.using(user=boss).enqueue(name="x", text="of the boss")
        made(Every(minutes=15), replacing, arguments={"name": "x", "text": "mine"}, by=anna, origin="admin")
        self.attention(clock, scheduler)
        hidden.refresh_from_db()
        assert hidden.arguments["text"] == ("mine" if may_see else "of the boss")
        assert [reason for _moment, reason, _missed in skipped()] == ["unique"]

    def test_a_project_may_do_without(self, clock, scheduler, anna, settings):
        settings.QORWORKER = {**settings.QORWORKER, "RECHECK_PERMISSIONS": "never"}
        made(Every(minutes=15), by=anna, origin="admin")
        anna.user_permissions.clear()
        assert (self.attention(clock, scheduler), len(fired())) == ("", 1)


class TestFaults:
    def test_one_schedule_with_a_fault_holds_up_no_other(self, clock, scheduler, monkeypatch):
        made(Every(minutes=15), name="a")
        made(Every(minutes=15), name="b")
        clock.forward(minutes=15)

        def broken(firings, *more):
            if any(each.schedule.name == "a" for each in firings):
                raise ValueError("unforeseen")
            return fire(firings, *more)

        monkeypatch.setattr(module, "fire", broken)
        assert scheduler.look()[0] == 1
        moved, wait = scheduler.look()
        assert (moved, wait) == (0, LOOK)
        assert max(scheduler.left_alone.values()) > module.monotonic() + FAULTY - 10

    def test_a_fault_of_the_database_is_passed_on(self, clock, scheduler, monkeypatch):
        made(Every(minutes=15))
        clock.forward(minutes=15)

        def gone(*args):
            raise OperationalError("gone")

        monkeypatch.setattr(module, "database_now", gone)
        with pytest.raises(OperationalError):
            scheduler.look()
        assert scheduler.left_alone == {}

    def test_an_internal_error_of_the_driver_leaves_a_schedule_alone_for_a_moment(self, clock, scheduler, monkeypatch):
        schedule = made(Every(minutes=15))
        clock.forward(minutes=15)
        with monkeypatch.context() as patch:
            patch.setattr(module, "fire", out_of_order)
            with pytest.raises(InternalError):
                scheduler.look()
        assert scheduler.left_alone[schedule.pk] <= module.monotonic() + LOOK
        scheduler.left_alone.clear()  # the moment is over
        assert scheduler.look()[0] == 1
        assert scheduler.doubted == set()

    def test_an_internal_error_that_comes_again_is_the_schedules_own(self, clock, scheduler, monkeypatch):
        schedule = made(Every(minutes=15))
        clock.forward(minutes=15)
        monkeypatch.setattr(module, "fire", out_of_order)
        with pytest.raises(InternalError):
            scheduler.look()
        scheduler.left_alone.clear()
        assert scheduler.look()[0] == 0
        assert scheduler.left_alone[schedule.pk] > module.monotonic() + FAULTY - 10

    def test_whatever_statement_fails_it_is_all_or_nothing(self, clock, scheduler):
        made(Every(minutes=15), misfire="all")
        clock.forward(minutes=30)
        for number in range(1, 40):
            try:
                with connection.execute_wrapper(_fails(number)):
                    scheduler.look()
            except OperationalError:
                scheduler.left_alone.clear()
                assert (Job.objects.count(), ScheduleSlot.objects.count()) == (0, 0)
                assert Schedule.objects.get().next_key == "2026-11-22T12:15:00Z"
            else:
                break
        assert number > 5
        assert fired() == ["22. 12:15", "22. 12:30"]


def _fails(number):
    remaining = [number]

    def execute(call, sql, params, many, context):
        if not sql.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
            remaining[0] -= 1
            if not remaining[0]:
                raise OperationalError("the connection is gone")
        return call(sql, params, many, context)

    return execute


class TestAtItsInstant:
    """Somebody changes a schedule between the moment in which a worker reads it and that in which it fires."""

    @pytest.fixture
    def seen(self, clock):
        made(Every(minutes=15), overlap="parallel")
        clock.forward(minutes=15)
        return read(Schedule.objects.get())

    def test_paused(self, seen):
        Schedule.objects.get().pause()
        assert fire_read(seen) is None
        assert fired() == []

    def test_deleted(self, seen):
        Schedule.objects.get().remove()
        assert fire_read(seen) is None
        assert fired() == []

    def test_changed_the_new_rule_runs(self, seen, clock, scheduler):
        Schedule.objects.get().change(when=Cron("20 * * * *", "UTC"))
        assert fire_read(seen) is None
        clock.forward(minutes=5)
        look(scheduler)
        assert fired() == ["22. 12:20"]

    def test_changed_in_other_ways_it_runs_once(self, seen, scheduler):
        Schedule.objects.get().change(jitter=0, name="other")
        assert fire_read(seen) is None
        look(scheduler)
        assert fired() == ["22. 12:15"]

    def test_skipped(self, seen, scheduler):
        Schedule.objects.get().skip_next()
        assert fire_read(seen) is None
        assert look(scheduler) == 0

    def test_fired_by_another(self, seen):
        assert fire_read(read(Schedule.objects.get())) is True
        assert fire_read(seen) is None
        assert fired() == ["22. 12:15"]

    def test_a_slot_that_is_on_record_makes_no_second_job(self, seen, clock, scheduler):
        """As after new rules for a zone, or a clock that jumped."""
        assert fire_read(seen) is True
        Schedule.objects.update(next_slot=seen.schedule.next_slot, next_key=seen.schedule.next_key)
        assert look(scheduler) == 1
        assert fired() == ["22. 12:15"]
        assert Schedule.objects.get().next_key == "2026-11-22T12:30:00Z"


@pytest.fixture
def open_to_all(transactional_db):
    yield
    empty_tables()


class TestManyAtOnce:
    def test_of_ten_schedulers_one_fires(self, open_to_all):
        made(At(dt.datetime(2020, 1, 1, tzinfo=dt.UTC)))

        def contender():
            for _ in range(20):
                Scheduler("default").look()
            return True

        assert race(*[contender] * 10) == [True] * 10
        assert (Job.objects.count(), ScheduleSlot.objects.count()) == (1, 1)


class TestPauses:
    def test_a_pause_with_an_end_ends(self, clock, scheduler):
        schedule = made(Every(minutes=15))
        schedule.pause(until=stored(clock.now + dt.timedelta(minutes=40)), reason="x")
        for _ in range(3):
            clock.forward(minutes=15)
            look(scheduler)
        assert fired() == ["22. 12:45"]
        schedule.refresh_from_db()
        assert (schedule.paused_at, schedule.paused_until, schedule.paused_reason) == (None, None, "")

    def test_the_time_at_which_a_pause_ends_counts(self, clock, scheduler):
        made(Every(minutes=15)).pause(until=stored(clock.now + dt.timedelta(minutes=30)))
        clock.forward(minutes=30)
        look(scheduler)
        assert fired() == ["22. 12:30"]


class TestUnique:
    @pytest.fixture
    def only(self, own_types):  # noqa: F811
        def declare(**rule):
            @job(name="only", unique=Unique(**rule))
            def only() -> None:
                pass

            return only

        return declare

    @pytest.mark.parametrize("on_conflict", ["return", "raise"])
    def test_a_time_that_finds_its_like_is_left_out_and_the_next_is_not(self, clock, scheduler, only, on_conflict):
        only = only(on_conflict=on_conflict)
        schedule = made(Every(minutes=15), only)
        first = only.enqueue()
        clock.forward(minutes=15)
        look(scheduler)
        slot = ScheduleSlot.objects.get()
        assert (slot.outcome, slot.reason, slot.job) == ("skipped", "unique", first)
        first.cancel()
        clock.forward(minutes=15)
        look(scheduler)
        schedule.refresh_from_db()
        assert Job.objects.queued().get().schedule == schedule
        assert schedule.needs_attention == ""

    def test_a_rule_that_fails_is_told_and_makes_no_job(self, clock, scheduler, only):
        schedule = made(Every(minutes=15), only(by=lambda arguments: 1 / 0))
        clock.forward(minutes=15)
        look(scheduler)
        schedule.refresh_from_db()
        assert "ZeroDivisionError" in schedule.needs_attention
        assert not Job.objects.exists()

    @pytest.mark.only_on("postgresql", "mysql")
    @pytest.mark.django_db(transaction=True)
    def test_the_worker_does_not_wait_for_a_transaction_that_stays_open(self, clock, scheduler, only):
        only = only()
        made(Every(minutes=15), only)
        clock.forward(minutes=15)
        begun, over = threading.Event(), threading.Event()

        def holds():
            with transaction.atomic():
                only.enqueue()
                begun.set()
                assert over.wait(60)
                transaction.set_rollback(True)

        def looks():
            assert begun.wait(60)
            try:
                return look(scheduler)
            finally:
                over.set()

        assert race(holds, looks) == [None, 0]
        assert not ScheduleSlot.objects.exists()
        assert look(scheduler) == 1
        assert Job.objects.count() == 1
