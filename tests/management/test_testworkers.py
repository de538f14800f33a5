"""``testworkers`` with its real workers: a verdict on each promise, and no trace of the test afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection

from qorworker.management.selftest.trial import PREFIX, Trial
from qorworker.models import Attempt, Job, Summary, Worker, database_now
from qorworker.models.job_messages import SELF_TEST
from qorworker.system import processes
from tests.models.rows import make_job
from tests.support import MARK, ROOT, WITH_THE_TESTS, alive, census, environment, wait_until

pytestmark = pytest.mark.process

NAMES = ["isolation", "durability", "connections", "clock", "silence", "wake-ups", "claims", "abort", "recovery"]


def start(mark, tmp_path, *options):
    """The command, at work, with a folder of its own for what it stores in files."""
    return subprocess.Popen(
        [*WITH_THE_TESTS, sys.executable, "-m", "django", "testworkers", *options],
        cwd=ROOT,
        env=environment(mark, LEASE=6, OBSERVATION=1, ABORT_GRACE=1) | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def rows_of_the_test():
    workers = [worker for worker in Worker.objects.all() if str(worker.queues[:1]).startswith(f"['{PREFIX}")]
    attempts = Attempt.objects.filter(job__name=SELF_TEST)
    return [*workers, *Job.objects.for_type(SELF_TEST), *attempts, *Summary.objects.filter(name=SELF_TEST)]


def rows_of_others():
    """Jobs that any other worker would move: one that is due, one that waits, one of a neighbour that is gone."""
    me = processes.identity()
    gone = Worker.objects.start(
        name="gone", host=me.host, boot_id=me.boot_id, pid_namespace=me.pid_namespace, queues=["default"], slots=1,
        process_id=me.process_id, process_started=me.process_started - 1,
    )  # fmt: skip
    now = database_now("default")
    make_job("scheduled", name="testapp.noop", run_after=now - timedelta(minutes=1))
    make_job("new", name="testapp.noop")
    make_job("running", name="testapp.noop", worker_id=gone.pk, lease_expires_at=now + timedelta(hours=1))
    make_job("running", name="testapp.noop", worker_id=None, lease_expires_at=now - timedelta(hours=1))


def all_rows():
    return [list(model.objects.order_by("pk").values()) for model in (Job, Worker, Attempt)]


def test_every_promise_is_tested_and_nothing_else_is_touched(transactional_db, tmp_path):
    rows_of_others()
    before, mark = all_rows(), f"{MARK}=testworkers-{os.getpid()}"
    command = start(mark, tmp_path, "--format", "json")
    said, complaints = command.communicate(timeout=150)
    report = json.loads(said)
    assert (command.returncode, report["passed"]) == (0, True), said + complaints
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert list(states) == NAMES
    assert states.pop("silence") == ("skipped" if connection.vendor == "sqlite" else "ok")
    # How many connections are free, and what the clock is, depends on the machine of the tests.
    assert {state for name, state in states.items() if name not in ("connections", "clock")} == {"ok"}, said
    assert all(check["text"].endswith(".") for check in report["checks"])
    figures = {check["name"]: check["figures"] for check in report["checks"]}
    assert figures["claims"]["jobs"] == 200
    assert figures["abort"]["processes"] == figures["recovery"]["processes"] == 3
    assert figures["wake-ups"]["notified"] is (connection.vendor == "postgresql")
    assert all_rows() == before
    assert rows_of_the_test() == []
    assert census(mark) == []
    assert list(tmp_path.glob(f"{PREFIX}*")) == []


@pytest.mark.once
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_cleans_up_when_it_is_interrupted(transactional_db, tmp_path, number):
    mark = f"{MARK}=testworkers-{os.getpid()}"
    command = start(mark, tmp_path)
    wait_until(lambda: Job.objects.for_type(SELF_TEST).running().exists(), 60)
    command.send_signal(number)
    _said, complaints = command.communicate(timeout=60)
    assert command.returncode == 130, complaints
    assert "Interrupted. The rows, files and processes of the test are gone." in complaints
    assert rows_of_the_test() == []
    assert census(mark) == []
    assert list(tmp_path.glob(f"{PREFIX}*")) == []


@pytest.mark.once
def test_without_the_right_to_store_jobs_it_says_so_before_it_starts_workers(transactional_db, monkeypatch):
    def denied(execute, sql, *args):
        if sql.startswith("INSERT"):
            raise ProgrammingError("permission denied for table qorworker_job")
        return execute(sql, *args)

    monkeypatch.setattr(Trial, "start_workers", pytest.fail)
    with connection.execute_wrapper(denied), pytest.raises(CommandError, match="permission denied for table"):
        call_command("testworkers", stdout=StringIO())
    assert rows_of_the_test() == []


def test_its_workers_end_with_it_even_if_it_is_killed(transactional_db, tmp_path):
    mark = f"{MARK}=testworkers-{os.getpid()}"
    command = start(mark, tmp_path)
    wait_until(lambda: Job.objects.for_type(SELF_TEST).finished().exists(), 60)
    assert len(census(mark)) > 3
    command.kill()
    command.communicate(timeout=10)
    wait_until(lambda: not census(mark), 60)
    assert not alive(command.pid)


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--timeout", "soon"], "'soon' is not a number of seconds."),
        (["--format", "xml"], "--format"),
        (["nonsense"], "nonsense"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options, told):
    with pytest.raises(CommandError) as error:
        call_command("testworkers", *options)
    assert told in str(error.value)
