"""A short job that suddenly takes long holds up none of those that a worker has taken ahead."""

import pytest

from qorworker.models import Job
from tests.support import ended, wait_until
from tests.testapp import jobs

pytestmark = pytest.mark.process


@pytest.mark.parametrize("signals", ["heard", "blocked", "ignored"])
@pytest.mark.parametrize(("processes", "share"), [(1, 10_000), (1, 12), (2, 10_000)])
def test_jobs_behind_one_that_takes_long_run_elsewhere(start, ledger, tmp_path, transitions, processes, share, signals):
    start(processes=processes, CHILD_JOBS=share)
    quick, gate = {"ledger": str(ledger)}, tmp_path / "gate"
    for _ in range(5):  # a type has to prove that it is short
        ended(jobs.sometimes_slow.enqueue(**quick))
    *_, slow = jobs.sometimes_slow.enqueue_many([*[quick] * 3, {**quick, "gate": str(gate), "signals": signals}])
    behind = jobs.sometimes_slow.enqueue_many([quick] * 60)
    ledger.wait(9)
    if processes == 1:
        start(processes=1)
    wait_until(lambda: Job.objects.done().count() == 5 + 3 + 60)
    gate.touch()
    assert ended(slow).status == "done"
    ran = [int(job_id) for (job_id,) in ledger.lines()]
    assert len(ran) == len(set(ran)) == 5 + 4 + 60
    assert {transitions.of(job)[-1] for job in behind} == {"done"}
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}
