"""Two workers, people and mishaps in any order, over a real database. The parts of the parents are the real ones.

Only the processes are played. A worker that stands still is one of which nothing is called, while its leases end.
QORWORKER_TEST_EXAMPLES=500 makes many more of such stories, on every database.
"""

from __future__ import annotations

import os
import selectors
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import count, pairwise

import pytest
from django.db import OperationalError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from qorworker.attempts.writer import Writer
from qorworker.conf import settings as own_settings
from qorworker.database.connection import Database
from qorworker.exceptions import InvalidTransition
from qorworker.maintenance.reaper import Reaper
from qorworker.models import Attempt, Job, Worker, database_now
from qorworker.models.clock import DatabaseNow
from qorworker.status import FINISHED, JobStatus, can_move
from qorworker.system import processes
from qorworker.worker.parent.channels import Child
from qorworker.worker.parent.dispatcher import Dispatcher
from qorworker.worker.parent.pool import Exit, Pool
from qorworker.worker.parent.watchdog import Watchdog
from tests.testapp import jobs

EXAMPLES = int(os.environ.get("QORWORKER_TEST_EXAMPLES", "0"))
KILLED = Exit(-9, 0, 0)
CHILDREN = 2
which, some = st.sampled_from((0, 1)), st.integers(0, 20)


class Party:
    """A worker with all its parts but the processes, which are played."""

    def __init__(self, name: str, selector: selectors.BaseSelector) -> None:
        self.row = Worker.objects.start(name=name, host=name, process_id=1, slots=CHILDREN, queues=["default"])
        self.pool = Pool(CHILDREN, "", selector)
        self.pool.fork_server.send = lambda order, descriptors=(): None
        self.pool.fork_server.ready = True
        channels = self.pool.channels
        channels.drain = channels._listen = lambda child: None
        channels.push = lambda child: child.unsent.clear()
        database = Database("default")
        self.dispatcher = Dispatcher(database, self.pool, Writer("default", self.row.pk, name), ["*"], [])
        self.watchdog = Watchdog(self.dispatcher, self.pool)
        self.reaper = Reaper(database, self.row.pk, processes.identity())
        self.numbers = count(1)
        self.is_frozen = False
        for _ in range(CHILDREN):
            self.add_child()

    def add_child(self) -> None:
        number = next(self.numbers)
        self.pool.children[number] = Child(number, -1, None, -1, pid=4000 + number)

    @property
    def is_overdue(self) -> bool:
        return self.watchdog.is_overdue()

    def executing(self) -> list:
        """The attempts of which a process runs the handler at this moment."""
        return [child.attempts[0] for child in self.pool.children.values() if child.attempts]

    def beat(self) -> None:
        self.watchdog.renew(processes.monotonic())
        self.watchdog.check_requests(processes.monotonic())
        self.dispatcher.intake.recover()

    def write(self) -> None:
        self.dispatcher.writer.flush(self.dispatcher.active)

    def look(self) -> None:
        self.reaper.until, self.reaper.database.failed_at = None, -1e9
        self.reaper.rescue_expired()

    def observe(self) -> None:
        seconds = float(own_settings.OBSERVATION)
        self.reaper.seen = {pk: replace(each, since=each.since - seconds) for pk, each in self.reaper.seen.items()}

    def bury(self, child: Child) -> None:
        """The processes of a child have ended. Another one takes its place."""
        del self.pool.children[child.number]
        self.dispatcher.on_exit(child, KILLED)
        self.add_child()


class TwoWorkers(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        for model in (Attempt, Worker):
            model.objects.all().delete()
        Job.objects.all().erase()
        self.selector = selectors.DefaultSelector()
        self.parties = [Party("one", self.selector), Party("other", self.selector)]
        for party in self.parties:
            party.beat()
        self.starts: dict[int, set[int]] = {}  # attempts of each job of which a handler was called
        self.retries: Counter[int] = Counter()
        self.aborted: dict[int, int] = {}  # jobs whose abort was accepted, with the attempt that ran
        self.returned: set[tuple[int, int]] = set()  # attempts whose handler has returned
        self.statuses: dict[int, str] = {}
        for attempts in (1, 2, 3):
            self.enqueue(attempts)

    def teardown(self):
        self.selector.close()

    def enqueue(self, attempts):
        job = (jobs.noop if attempts == 1 else jobs.noop_again).using(max_attempts=attempts).enqueue()
        self.statuses[job.pk] = job.status

    def awake(self, number):
        party = self.parties[number]
        return None if party.is_frozen else party

    def job(self, number):
        rows = list(Job.objects.order_by("pk"))
        return rows[number % len(rows)]

    # Workers.

    @rule(number=which)
    def one_claims(self, number):
        if (party := self.awake(number)) and not party.is_overdue:
            claimer = party.dispatcher.claimer
            claimer.find_queues()
            party.dispatcher.intake.exchange(party.dispatcher.intake.next_claim())

    @rule(number=which)
    def one_claims_and_loses_the_answer(self, number):
        party = self.awake(number)
        if party is None or party.is_overdue:
            return
        claimer, intake = party.dispatcher.claimer, party.dispatcher.intake
        claimer.find_queues()
        order = intake.next_claim()
        if order is not None:
            with suppress(OperationalError), claimer.unanswered.remembering(order):
                party.dispatcher.writer.write_and_claim(order)
                raise OperationalError("server closed the connection unexpectedly")

    @rule(number=which)
    def one_hands_jobs_to_its_children(self, number):
        party = self.awake(number)
        if party is None or party.is_overdue:
            return
        before = set(map(id, party.executing()))
        party.dispatcher.dispatch(processes.monotonic())
        for attempt in party.executing():
            if id(attempt) not in before:
                self.begins(party, attempt)

    def begins(self, party, attempt):
        job = attempt.job
        assert Job.objects.held({job.id: job.token}).exists(), "An attempt begins that has lost its job."
        assert job.attempt <= self.aborted.get(job.id, job.attempt), "An abort is forgotten."
        starts = self.starts.setdefault(job.id, set())
        assert job.attempt not in starts, "One attempt begins twice."
        starts.add(job.attempt)
        assert len(starts) <= job.max_attempts + self.retries[job.id]

    @rule(number=which, place=some, outcome=st.sampled_from(("done", "failed")))
    def a_handler_ends(self, number, place, outcome):
        party = self.awake(number)
        busy = (
            [child for child in party.pool.children.values() if child.attempts and not child.stopping] if party else []
        )
        if busy:
            child = busy[place % len(busy)]
            attempt = child.attempts[0]
            if outcome == "done":
                self.returned.add((attempt.job.id, attempt.job.attempt))
            party.dispatcher.on_record(child, ["end", child.current_number, {"outcome": outcome, "error": "no"}])

    @rule(number=which, place=some)
    def a_process_ends(self, number, place):
        """It crashes, or it was asked to end."""
        party = self.awake(number)
        if party and (busy := [child for child in party.pool.children.values() if child.attempts]):
            party.bury(busy[place % len(busy)])

    @rule(number=which)
    def one_writes(self, number):
        if party := self.awake(number):
            party.write()

    @rule(number=which)
    def one_renews(self, number):
        if party := self.awake(number):
            party.beat()

    @rule(number=which)
    def one_stands_still_until_its_leases_are_past(self, number):
        party = self.parties[number]
        party.is_frozen, party.watchdog.deadline = True, 0.0
        Job.objects.running().filter(worker_id=party.row.pk).update(lease_expires_at=DatabaseNow(-60))

    @rule(number=which)
    def one_goes_on(self, number):
        self.parties[number].is_frozen = False

    @rule(number=which)
    def one_looks_for_lost_jobs(self, number):
        if (party := self.awake(number)) and not party.is_overdue:
            party.look()

    @rule(number=which)
    def the_observation_is_over(self, number):
        self.parties[number].observe()

    @rule(number=which)
    def the_other_takes_over(self, number):
        """All of it in a row: by chance it would happen too seldom."""
        self.one_stands_still_until_its_leases_are_past(number)
        if (other := self.awake(1 - number)) and not other.is_overdue:
            other.look()
            other.observe()
            other.look()
            self.the_time_of_a_job_comes()
        self.one_goes_on(number)
        self.one_renews(number)

    @rule()
    def the_time_of_a_job_comes(self):
        Job.objects.filter(status="scheduled", pause_requested_at=None).update(run_after=DatabaseNow(-1))
        Job.objects.promote_due()

    # People.

    @rule(number=some, verb=st.sampled_from(("abort", "cancel", "pause", "resume", "run_now")))
    def somebody_asks(self, number, verb):
        job = self.job(number)
        with suppress(InvalidTransition):
            getattr(job, verb)()
            if verb == "abort":
                self.aborted[job.pk] = job.attempt

    @rule(number=some)
    def somebody_retries(self, number):
        job = self.job(number)
        with suppress(InvalidTransition):
            job.retry()
            self.aborted.pop(job.pk, None)
            self.retries[job.pk] += 1
            self.statuses[job.pk] = JobStatus.NEW

    @rule(attempts=st.integers(1, 3))
    @precondition(lambda self: len(self.statuses) < 6)
    def somebody_enqueues(self, attempts):
        self.enqueue(attempts)

    # What holds at every moment.

    @invariant()
    def a_job_moves_only_where_it_may(self):
        for job in Job.objects.all():
            before = self.statuses[job.pk]
            assert before == job.status or before not in FINISHED, f"{before} was final, and became {job.status}."
            assert before == job.status or job.status == "cancelled" or reachable(before, job.status)
            self.statuses[job.pk] = job.status

    @invariant()
    def what_runs_has_one_owner_and_nothing_else_has_one(self):
        now = database_now("default")
        for job in Job.objects.all():
            assert (job.attempt_token is not None) is (job.status == "running")
            owners = [
                party
                for party in self.parties
                if (mine := party.dispatcher.active.of_job(job.pk)) and mine.job.token == job.attempt_token
            ]
            assert len(owners) <= 1
            if job.status == "running" and not owners:
                is_sought = any(party.dispatcher.claimer.unanswered for party in self.parties)
                ends = [end.attempt.job for party in self.parties for end in party.dispatcher.writer.ends]
                is_written = any(job.attempt_token == each.token for each in ends)
                assert is_sought or is_written or job.lease_expires_at < now, "A job runs that nobody knows of."

    @invariant()
    def no_worker_runs_a_job_twice_at_once(self):
        for party in self.parties:
            ids = [attempt.job.id for attempt in party.executing()]
            assert len(ids) == len(set(ids))

    @invariant()
    def no_job_goes_on_in_a_worker_that_may_know_that_another_one_has_it(self):
        for job in Job.objects.running():
            for party in self.parties:
                if not (party.is_frozen or party.is_overdue):
                    going_on = [
                        child for child in party.pool.children.values() if child.attempts and not child.stopping
                    ]
                    mine = [child.attempts[0].job for child in going_on]
                    assert all(each.token == job.attempt_token for each in mine if each.id == job.pk)

    @invariant()
    def a_job_is_done_only_if_its_handler_has_returned(self):
        for job in Job.objects.done():
            assert (job.pk, job.attempt) in self.returned

    @invariant()
    def each_attempt_is_recorded_once(self):
        noted = list(Attempt.objects.order_by("job", "number").values_list("job", "number"))
        assert all(one != next_one for one, next_one in pairwise(noted))


def reachable(before, after):
    """Whether a job may have moved there in one step of the story, which may be two of its own."""
    return can_move(before, after) or any(can_move(before, each) and can_move(each, after) for each in JobStatus)


@pytest.mark.django_db
@pytest.mark.only_on(*(("sqlite", "postgresql", "mysql") if EXAMPLES else ("sqlite",)))
def test_two_workers_never_share_a_job_whatever_happens_in_whatever_order():
    calm = settings(
        max_examples=EXAMPLES or 8,
        stateful_step_count=60 if EXAMPLES else 30,
        deadline=None,
        derandomize=not EXAMPLES,  # in the suite the same stories each time
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    run_state_machine_as_test(TwoWorkers, settings=calm)
