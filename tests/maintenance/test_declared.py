"""What the code declares, and what becomes of it in the table when workers start."""

from __future__ import annotations

import zoneinfo
from pathlib import Path

import pytest
from django import forms
from django.db import OperationalError
from django.views.debug import ExceptionReporter

from qorworker import Cron, Every, Plan, Schedule, Secret, job
from qorworker.definitions.registry import registry
from qorworker.maintenance.declared import follow_zones, sync_declared
from qorworker.maintenance.scheduler import Scheduler
from qorworker.models import AuditEntry
from qorworker.models.clock import aware
from qorworker.models.schedule_queries import ScheduleQuerySet
from tests.job_types import own_types  # noqa: F401
from tests.maintenance.support import fired, look, made
from tests.models.rows import race
from tests.support import empty_tables

pytestmark = pytest.mark.django_db


def declare(*plans, number=1):
    @job(name="declared", schedule=list(plans))
    def declared(number: int = number) -> None:
        """Does nothing."""

    sync_declared("default")


@pytest.fixture(autouse=True)
def types(own_types, clock):  # noqa: F811
    pass


def only() -> Schedule:
    return Schedule.objects.get()


def test_it_is_there_after_the_start_of_a_worker():
    declare(Plan(Cron("30 6 * * *", "Europe/Berlin"), arguments={"number": 5}, jitter=3))
    schedule = only()
    assert (schedule.name, schedule.job_name, schedule.arguments) == ("declared", "declared", {"number": 5})
    assert (schedule.declared_in_code, schedule.next_key, schedule.jitter) == (True, "2026-11-23T06:30", 3)


def test_the_next_worker_changes_nothing(django_assert_num_queries):
    declare(Every(minutes=15))
    before = Schedule.objects.values().get()
    with django_assert_num_queries(1):
        sync_declared("default")
    assert Schedule.objects.values().get() == before


def test_code_from_before_leaves_what_newer_code_has_declared():
    declare(Every(minutes=15))
    Schedule.objects.update(version=2)
    before = Schedule.objects.values().get()
    registry.unregister("declared")
    declare(Every(minutes=30))
    assert Schedule.objects.values().get() == before


def test_a_change_of_the_code_is_a_new_revision(clock):
    declare(Every(minutes=15))
    clock.forward(minutes=1)
    declare(Plan(Every(minutes=15), arguments={"number": 2}))
    assert (only().revision, only().arguments) == (2, {"number": 2})
    assert only().next_key == "2026-11-22T12:15:00Z"
    declare(Every(minutes=10))
    assert (only().revision, only().next_key) == (3, "2026-11-22T12:11:00Z")


@pytest.fixture
def deleted_meanwhile(monkeypatch):
    """A person deletes all schedules when a worker has read them."""
    declared = ScheduleQuerySet.declared

    def read_and_delete(rows):
        monkeypatch.setattr(ScheduleQuerySet, "declared", declared)
        stored = list(declared(rows))
        Schedule.objects.all().delete()
        return stored

    return lambda: monkeypatch.setattr(ScheduleQuerySet, "declared", read_and_delete)


def test_one_that_is_deleted_while_a_worker_starts_does_not_end_the_worker(clock, deleted_meanwhile):
    declare(Every(minutes=15))
    deleted_meanwhile()
    declare(Every(minutes=10))
    declare(Every(minutes=10))
    assert only().next_key == "2026-11-22T12:10:00Z"
    deleted_meanwhile()
    declare()
    assert not Schedule.objects.exists()


def test_one_that_cannot_be_made_and_is_deleted_while_a_worker_starts_does_not_end_the_worker(deleted_meanwhile):
    declare(Every(minutes=15))
    deleted_meanwhile()
    declare(Plan(Every(minutes=15), arguments={"nonsense": 1}))
    assert not Schedule.objects.exists()


def test_what_left_the_code_is_switched_off_and_says_why(clock):
    declare(Every(minutes=15))
    declare()
    schedule = only()
    assert (schedule.enabled, schedule.next_slot) == (False, None)
    assert schedule.needs_attention == "The code of declared no longer declares it."
    clock.forward(hours=1)
    assert Scheduler("default").look()[0] == 0
    declare(Every(minutes=15))
    assert (only().enabled, only().needs_attention, only().next_key) == (
        True, "", "2026-11-22T13:15:00Z",
    )  # fmt: skip


def test_types_that_this_worker_does_not_know_are_left_alone():
    declare(Every(minutes=15))
    registry.unregister("declared")
    sync_declared("default")
    assert only().enabled


def test_a_pause_stays():
    declare(Every(minutes=15))
    only().pause(reason="stocktaking")
    declare(Every(minutes=10))
    assert (only().is_paused, only().next_slot, only().revision) == (True, None, 2)


def test_schedules_of_people_are_left_alone():
    made(Every(minutes=15), name="mine")
    declare(Every(minutes=10))
    declare()
    assert Schedule.objects.get(name="mine").enabled


def test_a_name_that_a_person_took_is_told_and_nothing_is_changed(caplog):
    made(Every(minutes=15), name="declared")
    declare(Every(minutes=10))
    assert not only().declared_in_code
    assert "A schedule called “declared” already exists." in caplog.text


def test_several_have_names_of_their_own():
    declare(Every(minutes=15), Cron("@daily"), Plan(Cron("@weekly"), name="weekly"))
    names = Schedule.objects.order_by("id").values_list("name", flat=True)
    assert list(names) == ["declared", "declared 2", "weekly"]


def test_a_secret_that_stays_the_same_is_no_change():
    def declare(password):
        @job(name="declared", schedule=Plan(Every(minutes=15), arguments={"password": password}))
        def declared(password: Secret[str]) -> None:
            """Does nothing."""

        sync_declared("default")

    declare("opensesame")
    declare("opensesame")
    assert only().revision == 1
    declare("closesesame")
    assert only().revision == 2
    assert "sesame" not in str(Schedule.objects.values().get())


def test_arguments_that_do_not_fit_stop_nothing_else(caplog):
    declare(Plan(Every(minutes=15), name="wrong", arguments={"number": "x"}), Plan(Every(minutes=1), name="right"))
    assert Schedule.objects.called("right").next_slot is not None
    assert "wrong" in caplog.text


def test_a_schedule_that_cannot_be_made_says_so_itself_and_waits_for_no_time():
    for _start in range(2):
        declare(Plan(Every(minutes=15), arguments={"number": "x"}))
    schedule = only()
    assert schedule.is_unmakeable
    assert "number: Enter a whole number." in schedule.needs_attention
    assert (schedule.next_slot, schedule.arguments) == (None, {})


def test_the_record_does_not_repeat_the_reason_which_may_quote_arguments():
    declare(Plan(Every(minutes=15), arguments={"number": "x"}))
    assert [entry.details for entry in AuditEntry.objects.filter(action="create schedule")] == [{}]
    declare(Plan(Every(minutes=15), arguments={"number": 3}))
    declare(Plan(Every(minutes=15), arguments={"number": "y"}))
    assert only().needs_attention
    assert [entry.details for entry in AuditEntry.objects.filter(action="needs attention")] == [{}]


def test_an_error_of_a_form_that_quotes_a_secret_is_logged_without_it(caplog):
    def refuse(value):
        raise RuntimeError(f"{value!r} is no key")

    class KeyForm(forms.Form):
        key = forms.CharField(widget=forms.PasswordInput, validators=[refuse])

    @job(name="declared", form=KeyForm, schedule=Plan(Every(minutes=15), arguments={"key": "opensesame"}))
    def declared(key: str) -> None:
        """Does nothing."""

    sync_declared("default")
    assert only().needs_attention == "The declaration in code is invalid: RuntimeError"
    assert "cannot be made: RuntimeError" in caplog.text
    assert "opensesame" not in caplog.text


def test_the_report_of_an_outage_meanwhile_does_not_have_a_secret():
    def look_up(value):
        raise OperationalError("the connection is gone")

    class KeyForm(forms.Form):
        key = forms.CharField(widget=forms.PasswordInput, validators=[look_up])

    @job(name="declared", form=KeyForm, schedule=Plan(Every(minutes=15), arguments={"key": "opensesame"}))
    def declared(key: str) -> None:
        """Does nothing."""

    with pytest.raises(OperationalError) as caught:
        sync_declared("default")
    frames = ExceptionReporter(None, caught.type, caught.value, caught.tb).get_traceback_frames()
    assert "opensesame" not in str([frame["vars"] for frame in frames])


def test_a_schedule_runs_once_its_arguments_fit(clock):
    declare(Plan(Every(minutes=15), arguments={"number": "x"}))
    declare(Plan(Every(minutes=15), arguments={"number": 3}))
    schedule = only()
    assert (schedule.is_unmakeable, schedule.enabled, schedule.needs_attention) == (False, True, "")
    assert (schedule.arguments, schedule.next_slot is None) == ({"number": 3}, False)


def test_a_schedule_whose_new_arguments_do_not_fit_goes_on_with_those_it_has():
    declare(Plan(Every(minutes=15), arguments={"number": 3}))
    declare(Plan(Every(minutes=15), arguments={"number": "x"}))
    schedule = only()
    assert (schedule.enabled, schedule.arguments) == (True, {"number": 3})
    assert schedule.next_slot is not None
    assert "number: Enter a whole number." in schedule.needs_attention


def test_a_schedule_that_could_not_be_made_and_left_the_code_says_that():
    declare(Plan(Every(minutes=15), arguments={"number": "x"}))
    declare()
    schedule = only()
    assert not schedule.is_unmakeable
    assert "no longer declares it" in schedule.needs_attention


def test_a_name_that_a_person_took_keeps_one_that_cannot_be_made_out(caplog):
    made(Every(minutes=15), name="declared")
    declare(Plan(Every(minutes=15), arguments={"number": "x"}))
    assert not only().declared_in_code
    assert "cannot be made" in caplog.text


@pytest.fixture
def open_to_all(transactional_db):
    yield
    empty_tables()


def test_workers_that_start_together_make_one(open_to_all, caplog):
    @job(name="declared", schedule=Every(minutes=15))
    def declared() -> None:
        """Does nothing."""

    assert race(*[lambda: sync_declared("default")] * 8) == [None] * 8
    assert (only().revision, only().enabled) == (1, True)
    assert caplog.text == ""


class TestNewRulesForAZone:
    @pytest.fixture
    def without_summer_time(self, tmp_path):
        """Berlin has the clocks of Algiers."""
        source = next(file for path in zoneinfo.TZPATH if (file := Path(path, "Africa/Algiers")).exists())
        (tmp_path / "Europe").mkdir()
        (tmp_path / "Europe" / "Berlin").write_bytes(source.read_bytes())

        def swap():
            zoneinfo.reset_tzpath([str(tmp_path)])
            zoneinfo.ZoneInfo.clear_cache()

        yield swap
        zoneinfo.reset_tzpath()
        zoneinfo.ZoneInfo.clear_cache()

    def test_a_fixed_time_is_moved_and_comes_once(self, clock, scheduler, without_summer_time):
        clock.show("2026-06-01T12:00:00+00:00")
        made(Cron("30 2 * * *", "Europe/Berlin"))
        assert f"{aware(Schedule.objects.get().next_slot):%H:%M}" == "00:30"
        without_summer_time()
        follow_zones("default")
        assert f"{aware(Schedule.objects.get().next_slot):%H:%M}" == "01:30"
        for _ in range(48):
            clock.forward(minutes=30)
            look(scheduler)
        assert fired() == ["02. 01:30"]

    def test_a_time_that_has_been_does_not_come_again(self, clock, scheduler, without_summer_time):
        clock.show("2026-06-01T12:00:00+00:00")
        made(Cron("30 2 * * *", "Europe/Berlin"), overlap="parallel")
        clock.show("2026-06-02T00:30:00+00:00")
        look(scheduler)
        without_summer_time()
        follow_zones("default")
        for _ in range(50):
            clock.forward(minutes=30)
            look(scheduler)
        assert fired() == ["02. 00:30", "03. 01:30"]

    def test_an_instant_is_found_anew(self, clock, without_summer_time):
        clock.show("2026-06-01T12:30:00+00:00")
        made(Cron("*/5 20 * * *", "Europe/Berlin"))
        without_summer_time()
        follow_zones("default")
        assert Schedule.objects.get().next_key == "2026-06-01T19:00:00Z"

    def test_a_zone_that_is_gone_needs_attention_and_comes_back(self, clock, scheduler, tmp_path):
        made(Cron("30 2 * * *", "Europe/Berlin"))
        Schedule.objects.update(zone="Europe/Atlantis")
        clock.forward(days=1)
        assert look(scheduler) == 1
        schedule = Schedule.objects.get()
        assert (schedule.needs_attention, schedule.next_slot) == (
            "The time zone “Europe/Atlantis” does not exist.",
            None,
        )
        follow_zones("default")
        Schedule.objects.update(zone="Europe/Berlin")
        follow_zones("default")
        assert Schedule.objects.get().next_key == "2026-11-24T02:30"

    def test_a_time_that_cannot_be_read_does_not_end_the_worker(self, clock, scheduler):
        made(Cron("30 2 * * *", "Europe/Berlin"))
        Schedule.objects.update(next_key="tomorrow")
        follow_zones("default")
        assert Schedule.objects.get().next_key == "tomorrow"
