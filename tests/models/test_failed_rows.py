"""Running a job again for its rows with errors only."""

import asyncio

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile

from qorworker import Cell, InvalidArguments, Job, JobContext, RowKeys, Secret, Unique, job
from qorworker.exceptions import AlreadyEnqueued, InvalidTransition, NothingToRepeat, UnknownJobType
from qorworker.models import AuditEntry, ResultsRow
from qorworker.testing import run_job
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import make_job

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]


@pytest.fixture
def import_rows():
    @job(name="app.import_rows", max_attempts=2)
    def import_rows(
        context: JobContext, rows: list[str], bad: list[str] | None = None, only: RowKeys | None = None
    ) -> str:
        """Adds a row for each text; one that begins with “-” has no key."""
        for row in rows:
            if only is None or row in only:
                error = "refused" if row in (bad or ()) else ""
                context.add_results_row(Cell(row, error=error), key=None if row.startswith("-") else row)
        return "all" if only is None else ",".join(only)

    return import_rows


def test_the_new_job_gets_the_keys_of_the_rows_with_errors(import_rows, django_user_model):
    user = django_user_model.objects.create_user("lou")
    first = run_job(import_rows, rows=["a", "b", "c", "-d"], bad=["c", "a", "-d"]).job
    assert (first.status, first.repeatable_rows) == ("exception", 2)
    again = first.rerun_failed_rows(by=user)
    assert (again.rerun_of_id, again.created_by, again.row_keys) == (first.pk, user, RowKeys(["a", "c"]))
    assert AuditEntry.objects.get(job_id=again.pk).action == "enqueue"
    ended = run_job(again)
    assert (ended.rows, ended.result) == ([["a"], ["c"]], "a,c")


def test_it_can_be_done_again_and_with_other_arguments(import_rows):
    first = run_job(import_rows, rows=["a", "b", "c"], bad=["a", "b"]).job
    second = run_job(first.rerun_failed_rows(bad=["b"])).job
    third = run_job(second.rerun_failed_rows({"bad": []}))
    assert (third.status, third.result) == ("done", "b")
    assert run_job(second.rerun()).result == "a,b"


def test_coroutines_have_it_too(import_rows):
    assert asyncio.iscoroutinefunction(Job.arerun_failed_rows)


def test_what_does_not_fail_a_job_can_be_repeated_too():
    @job(name="app.lenient", on_row_errors="done")
    def lenient(context: JobContext, only: RowKeys | None = None) -> None:
        context.add_results_row(Cell("a", error="odd"), key="a")

    ended = run_job(lenient)
    assert (ended.status, ended.job.rerun_failed_rows().row_keys) == ("done", RowKeys(["a"]))


def test_only_rows_of_the_last_attempt_count():
    @job(name="app.twice", max_attempts=2, backoff=lambda attempt: 0)
    def twice(context: JobContext, only: RowKeys | None = None) -> None:
        key = f"attempt {context.attempt}"
        context.add_results_row(Cell("a", error="odd"), key=key)
        context.add_results_row(Cell("b", error="odd"), key="the same in each")
        if context.attempt == 1:
            raise ValueError("once more")

    first = run_job(twice)
    assert first.status == "scheduled"
    second = run_job(first.job)
    assert (second.status, ResultsRow.objects.count()) == ("exception", 4)
    assert second.job.rerun_failed_rows().row_keys == RowKeys(["attempt 2", "the same in each"])


def test_the_row_of_the_database_counts_and_not_an_old_copy(import_rows):
    stale = import_rows.enqueue(rows=["a"], bad=["a"])
    run_job(Job.objects.get(pk=stale.pk))
    assert stale.status == "new"
    assert stale.rerun_failed_rows().row_keys == RowKeys(["a"])


class TestNothingToRepeat:
    def refused(self, row, sentence):
        before = Job.objects.count()
        with pytest.raises(NothingToRepeat, match=sentence):
            row.rerun_failed_rows()
        assert Job.objects.count() == before

    def test_no_row_has_an_error(self, import_rows):
        self.refused(run_job(import_rows, rows=["a"]).job, "No row of its results has an error")

    def test_rows_with_errors_have_no_key(self, import_rows):
        ended = run_job(import_rows, rows=["-a", "-b"], bad=["-a", "-b"]).job
        assert ended.repeatable_rows == 0
        self.refused(ended, "2 rows have errors, but none of them has a key")

    def test_the_job_has_not_ended(self, import_rows):
        self.refused(import_rows.enqueue(rows=["a"]), "has not ended")
        self.refused(make_job("running", name="app.import_rows", results_errors=1), "has not ended")

    def test_the_function_takes_no_keys(self):
        @job(name="app.plain")
        def plain(context: JobContext) -> None:
            context.add_results_row(Cell("a", error="odd"), key="a")

        ended = run_job(plain).job
        assert ended.repeatable_rows == 0
        self.refused(ended, "takes no keys of rows")

    def test_its_code_is_gone(self):
        with pytest.raises(UnknownJobType):
            make_job("done", name="app.gone").rerun_failed_rows()

    def test_it_was_deleted(self, import_rows):
        ended = run_job(import_rows, rows=["a"], bad=["a"]).job
        Job.objects.filter(pk=ended.pk).erase()
        with pytest.raises(InvalidTransition, match="is deleted"):
            ended.rerun_failed_rows()


def test_a_secret_must_be_given_again():
    @job(name="app.secretive")
    def secretive(context: JobContext, password: Secret[str], only: RowKeys | None = None) -> None:
        context.add_results_row(Cell("a", error="odd"), key="a")

    ended = run_job(secretive, password="c4n4ry").job
    with pytest.raises(InvalidArguments, match="password"):
        ended.rerun_failed_rows()
    again = ended.rerun_failed_rows(password="c4n4ry")
    assert again.row_keys == RowKeys(["a"])


def test_the_new_job_has_a_copy_of_the_upload():
    @job(name="app.from_file")
    def from_file(context: JobContext, file: UploadedFile, only: RowKeys | None = None) -> str:
        context.add_results_row(Cell("a", error="odd"), key="a")
        return file.read().decode()

    ended = run_job(from_file, file=SimpleUploadedFile("tea.csv", b"sku")).job
    again = ended.rerun_failed_rows()
    ended.delete()
    assert run_job(again).result == "sku"


def test_a_unique_type_has_one_job_for_the_same_rows():
    @job(name="app.unique", unique=True)
    def unique(context: JobContext, only: RowKeys | None = None) -> None:
        context.add_results_row(Cell("a", error="odd"), key="a")

    ended = run_job(unique).job
    again = ended.rerun_failed_rows()
    assert unique.enqueue().pk != again.pk
    assert ended.rerun_failed_rows() == again
    with pytest.raises(AlreadyEnqueued):
        unique.using(unique=Unique(on_conflict="raise")).enqueue(only=["a"])


def test_the_return_value_is_kept_whatever_the_rows_say(import_rows):
    ended = run_job(import_rows, rows=["a"], bad=["a"])
    assert (ended.status, ended.result) == ("exception", "all")
