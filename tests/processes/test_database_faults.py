"""Connections cut, a locked file: the worker lives, every job ends, none of them twice."""

import sqlite3
import time
from collections import Counter

import pytest
from django.db import OperationalError, connection

from qorworker.models import Job, database_now
from tests.models.refusing import converted
from tests.settings import ENGINE
from tests.support import ended, wait_until
from tests.testapp import jobs

pytestmark = pytest.mark.process
COUNT = 300
PARTY_POPPER = "\N{PARTY POPPER}"


def enqueue_some(ledger):
    """Jobs of both kinds, enough to keep the workers busy while things are broken."""
    for job_type in (jobs.write_slowly, jobs.write_slowly_again):
        job_type.enqueue_many([{"ledger": str(ledger), "number": number} for number in range(COUNT // 2)])


def assert_each_ended_once(ledger, transitions):
    wait_until(
        lambda: Job.objects.finished().count() == COUNT,
        90,
        lambda: Counter(Job.objects.values_list("status", flat=True)),
    )
    assert set(transitions.ends().values()) == {1}
    assert set(transitions.ends()) == set(Job.objects.values_list("pk", flat=True))
    starts = Counter(int(line[0]) for line in ledger.lines())
    single = set(Job.objects.filter(max_attempts=1).values_list("pk", flat=True))
    assert {starts[pk] for pk in single} == {1}
    assert set(starts) == single | set(Job.objects.filter(max_attempts=3).values_list("pk", flat=True))


def assert_all_done(ledger, transitions):
    assert_each_ended_once(ledger, transitions)
    assert set(Job.objects.values_list("status", flat=True)) == {"done"}


def cut_connections():
    """End all connections to the test database but this one; how many."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return cursor.fetchone()[0]
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
        ids = [row[0] for row in cursor.fetchall()]
        for number in ids:
            try:
                cursor.execute(f"KILL CONNECTION {number}")
            except OperationalError:  # gone by itself
                continue
        return len(ids)


if ENGINE == "sqlite":

    def locked_for(seconds):
        """Another process writes to the file, and takes its time."""
        other = sqlite3.connect(connection.settings_dict["NAME"], timeout=30, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        other.execute("COMMIT")
        other.close()

    def test_a_file_locked_by_others_is_waited_for(start, ledger, transitions):
        workers = [start(), start()]
        enqueue_some(ledger)
        ledger.wait(20)
        for seconds in (3.0, 0.5, 6.0):
            locked_for(seconds)
        assert_all_done(ledger, transitions)
        assert [worker.process.poll() for worker in workers] == [None, None]
        assert [worker.stop() for worker in workers] == [0, 0]

    def test_a_lock_longer_than_the_lease_makes_nobody_take_over(start, ledger, transitions, tmp_path):
        start(LEASE=3, OBSERVATION=1)
        start(LEASE=3, OBSERVATION=1)
        job = jobs.until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
        ledger.wait()
        locked_for(8.0)
        (tmp_path / "gate").touch()
        assert ended(job).status == "done"
        assert transitions.of(job) == ["running", "done"]

else:

    def test_cut_connections_are_made_again(start, ledger, transitions):
        workers = [start(), start()]
        enqueue_some(ledger)
        ledger.wait(20)
        cut = 0
        for number in range(8):
            ledger.wait(min(COUNT, 20 + 20 * number))
            cut += cut_connections()
        print(f"{cut} connections cut")
        assert cut >= 8
        assert_all_done(ledger, transitions)
        assert [worker.process.poll() for worker in workers] == [None, None]
        assert [worker.stop() for worker in workers] == [0, 0]

    def test_a_job_whose_own_connection_was_cut_fails_alone(start, ledger, tmp_path):
        worker = start(processes=1)
        job = jobs.uses_database.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
        ledger.wait()
        cut_connections()
        (tmp_path / "gate").touch()
        job = ended(job)
        assert job.status == "exception"
        assert job.attempts.get().outcome == "failed"
        for _ in range(3):
            assert ended(jobs.counts_users.enqueue(ledger=str(ledger))).status == "done"
        assert worker.process.poll() is None

    def test_an_idle_worker_whose_connections_were_cut_takes_the_next_job(start):
        start()
        for _ in range(3):
            cut_connections()
            assert ended(jobs.noop.enqueue()).status == "done"

    def test_a_row_locked_by_others_holds_up_only_its_job(start, ledger, transitions, tmp_path):
        workers = [start(LEASE=3, OBSERVATION=1), start(LEASE=3, OBSERVATION=1)]
        locked = jobs.until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
        running = jobs.until_again.enqueue(gate=str(tmp_path / "late"), ledger=str(ledger))
        ledger.wait(2)
        other = connection.copy()
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SELECT id FROM qorworker_job WHERE id = %s FOR UPDATE", [locked.pk])
        (tmp_path / "gate").touch()
        begun = time.monotonic()
        while time.monotonic() - begun < 8:  # longer than the lease, the observation, and any patience with locks
            assert ended(jobs.noop.enqueue(), 4).status == "done"
        assert Job.objects.get(pk=running.pk).lease_expires_at > database_now("default")
        other.rollback()
        other.close()
        assert ended(locked).status == "done"
        assert locked.attempts.get().outcome == "done"
        (tmp_path / "late").touch()
        assert ended(running).status == "done"
        assert transitions.of(locked) == transitions.of(running) == ["running", "done"]
        assert [worker.process.poll() for worker in workers] == [None, None]


@pytest.mark.only_on("mysql")
def test_a_worker_goes_on_after_a_text_that_the_database_refuses(start):
    with converted("utf8mb3"):
        start()
        job = ended(jobs.says.enqueue(code=ord(PARTY_POPPER)))
        assert (job.status, job.progress_text) == ("done", "\\U0001f389")
        assert ended(jobs.noop.enqueue()).status == "done"
