"""Ten thousand jobs and four workers at once: each job runs exactly once, says the ledger that the jobs write."""

import time
from collections import Counter

import pytest

from qorworker.models import Attempt, Job
from tests.support import wait_until
from tests.testapp import jobs

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]
HALF, WORKERS = 5_000, 4


def test_each_of_ten_thousand_jobs_runs_exactly_once(start, ledger):
    for job_type in (jobs.write, jobs.write_again):
        for first in range(0, HALF, 1000):
            job_type.enqueue_many([{"ledger": str(ledger), "number": number} for number in range(first, first + 1000)])
    accepted = set(Job.objects.values_list("pk", flat=True))
    assert len(accepted) == 2 * HALF
    workers = [start("--batch", processes=1, ready=False) for _ in range(WORKERS)]
    wait_until(lambda: ledger.path.stat().st_size, 60)
    begun = time.monotonic()
    wait_until(lambda: Job.objects.done().count() == 2 * HALF, 300, lambda: dict(_by_status()), every=0.3)
    seconds = time.monotonic() - begun
    print(f"10,000 jobs, 4 workers: {seconds:.1f} s, {2 * HALF / seconds:.0f} jobs/s")
    assert [worker.exit_status() for worker in workers] == [0] * WORKERS
    runs = Counter(int(job_id) for job_id, _ in ledger.lines())
    assert set(runs) == accepted
    assert set(runs.values()) == {1}
    assert set(Job.objects.values_list("status", "attempt").distinct()) == {("done", 1)}
    assert set(Attempt.objects.values_list("number", "outcome").distinct()) == {(1, "done")}
    assert Attempt.objects.count() == 2 * HALF
    shares = Counter(Attempt.objects.values_list("worker_name", flat=True))
    print(f"shares of the workers: {sorted(shares.values())}")
    assert len(shares) == WORKERS
    assert [worker.census() for worker in workers] == [[]] * WORKERS


def _by_status():
    return Counter(Job.objects.values_list("status", flat=True))
