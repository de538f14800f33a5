"""Moments in which a child is ahead of what its parent has read; played step by step, with no process."""

import errno
import os
import secrets
import selectors
import signal
import sqlite3
import subprocess

import pytest
from django.db import InternalError, OperationalError, connections

from qorworker.models import Job
from qorworker.models.sql import Claim, claim_one
from qorworker.worker import processes
from qorworker.worker.attempt import RunningAttempt
from qorworker.worker.database import Database
from qorworker.worker.dispatcher import Dispatcher
from qorworker.worker.keeper import Keeper
from qorworker.worker.pipes import Child
from qorworker.worker.pool import Exit, Pool
from qorworker.worker.processes import monotonic
from qorworker.worker.template_link import TemplateLink
from qorworker.worker.wakeup import CounterWakeup
from qorworker.worker.writer import Writer
from tests.settings import ENGINE
from tests.support import alive
from tests.testapp import jobs

KILLED = Exit(-9, 0, 0)


@pytest.fixture
def selector():
    with selectors.DefaultSelector() as selector:
        yield selector


@pytest.fixture
def dispatcher(db, selector):
    """A worker's inside without a template; ``pool.link.told`` has what would have been said to one."""
    pool = Pool(1, "", selector)
    pool.link.told = []
    pool.link.tell = lambda order, descriptors=(): pool.link.told.append(order)
    return Dispatcher(Database("default"), pool, Writer("default", 1, "host:1"), ["*"], [])


@pytest.fixture
def child(dispatcher):
    child = Child(1, -1, None, -1, pid=4711)
    dispatcher.pool.children[1] = child
    dispatcher.pool.pipes.drain = lambda child: None
    return child


def given(dispatcher, child, *many):
    """These jobs, claimed and sent to the child."""
    attempts = []
    for job in many:
        claimed = claim_one("default", job.pk, Claim(1, secrets.token_hex(16), (), (), 1, 1, (), 15.0))
        dispatcher.running[job.pk] = attempt = RunningAttempt(claimed, "default")
        child.attempts.append(attempt)
        attempts.append(attempt)
    dispatcher._begin(child, attempts[0], monotonic())
    return attempts


def flushed(dispatcher, *many):
    dispatcher.writer.flush(list(dispatcher.running.values()))
    for job in many:
        job.refresh_from_db()
    return [(job.status, job.attempt) for job in many]


def end(job, outcome="done", **told):
    return ["end", job.pk, {"outcome": outcome, **told}]


class TestTheJobBehindOneThatIsStopped:
    def test_hit_by_the_signal_that_was_meant_for_the_first_it_is_queued_again(self, dispatcher, child):
        first, second = jobs.noop_again.enqueue(), jobs.noop_again.enqueue()
        attempt, _ = given(dispatcher, child, first, second)
        dispatcher.stop(attempt, "aborted", "Aborted.", 10)
        dispatcher.on_record(child, end(first))
        dispatcher.on_record(child, end(second, "aborted"))
        dispatcher.on_record(child, ["left", second.pk])
        del dispatcher.pool.children[1]
        dispatcher.on_exit(child, Exit(0, 0, 0))
        assert flushed(dispatcher, first, second) == [("done", 1), ("new", 0)]

    def test_ended_without_a_word_it_did_not_crash(self, dispatcher, child):
        first, second = jobs.noop_again.enqueue(), jobs.noop_again.enqueue()
        attempt, _ = given(dispatcher, child, first, second)
        dispatcher.stop(attempt, "timeout", "Stopped.", 10)
        dispatcher.on_record(child, end(first))
        del dispatcher.pool.children[1]
        dispatcher.on_exit(child, KILLED)
        assert flushed(dispatcher, first, second) == [("done", 1), ("new", 0)]
        assert second.crashes == 0

    def test_a_process_that_nobody_stopped_has_crashed(self, dispatcher, child):
        first, second = jobs.noop_again.enqueue(), jobs.noop_again.enqueue()
        given(dispatcher, child, first, second)
        dispatcher.on_record(child, end(first))
        del dispatcher.pool.children[1]
        dispatcher.on_exit(child, KILLED)
        assert flushed(dispatcher, first, second) == [("done", 1), ("scheduled", 1)]
        assert second.crashes == 1

    def test_taken_away_while_it_waited_it_is_stopped_when_its_turn_comes(self, dispatcher, child):
        first, second = jobs.noop_again.enqueue(), jobs.noop_again.enqueue()
        _, attempt = given(dispatcher, child, first, second)
        dispatcher.forget(attempt)
        assert not child.stopping
        dispatcher.on_record(child, end(first))
        assert child.stopping


class TestAJobThatEndedInItsOwnTransaction:
    """The parent sees that the token is gone before it hears of the end."""

    def committed(self, dispatcher, child):
        job = jobs.atomic.enqueue(name="kept")
        [attempt] = given(dispatcher, child, job)
        attempt.hear(["log", job.pk, 0.0, 20, "a line"])
        assert Job.objects.end_in_transaction(job.pk, attempt.job.token)
        return job, attempt

    def assert_whole(self, job):
        assert job.status == "done"
        assert [line.text for line in job.log.all()] == ["a line"]
        assert [attempt.outcome for attempt in job.attempts.all()] == ["done"]

    def test_it_is_not_taken_for_stolen(self, dispatcher, child):
        job, attempt = self.committed(dispatcher, child)
        Keeper(dispatcher, dispatcher.pool).check(0.0)
        assert dispatcher.writer.flush([attempt]) == []
        assert not child.stopping
        dispatcher.on_record(child, end(job, committed=True))
        flushed(dispatcher, job)
        self.assert_whole(job)

    def test_killed_before_it_could_say_so_it_is_done_all_the_same(self, dispatcher, child):
        job, _ = self.committed(dispatcher, child)
        del dispatcher.pool.children[1]
        dispatcher.on_exit(child, KILLED)
        flushed(dispatcher, job)
        self.assert_whole(job)

    def test_one_that_was_taken_away_is_stopped(self, dispatcher, child):
        job = jobs.atomic.enqueue(name="late")
        [attempt] = given(dispatcher, child, job)
        Job.objects.filter(pk=job.pk).update(attempt_token="another")
        Keeper(dispatcher, dispatcher.pool).check(0.0)
        assert (attempt.lost, child.stopping) == (True, True)


def test_an_attempt_past_its_lease_is_ended_even_if_the_lease_is_renewed_meanwhile(dispatcher, child):
    job = jobs.noop_again.enqueue()
    [attempt] = given(dispatcher, child, job)
    child.owned = True
    keeper = Keeper(dispatcher, dispatcher.pool)
    keeper.deadline = monotonic() - 1
    keeper.outlived(0.0)
    assert attempt.stop_reason == "lost"
    assert {"stop": 1, "grace": 0} in dispatcher.pool.link.told


def test_a_job_whose_process_nobody_heard_of_counts_as_started(dispatcher, child):
    job = jobs.noop.enqueue()
    given(dispatcher, child, job)
    child.pid = None
    del dispatcher.pool.children[1]
    dispatcher.on_exit(child, KILLED)
    assert flushed(dispatcher, job) == [("exception", 1)]


def test_a_job_whose_process_could_not_be_made_is_queued_again(dispatcher, child):
    job = jobs.noop.enqueue()
    given(dispatcher, child, job)
    child.pid = None
    del dispatcher.pool.children[1]
    child.untouched = True
    dispatcher.on_exit(child, Exit(1, 0, 0, "no room"))
    assert flushed(dispatcher, job) == [("new", 0)]


def test_an_end_with_an_impossible_duration_is_written(dispatcher, child):
    job = jobs.noop.enqueue()
    given(dispatcher, child, job)
    dispatcher.on_record(child, end(job, duration=4e18, delay=4e18))
    assert flushed(dispatcher, job) == [("done", 1)]


def test_a_stale_end_and_a_new_attempt_of_the_same_job_are_written_one_after_the_other(dispatcher, child):
    job = jobs.noop_again.enqueue()
    [stale] = given(dispatcher, child, job)
    dispatcher.writer.hand_back(stale)
    ends = list(dispatcher.writer.ends)
    dispatcher.writer.flush(())
    child.attempts.clear()
    given(dispatcher, child, job)
    dispatcher.writer.ends = ends  # the answer to the first flush was lost
    dispatcher.on_record(child, end(job))
    flushed(dispatcher, job)
    assert flushed(dispatcher, job) == [("done", 1)]
    assert dispatcher.writer.ends == []


@pytest.mark.only_on("postgresql")  # the others store what this one refuses
@pytest.mark.django_db(transaction=True)
def test_an_end_that_cannot_be_stored_is_stored_without_its_words(dispatcher, child):
    good, bad = jobs.noop_again.enqueue(), jobs.noop_again.enqueue()
    given(dispatcher, child, good, bad)
    dispatcher.on_record(child, end(good))
    dispatcher.on_record(child, end(bad, "failed", error="no"))
    dispatcher.writer.ends[1].update.error = "a NUL \0"
    assert flushed(dispatcher, good, bad) == [("done", 1), ("scheduled", 1)]
    assert bad.error == "What it ended with could not be stored."


if ENGINE == "sqlite":

    def test_a_counter_that_cannot_be_read_is_a_fault_of_the_database(db, selector, tmp_path, monkeypatch):
        path = tmp_path / "locked.sqlite3"
        mine = sqlite3.connect(path, timeout=0, isolation_level=None)
        mine.execute("CREATE TABLE some (thing)")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with monkeypatch.context() as patch:
            patch.setattr(connections["default"], "connection", mine)
            with pytest.raises(OperationalError, match="locked"):
                CounterWakeup("default", selector).look(0.0)
        other.close()
        mine.close()


class TestTheTemplateThatDoesNotStart:
    def test_without_room_for_a_process_it_is_tried_again_later(self, selector, monkeypatch):
        def no_room(*args, **options):
            raise BlockingIOError("no room")

        link = TemplateLink("", selector, lambda *news: None, lambda now: None)
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", no_room)
            link.tend(0.0)
        assert (link.pids, dict(selector.get_map())) == ([], {})
        link.tend(0.1)
        assert link.pids == []
        link.tend(1.0)
        assert len(link.pids) == 1
        link.close()

    def test_hanging_while_it_loads_it_does_not_hold_up_the_worker(self, selector):
        link = TemplateLink("", selector, lambda *news: None, lambda now: None)
        link.tend(0.0)
        [pid] = link.pids
        os.kill(pid, signal.SIGSTOP)
        link.close()
        assert not alive(pid)


def test_progress_that_could_not_be_written_one_by_one_either_is_written_later(dispatcher, child, monkeypatch):
    [attempt] = given(dispatcher, child, job := jobs.noop.enqueue())
    attempt.hear(["progress", job.pk, 40, None])
    errors = [InternalError("terminating connection"), OperationalError("the connection is closed")]

    def refused(writer, ends, progressed, wanted=None):
        assert [each.update().progress for each in progressed] == [40]
        raise errors.pop(0)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_write", refused)
        with pytest.raises(OperationalError):
            flushed(dispatcher, job)
    flushed(dispatcher, job)
    assert job.progress == 40


class TestAMachineWithoutRoom:
    def test_a_child_that_gets_no_pipes_is_started_later(self, selector, monkeypatch):
        pool, real, made = Pool(1, "", selector), os.pipe, []
        pool.link.ready, pool.link.tend = True, lambda now: None

        def one_only():
            if made:
                raise OSError(errno.EMFILE, "Too many open files")
            made.append(real())
            return made[0]

        before = len(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "pipe", one_only)
            pool.tend(monotonic())
        assert (pool.children, len(os.listdir("/proc/self/fd"))) == ({}, before)
        pool.tend(monotonic())
        assert pool.children == {}
        pool.tend(monotonic() + 1.0)
        [child] = pool.children.values()
        pool.pipes.close(child)


def test_a_process_that_is_only_hidden_is_not_gone(monkeypatch):
    monkeypatch.setattr(processes, "_stat", lambda pid: None)
    assert processes.provably_gone(2**22 + 1, 1)

    def forbidden(pid, number):
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert not processes.provably_gone(1, 1)


def test_what_has_secrets_never_waits_behind_another(dispatcher, child):
    for _ in range(4):
        job = jobs.noop_again.enqueue()
        [attempt] = given(dispatcher, child, job)
        attempt.hear(["secrets", job.pk, ["hunter2"]])
        dispatcher.on_record(child, end(job, duration=0.001))
    assert dispatcher.pace.short() == []
