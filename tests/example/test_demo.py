from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import urllib.request
from itertools import takewhile
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection

from example_project.demo.check import expect
from example_project.demo.processes import Processes
from example_project.reports.jobs import nightly_report
from qorworker.models import Job
from tests.support import MARK, census, wait_until

pytestmark = [pytest.mark.process, pytest.mark.once]

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"
DATABASE = settings.DATABASES["default"]


@pytest.fixture
def demo(tmp_path):
    """Starts ``manage.py demo`` on the server that the tests use; afterwards none of its processes may be left."""
    mark = secrets.token_hex(8)
    environment = {
        **{key: text for key, text in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"},
        "EXAMPLE_VAR": str(tmp_path),
        "EXAMPLE_DATABASE": os.environ.get("QORWORKER_TEST_DATABASE", "sqlite"),
        **{f"EXAMPLE_DATABASE_{key}": str(DATABASE.get(key, "")) for key in ("HOST", "PORT", "USER", "PASSWORD")},
        MARK: mark,
        "PYTHONUNBUFFERED": "1",
    }

    def demo(*arguments: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(MANAGE), "demo", *arguments],
            env={**environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # As in a terminal; a shell that started these tests in the background has Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    yield demo
    left = census(f"{MARK}={mark}")
    for pid in left:
        os.kill(pid, signal.SIGKILL)  # so that the tests after this one do not meet them
    assert left == []


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_the_check_runs_one_job_to_its_end_and_aborts_another(demo):
    process = demo("--check")
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    done, aborted = output.split("Job 2: Send newsletter\n")
    assert "status    Done\n" in done
    assert "mails     15\n" in done
    assert "Finished sending" in done
    assert "status    Aborted" in aborted
    assert "processes left over: 0" in aborted
    assert "Finished sending" not in aborted
    assert output.endswith("Both jobs ended as they should.\n")


@pytest.mark.parametrize(
    ("status", "mails", "complaint"),
    [("exception", 15, "ended as exception, not as done"), ("done", 14, "wrote 14 mails, not 15 to 15")],
)
def test_the_check_complains_about_a_wrong_end(status, mails, complaint):
    with pytest.raises(CommandError, match=complaint):
        expect((Job(pk=7, status=status), mails), "done", range(15, 16))


def test_waiting_ends_when_a_process_does():
    with Processes() as processes:
        processes.start("no-such-command")
        with pytest.raises(CommandError, match=r"Waited for a miracle, but no-such-command ended with exit status 1\."):
            processes.wait_until(lambda: False, "a miracle")


def test_waiting_ends_when_it_takes_too_long():
    with Processes() as processes, pytest.raises(CommandError, match=r"Waited 0 seconds for a miracle, in vain\."):
        processes.wait_until(lambda: False, "a miracle", limit=0)


def test_the_demo_serves_and_works_until_ctrl_c(demo, transactional_db):
    port = free_port()
    process = demo("--port", str(port), EXAMPLE_DATABASE_NAME=str(connection.settings_dict["NAME"]))

    def report_is_done() -> bool:
        assert process.poll() is None, process.communicate()[0]
        return Job.objects.done().for_type(nightly_report).exists()

    try:
        # The site may answer before the welcome is printed, which Ctrl-C would prevent.
        welcome = "".join(takewhile(lambda line: "Ctrl-C stops" not in line, process.stdout))
        wait_until(report_is_done, 60)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/admin/login/") as answer:
            assert answer.status == 200
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        print(output)
    assert process.returncode == 0
    assert f"http://127.0.0.1:{port}/admin/" in welcome
    assert "operator / operator" in welcome
    assert "Worker and site have stopped." in output
