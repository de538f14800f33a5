"""Which attempts a worker ends because their leases are past."""

from qorworker.system.processes import monotonic
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
