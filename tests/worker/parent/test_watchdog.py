"""Which attempts a worker ends because their leases are past."""

from types import SimpleNamespace

from qorworker.system.processes import monotonic
from qorworker.worker.parent.sharing import YOUNG
from qorworker.worker.parent.watchdog import Watchdog
from tests.testapp import jobs
from tests.worker.parent.support import given


def test_an_attempt_past_its_lease_is_ended_even_if_the_lease_is_renewed_meanwhile(dispatcher, child):
    job = jobs.noop_again.enqueue()
    [attempt] = given(dispatcher, child, job)
    child.owned = True
    watchdog = Watchdog(dispatcher, dispatcher.pool)
    watchdog.deadline = monotonic() - 1
    watchdog.stop_outlived(0.0)
    assert attempt.stop_reason == "lost"
    assert {"stop": 1, "grace": 0} in dispatcher.pool.fork_server.sent


def test_an_abort_of_a_job_that_shares_its_child_is_seen_once_it_is_not_young_any_more(dispatcher, child):
    job = jobs.noop_again.enqueue()
    [attempt] = given(dispatcher, child, job)
    child.attempts.clear()
    child.records = SimpleNamespace(send=lambda message: None)
    dispatcher.sharing.add(child, attempt, 3, now=100.0)
    child.attempts.append(attempt)
    job.refresh_from_db()
    job.abort()
    watchdog = Watchdog(dispatcher, dispatcher.pool)
    watchdog.check_requests(100.0 + YOUNG / 2)
    assert attempt.stop_reason == ""
    watchdog.check_requests(100.1 + YOUNG)
    assert attempt.stop_reason == "aborted"
