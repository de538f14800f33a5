"""What the code declares, and what becomes of it in the table when workers start."""

from __future__ import annotations

import pytest

from qorworker import Cron, Every, Plan, Schedule, Secret, job
from qorworker.registry import registry
from qorworker.worker.declared import synchronise
from qorworker.worker.scheduler import Scheduler
from tests.clock import Clock
from tests.definitions import own_types  # noqa: F401
from tests.models.rows import race
from tests.support import empty_tables

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch, "2026-11-22T12:00:00+00:00")


def made(when, **more):
    return Schedule.objects.create_for(registry.get("testapp.noop"), when, **more)


def declare(*plans, number=1):
    @job(name="declared", schedule=list(plans))
    def declared(number: int = number) -> None:
        """Does nothing."""

    synchronise("default")


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
        synchronise("default")
    assert Schedule.objects.values().get() == before


def test_a_change_of_the_code_is_a_new_revision(clock):
    declare(Every(minutes=15))
    clock.forward(minutes=1)
    declare(Plan(Every(minutes=15), arguments={"number": 2}))
    assert (only().revision, only().arguments) == (2, {"number": 2})
    assert only().next_key == "2026-11-22T12:15:00Z"
    declare(Every(minutes=10))
    assert (only().revision, only().next_key) == (3, "2026-11-22T12:11:00Z")


def test_what_left_the_code_is_switched_off_and_says_why(clock):
    declare(Every(minutes=15))
    declare()
    schedule = only()
    assert (schedule.enabled, schedule.next_slot) == (False, None)
    assert schedule.needs_attention == "The code of declared does not declare it any more."
    clock.forward(hours=1)
    assert Scheduler("default").look()[0] == 0
    declare(Every(minutes=15))
    assert (only().enabled, only().needs_attention, only().next_key) == (
        True, "", "2026-11-22T13:15:00Z",
    )  # fmt: skip


def test_types_that_this_worker_does_not_know_are_left_alone():
    declare(Every(minutes=15))
    registry.unregister("declared")
    synchronise("default")
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
    assert "There is a schedule called “declared” already." in caplog.text


def test_several_have_names_of_their_own():
    declare(Every(minutes=15), Cron("@daily"), Plan(Cron("@weekly"), name="weekly"))
    names = Schedule.objects.order_by("id").values_list("name", flat=True)
    assert list(names) == ["declared", "declared 2", "weekly"]


def test_a_secret_that_stays_the_same_is_no_change():
    def declare(password):
        @job(name="declared", schedule=Plan(Every(minutes=15), arguments={"password": password}))
        def declared(password: Secret[str]) -> None:
            """Does nothing."""

        synchronise("default")

    declare("opensesame")
    declare("opensesame")
    assert only().revision == 1
    declare("closesesame")
    assert only().revision == 2
    assert "sesame" not in str(Schedule.objects.values().get())


def test_arguments_that_do_not_fit_are_told_and_stop_nothing_else(caplog):
    declare(Plan(Every(minutes=15), name="wrong", arguments={"number": "x"}), Plan(Every(minutes=1), name="right"))
    assert [schedule.name for schedule in Schedule.objects.all()] == ["right"]
    assert "wrong" in caplog.text


@pytest.fixture
def open_to_all(transactional_db):
    yield
    empty_tables()


def test_workers_that_start_together_make_one(open_to_all, caplog):
    @job(name="declared", schedule=Every(minutes=15))
    def declared() -> None:
        """Does nothing."""

    assert race(*[lambda: synchronise("default")] * 8) == [None] * 8
    assert (only().revision, only().enabled) == (1, True)
    assert caplog.text == ""
