import json
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from qorworker.models import Job, LogLine, ResultsRow, database_now
from qorworker.models.clock import now_sql
from qorworker.models.sql import AttemptUpdate, claim, exchange, insert
from tests.models.rows import STATUSES, columns, leaving, make_job, race, token, wanted, written

pytestmark = pytest.mark.django_db
ENDS = ("done", "exception", "killed")


def write(*updates):
    return written(*updates)


class TestFencing:
    @pytest.mark.parametrize("status", ["running", "done", "exception", "killed", "new", "scheduled"])
    def test_a_stale_token_changes_nothing(self, status):
        job = make_job("running")
        before = columns(job)
        assert write(AttemptUpdate(job.pk, token(), status, progress=9, error="x", delay=1.0, crashes=2)) == set()
        assert columns(job) == before

    @pytest.mark.parametrize("status", [status for status in STATUSES if status != "running"])
    def test_a_job_that_is_not_running_is_not_touched(self, status):
        job = make_job(status)
        before = columns(job)
        assert write(AttemptUpdate(job.pk, token(), "done")) == set()
        assert write(AttemptUpdate(job.pk, "", "done")) == set()
        assert columns(job) == before

    def test_of_two_ends_the_first_wins(self):
        job = make_job("running")
        assert write(leaving(job, "exception", error="first")) == {job.pk}
        assert write(leaving(job, "done")) == set()
        assert (columns(job)["status"], columns(job)["error"]) == ("exception", "first")

    def test_in_a_batch_only_the_stale_ones_are_left_out(self):
        mine, stale, gone = make_job("running"), make_job("running"), make_job("running")
        updates = [leaving(mine, "done"), AttemptUpdate(stale.pk, token(), "done"), leaving(gone, "done")]
        gone.delete()
        assert write(*updates) == {mine.pk}
        assert columns(stale)["status"] == "running"

    def test_the_token_is_compared_to_the_letter(self):
        job = make_job("running", attempt_token="abcdef" * 5)
        assert write(AttemptUpdate(job.pk, "ABCDEF" * 5, "done")) == set()
        assert write(AttemptUpdate(job.pk, "abcdef" * 5 + " ", "done")) == set()

    def test_the_token_of_another_job_does_not_fit(self):
        job, other = make_job("running"), make_job("running")
        assert write(AttemptUpdate(job.pk, other.attempt_token, "done")) == set()

    @pytest.mark.django_db(transaction=True)
    def test_of_two_that_end_it_at_once_exactly_one_does(self):
        for _ in range(10):
            job = make_job("running")
            outcomes = race(lambda: write(leaving(job, "done")), lambda: write(leaving(job, "exception")))  # noqa: B023
            assert sorted(outcomes, key=len) == [set(), {job.pk}]

    @pytest.mark.django_db(transaction=True)
    def test_batches_that_overlap_in_other_orders_do_not_block_each_other(self):
        jobs = [make_job("running") for _ in range(60)]
        forth = [leaving(job, "running", progress=1) for job in jobs]
        back = [leaving(job, "running", progress=2) for job in reversed(jobs)]
        ours = {job.pk for job in jobs}

        def often(updates):
            results = [exchange("default", updates) for _ in range(10)]
            return [result.ours | result.busy for result in results]  # what one has locked the other tries again

        assert race(lambda: often(forth), lambda: often(back)) == [[ours] * 10] * 2


class TestProgress:
    def test_a_sign_of_progress_keeps_the_job_running(self):
        job = make_job("running", abort_requested_at=timezone.now())
        before = columns(job)
        counts = {"log_lines": 3, "log_bytes": 4, "log_dropped": 5, "results_rows": 6, "results_errors": 1}
        update = leaving(job, "running", progress=40, progress_text="row 4 — ½ 🚀", process_id=99, **counts)
        assert write(update) == {job.pk}
        assert update.status == "running"
        changed = {"progress": 40, "progress_text": "row 4 — ½ 🚀", "process_id": 99, **counts}
        assert columns(job) == before | changed

    def test_what_is_not_said_stays(self):
        job = make_job("running", progress=40, progress_text="row 4")
        write(leaving(job, "running"))
        assert (columns(job)["progress"], columns(job)["progress_text"]) == (40, "row 4")

    def test_progress_goes_back_to_nothing(self):
        job = make_job("running", progress=40, progress_text="row 4")
        write(leaving(job, "running", progress=0, progress_text=""))
        assert (columns(job)["progress"], columns(job)["progress_text"]) == (0, "")

    def test_an_abort_request_survives_every_sign_of_progress(self):
        job = make_job("running")
        job.abort()
        for percent in range(5):
            write(leaving(job, "running", progress=percent))
        assert columns(job)["abort_requested_at"] is not None


class TestEnds:
    @pytest.mark.parametrize("status", ENDS)
    def test_an_end_is_dated_by_the_database_and_frees_the_job(self, status):
        job = make_job("running")
        before = database_now("default")
        assert write(leaving(job, status, progress=100, error="ünicode 🚀", crashes=1)) == {job.pk}
        after = database_now("default")
        job.refresh_from_db()
        assert (job.status, job.attempt_token, job.lease_expires_at) == (status, None, None)
        assert before <= job.finished_at <= after
        assert (job.progress, job.error, job.crashes, job.attempt) == (100, "ünicode 🚀", 1, 1)

    def test_a_failed_attempt_waits_for_its_back_off_by_the_databases_clock(self):
        job = make_job("running")
        before = database_now("default")
        write(leaving(job, "scheduled", delay=90.5, error="try again"))
        after = database_now("default")
        job.refresh_from_db()
        delay = timedelta(seconds=90.5)
        rounding = timedelta(milliseconds=1)
        assert before + delay - rounding <= job.run_after <= after + delay + rounding
        assert (job.status, job.finished_at, job.error, job.attempt) == ("scheduled", None, "try again", 1)
        assert job.will_retry

    def test_a_job_handed_back_is_as_if_it_had_never_been_taken(self):
        job = make_job("running")
        run_after = job.run_after
        write(leaving(job, "new", uncounted=True, unstarted=True))
        job.refresh_from_db()
        assert (job.status, job.attempt, job.attempt_token) == ("new", 0, None)
        assert (job.started_at, job.last_attempted_at, job.finished_at) == (None, None, None)
        assert job.run_after == run_after

    def test_a_later_attempt_handed_back_keeps_the_first_start(self):
        begun = database_now("default") - timedelta(hours=1)
        job = make_job("running", attempt=3, started_at=begun)
        write(leaving(job, "new", uncounted=True, unstarted=True))
        assert columns(job)["attempt"] == 2
        assert columns(job)["started_at"] == begun

    def test_one_that_had_started_keeps_the_first_start_although_it_is_not_counted(self):
        job = make_job("running")
        write(leaving(job, "new", uncounted=True))
        (again,) = claim("default", wanted(limit=1))
        write(AttemptUpdate(job.pk, again.token, "new", uncounted=True, unstarted=True))
        assert columns(job)["attempt"] == 0
        assert columns(job)["started_at"] == job.started_at

    @pytest.mark.parametrize(("status", "fields"), [("scheduled", {"delay": 60.0}), ("new", {"uncounted": True})])
    def test_an_abort_that_was_asked_for_is_not_lost_to_another_attempt(self, status, fields):
        job = make_job("running")
        update = leaving(job, status, **fields)
        job.abort()
        assert write(update) == {job.pk}
        assert update.status == "killed"
        job.refresh_from_db()
        assert (job.status, job.attempt_token) == ("killed", None)
        assert job.finished_at is not None

    @pytest.mark.parametrize("status", ["done", "exception"])
    def test_an_end_that_was_faster_than_the_abort_stands(self, status):
        job = make_job("running", abort_requested_at=timezone.now())
        update = leaving(job, status)
        write(update)
        assert columns(job)["status"] == update.status == status

    def test_one_batch_holds_every_kind_of_update(self):
        statuses = ("running", *ENDS, "new", "scheduled")
        jobs = {status: make_job("running") for status in statuses}
        updates = [leaving(job, status, delay=5.0 if status == "scheduled" else None) for status, job in jobs.items()]
        assert write(*updates) == {job.pk for job in jobs.values()}
        assert {status: columns(job)["status"] for status, job in jobs.items()} == {item: item for item in statuses}

    def test_a_batch_may_be_larger_than_one_statement(self):
        job = make_job("running")
        Job.objects.bulk_create(
            Job(name="app.job", status="running", attempt=1, attempt_token=job.attempt_token, run_after=job.run_after,
                enqueued_at=job.enqueued_at)
            for _ in range(1100)
        )  # fmt: skip
        ids = set(Job.objects.values_list("pk", flat=True))
        assert write(*[AttemptUpdate(pk, job.attempt_token, "done") for pk in ids]) == ids
        assert Job.objects.done().count() == 1101


class TestMistakes:
    @pytest.mark.parametrize("status", ["cancelled", "lost", ""])
    def test_a_move_that_the_table_does_not_have_is_refused_as_a_whole(self, status):
        good, bad = make_job("running"), make_job("running")
        with pytest.raises(ValueError, match="cannot become"):
            write(leaving(good, "done"), leaving(bad, status))
        assert columns(good)["status"] == "running"

    def test_two_updates_of_one_job_are_refused(self):
        job = make_job("running")
        with pytest.raises(ValueError, match="only once"):
            write(leaving(job, "running"), leaving(job, "done"))
        assert columns(job)["status"] == "running"

    def test_no_updates_are_no_query(self, django_assert_num_queries):
        with django_assert_num_queries(0):
            assert write() == set()


class TestInsert:
    COLUMNS = ("job_id", "number", "attempt", "at", "level", "text")

    def test_lines_are_stored_as_they_are(self):
        now = timezone.now()
        lines = [(5, number, 1, now, 20, f"línea 🚀 %s %% {number} '\\") for number in range(1, 1202)]
        insert("default", LogLine, self.COLUMNS, iter(lines))
        stored = LogLine.objects.filter(job_id=5).order_by("number")
        assert list(stored.values_list(*self.COLUMNS)) == lines

    def test_a_column_may_be_computed_by_the_database(self):
        now_ago = f"at={now_sql(connection, '%s')}"
        before = database_now("default")
        rows = [(5, number, 1, 20, "", -60.0) for number in (1, 2)]
        insert("default", LogLine, ("job_id", "number", "attempt", "level", "text", now_ago), rows)
        minute, rounding = timedelta(seconds=60), timedelta(milliseconds=1)
        for line in LogLine.objects.all():
            assert before - minute - rounding <= line.at <= database_now("default") - minute + rounding

    def test_json_and_flags_are_read_back_as_what_they_were(self):
        cells = [{"value": "ä🚀", "error": ""}]
        text = json.dumps(cells, ensure_ascii=False)
        rows = [(5, 1, 1, text, False), (5, 2, 1, text, True)]
        insert("default", ResultsRow, ("job_id", "number", "attempt", "cells", "has_error"), rows)
        assert [(row.cells, row.has_error) for row in ResultsRow.objects.order_by("number")] == [
            (cells, False), (cells, True),
        ]  # fmt: skip

    def test_nothing_to_add_is_no_query(self, django_assert_num_queries):
        with django_assert_num_queries(0):
            insert("default", LogLine, self.COLUMNS, [])


def test_a_rollback_takes_the_end_back():
    job = make_job("running")
    with transaction.atomic():
        write(leaving(job, "done"))
        transaction.set_rollback(True)
    assert columns(job)["status"] == "running"
