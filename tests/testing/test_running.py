"""The helpers that run jobs in a test, in one that never commits and in one that does."""

import datetime as dt
import gc
import warnings

import pytest
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.test import TestCase

from qorworker import Cell, InvalidArguments, JobContext, job
from qorworker.models import Job, Pause
from qorworker.testing import drain, immediate_jobs, run_job
from tests.job_types import own_types  # noqa: F401
from tests.testapp import jobs
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def types(own_types):  # noqa: F811
    """A job that says much, one that enqueues another, and one that fails until its second attempt."""

    class Types:
        @staticmethod
        @job(name="test.tell")
        def tell(context: JobContext, number: int = 1) -> int:
            context.add_log(f"number {number}")
            context.logger.warning("logged")
            context.set_progress(1, 4)
            context.set_progress_text("one of four")
            context.add_results_row("A-1", number)
            return number * 2

        @staticmethod
        @job(name="test.more")
        def more(number: int) -> None:
            if number:
                Types.more.using(priority=number).enqueue(number=number - 1)
                Types.tell.using(run_after=HOUR).enqueue(number=number)

        @staticmethod
        @job(name="test.second", max_attempts=3, backoff=lambda attempt: 3600)
        def second(context: JobContext) -> None:
            if context.attempt < 2:
                raise ValueError("not yet")

        @staticmethod
        @job(name="test.rows")
        def rows(context: JobContext) -> None:
            context.add_results_row("A-1", Cell("-3", error="negative stock"))

    return Types


class TestRunJob:
    @pytest.mark.parametrize("commits", [False, True])
    def test_it_tells_all_that_a_job_did(self, types, commits, request):
        request.getfixturevalue("transactional_db" if commits else "db")
        run = run_job(types.tell, number="21")
        assert (run.status, run.error, run.result) == ("done", "", 42)
        assert run.log == ["number 21", "logged"]
        assert (run.rows, run.row_errors) == ([["A-1", 21]], [["", ""]])
        assert (run.progress, run.progress_text, run.traceback) == (100, "one of four", "")
        assert [attempt.outcome for attempt in run.attempts] == ["done"]
        assert run.job == Job.objects.get()

    def test_a_failure_is_told_with_its_traceback_also_by_a_failing_assert(self, types):
        run = run_job(types.second)
        assert (run.status, run.error) == ("scheduled", "ValueError: not yet")  # another attempt follows
        assert 'raise ValueError("not yet")' in run.traceback
        assert repr(run).startswith(f"<JobRun of test.second #{run.job.pk}, scheduled: ValueError: not yet>\nTraceback")
        assert repr(run_job(types.tell)).endswith("done>")

    def test_files_are_closed_when_they_have_been_read(self, types):
        run = run_job(jobs.add_files, name="a.txt")
        with warnings.catch_warnings(record=True, category=ResourceWarning) as unclosed:
            warnings.simplefilter("always")
            assert run.files == {"a.txt": b"a.txt"}
            gc.collect()
        assert [warning for warning in unclosed if "a.txt" in str(warning.message)] == []  # other tests leave others
        for row in run.job.files.all():
            default_storage.delete(row.key)

    def test_errors_of_rows_are_told_by_cell(self, types):
        run = run_job(types.rows)
        assert (run.status, run.error) == ("exception", "1 of 1 row has errors.")
        assert run.row_errors == [["", "negative stock"]]

    def test_a_stored_job_is_run_before_its_time_and_retried(self, types):
        stored = types.second.using(run_after=HOUR).enqueue()
        assert run_job(stored).status == "scheduled"
        assert run_job(stored).status == "done"
        assert stored.status == "done"

    def test_bad_arguments_are_refused_and_nothing_is_stored(self, types):
        with pytest.raises(InvalidArguments, match="number"):
            run_job(types.tell, number="many")
        assert not Job.objects.exists()

    def test_a_job_that_has_ended_and_a_stored_one_with_arguments_are_refused(self, types):
        stored = run_job(types.tell).job
        with pytest.raises(ValueError, match="is done and cannot be started"):
            run_job(stored)
        with pytest.raises(ValueError, match="cannot be given others"):
            run_job(stored, number=2)

    def test_other_jobs_are_only_stored_whatever_the_backend(self, types, settings, transactional_db):
        settings.QORWORKER = {"QUEUES": {"default": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"}}}
        run_job(types.more, number=1)
        assert sorted(Job.objects.waiting().values_list("name", flat=True)) == ["test.more", "test.tell"]

    def test_a_handler_that_breaks_the_transaction_of_the_test_fails_alone(self, own_types):  # noqa: F811
        @job(name="test.broken")
        def broken() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT nothing FROM nowhere")

        assert run_job(broken).status == "exception"
        Shop.objects.create(name="goes on")

    def test_what_a_failed_job_wrote_stays_as_in_a_worker(self, own_types):  # noqa: F811
        @job(name="test.half")
        def half() -> None:
            Shop.objects.create(name="half")
            raise ValueError

        run_job(half)
        assert Shop.objects.get().name == "half"

    def test_middleware_is_around_it(self, types, settings):
        settings.QORWORKER = {**settings.QORWORKER, "MIDDLEWARE": ["tests.testapp.middleware.Inner"]}
        assert run_job(types.tell).log[0] == "inner in"


class TestDrain:
    def test_all_due_jobs_run_and_those_that_they_enqueue_the_urgent_ones_first(self, types):
        types.more.enqueue(number=2)
        types.tell.using(priority=-5).enqueue()
        runs = drain()
        assert [(run.job.name, run.status) for run in runs] == [("test.more", "done")] * 3 + [("test.tell", "done")]
        assert Job.objects.scheduled().count() == 2  # in an hour

    def test_time_travel_runs_what_is_due_until_then(self, types):
        types.more.enqueue(number=2)
        assert len(drain(at=HOUR / 2)) == 3
        runs = drain(at=2 * HOUR)
        assert [run.result for run in runs] == [4, 2]
        assert drain(at=2 * HOUR) == []

    def test_a_moment_is_as_good_as_a_span(self, types):
        job = types.tell.using(run_after=HOUR).enqueue()
        assert drain(at=job.run_after - dt.timedelta(seconds=1)) == []
        assert len(drain(at=job.run_after)) == 1

    def test_attempts_that_follow_a_failure_wait_unless_they_are_asked_for(self, types):
        types.second.enqueue()
        assert [run.status for run in drain()] == ["scheduled"]
        assert drain() == []
        assert [run.status for run in drain(retries=True)] == ["done"]

    def test_one_queue_alone(self, types):
        types.tell.enqueue()
        types.tell.using(queue_name="mail").enqueue(number=5)
        assert [run.result for run in drain(queue_name="mail")] == [10]
        assert Job.objects.queued().count() == 1

    def test_jobs_without_end_are_noticed(self, own_types):  # noqa: F811
        @job(name="test.again")
        def again() -> None:
            again.enqueue()

        again.enqueue()
        with pytest.raises(AssertionError, match="More than 10 jobs have run: do they enqueue each other without end"):
            drain(limit=10)

    def test_what_is_paused_is_left(self, types):
        types.tell.enqueue()
        Pause.objects.start("queue", "default")
        assert drain() == []
        assert Job.objects.queued().count() == 1


class TestImmediateJobs:
    def test_in_a_test_that_never_commits_jobs_run_at_the_end_of_the_block(self, types):
        with immediate_jobs():
            made = types.more.enqueue(number=0)
            assert made.status == "new"
        assert made.status == "done"

    @pytest.mark.django_db(transaction=True)
    def test_in_a_test_that_commits_they_run_at_the_commit(self, types):
        with immediate_jobs():
            with transaction.atomic():
                made = types.tell.enqueue()
                assert made.status == "new"
            assert made.status == "done"


class TestWithinATestCase(TestCase):
    def test_a_job_runs_in_the_transaction_of_the_test(self):
        assert run_job(jobs.noop).status == "done"
