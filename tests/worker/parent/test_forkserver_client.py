"""A fork server that does not start, hangs, or was killed."""

import os
import signal
import socket
import subprocess

import pytest

from qorworker.system import processes
from qorworker.worker.early import EarlyForkServer
from qorworker.worker.launch import message_socket
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


class TestTheOneThatWasForkedEarly:
    @pytest.fixture
    def theirs(self):
        """Its end of the control socket."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, message_socket())
        with theirs:
            self.control = ours
            yield theirs

    @pytest.fixture
    def early(self, theirs):
        """Another child of this process in its place."""
        process = subprocess.Popen(["sleep", "60"])
        yield EarlyForkServer(process.pid, self.control)
        process.kill()

    @pytest.fixture
    def client(self, selector, early):
        client = ForkServerClient("c" * 32, selector, lambda *news: None, lambda now, survivors: None)
        client.early = early
        yield client
        client.close()

    def test_is_used_first_and_told_the_cookie_and_where_to_print(self, client, early, theirs):
        client.maintain(0.0)
        assert client.pids == [early.pid]
        message, descriptors, _, _ = socket.recv_fds(theirs, 1 << 16, 1)
        assert message == b'{"cookie": "%b"}' % (b"c" * 32)
        assert os.path.sameopenfile(*descriptors, 2)
        os.close(*descriptors)

    def test_not_needed_it_ends_with_its_worker(self, client, early):
        client.close()
        assert early.returncode == -signal.SIGKILL

    def test_ended_too_early_it_is_replaced_by_a_new_program(self, client, selector, early, theirs):
        early.kill()
        theirs.close()
        client.maintain(0.0)
        for key, _ in selector.select():
            key.data(1.0)
        assert (early.returncode, client.pids) == (-signal.SIGKILL, [])
        client.maintain(60.0)
        assert len(client.pids) == 1

    def test_its_end_is_waited_for_as_that_of_a_program(self, early):
        with pytest.raises(subprocess.TimeoutExpired):
            early.wait(0.0)
        early.send_signal(signal.SIGTERM)
        assert early.wait() == early.poll() == -signal.SIGTERM
        early.kill()  # nobody
