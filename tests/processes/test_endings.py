"""Each way in which an attempt can end, in a real child of a real worker."""

import os
import signal
import time
from contextlib import suppress
from datetime import timedelta

import pytest

from qorworker.exceptions import InvalidTransition
from qorworker.models import Attempt, Job, database_now
from tests.support import ROOT, alive, ended, log_of, wait_until
from tests.testapp import jobs
from tests.testapp.models import Shop

pytestmark = pytest.mark.process


def end(job, timeout=30):
    job = ended(job, timeout)
    attempt = wait_until(lambda: job.attempts.order_by("-id").first())
    return job, attempt


def test_a_handler_that_returns_is_done(worker):
    job, attempt = end(jobs.noop.enqueue())
    assert (job.status, job.error, job.attempt, job.crashes) == ("done", "", 1, 0)
    assert (job.attempt_token, job.lease_expires_at) == (None, None)
    assert job.enqueued_at <= job.started_at <= job.finished_at
    assert (attempt.number, attempt.outcome, attempt.exit_code, attempt.signal, attempt.survivors) == (
        1, "done", None, None, 0,
    )  # fmt: skip
    assert attempt.process_id in worker.children()
    assert attempt.worker_name == worker.row().name
    assert attempt.peak_memory > 1024 * 1024


def test_an_exception_ends_as_failed_with_its_traceback(worker):
    job, attempt = end(jobs.fail.enqueue(message="no such luck\nsecond line"))
    assert (job.status, job.error) == ("exception", "ValueError: no such luck")
    assert attempt.outcome == "failed"
    assert attempt.error == job.error
    assert attempt.traceback.startswith("Traceback (most recent call last):")
    assert "raise ValueError(message)" in attempt.traceback
    assert attempt.traceback.rstrip().endswith("ValueError: no such luck\nsecond line")


def test_rows_with_errors_make_the_job_fail_and_keep_the_rest(worker):
    job, attempt = end(jobs.row_errors.enqueue())
    assert (job.status, job.error) == ("exception", "1 of 2 rows have errors.")
    assert attempt.outcome == "row_errors"
    assert (job.results_rows, job.results_errors) == (2, 1)
    assert [row.cells for row in job.results.order_by("number")] == [
        [{"value": "A-1", "error": ""}, {"value": "fine", "error": ""}],
        [{"value": "A-2", "error": ""}, {"value": "-3", "error": "negative stock"}],
    ]
    assert [row.has_error for row in job.results.order_by("number")] == [False, True]
    assert (job.result, job.is_done_with_row_errors) == (None, True)


def test_what_a_handler_returned_is_kept_whatever_its_rows_say(worker):
    job, _ = end(jobs.row_errors_and_summary.enqueue())
    assert (job.status, job.result) == ("exception", {"rows": 1})


def test_a_handler_that_raised_has_not_returned(worker):
    job, _ = end(jobs.row_errors_and_failure.enqueue())
    assert (job.status, job.results_errors, job.is_done_with_row_errors) == ("exception", 1, False)


def test_a_job_type_may_tolerate_rows_with_errors(worker):
    job, _ = end(jobs.tolerant.enqueue())
    assert (job.status, job.error, job.results_errors) == ("done", "", 1)


@pytest.mark.parametrize(
    ("how", "outcome", "exit_code", "number", "text"),
    [
        ("sys.exit", "failed", None, None, "The handler called sys.exit(0)."),
        ("os._exit", "crashed", 0, None, "The process ended with exit code 0 without a result."),
        ("abort", "crashed", None, signal.SIGABRT, "crashed with signal 6 (SIGABRT)"),
        ("segfault", "crashed", None, signal.SIGSEGV, "crashed with signal 11 (SIGSEGV)"),
        ("kill", "crashed", None, signal.SIGKILL, "crashed with signal 9 (SIGKILL)"),
        ("interrupt", "failed", None, None, "KeyboardInterrupt"),
    ],
)
def test_a_process_that_ends_itself_is_never_done(worker, how, outcome, exit_code, number, text):
    job, attempt = end(jobs.leave.enqueue(how=how))
    assert job.status == "exception"
    assert text in job.error
    assert (attempt.outcome, attempt.exit_code, attempt.signal) == (outcome, exit_code, number)
    assert end(jobs.noop.enqueue())[0].status == "done"


def test_the_interpreters_last_words_are_in_the_log(worker):
    job, _ = end(jobs.leave.enqueue(how="segfault"))
    assert "Fatal Python error: Segmentation fault" in log_of(job)
    assert any("jobs.py" in line and "leave" in line for line in log_of(job))


def test_a_killed_child_shows_within_a_second(worker, ledger):
    job = jobs.wait_for.enqueue(ledger=str(ledger))
    [[_, pid]] = ledger.wait()
    wait_until(lambda: log_of(job) == ["waiting"])
    begun = time.monotonic()
    os.kill(int(pid), signal.SIGKILL)
    job, attempt = end(job)
    print(f"recovery_s child SIGKILLed: {time.monotonic() - begun:.3f}")
    assert time.monotonic() - begun < 5
    assert (job.status, attempt.outcome, attempt.signal) == ("exception", "crashed", signal.SIGKILL)
    assert "signal 9 (SIGKILL)" in job.error
    assert log_of(job) == ["waiting"]
    assert not alive(int(pid))


def test_too_much_memory_is_the_jobs_failure(worker):
    job, attempt = end(jobs.too_large.enqueue(), 60)
    assert job.status == "exception"
    assert "more memory than its limit of 300 MB" in job.error
    assert attempt.outcome == "memory"
    assert end(jobs.noop.enqueue())[0].status == "done"


def test_the_time_limit_ends_a_job(worker, ledger):
    job, attempt = end(jobs.too_long.enqueue(ledger=str(ledger)))
    assert (job.status, job.error) == ("exception", "Stopped after the limit of 1 s.")
    assert attempt.outcome == "timeout"
    assert not alive(int(ledger.lines()[0][0]))


def test_a_stopped_process_is_over_its_time_limit_too(worker, ledger):
    job = jobs.too_long.enqueue(ledger=str(ledger))
    [[pid]] = ledger.wait()
    os.kill(int(pid), signal.SIGSTOP)
    job, attempt = end(job)
    assert (job.status, attempt.outcome) == ("exception", "timeout")
    assert not alive(int(pid))


def test_an_asynchronous_handler_runs(worker):
    job, _ = end(jobs.asynchronous.enqueue())
    assert job.status == "done"
    assert log_of(job) == ["in a loop"]


def test_a_fork_that_runs_out_of_the_handler_ends_nothing_but_itself(worker):
    job, _ = end(jobs.forks.enqueue())
    assert job.status == "done"
    assert log_of(job)[-1] == "the original"
    assert Attempt.objects.filter(job_id=job.pk).count() == 1


def test_a_job_that_kills_its_process_stops_at_the_crash_limit(worker):
    job, _ = end(jobs.poison.enqueue())
    assert (job.status, job.attempt, job.crashes) == ("exception", 3, 3)
    assert "three times in a row" in job.error
    assert [attempt.outcome for attempt in job.attempts.order_by("number")] == ["crashed"] * 3
    assert end(jobs.noop.enqueue())[0].status == "done"


@pytest.mark.parametrize(
    ("poison", "status", "attempts"),
    [
        (-1, "done", 7),  # each attempt gets further than the one before
        (3, "exception", 5),  # that with the number 2 moved on, and was the first crash of three
    ],
)
def test_crashes_count_only_since_an_attempt_got_further(worker, ledger, poison, status, attempts):
    job, _ = end(jobs.poisoned_at.enqueue(ledger=str(ledger), poison=poison))
    assert (job.status, job.attempt) == (status, attempts)
    assert ("three times in a row" in job.error) is (status == "exception")


def test_a_job_of_an_unknown_type_is_left_waiting(worker):
    job = jobs.noop.enqueue()
    unknown = Job.objects.create(
        name="app.gone", run_after=job.run_after, enqueued_at=job.enqueued_at, arguments={}, priority=100
    )
    assert end(jobs.noop.enqueue())[0].status == "done"
    unknown.refresh_from_db()
    assert (unknown.status, unknown.attempt, unknown.error) == ("new", 0, "")


def test_arguments_that_are_no_longer_valid_are_refused_by_name(worker):
    now = database_now("default")
    job = Job.objects.create(name=jobs.fail.name, run_after=now, enqueued_at=now, arguments={"massage": "typo"})
    job, attempt = end(job)
    assert (job.status, attempt.outcome) == ("exception", "refused")
    assert "massage" in job.error


def test_a_row_that_is_gone_is_told_before_the_handler_is_called(worker):
    shop = Shop.objects.create(name="Berlin")
    job = jobs.takes_shop.using(run_after=timedelta(hours=1)).enqueue(shop=shop)
    shop.delete()
    job.run_now()
    job, attempt = end(job)
    assert (job.status, attempt.outcome) == ("exception", "refused")
    assert "shop" in job.error


def test_a_job_without_its_pipe_is_a_crash(worker):
    job, attempt = end(jobs.closes_everything.enqueue())
    assert (job.status, attempt.outcome) == ("exception", "crashed")
    assert job.error == "The process ended unexpectedly: it had closed its connection to the worker."


def test_a_thread_that_never_ends_does_not_hold_the_result(worker):
    job, _ = end(jobs.thread_left.enqueue())
    assert job.status == "done"
    assert end(jobs.noop.enqueue())[0].status == "done"


def test_a_daemon_that_a_finished_job_left_is_ended(worker, ledger):
    job, _ = end(jobs.leave_daemon.enqueue(ledger=str(ledger)))
    assert job.status == "done"
    wait_until(lambda: not worker.running("sleep"), 10)


def test_fifty_sessions_that_a_job_left_are_ended(worker, ledger):
    job, _ = end(jobs.many_strays.enqueue(ledger=str(ledger), count=50))
    assert job.status == "done"
    wait_until(lambda: not worker.running("sleep"), 10)
    assert end(jobs.noop.enqueue())[0].status == "done"


def test_a_job_leaves_nothing_of_its_surroundings_to_the_next(worker, ledger):
    many = [jobs.hops.enqueue(ledger=str(ledger)) for _ in range(4)]
    for job in many:
        assert ended(job).status == "done"
    where = [jobs.where.enqueue(ledger=str(ledger)) for _ in range(4)]
    for job in where:
        assert ended(job).status == "done"
    assert {folder for _, folder in ledger.lines()[4:]} == {str(ROOT)}


@pytest.mark.parametrize("job_type", [jobs.open_transaction, jobs.open_block], ids=["autocommit", "block"])
def test_a_transaction_left_open_is_not_found_by_the_next_job(worker, ledger, job_type):
    for _ in range(2):
        assert ended(job_type.enqueue()).status == "done"
    for _ in range(4):
        assert ended(jobs.counts_users.enqueue(ledger=str(ledger))).status == "done"
    assert {tuple(line) for line in ledger.lines()} == {("0", "False", "True")}


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        "[" * 100_000,
        '[["end", NUMBER, {"outcome": "done", "duration": 1e999}]]',
        '[["end", NUMBER, {"outcome": "failed", "error": 5, "delay": 1e999}]]',
        '[["end", NUMBER, {"outcome": "failed", "peak_memory": 1000000000000000000000000000000}]]',
        '[["log", NUMBER, 1e999, 20, "text"]]',
        '[["log", NUMBER, -1e99, -5, "text"]]',
        '[["progress", NUMBER, 1000000000000000000000000000000, null]]',
        '[["progress", 1, 5, null], ["row", NUMBER, [["a", "b", "c"]]]]',
        '[["row", NUMBER, [["\\u0000", "\\ud800"]]]]',
        "{}",
        '[["end", NUMBER, {"outcome": "heaven"}]]',
        '[["end", NUMBER, {"outcome": "done", "duration": Infinity, "peak_memory": 1e999, "delay": NaN}]]',
        '[["progress", NUMBER, NaN, null]]',
        '[["log", NUMBER, NaN, 999999999999, "\\ud800"]]',
        '[["row", NUMBER, [[{"a": "\\u0000"}, ""]]]]',
        '[["row", NUMBER, [[NaN, ""]]]]',
        '[["left", NUMBER]]',
    ],
)
def test_nothing_that_a_child_says_ends_the_worker(worker, message):
    job = jobs.odd_records.enqueue(message=message)
    wait_until(lambda: Job.objects.get(pk=job.pk).status != "new")
    assert ended(jobs.noop.enqueue()).status == "done"
    with suppress(InvalidTransition):
        job.abort()
    assert ended(job).status in ("exception", "killed", "done")
