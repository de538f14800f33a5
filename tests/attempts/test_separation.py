"""What a database refuses: it is shortened, alone, and nothing behind it waits."""

import logging
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qorworker import Cell, Cron, JobContext, job
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.rescue import _claimed
from qorworker.attempts.separation import MAX_REFUSALS
from qorworker.attempts.writer import End, Writer
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidArguments, InvalidSchedule
from qorworker.execution.messages import decode, encode
from qorworker.models import Attempt, AuditEntry, Job, LogLine, Pause, Preset, ResultsRow, Schedule
from qorworker.models.sql import claim, parts
from tests.models.refusing import converted, refusing
from tests.models.rows import make_job, wanted
from tests.support import log_of
from tests.testapp import jobs
from tests.text.test_storable import ANYTHING, LONELY, nested

PARTY, ARROW = "\N{PARTY POPPER}", "\N{RIGHTWARDS ARROW}"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def writer(transactional_db):
    return Writer("default", 1, "host:1")


def running(**fields):
    """An attempt of a job that is claimed."""
    job = make_job(**fields)
    [claimed] = [each for each in claim("default", wanted()) if each.id == job.pk]
    return RunningAttempt(claimed, "default", process_id=4711, changed=True)


def finish(writer, attempt, outcome="done", error="", **details):
    end = End(attempt, attempt.end(outcome, error), outcome, **details)
    writer.end(end)
    return end


def report(attempt, text):
    """Let an attempt report *text* by every means."""
    attempt.apply(["progress", attempt.job.id, 50, text])
    attempt.apply(["log", attempt.job.id, 0, logging.INFO, text])
    attempt.apply(["log", attempt.job.id, 0, logging.INFO, "an ordinary line"])
    attempt.apply(["row", attempt.job.id, [[text, ""], [1, text]]])
    attempt.apply(["row", attempt.job.id, [["an ordinary row", ""]]])
    attempt.apply(["return", attempt.job.id, f'"{text}"'])


def flushed(writer, tries=2 * MAX_REFUSALS):
    for _ in range(tries):
        writer.flush(())
        if not writer.ends and not writer.deferred:
            return
    raise AssertionError(f"Still waiting: {writer.ends}, {writer.deferred}")


def stored(attempt):
    return Job.objects.get(pk=attempt.job.id)


@pytest.mark.only_on("mysql")
class TestCharacters:
    @pytest.mark.parametrize(
        ("charset", "text", "kept"),
        [
            ("utf8mb3", f"all sold {PARTY}", "all sold \\U0001f389"),
            ("utf8mb3", f"straight {ARROW} on", f"straight {ARROW} on"),
            ("latin1", f"größer {ARROW} {PARTY} 5 €", "größer \\u2192 \\U0001f389 5 €"),
            ("ascii", "größer", "gr\\xf6\\xdfer"),
        ],
    )
    def test_a_character_that_the_tables_lack_becomes_an_escape(self, writer, charset, text, kept):
        with converted(charset):
            attempt, other = running(), running()
            report(attempt, text)
            report(other, "plain")
            finish(writer, attempt, "failed", text, traceback=text, exception_class=f"shop.{text}")
            finish(writer, other)
            writer.flush(())
            job, note = stored(attempt), Attempt.objects.get(job=attempt.job.id)
            assert (job.status, job.progress_text, job.error) == ("exception", kept, kept)
            assert (note.error, note.traceback, note.exception_class) == (kept, kept, f"shop.{kept}")
            assert log_of(job)[:2] == [kept, "an ordinary line"]
            assert [row.cells for row in job.results.order_by("number")] == [
                [{"value": text, "error": ""}, {"value": 1, "error": text}],
                [{"value": "an ordinary row", "error": ""}],
            ]
            assert ("It is shortened." in log_of(job)[-1]) is (kept != text)
            assert log_of(stored(other)) == ["plain", "an ordinary line"]
            assert stored(other).result == "plain"

    def test_what_a_job_returned_loses_nothing(self, writer):
        with converted("latin1"):
            attempt = running()
            report(attempt, PARTY)
            finish(writer, attempt)
            writer.flush(())
            assert (stored(attempt).status, stored(attempt).result) == ("done", PARTY)

    def test_a_sign_of_progress_is_shortened_and_the_job_goes_on(self, writer):
        with converted("utf8mb3"):
            attempt = running()
            report(attempt, PARTY)
            assert writer.flush([attempt]) == []
            assert (stored(attempt).status, stored(attempt).progress_text) == ("running", "\\U0001f389")
            assert not attempt.changed
            attempt.apply(["progress", attempt.job.id, 60, "sixty"])
            writer.flush([attempt])
            assert stored(attempt).progress_text == "sixty"


@pytest.mark.only_on("mysql")
class TestWhatIsGiven:
    """What people and code enter is refused before anything is stored, and what is refused is named."""

    @pytest.fixture(autouse=True)
    def old_tables(self, transactional_db):
        with converted("utf8mb3"):
            yield

    @pytest.mark.parametrize("options", [{}, {"unique_key": "letters"}])
    def test_an_argument(self, options):
        with pytest.raises(InvalidArguments) as refusal:
            jobs.fail.using(**options).enqueue(message=PARTY)
        assert refusal.value.errors == {"message": [f"The database cannot store these characters: {PARTY}"]}
        assert not Job.objects.exists()
        assert jobs.fail.using(**options).enqueue(message=ARROW).arguments == {"message": ARROW}

    def test_the_name_of_a_schedule(self):
        with pytest.raises(InvalidSchedule, match=PARTY):
            Schedule.objects.create_for(jobs.noop, Cron("0 2 * * *"), name=f"night {PARTY}")
        schedule = Schedule.objects.create_for(jobs.noop, Cron("0 2 * * *"), name=f"night {ARROW}")
        with pytest.raises(InvalidSchedule, match=PARTY):
            schedule.change(name=PARTY)
        schedule.refresh_from_db()
        assert schedule.name == f"night {ARROW}"

    def test_the_name_of_saved_arguments(self, admin_client):
        path = reverse("admin:qorworker_job_save_arguments", args=("testapp.noop_again",))
        page = admin_client.post(path, {"number": "1"})
        data = {"qw-arguments": page.context_data["signed"], "qw-name": PARTY}
        page = admin_client.post(path, data)
        assert PARTY in page.context_data["form"].errors["name"][0]
        assert not Preset.objects.exists()

    def test_a_reason_is_kept_with_escapes(self):
        Pause.objects.start("queue", "mail", reason=f"party {PARTY}")
        assert Pause.objects.get().reason == "party \\U0001f389"
        job = make_job()
        job.cancel(reason=PARTY)
        assert AuditEntry.objects.get(action="cancel").details["reason"] == PARTY


class TestSizes:
    def test_rows_that_are_together_larger_than_a_packet_are_written_in_portions(self, writer):
        """MariaDB's server takes 16 MB at once unless it is configured; these are 45 MB."""
        attempt = running()
        for number in range(1500):
            attempt.apply(["row", attempt.job.id, [[f"{number} " + "x" * 30_000, ""]]])
        finish(writer, attempt)
        writer.flush(())
        assert stored(attempt).status == "done"
        assert ResultsRow.objects.filter(job=attempt.job.id).count() == 1500
        assert log_of(stored(attempt)) == []

    def test_no_statement_is_larger_than_what_the_database_takes(self, writer, monkeypatch):
        monkeypatch.setattr(parts, "LARGE", 400_000)
        monkeypatch.setattr(parts, "SMALL", 1000)
        sizes = []

        def measure(execute, sql, params, many, context):
            sizes.append(sum(len(str(value).encode()) for value in params or ()))
            return execute(sql, params, many, context)

        attempts = [running() for _ in range(20)]
        for attempt in attempts:
            for _ in range(20):
                report(attempt, "'\"\\ä\x01" * 300)
            finish(writer, attempt, "failed", "\"'" * 900, traceback="\\" * 16_000)
        with connection.execute_wrapper(measure):
            writer.flush(())
        assert max(sizes) < 400_000
        assert {stored(attempt).status for attempt in attempts} == {"exception"}
        assert LogLine.objects.count() == 20 * 40

    def test_one_row_that_is_too_large_leaves_a_remark(self, writer, monkeypatch):
        monkeypatch.setattr(parts, "LARGE", 60_000)
        monkeypatch.setattr(parts, "SMALL", 1000)
        attempt = running()
        for text in ("before", "x" * 100_000, "after"):
            attempt.apply(["row", attempt.job.id, [[text, ""]]])
        attempt.apply(["return", attempt.job.id, '"' + "y" * 200_000 + '"'])
        finish(writer, attempt)
        writer.flush(())
        assert (stored(attempt).status, stored(attempt).result) == ("done", None)
        assert [row.cells[0]["value"] for row in ResultsRow.objects.order_by("number")] == [
            "before",
            "This row could not be stored.",
            "after",
        ]
        returned, refused = log_of(stored(attempt))
        assert "is larger than the database takes" in refused
        assert returned == "What the job returned could not be stored."


class TestOddValues:
    """From the verbs of a handler through the tables to the answers for programs."""

    def run(self, handler):
        from qorworker.execution.execute import execute

        row = make_job("running", name="test.odd")
        registered = dict(registry._types)
        try:
            job(name="test.odd")(handler)
            attempt = RunningAttempt(_claimed(row), "default", process_id=1)
            ending = execute(
                attempt.work("never"), lambda record: [attempt.apply(each) for each in decode(encode([record]))]
            )
        finally:
            registry._types.clear()
            registry._types.update(registered)
        writer = Writer("default", 1, "host:1")
        update = attempt.end(ending.outcome, ending.error)
        writer.end(End(attempt, update, ending.outcome, ending.traceback, ending.exception_class))
        flushed(writer)
        return Job.objects.get(pk=row.pk)

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(said=ANYTHING, text=LONELY, returned=ANYTHING, number=st.integers() | st.floats(allow_nan=False))
    def test_whatever_a_job_says_is_stored_and_can_be_sent(
        self, transactional_db, admin_client, said, text, returned, number
    ):
        def handler(context: JobContext) -> Any:
            context.set_progress(number)
            context.set_progress_text(said)
            context.add_log(said)
            context.add_results_row(said, Cell(text, error=said))
            return returned

        row = self.run(handler)
        assert row.status in ("done", "exception")
        assert row.error in ("", "1 of 1 row has errors.")
        for page in ("job.json", "change/", "results.csv"):
            assert admin_client.get(f"/admin/qorworker/job/{row.pk}/{page}").status_code == 200, page
        assert admin_client.get("/admin/qorworker/job/list.json").status_code == 200

    def test_names_of_files_that_are_no_unicode(self, transactional_db, admin_client):
        row = self.run(lambda: ["caf\udce9.txt"])
        assert (row.status, row.result) == ("done", ["caf\\udce9.txt"])
        assert admin_client.get(f"/admin/qorworker/job/{row.pk}/job.json").json()["return_value"] == row.result

    @pytest.mark.parametrize("levels", [31, 100_000])
    def test_a_result_that_is_too_deep_costs_only_the_result(self, transactional_db, levels):
        row = self.run(lambda: nested(levels))
        assert (row.status, row.result) == ("done", None)
        assert "The return value was not kept: It is nested" in log_of(row)[0]


class TestRefusedByTheProject:
    def test_one_end_that_is_refused_for_good_holds_up_no_other(self, writer, caplog):
        first, culprit, last = running(), running(), running()
        with refusing("job", "UPDATE", f"NEW.id = {culprit.job.id} AND NEW.status = 'done'"):
            for attempt in (first, culprit, last):
                report(attempt, "fine")
                finish(writer, attempt)
            writer.flush(())
            assert [stored(attempt).status for attempt in (first, culprit, last)] == ["done", "running", "done"]
            assert [end.attempt for end in writer.deferred] == [culprit]
            flushed(writer)
        job = stored(culprit)
        assert job.status == "exception"
        assert "The database refuses to store how this attempt ended" in job.error
        assert "the project refuses it" in job.error
        assert (job.attempts.get().outcome, job.attempts.get().error) == ("failed", job.error)
        assert log_of(job)[:2] == ["fine", "an ordinary line"]
        assert log_of(stored(first)) == ["fine", "an ordinary line"]

    def test_an_end_that_is_refused_in_every_form_is_given_up(self, writer, caplog):
        culprit, other = running(), running()
        with refusing("job", "UPDATE", f"NEW.id = {culprit.job.id}"):
            finish(writer, culprit)
            finish(writer, other)
            flushed(writer)
        assert (stored(culprit).status, stored(other).status) == ("running", "done")
        assert "giving up" in caplog.text

    def test_a_refusal_that_passes_in_time_changes_nothing(self, writer):
        attempt = running()
        report(attempt, "fine")
        end = finish(writer, attempt)
        with refusing("job", "UPDATE", "NEW.status = 'done'"):
            writer.flush(())
        assert writer.deferred == [end]
        flushed(writer)
        job = stored(attempt)
        assert (job.status, job.error, job.result) == ("done", "", "fine")
        assert log_of(job)[:2] == ["fine", "an ordinary line"]
        assert job.attempts.get().outcome == "done"

    def test_a_line_and_a_row_that_are_refused_are_replaced_alone(self, writer):
        attempt = running()
        report(attempt, "culprit")
        with refusing("logline", "INSERT", "NEW.text = 'culprit'"):
            finish(writer, attempt)
            writer.flush(())
        job = stored(attempt)
        assert (job.status, job.progress_text) == ("done", "culprit")
        assert log_of(job)[:2] == ["This line could not be stored.", "an ordinary line"]
        assert "the project refuses it" in log_of(job)[2]
        assert job.results.count() == 2

    def test_a_table_that_takes_no_line_costs_only_the_log(self, writer):
        attempt = running()
        report(attempt, "fine")
        with refusing("logline", "INSERT", "NEW.job_id > 0"):
            finish(writer, attempt)
            writer.flush(())
        job = stored(attempt)
        assert (job.status, job.result, log_of(job)) == ("done", None, [])

    def test_a_note_that_is_refused_does_not_keep_the_end(self, writer):
        attempt = running()
        with refusing("attempt", "INSERT", "NEW.traceback = 'culprit'"):
            finish(writer, attempt, "failed", "x", traceback="culprit")
            writer.flush(())
        assert (stored(attempt).status, stored(attempt).attempts.get().traceback) == ("exception", "")


class TestFailuresThatMayPass:
    """Errors that say nothing about the values: nothing is lost, and no batch is repeated unchanged for ever."""

    @pytest.fixture
    def broken(self, monkeypatch):
        """Statements fail as long as ``broken(attempts)`` is true of those that are written."""
        write, sizes = Writer._write, []

        def fail(self, ends, progressed, claim=None):
            pieces = [*(end.attempt for end in ends), *progressed]
            sizes.append(len(pieces))
            if rules and rules[-1](pieces):
                raise OperationalError("server has gone away")
            return write(self, ends, progressed, claim)

        rules = []
        monkeypatch.setattr(Writer, "_write", fail)
        return lambda rule: rules.append(rule) or sizes

    def flush(self, writer):
        with pytest.raises(OperationalError):
            writer.flush(())

    def test_an_outage_costs_nothing(self, writer, broken):
        attempts = [running() for _ in range(5)]
        for attempt in attempts:
            report(attempt, "fine")
            finish(writer, attempt)
        broken(lambda pieces: True)
        for _ in range(20):
            self.flush(writer)
        broken(lambda pieces: False)
        for _ in range(4):
            writer.flush(())
        assert {stored(attempt).status for attempt in attempts} == {"done"}
        assert {tuple(log_of(stored(attempt))) for attempt in attempts} == {("fine", "an ordinary line")}

    def test_a_batch_that_fails_is_tried_again_in_smaller_portions(self, writer, broken):
        for _ in range(40):
            finish(writer, running())
        sizes = broken(lambda pieces: len(pieces) > 8)
        while writer.ends:
            try:
                writer.write_and_claim(None)
            except OperationalError:
                continue
        assert sizes[:4] == [40, 20, 10, 5]
        assert Job.objects.done().count() == 40

    def test_an_attempt_that_fails_for_ever_lets_the_others_pass(self, writer, broken):
        culprit, *others = [running() for _ in range(6)]
        for attempt in (culprit, *others):
            finish(writer, attempt)
        broken(lambda pieces: culprit in pieces)
        for _ in range(20):
            try:
                writer.flush(())
            except OperationalError:
                continue
        assert {stored(attempt).status for attempt in others} == {"done"}
        assert stored(culprit).status == "running"
        broken(lambda pieces: False)
        writer.flush(())
        assert stored(culprit).status == "done"

    def test_what_an_attempt_said_is_shortened_if_nothing_else_helps(self, writer, broken):
        attempt = running()
        report(attempt, "x" * 150)
        finish(writer, attempt)
        broken(lambda pieces: any(each.log for each in pieces))
        for _ in range(MAX_REFUSALS):
            self.flush(writer)
        while writer.ends:
            writer.flush(())
        assert (stored(attempt).status, log_of(stored(attempt))) == ("done", [])

    def test_a_claim_that_failed_with_an_end_that_often_failed_is_reported(self, writer, broken):
        attempt = running()
        finish(writer, attempt)
        broken(lambda pieces: True)
        for _ in range(MAX_REFUSALS):
            self.flush(writer)
        broken(lambda pieces: len(outages) < 2 and not outages.append(1))
        outages = [1]
        with pytest.raises(OperationalError):
            writer.write_and_claim(wanted())
        assert stored(attempt).status == "running"
        writer.flush(())
        assert stored(attempt).status == "done"

    def test_failures_before_a_write_that_succeeds_count_no_more(self, writer, broken):
        attempt = running()
        broken(lambda pieces: True)
        for _ in range(MAX_REFUSALS):
            with pytest.raises(OperationalError):
                writer.flush([attempt])
        broken(lambda pieces: False)
        writer.flush([attempt])
        assert attempt.failures == 0
