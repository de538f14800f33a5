"""A network that loses connections without a word: the worker notices, goes on, and hears signals meanwhile."""

import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from qorworker.database.call_guard import answer_limit
from qorworker.database.connection import Database
from qorworker.database.network import read_limit
from qorworker.models import Job
from tests.settings import ENGINE
from tests.support import ended, wait_until
from tests.testapp import jobs

pytestmark = pytest.mark.process

if ENGINE != "sqlite":

    @pytest.fixture(scope="module", autouse=True)
    def no_sessions_stay(open_database):
        """The database cannot be deleted while the server keeps one of a connection that was lost."""
        yield
        wait_until(lambda: not lost_sessions(), 30, lost_sessions)

    def lost_sessions():
        if connection.vendor != "postgresql":
            return []
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pid, state, wait_event, query FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            return cursor.fetchall()

    def test_a_call_is_given_up_before_the_drivers_own_limit(proxy, transactional_db):
        database = Database("default")
        before = database.connection.settings_dict
        database.connection.close()
        database.connection.settings_dict = {**before, "PORT": str(proxy.port)}
        try:
            with database.limited(), database.call_guard.watching():
                assert database.call(0.0, Job.objects.count) == 0
                proxy.silence()
                begun = time.monotonic()
                assert database.call(0.0, Job.objects.count) is None
                assert database.call_guard.gave_up
                assert answer_limit() <= time.monotonic() - begun < read_limit()
        finally:
            database.connection.settings_dict = before

    @contextmanager
    def within(seconds):
        begun = time.monotonic()
        yield
        assert time.monotonic() - begun < seconds

    def is_pending(pid):
        """Whether a signal was not delivered yet. A second one of the same kind would be lost."""
        status = Path(f"/proc/{pid}/status").read_text()
        return any(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd")))

    def test_work_goes_on_after_connections_were_lost_without_a_word(start, proxy, ledger, transitions, tmp_path):
        worker = start(port=proxy.port)
        single = jobs.until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
        ledger.wait()
        proxy.silence()
        proxy.restore()
        with within(30):
            assert ended(jobs.noop.enqueue(), 60).status == "done"
        (tmp_path / "gate").touch()
        assert ended(single).status == "done"
        assert transitions.of(single) == ["running", "done"]
        assert "did not answer" in worker.said
        assert worker.stop() == 0

    @pytest.mark.parametrize("fault", ["silence", "one_way"])
    def test_work_goes_on_after_an_outage_in_silence(start, proxy, ledger, fault):
        worker = start(port=proxy.port)
        assert ended(jobs.noop.enqueue()).status == "done"
        getattr(proxy, fault)()
        waiting = jobs.noop.enqueue()
        accepted = proxy.accepted
        wait_until(lambda: proxy.accepted > accepted + 1, 60)  # it has given up more than once
        proxy.restore()
        with within(30):
            assert ended(waiting, 60).status == "done"
        assert worker.process.poll() is None

    def test_a_signal_is_heard_while_the_server_says_nothing(start, proxy):
        worker = start(port=proxy.port)
        proxy.silence()
        wait_until(lambda: "did not answer" in worker.said, 60)
        worker.signal(signal.SIGTERM)
        wait_until(lambda: "Stopping" in worker.said, 60)
        worker.signal(signal.SIGTERM)
        worker.exit_status(90)
        wait_until(lambda: not worker.census(), 20)

    def test_a_second_signal_ends_a_worker_whose_driver_does_not_return(start, proxy, ledger, tmp_path):
        worker = start(port=proxy.port)
        jobs.until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
        ledger.wait()
        proxy.silence()
        for _ in range(2):
            worker.signal(signal.SIGTERM)
            wait_until(lambda: not is_pending(worker.pid))
        worker.exit_status(90)
        wait_until(lambda: not worker.census(), 20)

    def test_a_statement_of_a_job_may_take_its_time(start, proxy, ledger):
        start(port=proxy.port)
        job = jobs.sleeps_in_the_database.enqueue(seconds=28)
        assert ended(job, 60).status == "done"
        assert Job.objects.get(pk=job.pk).attempts.count() == 1
