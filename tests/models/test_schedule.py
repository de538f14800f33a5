"""Schedules as rows: made, changed, paused, skipped, run by hand, deleted."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile
from django.db import transaction

from qorworker import At, Cron, Every, InvalidArguments, Plan, Schedule, Secret, job
from qorworker.exceptions import InvalidSchedule, UnknownJobType
from qorworker.models import AuditEntry, Job, ScheduleSlot, job_queries
from qorworker.models.clock import aware, stored
from qorworker.models.sql import schedules as sql
from qorworker.schedules.timetable import Slot
from qorworker.status import JobStatus
from tests.clock import Clock
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import make_job
from tests.testapp import jobs

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch, "2026-11-22T12:00:00+00:00")


@pytest.fixture
def anna():
    return get_user_model().objects.create(username="anna")


def made(when, job_type=jobs.noop, **more):
    return Schedule.objects.create_for(job_type, when, **more)


def next_of(schedule):
    schedule.refresh_from_db()
    return schedule.next_slot and aware(schedule.next_slot).isoformat()


def audit(schedule):
    return list(AuditEntry.objects.filter(schedule_id=schedule.pk).order_by("id").values_list("action", flat=True))


class TestMaking:
    def test_it_waits_for_its_first_time(self, clock):
        schedule = made(Cron("30 6 * * 1-5", "Europe/Berlin"), name="weekdays")
        assert next_of(schedule) == "2026-11-23T05:30:00+00:00"
        assert [f"{moment:%a %H:%M %Z}" for moment in schedule.upcoming(3)] == [
            "Mon 06:30 CET", "Tue 06:30 CET", "Wed 06:30 CET",
        ]  # fmt: skip
        assert (schedule.kind, schedule.zone, schedule.revision) == ("cron", "Europe/Berlin", 1)

    def test_an_interval_counts_from_now_or_from_its_start(self, clock):
        assert next_of(made(Every(minutes=15))) == "2026-11-22T12:15:00+00:00"
        later = dt.datetime(2026, 12, 24, 18, tzinfo=dt.UTC)
        assert next_of(made(Every(minutes=15), start=later)) == "2026-12-24T18:00:00+00:00"
        earlier = dt.datetime(2026, 11, 22, 11, 50, tzinfo=dt.UTC)
        assert next_of(made(Every(minutes=15), start=earlier)) == "2026-11-22T12:05:00+00:00"

    def test_a_single_time_that_is_past_is_due_at_once(self, clock):
        assert next_of(made(At(dt.datetime(2020, 1, 1, tzinfo=dt.UTC)))) == "2020-01-01T00:00:00+00:00"

    def test_a_single_time_far_away_is_stored(self, clock):
        assert next_of(made(At(dt.datetime(9999, 1, 1, tzinfo=dt.UTC)))) == "9999-01-01T00:00:00+00:00"

    def test_after_its_end_there_is_no_next_time(self, clock):
        schedule = made(Every(hours=1), end=dt.datetime(2026, 11, 22, 13, 30, tzinfo=dt.UTC))
        assert len(schedule.upcoming(5)) == 1
        with pytest.raises(InvalidSchedule, match="not after the start"):
            made(
                Every(hours=1), start=dt.datetime(2026, 1, 2, tzinfo=dt.UTC), end=dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
            )

    def test_its_arguments_pass_the_form_of_the_job(self, clock):
        schedule = made(Every(hours=1), jobs.noop_again, arguments={"number": 7})
        assert schedule.arguments == {"number": 7}
        assert schedule.fingerprint == jobs.noop_again.arguments.fingerprint
        with pytest.raises(InvalidArguments) as refused:
            made(Every(hours=1), jobs.noop_again, arguments={"number": "many"})
        assert list(refused.value.errors) == ["number"]
        assert Schedule.objects.count() == 1

    def test_secrets_are_encrypted(self, clock):
        schedule = made(Every(hours=1), jobs.secretive, arguments={"password": Secret("opensesame")})
        assert set(schedule.arguments["password"]) == {"$secret"}
        assert "opensesame" not in str(Schedule.objects.filter(pk=schedule.pk).values().get())

    def test_names_are_given_and_never_twice(self, clock):
        assert [made(Every(hours=1)).name for _ in range(3)] == ["Noop", "Noop 2", "Noop 3"]
        with pytest.raises(InvalidSchedule, match="called “Noop” already"):
            made(Every(hours=1), name="Noop")

    def test_a_schedule_rolls_back_with_the_transaction_around_it(self, clock):
        with transaction.atomic():
            made(Every(hours=1))
            transaction.set_rollback(True)
        assert not Schedule.objects.exists()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"misfire": "never"}, {"misfire_cap": 0}, {"misfire_cap": 101}, {"overlap": "maybe"}, {"jitter": -1},
            {"jitter": 1.5}, {"name": "a\x00b"}, {"name": "x" * 201}, {"start": dt.datetime(2026, 1, 1)},
            {"end": "soon"},
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_refused_by_name(self, wrong):
        with pytest.raises(InvalidSchedule, match=next(iter(wrong))):
            made(Every(hours=1), **wrong)
        with pytest.raises(InvalidSchedule, match="when"):
            made("* * * * *")


@pytest.mark.parametrize(
    ("name", "in_code", "title"),
    [
        ("{}", True, "Noop"),
        ("{} 2", True, "Noop 2"),
        ("{}s of the night", True, "{}s of the night"),
        ("nightly", True, "nightly"),
        ("{}", False, "{}"),
    ],
)
def test_only_what_the_code_declares_without_a_name_is_called_like_its_job_type(name, in_code, title):
    own = jobs.noop.name
    schedule = Schedule(name=name.format(own), job_name=own, declared_in_code=in_code)
    assert (schedule.title, str(schedule)) == (title.format(own), title.format(own))
    schedule.job_name = "app.gone"
    assert schedule.title == name.format(own)


class TestChanging:
    def test_other_arguments_leave_the_next_time(self, clock):
        schedule = made(Every(minutes=15), jobs.noop_again, arguments={"number": 1})
        clock.forward(minutes=5)
        schedule.change({"number": 2}, overlap="wait", jitter=9)
        assert next_of(schedule) == "2026-11-22T12:15:00+00:00"
        assert (schedule.arguments, schedule.overlap, schedule.jitter, schedule.revision) == (
            {"number": 2},
            "wait",
            9,
            2,
        )

    def test_another_rule_begins_now(self, clock):
        schedule = made(Every(minutes=15))
        clock.forward(minutes=5)
        schedule.change(when=Cron("7 * * * *", "UTC"))
        assert next_of(schedule) == "2026-11-22T12:07:00+00:00"
        assert (schedule.kind, schedule.interval, schedule.revision) == ("cron", None, 2)

    def test_another_end_does_not_shift_an_interval(self, clock):
        schedule = made(Every(minutes=15))
        clock.forward(minutes=5)
        schedule.change(end=dt.datetime(2027, 1, 1, tzinfo=dt.UTC), name="other")
        assert next_of(schedule) == "2026-11-22T12:15:00+00:00"

    def test_a_changed_schedule_needs_no_attention(self, clock):
        schedule = made(Every(minutes=15), jobs.noop_again)
        Schedule.objects.update(needs_attention="The field “number” is new.")
        schedule.change(jitter=1)
        assert schedule.needs_attention
        schedule.change({"number": 3})
        assert not schedule.needs_attention

    def test_a_mistake_changes_nothing(self, clock):
        schedule = made(Every(minutes=15), jobs.noop_again)
        made(Every(minutes=15), name="taken")
        before = Schedule.objects.filter(pk=schedule.pk).values().get()
        with pytest.raises(InvalidSchedule):
            schedule.change(misfire="never")
        with pytest.raises(InvalidSchedule, match="already"):
            schedule.change(name="taken")
        with pytest.raises(InvalidArguments):
            schedule.change({"number": "x"})
        assert Schedule.objects.filter(pk=schedule.pk).values().get() == before

    def test_what_the_code_declares_is_changed_in_the_code(self, clock):
        schedule = made(Every(minutes=15))
        Schedule.objects.update(declared_in_code=True)
        schedule.refresh_from_db()
        with pytest.raises(InvalidSchedule, match="declared in code"):
            schedule.change(jitter=1)


class TestPausing:
    def test_a_paused_schedule_waits_for_nothing(self, clock, anna):
        schedule = made(Every(minutes=15))
        schedule.pause(by=anna, reason="stocktaking")
        schedule.refresh_from_db()
        assert (schedule.is_paused, schedule.next_slot, schedule.upcoming()) == (True, None, [])
        assert (schedule.paused_by, schedule.paused_reason) == (anna, "stocktaking")

    def test_resumed_it_goes_on_with_the_first_time_from_now(self, clock):
        schedule = made(Every(minutes=15))
        schedule.pause()
        clock.forward(hours=3, minutes=5)
        schedule.resume()
        assert next_of(schedule) == "2026-11-22T15:15:00+00:00"
        assert (schedule.is_paused, schedule.paused_reason) == (False, "")

    def test_paused_until_a_time_it_goes_on_by_itself(self, clock):
        schedule = made(Every(minutes=15))
        schedule.pause(until=stored(dt.datetime(2100, 1, 1, tzinfo=dt.UTC)))
        assert next_of(schedule) == "2100-01-01T00:00:00+00:00"
        assert schedule.is_paused
        with pytest.raises(InvalidSchedule, match="future"):
            schedule.pause(until=stored(dt.datetime(2026, 11, 22, 11, tzinfo=dt.UTC)))

    def test_changed_while_paused_it_stays_paused(self, clock):
        schedule = made(Every(minutes=15))
        schedule.pause()
        schedule.change(when=Every(minutes=1))
        assert (next_of(schedule), schedule.is_paused) == (None, True)

    def test_to_resume_what_is_not_paused_drops_nothing_that_is_due(self, clock):
        schedule = made(Every(minutes=15))
        clock.forward(hours=3)
        schedule.resume()
        assert next_of(schedule) == "2026-11-22T12:15:00+00:00"

    def test_a_single_time_that_passed_in_a_pause_does_not_come_back(self, clock):
        schedule = made(At(dt.datetime(2026, 11, 22, 13, tzinfo=dt.UTC)))
        schedule.pause()
        clock.forward(hours=3)
        schedule.resume()
        assert next_of(schedule) is None


class TestSkipping:
    def test_the_next_time_is_left_out_and_on_record(self, clock, anna):
        schedule = made(Every(minutes=15))
        assert schedule.skip_next(by=anna) == dt.datetime(2026, 11, 22, 12, 15, tzinfo=dt.UTC)
        assert next_of(schedule) == "2026-11-22T12:30:00+00:00"
        slot = schedule.slots.get()
        assert (slot.slot, slot.outcome, slot.reason) == ("2026-11-22T12:15:00Z", "skipped", "person")

    def test_without_a_next_time_there_is_nothing_to_skip(self, clock):
        schedule = made(Every(minutes=15))
        schedule.pause()
        with pytest.raises(InvalidSchedule, match="no next time"):
            schedule.skip_next()


class TestRunningByHand:
    def test_it_makes_one_more_job_and_leaves_the_next_time(self, clock, anna):
        schedule = made(Every(minutes=15), jobs.noop_again, arguments={"number": 7})
        job = schedule.run_now(by=anna)
        assert (job.schedule, job.created_by, job.arguments, job.status) == (schedule, anna, {"number": 7}, "new")
        assert next_of(schedule) == "2026-11-22T12:15:00+00:00"
        assert not ScheduleSlot.objects.exists()

    def test_also_while_it_is_paused(self, clock):
        schedule = made(Every(minutes=15))
        schedule.pause()
        schedule.run_now()
        assert (Job.objects.count(), next_of(schedule)) == (1, None)

    def test_arguments_that_do_not_fit_make_no_job(self, clock):
        schedule = made(Every(minutes=15), jobs.noop_again)
        Schedule.objects.update(arguments={"gone": 1})
        schedule.refresh_from_db()
        with pytest.raises(InvalidArguments):
            schedule.run_now()
        Schedule.objects.update(job_name="gone.job")
        schedule.refresh_from_db()
        with pytest.raises(UnknownJobType):
            schedule.run_now()
        assert not Job.objects.exists()

    def test_its_secret_reaches_the_job_and_nothing_else(self, clock):
        schedule = made(Every(minutes=15), jobs.secretive, arguments={"password": "opensesame"})
        job = schedule.run_now()
        assert jobs.secretive.arguments.load(job.arguments)["password"].get_secret_value() == "opensesame"


class TestUploads:
    @pytest.fixture
    def schedule(self, clock, own_types):  # noqa: F811
        @job(name="read")
        def read(file: UploadedFile) -> None:
            file.read()

        return made(Every(minutes=15), read, arguments={"file": SimpleUploadedFile("list.csv", b"a;b")})

    def path(self, row):
        return row.arguments["file"]["$file"]

    def test_jobs_share_the_upload_of_their_schedule(self, schedule, django_capture_on_commit_callbacks):
        from qorworker.actions.pruning import delete_if_ended

        with django_capture_on_commit_callbacks(execute=True):
            job = schedule.run_now()
            job.cancel()
            assert self.path(job) == self.path(schedule)
            assert delete_if_ended(job, by=None, origin="admin")
        assert default_storage.exists(self.path(schedule))

    def test_it_goes_with_the_schedule(self, schedule, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks(execute=True):
            schedule.remove()
        assert not default_storage.exists(self.path(schedule))

    def test_it_stays_while_a_job_may_need_it(self, schedule, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks(execute=True):
            schedule.run_now()
            schedule.remove()
        assert default_storage.exists(self.path(schedule))

    def test_another_upload_takes_its_place(self, schedule, django_capture_on_commit_callbacks):
        before = self.path(schedule)
        with django_capture_on_commit_callbacks(execute=True):
            schedule.change({"file": SimpleUploadedFile("new.csv", b"c;d")})
        assert (default_storage.exists(before), default_storage.exists(self.path(schedule))) == (False, True)

    def test_a_change_that_failed_leaves_no_upload_behind(self, schedule):
        folder = Path(settings.MEDIA_ROOT, "qorworker")
        before = sorted(folder.rglob("*"))
        made(Every(minutes=1), name="taken")
        with pytest.raises(InvalidSchedule):
            schedule.change({"file": SimpleUploadedFile("new.csv", b"c;d")}, name="taken")
        assert [path for path in sorted(folder.rglob("*")) if path.is_file() and path not in before] == []
        assert default_storage.exists(self.path(Schedule.objects.get(pk=schedule.pk)))


class TestDeleting:
    def test_its_jobs_stay_and_its_record_goes(self, clock, anna):
        schedule = made(Every(minutes=15))
        job = schedule.run_now()
        schedule.skip_next()
        schedule.remove(by=anna)
        job.refresh_from_db()
        assert (job.schedule, ScheduleSlot.objects.count(), Schedule.objects.count()) == (None, 0, 0)
        assert AuditEntry.objects.get(action="delete schedule").details == {"name": "Noop"}


def test_everything_that_was_done_is_in_the_audit(clock, anna):
    schedule = made(Every(minutes=15), by=anna)
    schedule.change(jitter=5, by=anna)
    schedule.pause(by=anna, reason="holidays")
    schedule.resume(by=anna)
    schedule.skip_next(by=anna)
    schedule.run_now(by=anna)
    assert audit(schedule) == [
        "create schedule", "change schedule", "pause schedule", "resume schedule", "skip next", "run schedule",
    ]  # fmt: skip
    entries = AuditEntry.objects.of_schedule(schedule.pk)
    assert {entry.user_name for entry in entries} == {"anna"}
    assert entries.get(action="pause schedule").details == {"reason": "holidays"}
    assert all(entry.action_label != entry.action for entry in entries)


class TestWhatAWorkerAsks:
    def soon(self, seconds=1.0):
        return Schedule.objects.soon(["testapp.noop"], [], seconds)[0]

    def test_what_is_due_or_soon_will_be(self, clock, django_assert_num_queries):
        schedule = made(Every(minutes=15))
        with django_assert_num_queries(1):
            assert self.soon() == []
        clock.forward(minutes=14, seconds=59.5)
        assert self.soon() == [(schedule.pk, "testapp.noop", "skip", 0.5)]
        clock.forward(seconds=2)
        assert self.soon() == [(schedule.pk, "testapp.noop", "skip", -1.5)]

    def test_schedules_of_unknown_types_are_left_to_others(self, clock):
        made(Every(minutes=15), jobs.noop_again)
        clock.forward(hours=1)
        assert self.soon() == []

    def test_more_than_are_read_at_once_are_read_in_several_steps(self, clock, monkeypatch):
        monkeypatch.setattr(sql, "LIMIT", 2)
        many = [made(Every(minutes=5 + number // 2), name=f"number {number}").pk for number in range(5)]
        clock.forward(hours=1)
        steps, behind = [], None
        while not steps or behind:
            found, behind = Schedule.objects.soon(["testapp.noop"], [], 1.0, behind)
            steps.append([each.pk for each in found])
        assert steps == [many[:2], many[2:4], many[4:]]

    @pytest.mark.parametrize("status", JobStatus.values)
    def test_which_schedules_have_runs_that_go_on(self, clock, status):
        first, second, third = (made(Every(minutes=15), name=name).pk for name in "abc")
        make_job(status, schedule_id=first)
        make_job("done", schedule_id=first)
        make_job("done", schedule_id=second)
        expected = {pk for pk in (first, second, third) if Job.objects.unfinished_of(pk)}
        assert Job.objects.schedules_unfinished([first, second, third]) == expected
        assert Job.objects.schedules_unfinished([second, third]) == set()
        assert Job.objects.schedules_unfinished([]) == set()

    def test_only_the_newest_runs_of_each_count(self, clock, monkeypatch):
        first, second = (made(Every(minutes=15), name=name).pk for name in "ab")
        for schedule, statuses in ((first, ["new", "done", "done"]), (second, ["done", "new", "done"])):
            for status in statuses:
                make_job(status, schedule_id=schedule)
        monkeypatch.setattr(job_queries, "RECENT", 2)
        assert Job.objects.schedules_unfinished([first, second]) == {second}

    def test_many_move_on_at_once_each_to_its_own_slot(self, clock):
        reason = "%s 'it' \"was\" \\ späť\n🍵"
        first, second = made(Every(minutes=15), name="a"), made(Every(minutes=15), name="b")
        other = made(Every(minutes=15), name="c")
        first.pause(until=stored(clock.now + dt.timedelta(hours=1)), reason="x")
        slot = Slot(clock.now + dt.timedelta(hours=3, microseconds=5), "later")
        Schedule.objects.move_all_on([(first.pk, slot, ""), (second.pk, None, reason)])
        columns = ("next_slot", "next_key", "needs_attention", "paused_at", "paused_until", "paused_reason")
        rows = Schedule.objects.order_by("name").values_list(*columns)
        assert list(rows) == [
            (stored(slot.moment), "later", "", None, None, ""),
            (None, "", reason, None, None, ""),
            (other.next_slot, other.next_key, "", None, None, ""),
        ]

    def test_a_slot_goes_to_one(self, clock):
        schedule = made(Every(minutes=15))
        with transaction.atomic():
            assert Schedule.objects.claim_slots([schedule]) == {schedule.pk}
            assert Schedule.objects.move_on(schedule, Slot(clock.now, "another"))
            assert not Schedule.objects.move_on(schedule, None)
            assert Schedule.objects.claim_slots([schedule]) == set()


def test_a_plan_is_what_a_schedule_was_made_of(clock):
    plans = [
        Plan(Cron("H 3 * * *", "Asia/Tokyo"), name="a", misfire="all", misfire_cap=3, overlap="abort", jitter=4),
        Plan(Every(minutes=15), name="b", start=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
        Plan(At(dt.datetime(2027, 7, 1, 12), "Asia/Tokyo"), name="c", end=dt.datetime(2028, 1, 1, tzinfo=dt.UTC)),
    ]
    for plan in plans:
        again = made(plan)
        again.refresh_from_db()
        told = again.plan
        if isinstance(plan.when, Cron):
            assert (told.when.expression, told.when.zone) == (plan.when.expression, plan.when.zone)
        else:
            assert told.when == plan.when
        assert (told.start, told.end, told.misfire, told.misfire_cap) == (
            plan.start, plan.end, plan.misfire, plan.misfire_cap,
        )  # fmt: skip
        assert (told.overlap, told.jitter, told.name) == (plan.overlap, plan.jitter, plan.name)
