"""Management commands as jobs of a real worker."""

import logging
from pathlib import Path

import pytest

from tests.support import alive, ended, log_of, wait_until
from tests.testapp import jobs

pytestmark = pytest.mark.process


def command_lines():
    """Those of all processes of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ")
        except OSError:  # it has ended
            continue


def test_its_output_is_the_log_of_the_job(worker, ledger):
    job = ended(jobs.wait_with.enqueue(ledger=str(ledger), seconds=0))
    assert (job.status, job.error) == ("done", "")
    levels = dict(job.log.values_list("text", "level"))
    assert levels["waiting with None"] == levels["printed"] == logging.INFO
    assert levels["it may take long"] == logging.WARNING
    assert log_of(job).count("nothing more") == 1
    assert log_of(job).index("waiting with None") < log_of(job).index("printed") < log_of(job).index("tidied up")
    assert job.result is None


def test_a_command_that_fails_says_why(worker, ledger):
    job = ended(jobs.wait_with.enqueue(ledger=str(ledger), seconds=0, fail=True))
    assert (job.status, job.error) == ("exception", "Nothing came. (exit code 4)")
    attempt = job.attempts.get()
    assert attempt.traceback == ""


def test_an_abort_ends_the_command_and_its_processes(worker, ledger):
    job = jobs.wait_with.enqueue(ledger=str(ledger), token="swordfish")
    [[pid, _words]] = ledger.wait()
    job.abort(reason="test")
    assert ended(job).status == "killed"
    wait_until(lambda: not alive(int(pid)) and not worker.running("sleep"))
    assert "tidied up" in log_of(job)


def test_a_secret_is_in_no_command_line_and_not_in_the_log(worker, ledger):
    job = jobs.wait_with.enqueue(ledger=str(ledger), token="xiphias-gladius")
    [[_pid, words]] = ledger.wait()
    assert not any(b"xiphias-gladius" in line for line in command_lines())
    assert words == "0"
    job.abort()
    assert "waiting with ••••••" in log_of(ended(job))
    assert "xiphias-gladius" not in str(job.arguments)
