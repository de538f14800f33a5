"""A fork server that does not start, hangs, or was killed."""

import os
import signal
import subprocess

import pytest

from qorworker.system import processes
from qorworker.worker.parent.forkserver_client import LOAD_LIMIT, ForkServerClient
from tests.support import alive, wait_until


class TestTheForkServerThatDoesNotStart:
    def test_without_room_for_a_process_it_is_tried_again_later(self, selector, monkeypatch):
        def no_room(*args, **options):
            raise BlockingIOError("no room")

        fork_server = ForkServerClient("", selector, lambda *news: None, lambda now: None)
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", no_room)
            fork_server.maintain(0.0)
        assert (fork_server.pids, dict(selector.get_map())) == ([], {})
        fork_server.maintain(0.1)
        assert fork_server.pids == []
        fork_server.maintain(1.0)
        assert len(fork_server.pids) == 1
        fork_server.close()

    def test_hanging_while_it_loads_it_does_not_hold_up_the_worker(self, selector):
        fork_server = ForkServerClient("", selector, lambda *news: None, lambda now: None)
        fork_server.maintain(0.0)
        [pid] = fork_server.pids
        os.kill(pid, signal.SIGSTOP)
        fork_server.close()
        assert not alive(pid)

    def test_hanging_while_it_loads_it_is_reported_once_a_minute_is_over(self, selector, caplog):
        fork_server = ForkServerClient("", selector, lambda *news: None, lambda now, survivors: None)
        fork_server.maintain(1_000.0)
        [pid] = fork_server.pids
        os.kill(pid, signal.SIGSTOP)
        fork_server.maintain(1_000.0 + LOAD_LIMIT)
        assert (fork_server.trouble, caplog.text) == ("", "")
        for seconds in (1, 2, 3):
            fork_server.maintain(1_000.0 + LOAD_LIMIT + seconds)
        assert "does not answer" in fork_server.trouble
        assert caplog.text.count("has not loaded the project") == 1
        os.kill(pid, signal.SIGCONT)
        while not fork_server.ready:
            for key, _ in selector.select():
                key.data(1_100.0)
        assert fork_server.trouble == ""
        fork_server.close()


class TestWhatAKilledForkServerLeavesBehind:
    @pytest.fixture
    def fork_server(self, selector):
        """With a fork server that has been killed, which is not known yet."""
        fork_server = ForkServerClient("", selector, lambda *news: None, lambda now, survivors: None)
        fork_server.maintain(0.0)
        [pid] = fork_server.pids
        fork_server.ready = True
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: processes.has_ended(pid))
        yield fork_server
        fork_server.close()

    @pytest.fixture
    def stray(self, fork_server):
        """As this process adopts those of jobs: in a session of their own."""
        with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
            yield process.pid
            process.kill()

    def test_is_ended_although_its_children_were_looked_at_before_its_end_was_heard(self, selector, fork_server, stray):
        fork_server.maintain(1.0)
        while fork_server.pids:
            for key, _ in selector.select():
                if selector.get_map().get(key.fd) is key:
                    key.data(2.0)
        assert not alive(stray)

    def test_is_ended_when_the_worker_stops_before_it_is_heard(self, fork_server, stray):
        fork_server.close()
        assert not alive(stray)
