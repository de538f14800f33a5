import asyncio
import json
import logging
import math
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group
from hypothesis import given
from hypothesis import strategies as st

from qorworker import Cell, Cron, JobContext
from qorworker.exceptions import JobAborted
from qorworker.execution import context as context_module
from qorworker.models import Job, Schedule, ScheduleSlot, database_now
from tests.models.rows import make_job
from tests.testapp import jobs


class Records(list):
    """What a context has sent."""

    def of(self, kind):
        return [record[2:] for record in self if record[0] == kind]


def make(records, **changes):
    fields = {"job_id": 7, "name": "app.job", "attempt": 1, "max_attempts": 3, "arguments": {"a": 1}}
    return JobContext(send=records.append, **(fields | changes))


@pytest.fixture
def records():
    return Records()


@pytest.fixture
def context(records):
    return make(records)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

        def time(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(context_module, "time", clock)
    return clock


class TestLog:
    def test_a_line_has_its_time_and_level(self, clock, records):
        make(records).add_log("text", level=logging.ERROR)
        assert records == [["log", 7, 1000.0, logging.ERROR, "text"]]

    def test_each_line_of_a_text_is_a_line_of_the_log(self, context, records):
        context.add_log("one\ntwo\r\n\nfour")
        assert [text for _, _, text in records.of("log")] == ["one", "two", "", "four"]

    @pytest.mark.parametrize(
        ("said", "kept"), [("", ""), (5, "5"), (None, "None"), ("a\0b", "a␀b"), ("\ud800", "\\ud800")]
    )
    def test_anything_can_be_logged(self, context, records, said, kept):
        context.add_log(said)
        assert records.of("log")[0][2] == kept

    def test_a_long_line_is_cut(self, context, records, settings):
        settings.QORWORKER = {**settings.QORWORKER, "LOG_LINE_CHARS": 80}
        context.add_log("x" * 81)
        assert records.of("log")[0][2] == "x" * 79 + "…"

    def test_the_logger_is_the_jobs_own(self, context):
        assert context.logger.name == "qorworker.job.app.job"


class TestProgress:
    @given(st.floats(allow_nan=False), st.none() | st.floats(allow_nan=False))
    def test_whatever_the_numbers_the_share_is_from_0_to_100(self, done, total):
        records = Records()
        context = make(records)
        try:
            context.set_progress(done, total)
        except ValueError:
            assert total is not None
            assert math.isnan(done / total) if total else False
            return
        [[percent, text]] = records.of("progress")
        assert text is None
        assert isinstance(percent, int)
        assert 0 <= percent <= 100

    @pytest.mark.parametrize(
        ("given_", "percent"),
        [((0,), 0), ((99.9,), 99), ((250,), 100), ((-5,), 0), ((3, 4), 75), ((1, 3), 33), ((5, 0), 100), ((0, 10), 0),
         ((Decimal("12.5"),), 12), ((10, 5), 100)],
    )  # fmt: skip
    def test_per_cent_or_done_of_total(self, context, records, given_, percent):
        context.set_progress(*given_)
        assert records.of("progress") == [[percent, None]]

    @pytest.mark.parametrize("given_", [(math.nan,), (math.inf, math.inf)])
    def test_what_is_no_number_is_an_error_of_the_job(self, context, records, given_):
        with pytest.raises(ValueError, match="NaN"):
            context.set_progress(*given_)
        assert records == []

    def test_text_is_one_line_of_at_most_200_characters(self, context, records):
        context.set_progress_text("  one\n two\tthree ")
        context.set_progress_text("x" * 300)
        assert records.of("progress") == [[None, "one two three"], [None, "x" * 199 + "…"]]

    def test_updates_that_come_too_fast_are_held_back_and_the_last_is_told(self, clock, records):
        context = make(records)
        for number in range(1000):
            context.set_progress(number, 1000)
            context.set_progress_text(f"number {number}")
        assert len(records) == context_module.PROGRESS_BURST
        context.flush()
        assert records[-1] == ["progress", 7, 99, "number 999"]
        context.flush()
        assert len(records) == context_module.PROGRESS_BURST + 1

    def test_time_gives_room_for_more(self, clock, records):
        context = make(records)
        for number in range(100):
            context.set_progress(number)
        clock.now += 1.0
        before = len(records)
        for number in range(100):
            context.set_progress(number)
        assert len(records) - before == int(context_module.PROGRESS_RATE)

    def test_what_was_held_back_is_not_lost_to_the_next(self, clock, records):
        context = make(records)
        for _ in range(context_module.PROGRESS_BURST):
            context.set_progress(1)
        context.set_progress(50)
        context.set_progress_text("half")
        clock.now += 1.0
        context.set_progress_text("more")
        assert records[-1] == ["progress", 7, 50, "more"]


class TestResults:
    def test_values_and_cells_make_a_row(self, context, records):
        context.add_results_row("A-1", 5, None, True, 1.5, Cell("-3", error="negative"))
        assert records.of("row") == [[[["A-1", ""], [5, ""], [None, ""], [True, ""], [1.5, ""], ["-3", "negative"]]]]
        assert (context.results_rows, context.results_errors) == (1, 1)

    def test_rows_without_errors_count_as_such(self, context):
        context.add_results_row("fine")
        context.add_results_row()
        assert (context.results_rows, context.results_errors) == (2, 0)

    @pytest.mark.parametrize(
        ("value", "shown"),
        [(math.nan, "nan"), (-math.inf, "-inf"), (Decimal("1.50"), "1.50"), (date(2026, 1, 2), "2026-01-02"),
         ({"a": Decimal("1")}, '{"a": "1"}'), ([1, None], "[1, null]"), ({1, }, "{1}"), (b"x", "b'x'"), ("\0", "␀")],
    )  # fmt: skip
    def test_other_values_are_shown_as_text(self, context, records, value, shown):
        context.add_results_row(value)
        assert records.of("row")[0][0][0] == [shown, ""]

    def test_a_row_that_is_too_large_is_cut_cell_by_cell(self, context, records, settings):
        settings.QORWORKER = {**settings.QORWORKER, "RESULTS_ROW_BYTES": 1024}
        context.add_results_row("x" * 5000, 7, Cell("y", error="z" * 5000))
        [cells] = records.of("row")[0]
        assert len(json.dumps(cells, ensure_ascii=False)) <= 1024
        assert cells[1] == [7, ""]
        assert cells[0][0].endswith("…")
        assert cells[2][1].endswith("…")

    def test_a_row_that_cannot_be_cut_enough_is_refused(self, context, records, settings):
        settings.QORWORKER = {**settings.QORWORKER, "RESULTS_ROW_BYTES": 1024}
        with pytest.raises(ValueError, match="row of 2000 cells is too large: at most 1024 bytes"):
            context.add_results_row(*range(2000))
        assert not records.of("row")

    @given(st.lists(st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary()))
    def test_whatever_is_added_can_be_told(self, values):
        records = Records()
        make(records).add_results_row(*values)
        json.dumps(records, allow_nan=False).encode()


class TestTrack:
    def test_items_come_through_with_progress(self, context, records):
        assert list(context.track(["a", "b", "c", "d"])) == ["a", "b", "c", "d"]
        assert [percent for percent, _ in records.of("progress")] == [25, 50, 75, 100]

    def test_text_counts_from_one(self, context, records):
        list(context.track("ab", text="row {index} of {total} {other}"))
        assert [text for _, text in records.of("progress") if text] == ["row 1 of 2 {other}", "row 2 of 2 {other}"]

    def test_items_without_a_length_have_text_only(self, context, records):
        assert list(context.track(iter("ab"), text="row {index} of {total}")) == ["a", "b"]
        assert records.of("progress") == [[None, "row 1 of ?"], [None, "row 2 of ?"]]

    def test_a_total_may_be_given(self, context, records):
        list(context.track(iter("ab"), total=4))
        assert [percent for percent, _ in records.of("progress")] == [25, 50]

    @pytest.mark.django_db
    def test_a_queryset_is_asked_once(self, context, records, django_assert_num_queries):
        for name in "ab":
            Group.objects.create(name=name)
        with django_assert_num_queries(1):
            assert len(list(context.track(Group.objects.all()))) == 2
        assert [percent for percent, _ in records.of("progress")] == [50, 100]

    def test_nothing_to_do_is_no_error(self, context, records):
        assert list(context.track([])) == []
        assert records == []

    def test_an_abort_ends_it_between_two_items(self, records):
        requested = [False, False, True]
        context = make(records, abort_requested=lambda: requested.pop(0))
        seen = []
        with pytest.raises(JobAborted):
            seen.extend(context.track("abcdef"))
        assert seen == ["a", "b"]


class TestAbort:
    def test_nobody_asked(self, context):
        context.check_abort()
        assert not context.abort_requested

    def test_somebody_asked(self, records):
        context = make(records, abort_requested=lambda: True)
        assert context.abort_requested
        with pytest.raises(JobAborted):
            context.check_abort()

    def test_except_exception_does_not_swallow_it(self):
        assert not issubclass(JobAborted, Exception)


def test_it_tells_what_it_is(context):
    assert repr(context) == "<JobContext of job 7, attempt 1>"
    assert (context.job_id, context.attempt, context.max_attempts, context.arguments) == (7, 1, 3, {"a": 1})


def test_it_works_inside_an_event_loop(context, records):
    async def handler():
        context.add_log("in a loop")

    asyncio.run(handler())
    assert len(records) == 1


class TestWhatItKnows:
    def test_progress_and_counts_are_those_of_the_attempt(self, context):
        assert (context.progress, context.progress_text, context.log_lines, context.results_rows) == (None, "", 0, 0)
        context.set_progress(1, 3)
        context.set_progress_text("  one\n of three ")
        context.add_log("two\nlines")
        context.add_results_row("a")
        assert (context.progress, context.progress_text) == (33, "one of three")
        assert (context.log_lines, context.results_rows, context.results_errors) == (2, 1, 0)

    def test_progress_that_is_held_back_is_known(self, clock, records):
        context = make(records)
        for number in range(100):
            context.set_progress(number)
        assert context.progress == 99

    @pytest.mark.django_db
    def test_the_job_is_read_once_with_its_user(self, records, django_user_model, django_assert_num_queries):
        user = django_user_model.objects.create_user("lou")
        job = make_job("running", created_by=user)
        context = make(records, job_id=job.pk)
        with django_assert_num_queries(1):
            assert (context.job, context.job.status, context.user) == (job, "running", user)

    @pytest.mark.django_db
    def test_of_a_job_of_code_there_is_no_user(self, records):
        assert make(records, job_id=make_job("running").pk).user is None

    @pytest.mark.django_db
    @pytest.mark.parametrize("method", ["save", "delete"])
    def test_the_job_can_be_read_and_not_changed(self, records, method):
        job = make_job("running")
        with pytest.raises(TypeError, match="can only be read"):
            getattr(make(records, job_id=job.pk).job, method)()
        assert Job.objects.get() == job

    @pytest.mark.django_db
    def test_without_a_schedule_it_was_meant_for_the_time_at_which_it_was_due(self, records):
        job = make_job("running", run_after=database_now("default") - timedelta(hours=1))
        job.refresh_from_db()
        assert make(records, job_id=job.pk).scheduled_for == job.run_after

    @pytest.mark.django_db
    def test_a_job_of_a_schedule_was_meant_for_its_time_there(self, records):
        schedule = Schedule.objects.create_for(jobs.noop, Cron("15 4 * * *"), name="nightly")
        job = make_job("running", schedule=schedule)
        planned = database_now("default") - timedelta(days=1)
        ScheduleSlot.objects.create(
            schedule=schedule, revision=1, slot="x", planned_at=planned, fired_at=planned, outcome="fired", job=job
        )
        slot = ScheduleSlot.objects.get()
        assert make(records, job_id=job.pk).scheduled_for == slot.planned_at
