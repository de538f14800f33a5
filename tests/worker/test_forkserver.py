"""How the fork server is started, and what becomes of a worker whose fork server does not start."""

import ctypes
import json
import os
import shutil
import signal
import socket
import sys
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest

from qorworker.models import Job, Worker
from qorworker.system import processes, termination
from qorworker.worker.forkserver import ForkServer, Leader
from qorworker.worker.leaving import LEAVE_SIGNAL, SUSPEND_SIGNAL
from tests.chaos.trees import children_of, strangers
from tests.support import ROOT, alive, all_ended, ended, running_worker, wait_until, with_status
from tests.testapp import jobs

pytestmark = [pytest.mark.process, pytest.mark.once]
IN_CODE = """\
import sys
from django.conf import settings
from django.core.management import execute_from_command_line
from tests.processes import settings as module

settings.configure(**{name: getattr(module, name) for name in dir(module) if name.isupper()})
execute_from_command_line(sys.argv)
"""
BY_ITSELF = """\
import django
from django.core.management import call_command

django.setup()
call_command("runworker", "--batch")
"""
# A connection that two processes must not share: the fork server is a new program.
KEEPS_CONNECTION = "import socket\nkept = socket.socketpair()\n"
REFUSES = f"""\
{KEEPS_CONNECTION}
import os, sys
from django.core.management import execute_from_command_line

if "QORWORKER_TEMPLATE" in os.environ:
    print("first line", file=sys.stderr)
    sys.exit("The licence allows one process.")
execute_from_command_line(sys.argv)
"""
HANGS = f"""\
{KEEPS_CONNECTION}
import os, sys, time
from django.core.management import execute_from_command_line

if "QORWORKER_TEMPLATE" in os.environ:
    time.sleep(3600)
execute_from_command_line(sys.argv)
"""
IS_NEVER_REGISTERED = """\
import os, sys, time
import django
from django.core.management import execute_from_command_line
from django.db import OperationalError

if "QORWORKER_TEMPLATE" in os.environ:
    time.sleep(3600)
django.setup()
from qorworker.worker.parent.heartbeat import Heartbeat


def register(self):
    raise OperationalError("no database yet")


Heartbeat.register = register
execute_from_command_line(sys.argv)
"""
HAS_TIMEOUT = """\
import socket, sys
from django.core.management import execute_from_command_line

socket.setdefaulttimeout({seconds})
execute_from_command_line(sys.argv)
"""
PLANTED = "import pathlib; pathlib.Path(__file__).with_suffix('.ran').touch(); raise SystemExit('planted')\n"


@pytest.fixture
def run(transactional_db, tmp_path):
    """``run(program, …)``: a worker that is started by this program in an empty folder, and runs to its end."""

    def started(program, *options, variables=(), **more):
        folder = tmp_path / "release"
        folder.mkdir(exist_ok=True)
        variables = {"PYTHONPATH": str(ROOT), **dict(variables)}
        return running_worker(*options, folder=tmp_path, program=program, cwd=folder, variables=variables, **more)

    return started


def script(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(text)
    return [sys.executable, str(path)]


def test_settings_made_in_code_are_those_of_jobs(run, tmp_path):
    job = jobs.noop.enqueue()
    with run(script(tmp_path, IN_CODE), "--batch", ready=False, variables={"DJANGO_SETTINGS_MODULE": None}) as worker:
        assert worker.exit_status() == 0, worker.said
    assert ended(job).status == "done"


@pytest.mark.parametrize("seconds", [0.2, 3])
@pytest.mark.parametrize("first", ["", KEEPS_CONNECTION], ids=["forked", "started"])
def test_a_time_limit_of_the_project_for_all_sockets_is_not_for_those_of_a_worker(
    run, tmp_path, ledger, seconds, first
):
    with run(script(tmp_path, first + HAS_TIMEOUT.format(seconds=seconds)), processes=1, ABORT_GRACE=0.5) as worker:
        killed, stubborn = jobs.wait_for.enqueue(ledger=str(ledger)), jobs.stubborn.enqueue(ledger=str(ledger))
        os.kill(int(ledger.wait(1)[0][1]), signal.SIGKILL)
        assert ended(killed).status == "exception"
        ledger.wait(2)
        stubborn.abort()
        assert ended(stubborn).status == "killed"
        assert ended(jobs.noop.enqueue()).status == "done"
        assert "starting it again" not in worker.said
        assert worker.stop() == 0


def test_a_program_that_calls_the_command_runs_jobs_and_is_not_run_twice(run, tmp_path):
    job = jobs.noop.enqueue()
    text = "print('the program runs', flush=True)\n" + BY_ITSELF
    with run(script(tmp_path, text), ready=False) as worker:
        assert worker.exit_status() == 0, worker.said
        assert worker.said.count("the program runs") == 1
    assert ended(job).status == "done"


def test_modules_in_the_current_folder_are_not_run_unless_they_are_for_the_parent(run, tmp_path):
    job = jobs.noop.enqueue()
    (tmp_path / "release").mkdir()
    for name in ("selectors", "socket", "django", "qorworker", "json"):
        (tmp_path / "release" / f"{name}.py").write_text(PLANTED)
    django_admin = shutil.which("django-admin", path=os.path.dirname(sys.executable))
    with run([django_admin], "--batch", ready=False) as worker:
        assert worker.exit_status() == 0, worker.said
    assert ended(job).status == "done"
    assert list((tmp_path / "release").glob("*.ran")) == []


def test_a_fork_server_that_cannot_start_ends_the_worker_with_the_reason(run, tmp_path):
    job = jobs.noop.enqueue()
    with run(script(tmp_path, REFUSES), ready=False) as worker:
        assert worker.exit_status() == 1
        output = worker.said
    assert "CommandError: No job can start" in output
    assert output.rstrip().endswith("first line\nThe licence allows one process.")
    assert output.count("ended with status 1 before it was ready") == 3
    assert "is ready" not in output
    job.refresh_from_db()
    assert (job.status, job.attempt) == ("new", 0)
    assert not Worker.objects.not_stopped().exists()


def test_a_fork_server_that_does_not_load_is_ended_after_its_worker_was_killed(run, tmp_path):
    with run(script(tmp_path, HANGS)) as worker:
        fork_server = worker.fork_server()
        worker.kill()
        assert alive(fork_server)
        with run([sys.executable, "-m", "django"]):
            wait_until(lambda: worker.census() == [])


def test_a_worker_that_is_killed_before_others_know_of_it_leaves_no_process(run, tmp_path):
    with run(script(tmp_path, IS_NEVER_REGISTERED), ready=False) as worker:
        wait_until(lambda: "no database yet" in worker.said)
        worker.pid = worker.parent()
        worker.kill()
        wait_until(lambda: worker.census() == [])


def test_a_deleted_folder_is_told_once_and_processes_are_not_started_all_the_time(run, tmp_path):
    django_admin = shutil.which("django-admin", path=os.path.dirname(sys.executable))
    with run([django_admin], processes=1) as worker:
        assert ended(jobs.noop.enqueue()).status == "done"
        (tmp_path / "release").rmdir()
        os.kill(worker.children()[0], signal.SIGKILL)
        wait_until(lambda: "is gone; start the worker again" in worker.row().trouble, why=lambda: worker.said)
        job = jobs.noop.enqueue()  # not earlier: it might be handed to the process that was just killed
        seen = worker.row().heartbeat_at
        wait_until(lambda: worker.row().heartbeat_at > seen)
        assert worker.said.count("is gone; start the worker again") == 1
        job.refresh_from_db()
        assert (job.status, job.log_lines) == ("new", 0)
        assert worker.stop() == 0


def ready(worker):
    """The fork server, as soon as it has children."""
    wait_until(lambda: "is ready" in worker.said, 60)
    return worker.fork_server()


def test_a_fork_server_that_is_stopped_goes_on(start, ledger):
    worker = start()
    fork_server = ready(worker)
    os.kill(fork_server, signal.SIGSTOP)
    wait_until(lambda: "does not answer; sending it SIGCONT" in worker.said)
    assert ended(jobs.noop.enqueue()).status == "done"
    wait_until(lambda: worker.row().trouble == "")
    assert worker.fork_server() == fork_server


def test_an_abort_is_carried_out_although_the_fork_server_is_held_for_good(start, ledger, tree):
    worker = start(processes=1, ABORT_GRACE=0.5)
    fork_server = ready(worker)
    job = jobs.plant.enqueue(program=tree.program, ledger=str(ledger))
    wait_until(lambda: len(tree.census()) >= 17)
    with held(fork_server):
        job.refresh_from_db()
        job.abort()
        job = ended(job)
        assert (job.status, job.error) == ("killed", "Aborted. All its processes have ended.")
        assert tree.census() == []
        assert job.attempts.get().survivors == 0
        wait_until(lambda: os.waitpid(fork_server, os.WNOHANG)[0], 60)
    assert ended(jobs.noop.enqueue()).status == "done"
    assert worker.fork_server() != fork_server
    assert strangers(worker) == []


def test_jobs_of_all_kinds_go_on_although_the_fork_server_is_held(start):
    """Each change of kind is an order to the fork server: more of them than it has room for."""
    with held(ready(start())):
        for _ in range(600):
            jobs.noop.enqueue()
            jobs.noop_again.enqueue()
        all_ended()


def test_a_job_for_a_process_that_is_never_forked_starts_with_the_next_fork_server(start, ledger):
    worker = start(processes=1)
    assert ended(jobs.noop.enqueue()).status == "done"  # so that the next one needs another process
    fork_server = worker.fork_server()
    with held(fork_server):
        job = jobs.isolated.enqueue(ledger=str(ledger))
        wait_until(lambda: os.waitpid(fork_server, os.WNOHANG)[0], 60)
    job = ended(job)
    assert (job.status, job.attempt) == ("done", 1)


def test_an_abort_that_comes_while_a_process_is_forked_reaches_it(start, ledger):
    worker = start(processes=1, ABORT_GRACE=600)
    assert ended(jobs.noop.enqueue()).status == "done"  # so that the next one needs another process
    os.kill(worker.fork_server(), signal.SIGSTOP)  # until the worker wakes it: then it forks, and is to stop the job
    job = with_status(jobs.waits_alone.enqueue(ledger=str(ledger)), "running")
    job.abort()
    assert ended(job).status == "killed"
    assert ended(jobs.noop.enqueue()).status == "done"
    assert "before it could do any work" not in worker.said


def test_a_job_goes_on_when_its_fork_server_has_slept_while_the_lease_was_renewed(start, ledger, tmp_path):
    worker, gate = start(LEASE=6), tmp_path / "gate"
    job = jobs.until_again.enqueue(gate=str(gate), ledger=str(ledger))
    ledger.wait()
    with held(worker.fork_server()):
        job.refresh_from_db()
        # Later by a lease: what the fork server was told before is over.
        later = job.lease_expires_at + timedelta(seconds=6)
        wait_until(lambda: Job.objects.get(pk=job.pk).lease_expires_at > later)
    assert ended(jobs.isolated.enqueue(ledger=str(ledger))).status == "done"  # the fork server forks again
    gate.touch()
    assert (ended(job).status, job.attempt) == ("done", 1)


@contextmanager
def held(pid):
    """Stop a process as a debugger does: no signal lets it go on."""
    attach, detach = 16, 17
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(attach, pid, 0, 0):
        pytest.skip(f"a process cannot be held: {os.strerror(ctypes.get_errno())}")
    os.waitpid(pid, 0)
    try:
        yield
    finally:
        libc.ptrace(detach, pid, 0, 0)


def test_a_hostile_tree_is_gone_and_buried_after_the_fork_server_was_killed(start, ledger, tree):
    worker = start(processes=1)
    for _ in range(3):
        job = jobs.plant.enqueue(program=tree.program, ledger=str(ledger))
        wait_until(lambda: len(tree.census()) >= 17)
        os.kill(worker.fork_server(), signal.SIGKILL)
        job = ended(job)
        assert tree.census() == []
        assert "the process that all jobs of this worker are started from has ended" in job.error
        assert job.attempts.get().survivors == 0
        assert [pid for pid in children_of(worker.pid) if not alive(pid)] == []
        assert ended(jobs.noop.enqueue()).status == "done"
    assert not Job.objects.running().exists()


class TestOrders:
    """What the fork server does, step by step, with no process."""

    @pytest.fixture
    def fork_server(self, clock, monkeypatch):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.setblocking(False)
        with ours, theirs:
            fork_server = ForkServer(ours, lambda *ends: None)
            fork_server.parent = theirs
            fork_server.lingering_now = []
            monkeypatch.setattr(fork_server, "kill", lambda leader: None)
            monkeypatch.setattr(fork_server, "reap", lambda: None)
            monkeypatch.setattr(termination, "kill_and_reap", lambda strays: list(fork_server.lingering_now))
            yield fork_server

    def reports(self, fork_server):
        """Number and survivors of each child that it has reported since the last look."""
        exits = []
        with suppress(BlockingIOError):
            while True:
                news = json.loads(fork_server.parent.recv(4096))
                exits.append((news["exited"], news["survivors"]))
        return exits

    @pytest.mark.parametrize("fails", [False, True])
    def test_a_request_to_end_is_neither_ignored_nor_delivered_while_a_process_is_forked(
        self, fork_server, monkeypatch, fails
    ):
        def state():
            return signal.getsignal(signal.SIGTERM), signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())

        def fork():
            states.append(state())
            if fails:
                raise BlockingIOError
            return 102

        states, before = [], signal.signal(signal.SIGTERM, signal.SIG_IGN)
        monkeypatch.setattr(os, "fork", fork)
        try:
            fork_server.fork(2, [])
            assert [*states, state()] == [(signal.SIG_DFL, True), (signal.SIG_IGN, False)]
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_a_process_that_cannot_be_ended_is_a_survivor_of_its_own_job_only(self, fork_server, clock):
        self.end(fork_server, 1)
        fork_server.lingering_now = [900]
        fork_server.step()
        clock[0] += 1
        fork_server.step()
        assert self.reports(fork_server) == []
        self.end(fork_server, 2)
        fork_server.lingering_now = [900, 901]
        clock[0] += 1
        fork_server.step()
        assert self.reports(fork_server) == []  # 901 is about to end
        fork_server.lingering_now = [900]
        fork_server.step()
        assert self.reports(fork_server) == [(2, 0)]  # while the first one is still waited for
        clock[0] += termination.EXIT_TIMEOUT
        fork_server.step()
        assert self.reports(fork_server) == [(1, 1)]
        self.end(fork_server, 3)
        fork_server.step()
        assert self.reports(fork_server) == [(3, 0)]

    def test_processes_that_start_new_ones_again_and_again_are_not_waited_for_without_end(self, fork_server, clock):
        self.end(fork_server, 1)
        for number in range(round(termination.TOTAL_TIMEOUT) + 1):
            fork_server.lingering_now = [900 + number]
            fork_server.step()
            assert self.reports(fork_server) == []
            clock[0] += 1
        fork_server.step()
        assert self.reports(fork_server) == [(1, 1)]

    def test_a_child_that_was_reaped_is_not_killed_again_when_the_parent_is_gone(self, fork_server, monkeypatch):
        """Its number may be that of any other process by then."""
        killed = []
        monkeypatch.setattr(fork_server, "kill", killed.append)
        self.end(fork_server, 1)
        fork_server.leaders[2] = Leader(2, 102)
        fork_server.on_parent_gone()
        assert killed == [fork_server.leaders[2]]

    @pytest.mark.parametrize("number", [LEAVE_SIGNAL, SUSPEND_SIGNAL])
    def test_a_child_that_was_reaped_gets_no_signal(self, fork_server, monkeypatch, number):
        signals = []
        monkeypatch.setattr(os, "kill", lambda *sent: signals.append(sent))
        self.end(fork_server, 1)
        fork_server.leaders[2] = Leader(2, 102)
        assert [fork_server.signal_child(child, number) for child in (1, 2, 3)] == [False, True, False]
        assert signals == [(102, number)]

    def end(self, fork_server, number):
        """A child has ended since the last look."""
        leader = Leader(number, 100 + number, has_ended=True, ended_at=processes.monotonic())
        leader.strays_since = fork_server.killed.looked_at
        fork_server.leaders[number] = leader

    def test_a_child_that_was_killed_at_its_deadline_is_waited_for_without_haste(self, fork_server, clock):
        fork_server.leaders[1] = Leader(1, 101, owned=True)
        fork_server.deadline = clock[0] + 1
        assert fork_server.seconds_until_due() == 1
        clock[0] += 2
        fork_server.step()
        assert fork_server.leaders[1].expired
        assert fork_server.seconds_until_due() is None  # its end wakes the fork server
