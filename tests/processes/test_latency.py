"""A database that is far away: each answer of it comes late, and nothing else is wrong."""

import os
import time

import pytest
from django.db import connection

from qorworker.models import Job
from tests.proxy import FaultProxy
from tests.support import ended, wait_until
from tests.testapp import jobs

pytestmark = [pytest.mark.process, pytest.mark.only_on("postgresql", "mysql"), pytest.mark.timeout(500)]
PORT = {"postgresql": "QORWORKER_POSTGRESQL_PORT", "mysql": "QORWORKER_MARIADB_PORT"}
needs_namespaces = pytest.mark.skipif(os.geteuid() != 0, reason="a machine of its own needs root")
at_a_distance = pytest.mark.parametrize(
    ("seconds", "leases"),
    [
        (s, {"LEASE": 15, "OBSERVATION": 5})
        for s in map(float, os.environ.get("QORWORKER_TEST_DELAYS", "0.05 0.2").split())
    ],
)


@pytest.fixture
def start_far(start, monkeypatch):
    """Starts a worker for which each answer of the database takes this many seconds."""
    with FaultProxy(int(connection.settings_dict["PORT"])) as proxy:

        def start_far(seconds, *options, **settings):
            proxy.delay(seconds)
            with monkeypatch.context() as patch:
                patch.setenv(PORT[connection.vendor], str(proxy.port))
                return start(*options, **settings)

        yield start_far


@needs_namespaces
@at_a_distance
def test_the_jobs_of_a_dead_machine_are_settled(start, start_far, ledger, tmp_path, seconds, leases):
    gate = str(tmp_path / "gate")
    dead = start("--queues", "other", machine=True, **leases)
    lost = [job_type.using(queue_name="other").enqueue(gate=gate, ledger=str(ledger)) for job_type in BOTH]
    ledger.wait(2)
    far = start_far(seconds, "--queues", "default", **leases)
    own = [job_type.enqueue(gate=gate, ledger=str(ledger)) for job_type in BOTH]
    ledger.wait(4, 60)
    dead.destroy()
    begun = time.monotonic()
    wait_until(
        lambda: not Job.objects.filter(pk__in=[job.pk for job in lost]).running().exists(), 240, lambda: far.said
    )
    print(f"settled_s {seconds:g} s away: {time.monotonic() - begun:.1f}")
    for job in lost:
        assert job.attempts.get().outcome == "lost"
    (tmp_path / "gate").touch()
    for job in own:
        job = ended(job, 60)
        assert (job.status, job.attempt) == ("done", 1)


@at_a_distance
def test_the_jobs_of_a_worker_that_lives_are_left_alone(start, start_far, ledger, tmp_path, seconds, leases):
    far = start_far(seconds, "--queues", "default", **leases)
    own = [job_type.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger)) for job_type in BOTH]
    ledger.wait(2, 60)
    near = start("--queues", "other", **leases)
    until = time.monotonic() + 3 * leases["LEASE"]
    wait_until(lambda: time.monotonic() > until, 90)
    (tmp_path / "gate").touch()
    for job in own:
        job = ended(job, 60)
        assert (job.status, job.attempt) == ("done", 1), far.said + near.said


BOTH = (jobs.until, jobs.until_again)
