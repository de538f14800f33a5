"""What a job has told an error tracker arrives, although its process ends."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support import ended, log_of, wait_until
from tests.testapp import jobs

pytestmark = pytest.mark.process


@pytest.fixture
def tracker(monkeypatch):
    """A server that takes the events of an error tracker; the bodies that it got."""
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            received.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("QORWORKER_TEST_SENTRY", f"http://key@127.0.0.1:{server.server_port}/1")
        yield received
        server.shutdown()


def test_events_sent_as_the_last_act_arrive_though_the_worker_ends(start, tracker):
    for _ in range(10):
        jobs.sends_event.enqueue(last_act=True)
    start("--batch", processes=2).exit_status()
    wait_until(lambda: sum(b"the last act" in body for body in tracker) == 10, why=lambda: tracker)


def test_a_failure_is_one_event_with_its_stack_and_no_line_of_the_log(start, tracker):
    job = jobs.sends_event.enqueue(last_act=False)
    start("--batch", processes=1).exit_status()
    assert ended(job).error == "ValueError: no such luck"
    assert log_of(job) == []
    events = [body for body in tracker if b"no such luck" in body and b'"exception"' in body]
    assert len(events) == 1
    assert b"sends_event" in events[0]


def test_a_process_whose_exit_functions_hang_takes_nobodys_place_for_good(start):
    jobs.hangs_at_exit.enqueue()
    job = jobs.noop.enqueue()
    assert start("--batch", processes=1).exit_status() == 0
    assert ended(job).status == "done"
