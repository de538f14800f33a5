"""What people ask of a worker reaches its loop with its sign of life: here without processes."""

import math
from types import SimpleNamespace

import pytest
from django.db import OperationalError

from qorworker.conf import settings
from qorworker.models import Job, Worker
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.promoting import Promotion
from qorworker.models.sql import Heads, claim
from qorworker.system.processes import monotonic
from qorworker.worker.parent import duties, housekeeping
from qorworker.worker.parent.channels import Child
from qorworker.worker.parent.duties import Duty
from qorworker.worker.parent.housekeeping import PROMOTION, PROMOTION_PAUSE
from qorworker.worker.parent.supervisor import BUFFER, IDLE_STEP, Supervisor, WorkerOptions
from qorworker.worker.parent.write_delay import END_DELAY
from tests.models.rows import wanted
from tests.testapp import jobs

LEASE = float(settings.LEASE)


@pytest.fixture
def supervisor(db):
    """One that is registered and has no children; its slots count as free."""
    supervisor = Supervisor(WorkerOptions(processes=1))
    supervisor.heartbeat.register()
    yield supervisor
    supervisor.selector.close()


def row_of(supervisor):
    return Worker.objects.get(pk=supervisor.heartbeat.worker.pk)


def test_a_paused_worker_takes_nothing_until_it_is_resumed_and_then_looks_at_once(supervisor, monkeypatch):
    monkeypatch.setattr(type(supervisor.pool), "ready", True)
    assert supervisor._takes_work()
    row_of(supervisor).pause()
    supervisor._beat(0.0)
    assert not supervisor._takes_work()
    assert row_of(supervisor).heeded == "pause"
    supervisor.wakeup.rung = False
    supervisor._beat(0.0)
    assert not supervisor.wakeup.rung
    row_of(supervisor).resume()
    supervisor._beat(0.0)
    assert supervisor._takes_work()
    assert supervisor.wakeup.rung
    assert row_of(supervisor).heeded == ""


def test_a_job_of_a_lost_claim_that_is_found_on_a_paused_worker_is_handed_back(supervisor):
    job = jobs.noop.enqueue()
    claimer = supervisor.dispatcher.claimer
    order = wanted(names=[job.name])
    claim("default", order)
    with pytest.raises(OperationalError), claimer.unanswered.remembering(order):
        raise OperationalError("the server closed the connection")
    row_of(supervisor).pause()
    supervisor._beat(0.0)
    supervisor._recover(0.0)
    supervisor.writer.flush(())
    job.refresh_from_db()
    assert (job.status, job.attempt) == ("new", 0)


def test_a_drained_worker_ends_as_soon_as_nothing_runs_and_forces_nobody(supervisor):
    assert not supervisor._is_done()
    row_of(supervisor).drain()
    supervisor._beat(0.0)
    assert supervisor.shutdown.draining
    assert not supervisor.shutdown.is_forced
    assert supervisor.shutdown._force_at is None
    assert supervisor._is_done()


def test_a_signal_ends_the_patience_of_a_worker_that_drains(supervisor):
    row_of(supervisor).drain()
    supervisor._beat(0.0)
    supervisor.shutdown.request()
    supervisor.shutdown.step(100.0)
    assert supervisor.shutdown._force_at == 100.0 + supervisor.options.grace


def test_a_worker_whose_row_was_closed_takes_what_was_asked_of_it_along(supervisor):
    row_of(supervisor).pause()
    supervisor._beat(0.0)
    before = row_of(supervisor)
    Worker.objects.stop(before.pk)
    supervisor._beat(0.0)
    assert row_of(supervisor).pk != before.pk
    assert row_of(supervisor).request == "pause"
    assert not supervisor._takes_work()


def test_a_worker_that_never_reached_its_database_says_so_when_it_stops(db, monkeypatch, caplog):
    supervisor = Supervisor(WorkerOptions(processes=1))

    def refuse():
        supervisor.shutdown.request()
        raise OperationalError("server has gone away")

    monkeypatch.setattr(supervisor, "_register", refuse)
    monkeypatch.setattr(supervisor.database, "_drop", lambda: None)  # the connection belongs to the test
    with caplog.at_level("INFO", logger="qorworker"):
        supervisor.run()
    assert "Stopping: the database never answered" in caplog.text


class TestAJobThatWasClaimedSlowly:
    """Its claim took so long that the leases of this worker may be over, and the fork server ends what they hold."""

    @pytest.fixture
    def child(self, supervisor, monkeypatch):
        child = Child(1, -1, None, -1, pid=4711)
        supervisor.pool.children[1] = child
        monkeypatch.setattr(type(supervisor.pool), "ready", True)
        monkeypatch.setattr(supervisor.pool.fork_server, "send", lambda order: None)
        monkeypatch.setattr(supervisor.pool.channels, "push", lambda child: None)
        return child

    @pytest.fixture
    def claim(self, supervisor, child, monkeypatch):
        """``claim()``: one round of the loop with such a claim."""
        claimer, claim = supervisor.dispatcher.claimer, supervisor.dispatcher.intake.exchange

        def exchange(order, most):
            claimed = claim(order, most)
            supervisor.watchdog.deadline = monotonic() - 1
            return claimed

        def run():
            jobs.noop_again.enqueue()
            claimer.find_queues()
            supervisor._exchange(monotonic())
            assert len(supervisor.dispatcher.active) == 1
            supervisor._dispatch(monotonic())

        monkeypatch.setattr(supervisor.dispatcher.intake, "exchange", exchange)
        return run

    def test_is_given_to_a_child_once_the_leases_are_renewed(self, supervisor, child, claim):
        claim()
        assert not supervisor.watchdog.is_overdue()
        assert [attempt.job.name for attempt in child.attempts] == [jobs.noop_again.name]

    def test_is_given_to_no_child_as_long_as_they_cannot_be(self, supervisor, child, claim, monkeypatch):
        def renew(rows, tokens, lease):
            raise OperationalError("server has gone away")

        monkeypatch.setattr(JobQuerySet, "renew", renew)
        claim()
        assert (list(child.attempts), len(supervisor.dispatcher.intake.ready)) == ([], 1)


class TestDuties:
    """What the loop does again and again."""

    @pytest.fixture
    def clock(self, supervisor, monkeypatch):
        now = [1_000.0]
        for module in (duties, housekeeping):
            monkeypatch.setattr(module, "monotonic", lambda: now[0])
        monkeypatch.setattr(supervisor.database, "retry_at", 0.0)
        return now

    def fail(self, supervisor, duty, clock, monkeypatch):
        def work(now):
            tries.append(now)
            raise OperationalError("server has gone away")

        tries = []
        monkeypatch.setattr(duty, "work", work)
        monkeypatch.setattr(supervisor.database, "_drop", lambda: None)  # the connection belongs to the test
        for _ in range(3):
            duty.attend(supervisor.database)
            clock[0] = max(clock[0], supervisor.database.retry_at)
        return tries

    def test_a_renewal_that_failed_is_repeated_as_soon_as_the_database_may_be_asked(
        self, supervisor, clock, monkeypatch
    ):
        clock[0] = monotonic()
        assert len(self.fail(supervisor, supervisor.renewing, clock, monkeypatch)) == 3

    def test_what_is_less_urgent_waits_for_its_next_time(self, supervisor, clock, monkeypatch):
        clock[0] = monotonic()
        duty = Duty(lambda now: None, 3600.0)
        assert len(self.fail(supervisor, duty, clock, monkeypatch)) == 1

    @pytest.mark.parametrize(
        ("result", "wait"),
        [((0, 0.0), PROMOTION), ((5, 0.0), PROMOTION_PAUSE), ((0, 0.2), 0.2), ((0, None), PROMOTION)],
    )
    def test_jobs_that_are_due_and_locked_are_not_asked_for_without_pause(
        self, supervisor, clock, monkeypatch, result, wait
    ):
        monkeypatch.setattr(JobQuerySet, "promote", lambda jobs, ahead: Promotion(*result, jobs=[]))
        promoting = supervisor.housekeeping.promoting
        promoting.attend(supervisor.database)
        assert promoting.at == clock[0] + wait

    def test_jobs_that_it_queues_are_known_to_its_next_claim(self, supervisor, clock):
        job = jobs.noop.enqueue()
        Job.objects.filter(pk=job.pk).update(status="scheduled")
        floors = supervisor.dispatcher.claimer.floors
        floors.set_to({job.queue_name: Heads(first={job.priority: job.pk + 1})})
        supervisor.housekeeping.promoting.attend(supervisor.database)
        assert floors.returned([job.queue_name]) == [job.pk]


class TestDutiesOfAWorkerWithJobs:
    @pytest.fixture
    def watching(self, supervisor):
        supervisor.busy_duties = [Duty(lambda now: None, 0.2)]
        supervisor.duties = [Duty(lambda now: None, 60.0, at=monotonic() + 60)]
        supervisor.dispatcher.claimer.has_more = False
        return supervisor

    def test_wait_while_it_has_none(self, watching):
        assert watching._current_duties() == watching.duties

    def test_an_idle_worker_goes_round_all_the_same(self, watching, monkeypatch):
        monkeypatch.setattr(watching.wakeup, "rung", False)
        assert watching._seconds_until_due(monotonic()) == IDLE_STEP

    @pytest.mark.parametrize("reason", ["active", "end", "deferred", "has_more", "limited", "unanswered"])
    def test_are_done_while_it_has_some_or_may_get_some(self, watching, monkeypatch, reason):
        dispatcher, writer = watching.dispatcher, watching.writer
        claimer = dispatcher.claimer
        place, name, value = {
            "active": (dispatcher, "active", [object()]),
            "end": (writer, "ends", [object()]),
            "deferred": (writer, "deferred", [object()]),
            "has_more": (claimer, "has_more", True),
            "limited": (claimer.limited, "resume_after", {"default": ""}),
            "unanswered": (claimer, "unanswered", [object()]),
        }[reason]
        monkeypatch.setattr(place, name, value)
        assert watching._current_duties() == [*watching.busy_duties, *watching.duties]


class TestAWorkerThatMayHaveMissedAJob:
    """Its look at all entries has to rest, because it took long."""

    @pytest.fixture
    def looks(self, supervisor, monkeypatch):
        looks = []
        monkeypatch.setattr(type(supervisor.pool), "ready", True)
        monkeypatch.setattr(supervisor.dispatcher.claimer, "look", lambda: looks.append(1) or True)
        supervisor.wakeup.rung, supervisor.wakeup.look_at = False, math.inf
        return looks

    def test_looks_again_when_it_may_even_if_nothing_wakes_it(self, supervisor, looks):
        now = monotonic()
        supervisor._look_for_work(now)
        supervisor.dispatcher.claimer.look_again_at = now + 0.5
        assert supervisor._seconds_until_due(now) == pytest.approx(0.5)
        supervisor._look_for_work(now + 0.4)
        assert looks == []
        supervisor._look_for_work(now + 0.5)
        assert looks == [1]


def test_an_end_that_comes_in_during_a_write_waits_for_no_duty(supervisor, monkeypatch):
    monkeypatch.setattr(type(supervisor.pool), "ready", True)
    supervisor.wakeup.rung, supervisor.wakeup.look_at = False, math.inf
    supervisor.duties = [Duty(lambda now: None, 60.0, at=monotonic() + 60)]
    ends = supervisor.writer.ends

    def exchange(claim, most):
        ends[:] = [SimpleNamespace(attempt=None)]  # heard while the database worked
        return 0

    monkeypatch.setattr(supervisor.dispatcher.intake, "exchange", exchange)
    ends.append(SimpleNamespace(attempt=None))
    supervisor._exchange(monotonic())
    assert supervisor._seconds_until_due(monotonic()) <= END_DELAY


def test_children_are_slowed_down_during_a_statement_that_takes_long(supervisor, monkeypatch):
    monkeypatch.setattr(supervisor, "_backlog", lambda: BUFFER + 1)
    supervisor._go_on()
    assert supervisor.pool.channels.muted


class TestJobsThatWaitForAWorkerThatWaitsForThem:
    """One of them may hold the lock that this worker waits for, and cannot go on before its output is read."""

    @pytest.fixture
    def stuck(self, supervisor, monkeypatch):
        """``stuck.backlog`` is what waits to be written, ``stuck.stopped`` which attempts are being stopped."""
        stuck = SimpleNamespace(backlog=BUFFER + 1, stopped=[])
        stuck.loud, stuck.quiet = (SimpleNamespace(stop_reason="", buffered=size) for size in (BUFFER, 1))
        monkeypatch.setattr(supervisor, "_backlog", lambda: stuck.backlog)
        monkeypatch.setattr(supervisor.dispatcher.stopping, "running", lambda: [stuck.quiet, stuck.loud])

        def stop(attempt, reason, text, grace):
            attempt.stop_reason = reason
            stuck.stopped.append(attempt)

        monkeypatch.setattr(supervisor.dispatcher.stopping, "stop", stop)
        return stuck

    def test_are_stopped_one_after_the_other_beginning_with_the_one_that_reports_most(self, supervisor, stuck):
        supervisor._slow_down(100.0)
        supervisor._slow_down(100.0 + LEASE)
        assert stuck.stopped == []
        supervisor._slow_down(101.0 + LEASE)
        assert stuck.stopped == [stuck.loud]
        supervisor._slow_down(102.0 + LEASE)
        assert stuck.stopped == [stuck.loud]
        for number in (2, 3):
            supervisor._slow_down(102.0 + number * LEASE)
        assert stuck.stopped == [stuck.loud, stuck.quiet]

    def test_go_on_while_some_of_it_is_written(self, supervisor, stuck):
        stuck.backlog = BUFFER + 1000
        for number in range(10):
            supervisor._slow_down(100.0 + number * LEASE)
            stuck.backlog -= 1
        assert stuck.stopped == []

    def test_go_on_once_enough_is_written(self, supervisor, stuck):
        supervisor._slow_down(100.0)
        stuck.backlog = 0
        supervisor._slow_down(101.0)
        stuck.backlog = BUFFER + 1
        supervisor._slow_down(101.0 + LEASE)
        assert stuck.stopped == []

    def test_are_kept_through_an_outage_however_long(self, supervisor, stuck):
        supervisor.database.is_failing = True
        for number in range(10):
            supervisor._slow_down(100.0 + number * LEASE)
        assert stuck.stopped == []
