"""Jobs of workers that are gone are settled, each of them by itself."""

from dataclasses import replace
from datetime import timedelta

import pytest

from qorworker.database.connection import Database
from qorworker.maintenance import reaper as module
from qorworker.maintenance.reaper import Reaper
from qorworker.models import Worker, database_now
from qorworker.system import processes
from tests.models.refusing import refusing
from tests.models.rows import make_job

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_job_of_a_lost_worker_that_cannot_be_settled_holds_up_no_other(transactional_db):
    """Its worker is gone for good; the project refuses whatever is written about the job."""
    culprit, other = make_job("running"), make_job("running")
    worker = Worker.objects.start(name="host:1", host="host", process_id=1, slots=1)
    reaper = Reaper(Database("default"), worker.pk, processes.identity())

    def settled_a_minute_later():
        reaper.rescue_expired()
        reaper.seen = {pk: replace(sighting, since=sighting.since - 60) for pk, sighting in reaper.seen.items()}
        reaper.until = None
        return reaper.rescue_expired()

    reaper.database.failed_at = -1e9
    with refusing("job", "UPDATE", f"NEW.id = {culprit.pk}"):
        assert settled_a_minute_later() == 1
        assert settled_a_minute_later() == 0
    other.refresh_from_db()
    culprit.refresh_from_db()
    assert (other.status, culprit.status) == ("exception", "running")
    assert settled_a_minute_later() == 1


def test_jobs_of_a_dead_neighbour_that_cannot_be_settled_hold_up_no_other(transactional_db, monkeypatch):
    """The rescue of a single one takes as long as a round, because the database is far away."""
    me = processes.identity()
    there = {"host": me.host, "boot_id": me.boot_id, "pid_namespace": me.pid_namespace, "slots": 1}
    dead = Worker.objects.start(name="dead", process_id=me.process_id, process_started=me.process_started - 1, **there)
    alive = Worker.objects.start(name="alive", process_id=me.process_id, process_started=me.process_started, **there)
    lease = database_now("default") + timedelta(hours=1)
    jobs = [make_job("running", worker_id=dead.pk, lease_expires_at=lease) for _ in range(5)]
    reaper = Reaper(Database("default"), alive.pk, me)
    monkeypatch.setattr(module, "SHARE", 1e-6)
    with refusing("job", "UPDATE", f"NEW.id <> {jobs[2].pk}"):
        rounds = 1
        reaper.reap()
        while reaper.unfinished:
            rounds += 1
            assert rounds < 50, "It does not come to an end."
            reaper.reap()
    dead.refresh_from_db()
    assert dead.stopped_at is not None
    jobs[2].refresh_from_db()
    assert jobs[2].status == "exception"


def test_many_dead_neighbours_are_settled_in_several_rounds(transactional_db, monkeypatch):
    """Each takes as long as a round, because the database is far away or the machine has many processes."""
    me = processes.identity()
    there = {"host": me.host, "boot_id": me.boot_id, "pid_namespace": me.pid_namespace, "slots": 1}
    alive = Worker.objects.start(name="alive", process_id=me.process_id, process_started=me.process_started, **there)
    for number in range(3):
        started = me.process_started - 1
        dead = Worker.objects.start(name=f"dead{number}", process_id=me.process_id, process_started=started, **there)
        make_job("running", worker_id=dead.pk)
    reaper = Reaper(Database("default"), alive.pk, me)
    monkeypatch.setattr(module, "SHARE", 1e-6)
    settled = []
    while reaper.unfinished or not settled:
        reaper.reap()
        settled.append(Worker.objects.exclude(stopped_at=None).count())
        assert len(settled) < 50, "It does not come to an end."
    assert settled == sorted(settled)
    assert settled[-1] == 3
    assert len(settled) > 2


class TestASearchForExpiredLeasesThatTookLong:
    """It passes the leases of finished jobs as well, while an old transaction keeps them in the index."""

    @pytest.fixture
    def reaper(self, transactional_db, monkeypatch):
        worker = Worker.objects.start(name="host:1", host="host", process_id=1, slots=1)
        monkeypatch.setattr(module, "rest_after", lambda seconds: 1e9)
        reaper = Reaper(Database("default"), worker.pk, processes.identity())
        reaper.reap(may_rest=True)
        make_job("running")
        return reaper

    def test_is_not_repeated_until_it_has_rested(self, reaper):
        reaper.reap(may_rest=True)
        assert not reaper.seen
        reaper.rests_until = 0.0
        reaper.reap(may_rest=True)
        assert reaper.seen

    def test_is_repeated_at_once_if_a_round_did_not_come_to_its_end(self, reaper):
        reaper.unfinished = True
        reaper.reap(may_rest=True)
        assert reaper.seen

    def test_is_repeated_at_once_by_a_process_that_runs_once(self, reaper):
        reaper.reap_all()
        assert reaper.seen
