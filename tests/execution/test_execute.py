import datetime as dt
import json
import logging
import sys
from decimal import Decimal
from typing import Annotated

import pytest
from django import forms
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import UploadedFile
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone, translation
from hypothesis import given
from hypothesis import strategies as st

from qorworker import Arg, Cell, JobContext, Secret, job
from qorworker.arguments import Arguments
from qorworker.definitions.registry import registry
from qorworker.exceptions import JobAborted, UploadsUnavailable
from qorworker.execution.execute import execute
from qorworker.execution.messages import Work, encode
from qorworker.models import Job, Outcome
from qorworker.status import CRASH_LIMIT, TRANSITIONS, JobStatus, next_status
from qorworker.worker.parent.forkserver_client import MESSAGE
from tests.models.rows import make_job

O = Outcome  # noqa: E741


class TestNextStatus:
    @pytest.mark.parametrize(
        ("outcome", "single", "again", "last", "crash_limit"),
        [
            (O.DONE, "done", "done", "done", "done"),
            (O.ROW_ERRORS, "exception", "exception", "exception", "exception"),
            (O.FAILED, "exception", "scheduled", "exception", "exception"),
            (O.CRASHED, "exception", "scheduled", "exception", "exception"),
            (O.LOST, "exception", "scheduled", "exception", "exception"),
            (O.TIMEOUT, "exception", "scheduled", "exception", "exception"),
            (O.MEMORY, "exception", "scheduled", "exception", "exception"),
            (O.ABORTED, "killed", "killed", "killed", "killed"),
            (O.INTERRUPTED, "exception", "new", "new", "new"),
            (O.SUSPENDED, "new", "new", "new", "new"),
            (O.REFUSED, "exception", "exception", "exception", "exception"),
        ],
    )
    def test_each_outcome(self, outcome, single, again, last, crash_limit):
        assert next_status(outcome, 1, 1, 0) == single
        assert next_status(outcome, 1, 3, 0) == again
        assert next_status(outcome, 3, 3, 0) == last
        assert next_status(outcome, 4, 10, CRASH_LIMIT) == crash_limit

    @given(st.sampled_from(Outcome.values), st.integers(1, 100), st.integers(1, 100), st.integers(0, 100))
    def test_it_is_always_a_way_out_of_running(self, outcome, attempt, max_attempts, crashes):
        assert JobStatus(next_status(outcome, attempt, max_attempts, crashes)) in TRANSITIONS[JobStatus.RUNNING]

    @given(st.sampled_from([each for each in O if each != O.SUSPENDED]), st.integers(1, 100), st.integers(0, 100))
    def test_a_single_attempt_is_never_tried_again_but_behind_a_checkpoint(self, outcome, attempt, crashes):
        assert next_status(outcome, attempt, 1, crashes) in ("done", "exception", "killed")


@pytest.fixture
def unreported():
    """What jobs raise does not go to logging: texts that are no Unicode cannot be part of a report of tests."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class TestEndings:
    def test_a_handler_that_returns(self, run):
        ending, sent = run(lambda: None)
        assert (ending.outcome, ending.error, ending.traceback) == ("done", "", "")
        assert ending.duration >= 0
        assert sent == []

    def test_arguments_arrive_typed_and_the_context_with_them(self, run):
        seen = []

        def handler(context: JobContext, count: int, name: str = "x") -> None:
            seen.append((context.job_id, context.arguments, count, name))

        ending, _ = run(handler, '{"count": 5, "name": "y"}')
        assert ending.outcome == "done"
        assert seen == [(7, {"count": 5, "name": "y"}, 5, "y")]

    @pytest.mark.parametrize(
        ("error", "headline"),
        [
            (ValueError("no such luck"), "ValueError: no such luck"),
            (ValueError("two\nlines"), "ValueError: two"),
            (ValueError(), "ValueError"),
            (KeyError("key"), "KeyError: 'key'"),
            (KeyboardInterrupt(), "KeyboardInterrupt"),
            (GeneratorExit(), "GeneratorExit"),
            (ExceptionGroup("many", [ValueError("one")]), "ExceptionGroup: many (1 sub-exception)"),
            (ValueError("nul \0 \ud800"), "ValueError: nul ␀ \\ud800"),
            (ValueError("x" * 5000), "ValueError: " + "x" * (1999 - len("ValueError: ")) + "…"),
        ],
    )
    def test_an_exception(self, unreported, run, error, headline):
        def handler() -> None:
            raise error

        ending, _ = run(handler)
        assert (ending.outcome, ending.error) == ("failed", headline)
        assert "Traceback (most recent call last)" in ending.traceback
        ending.traceback.encode()

    def test_an_exception_that_cannot_say_what_it_is(self, run):
        class Broken(Exception):
            def __str__(self):
                raise RuntimeError("not even that")

        def handler() -> None:
            raise Broken

        ending, _ = run(handler)
        assert (ending.outcome, ending.error) == ("failed", "Broken")
        assert "in handler" in ending.traceback

    def test_a_deep_recursion_keeps_the_end_of_its_traceback(self, run):
        def handler() -> None:
            def down(depth):
                if depth:
                    down(depth - 1)
                raise ValueError("x" * 20_000 + " the end")

            down(3)

        ending, _ = run(handler)
        assert len(ending.traceback) <= 16_000
        assert ending.traceback.startswith("…")
        assert ending.traceback.rstrip().endswith("the end")

    @pytest.mark.parametrize("code", [0, 1, None, "words"])
    def test_sys_exit_is_not_done(self, run, code):
        ending, _ = run(lambda: sys.exit(code))
        assert (ending.outcome, ending.error) == ("failed", f"The handler called sys.exit({code!r}).")

    def test_an_abort_that_the_handler_noticed(self, run):
        def handler(context: JobContext) -> None:
            context.check_abort()

        ending, _ = run(handler, aborts=True)
        assert ending.outcome == "aborted"

    def test_memory(self, run):
        def handler() -> None:
            raise MemoryError

        ending, _ = run(handler, memory_limit=300 * 1024 * 1024)
        assert ending.outcome == "memory"
        assert "300 MB" in ending.error

    def test_rows_with_errors(self, run):
        def handler(context: JobContext) -> None:
            context.add_results_row("fine")
            context.add_results_row(Cell("x", error="bad"), Cell("y", error="bad"))

        ending, sent = run(handler)
        assert (ending.outcome, ending.error) == ("row_errors", "1 of 2 rows have errors.")
        assert [record[0] for record in sent] == ["row", "row"]
        registry.unregister("test.job")
        assert run(handler, on_row_errors="done")[0].outcome == "done"

    def test_progress_that_was_held_back_is_sent_before_the_end(self, run):
        def handler(context: JobContext) -> None:
            for number in range(101):
                context.set_progress(number)
            raise ValueError

        ending, sent = run(handler)
        assert ending.outcome == "failed"
        assert sent[-1] == ["progress", 7, 100, None]

    def test_an_asynchronous_handler(self, run):
        async def handler(context: JobContext) -> None:
            context.add_log("in a loop")

        ending, sent = run(handler)
        assert (ending.outcome, sent[0][-1]) == ("done", "in a loop")


class TestRefused:
    def test_an_unknown_type(self, run):
        ending, _ = run(None, name="app.gone")
        assert ending.outcome == "refused"
        assert "app.gone" in ending.error

    def test_the_log_says_where_an_upload_that_is_gone_was_looked_for(self, run):
        def handler(file: UploadedFile) -> None: ...

        stored = {"$file": f"qorworker/0000/{'0' * 32}", "storage": "default", "name": "tea.csv", "size": 3}
        ending, sent = run(handler, json.dumps({"file": stored}))
        assert ending.outcome == "refused"
        (line,) = sent
        assert line[-1].startswith("Site and workers have to share the storage of uploads, which is /")
        assert line[-1].endswith("See docs/howto/uploads.md.")

    @pytest.mark.parametrize(
        ("arguments", "part"),
        [('{"count": "many"}', "count"), ("{}", "count"), ('{"count": 1, "other": 2}', "other"), ("[]", ""), ("5", "")],
    )
    def test_arguments_that_do_not_fit(self, run, arguments, part):
        called = []

        def handler(count: int) -> None:
            called.append(count)

        ending, _ = run(handler, arguments)
        assert (ending.outcome, called) == ("refused", [])
        assert part in ending.error

    @pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("connection already closed")])
    def test_a_connection_lost_while_arguments_are_loaded_is_a_failure_that_may_be_tried_again(self, run, error):
        def validator(value):
            raise error

        def handler(number: Annotated[int, Arg(validators=[validator])]) -> None:
            raise AssertionError("it must not be called")

        ending, _ = run(handler, '{"number": 1}')
        assert (ending.outcome, ending.error) == ("failed", f"{type(error).__name__}: {error}")

    def test_a_secret_that_nobody_can_read(self, run):
        def handler(password: Secret[str]) -> None:
            raise AssertionError("called without its secret")

        ending, _ = run(handler, json.dumps({"password": {"$secret": "no token of ours"}}))
        assert ending.outcome == "refused"


class TestSecrets:
    """What is cut, stripped, split or made JSON of is masked before."""

    SECRET = 'correct "horse"\\battery'

    @pytest.mark.parametrize("stored", [{}, {"text": "correct"}])
    def test_a_default_is_masked_where_the_job_is_older_than_its_argument(self, run, stored):
        def handler(context: JobContext, text: str = "", password: Secret[str] = self.SECRET) -> str:
            context.add_log(f"log {password.get_secret_value()}")
            return password.get_secret_value()

        ending, sent = run(handler, json.dumps(stored))
        assert ending.outcome == Outcome.DONE
        assert "log ••••••" in str(sent)
        assert "battery" not in str(sent)

    def test_a_default_that_is_not_used_is_ordinary_text(self, run):
        def handler(context: JobContext, password: Secret[str] = "guest") -> None:
            context.add_log("hello guest")

        declared = job(name="test.job")(handler)
        stored = json.dumps(declared.arguments.dump({"password": Secret("another")}))
        assert "hello guest" in str(run(handler, stored)[1])

    def test_an_end_that_is_printed_shows_nothing_that_was_raised(self, run):
        """As in the report of an error of the database, if the end of a job cannot be written."""

        def handler(password: Secret[str]) -> None:
            raise ValueError(password.get_secret_value())

        declared = job(name="test.job")(handler)
        ending, _sent = run(None, json.dumps(declared.arguments.dump({"password": Secret(self.SECRET)})))
        assert isinstance(ending.raised, ValueError)
        assert "battery" not in repr(ending)

    @pytest.mark.parametrize("error", [ValueError, MemoryError, SystemExit])
    def test_a_back_off_that_fails_logs_nothing_of_what_the_handler_raised(self, run, caplog, error):
        """The record goes to the project's handlers, too, and so does what the exception in it was raised after."""

        def handler(password: Secret[str]) -> None:
            raise error(password.get_secret_value())

        def broken(attempt):
            raise ZeroDivisionError

        options = {"max_attempts": 3, "backoff": broken}
        declared = job(name="test.job", **options)(handler)
        stored = json.dumps(declared.arguments.dump({"password": Secret(self.SECRET)}))
        ending, _sent = run(handler, stored, **options)
        assert ending.delay >= 0
        assert "ZeroDivisionError" in caplog.text
        assert "battery" not in caplog.text

    def test_the_record_of_a_failure_shows_none_in_the_name_of_the_exception(self, run, caplog):
        """As the page of the job. The record goes to the project's handlers, too."""

        def handler(password: Secret[str]) -> None:
            raise type(f"No{password.get_secret_value()}", (Exception,), {})

        self.sent_by(run, handler)
        assert "failed in attempt 1 of 1: No••••••" in caplog.text
        assert "battery" not in caplog.text

    def test_the_initial_value_of_a_given_form_is_masked_too(self, run):
        class Form(forms.Form):
            password = forms.CharField(widget=forms.PasswordInput, initial=self.SECRET)

        def handler(context: JobContext, password: Secret[str]) -> None:
            context.add_log(f"log {password.get_secret_value() if isinstance(password, Secret) else password}")

        _ending, sent = run(handler, form=Form)
        assert "log ••••••" in str(sent)

    def sent_by(self, run, handler, secret=SECRET):
        declared = job(name="test.job")(handler)
        stored = json.dumps(declared.arguments.dump(declared.arguments.clean({"password": secret})))
        ending, sent = run(None, stored)
        return ending, sent, str([ending.record(7), *sent])

    @pytest.mark.parametrize(
        "tell",
        [
            lambda context, text: context.set_progress_text("x" * 190 + text),
            lambda context, text: context.add_log("x" * 990 + text),
            lambda context, text: context.add_log(repr(text) + json.dumps([text])),
            lambda context, text: context.add_results_row({"key": [text]}),
            lambda context, text: context.add_results_row(Cell("", error="x" * 1990 + text)),
            lambda context, text: context.add_results_row(*["x" * 2000 + text] * 20),
            lambda context, text: context.add_results_row("x" * ((1 << 20) - 8) + text),
            lambda context, text: context.logger.error("%r", [text]),
            lambda context, text: {text: [text]},
            lambda context, text: repr(text),
        ],
    )
    def test_in_what_a_handler_says(self, run, tell):
        def handler(context: JobContext, password: Secret[str]) -> object:
            return tell(context, password.get_secret_value())

        ending, sent, text_sent = self.sent_by(run, handler)
        assert ending.outcome in ("done", "row_errors")
        assert ("corr" in text_sent, "horse" in text_sent) == (False, False)

    @pytest.mark.parametrize("text", ["two\u2028lines of it", "two  blanks of\tit", "many\r\n\nlines of it"])
    def test_with_breaks_and_blanks_in_it(self, run, text):
        def handler(context: JobContext, password: Secret[str]) -> None:
            context.add_log(f"log {password.get_secret_value()}")
            context.set_progress_text(f"text {password.get_secret_value()}")
            raise ValueError(f"error {password.get_secret_value()}")

        ending, _sent, text_sent = self.sent_by(run, handler, text)
        assert ending.error == "ValueError: error ••••••"
        assert "of" not in text_sent.partition("Traceback")[0]
        assert "log ••••••" in text_sent
        assert "text ••••••" in text_sent

    def test_in_how_it_ends(self, run):
        def handler(password: Secret[str]) -> None:
            raise type(password.get_secret_value()[:5] + password.get_secret_value(), (Exception,), {})("x" * 1990)

        ending, _sent, text_sent = self.sent_by(run, handler, "opensesame")
        assert "opensesame" not in text_sent
        assert "••••••" in ending.exception_class

    @pytest.mark.parametrize("before", [1990, 15_990])
    def test_at_the_edge_of_what_is_kept_of_an_error(self, run, before):
        def handler(password: Secret[str]) -> None:
            raise ValueError("x" * before + password.get_secret_value())

        _ending, _sent, text_sent = self.sent_by(run, handler)
        assert "corr" not in text_sent
        assert "battery" not in text_sent

    def test_in_the_exit_code(self, run):
        def handler(password: Secret[str]) -> None:
            raise SystemExit(password.get_secret_value())

        assert self.sent_by(run, handler)[0].error == "The handler called sys.exit('••••••')."

    def test_what_is_no_secret_stays(self, run):
        def handler(context: JobContext, password: Secret[str]) -> str:
            context.add_log("horse")
            return "battery"

        _ending, sent, _told = self.sent_by(run, handler)
        assert [record[-1] for record in sent] == ["horse", '"battery"']


class TestDelay:
    def handler(self):
        raise ValueError

    def test_an_attempt_that_is_left_has_a_delay(self, run):
        ending, _ = run(_fails, max_attempts=3, backoff=lambda attempt: attempt * 10)
        assert ending.delay == 10

    def test_the_last_one_has_none(self, run):
        assert run(_fails, max_attempts=3, attempt=3, backoff=lambda attempt: 10)[0].delay is None

    def test_a_broken_back_off_is_no_second_failure(self, run):
        def broken(attempt):
            raise ZeroDivisionError

        ending, _ = run(_fails, max_attempts=3, backoff=broken)
        assert ending.error == "ValueError"
        assert ending.delay >= 0


def _fails() -> None:
    raise ValueError


class TestSurroundings:
    def test_an_open_transaction_is_rolled_back_and_gone(self, run):
        def handler() -> None:
            connection.set_autocommit(False)
            get_user_model().objects.create(username="never")

        ending, records = run(handler)
        assert ending.outcome == "done"
        assert connection.get_autocommit()
        assert not get_user_model().objects.exists()
        [[_, _, _, level, text]] = records
        assert level == logging.WARNING
        assert text == "The handler left a transaction open on database 'default'; it is rolled back."

    def test_a_block_left_open_is_gone(self, run):
        def handler() -> None:
            transaction.atomic().__enter__()

        run(handler)
        assert not connection.in_atomic_block
        assert get_user_model().objects.count() == 0

    def test_language_and_zone_of_one_job_are_not_those_of_the_next(self, run):
        before = translation.get_language(), timezone.get_current_timezone_name()

        def handler() -> None:
            translation.activate("de")
            timezone.activate("Asia/Tokyo")

        run(handler)
        assert (translation.get_language(), timezone.get_current_timezone_name()) == before


class TestAtomic:
    def test_writes_and_end_together(self, run):
        row = make_job("running", name="test.job")

        def handler() -> None:
            get_user_model().objects.create(username="kept")

        job(name="test.job", atomic=True)(handler)
        ending = execute(Work(row.pk, "test.job", "{}", 1, 1, row.attempt_token), [].append)
        row.refresh_from_db()
        assert (ending.outcome, ending.committed) == ("done", True)
        assert row.status == "running"  # its worker writes that row
        assert [note.outcome for note in row.attempts.all()] == ["done"]
        assert get_user_model().objects.filter(username="kept").exists()

    def test_a_lost_token_rolls_everything_back(self, run):
        row = make_job("running", name="test.job")
        ending, _ = run(lambda: get_user_model().objects.create(username="x") and None, atomic=True, token="another")
        row.refresh_from_db()
        assert (ending.outcome, ending.committed, row.status) == ("lost", False, "running")
        assert not get_user_model().objects.exists()

    def test_a_failure_rolls_everything_back(self, run):
        def handler() -> None:
            get_user_model().objects.create(username="x")
            raise ValueError

        ending, _ = run(handler, atomic=True)
        assert (ending.outcome, ending.committed) == ("failed", False)
        assert not get_user_model().objects.exists()

    def test_rows_with_errors_are_no_reason_to_commit_an_end(self, run):
        row = make_job("running", name="test.job")

        def handler(context: JobContext) -> None:
            context.add_results_row(Cell("", error="bad"))

        job(name="test.job", atomic=True)(handler)
        ending = execute(Work(row.pk, "test.job", "{}", 1, 1, row.attempt_token), [].append)
        assert (ending.outcome, ending.committed) == ("row_errors", False)
        assert Job.objects.get(pk=row.pk).status == "running"


@pytest.mark.parametrize("char", ["x", '"', "\x01", "\ud800", "\U0001f389"], ids=ascii)
def test_no_message_is_larger_than_the_pipe_takes(run, char, monkeypatch):
    """A message that is too large would end the process of the job."""
    # What is reported of the failure has lone surrogates, which pytest cannot pass between its processes.
    monkeypatch.setattr(logging.getLogger("qorworker.job"), "propagate", False)
    much = char * 300_000

    def handler(context: JobContext) -> str:
        context.set_progress_text(much)
        context.add_log(much)
        context.add_results_row(much, Cell(much, error=much))
        context.send_return_value(json.dumps("returned" + char * 50_000, ensure_ascii=False))
        raise type("Large" + much.replace("\x01", "c").replace("\ud800", "d"), (Exception,), {})(much)

    ending, sent = run(handler)
    assert {record[0] for record in sent} == {"progress", "log", "row", "return"}
    assert max(len(encode([record])) for record in [*sent, ending.record(7)]) < MESSAGE


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_storage_that_fails_costs_an_attempt_and_not_the_job(run, monkeypatch, attempts):
    def load(self, stored):
        raise UploadsUnavailable("test.job", {"file": ["The storage did not give the uploaded file."]})

    monkeypatch.setattr(Arguments, "load", load)
    ending, _ = run(lambda: None, attempt=1)
    assert (ending.outcome, next_status(ending.outcome, 1, attempts, 0)) == (
        "failed",
        "exception" if attempts == 1 else "scheduled",
    )
    assert "The storage did not give the uploaded file." in ending.error


def test_job_aborted_inside_a_handlers_own_except(run):
    def handler() -> None:
        try:
            raise JobAborted
        except Exception:
            logging.getLogger(__name__).error("swallowed")

    assert run(handler)[0].outcome == "aborted"


class TestReturned:
    @pytest.mark.parametrize("value", [5, "text", [1, {"a": None}], False, 0, ""])
    def test_what_json_can_carry_is_kept(self, run, value):
        _, sent = run(lambda: value)
        assert [json.loads(record[2]) for record in sent if record[0] == "return"] == [value]

    def test_numbers_and_times_of_python_are_kept_as_texts(self, run):
        _, sent = run(lambda: {"worth": Decimal("2.50"), "on": dt.date(2026, 1, 2)})
        assert [json.loads(record[2]) for record in sent] == [{"worth": "2.50", "on": "2026-01-02"}]

    def test_nothing_is_kept_of_nothing(self, run):
        assert run(lambda: None)[1] == []

    @pytest.mark.parametrize(
        ("value", "why"),
        [(object(), "object"), (float("nan"), "JSON compliant"), ("x" * (1 << 20), "1048578 characters of JSON")],
    )
    def test_what_cannot_be_kept_is_told_and_fails_nobody(self, run, value, why):
        ending, sent = run(lambda: value)
        assert ending.outcome == "done"
        [[kind, _, _, level, text]] = sent
        assert (kind, level) == ("log", logging.WARNING)
        assert text.startswith("The return value was not kept: ")
        assert why in text


class TestReports:
    """What a project's logging, and so its error tracker, hears of a failure."""

    def reports(self, caplog):
        return [record for record in caplog.records if record.name == "qorworker.job.test.job"]

    def fail(self) -> None:
        raise ValueError("no such luck")

    def test_the_last_attempt_that_fails_is_an_error_with_its_stack(self, run, caplog):
        run(lambda: self.fail())
        (record,) = self.reports(caplog)
        assert record.levelno == logging.ERROR
        assert record.exc_info[0] is ValueError
        assert (record.job_id, record.job_name, record.job_attempt) == (7, "test.job", 1)

    def test_a_failure_that_is_tried_again_is_a_warning(self, run, caplog):
        run(lambda: self.fail(), max_attempts=3)
        (record,) = self.reports(caplog)
        assert record.levelno == logging.WARNING

    def test_what_a_job_with_secrets_raises_is_not_passed_on(self, run, caplog):
        def handler(password: Secret[str]) -> None:
            raise ValueError(f"wrong password {password.get_secret_value()}")

        registry._types.pop("test.job", None)
        job(name="test.job")(handler)
        stored = json.dumps(registry.get("test.job").arguments.dump({"password": Secret("hunter2")}))
        run(None, stored, name="test.job")
        (record,) = self.reports(caplog)
        assert record.exc_info is None
        assert "hunter2" not in caplog.text

    def test_nothing_is_reported_of_a_job_that_returns(self, run, caplog):
        run(lambda: None)
        assert self.reports(caplog) == []

    def test_nothing_is_reported_of_an_abort(self, run, caplog):
        def aborts() -> None:
            raise JobAborted

        run(aborts)
        assert self.reports(caplog) == []
