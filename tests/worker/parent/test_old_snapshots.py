"""Claims while another transaction keeps the index entries of all jobs that were claimed since it began."""

import re
from dataclasses import replace

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from qorworker import pause_queue, resume_queue
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.writer import Writer
from qorworker.models import Job
from qorworker.models.sql import AttemptUpdate, claim
from qorworker.models.sql.claims import claim_statement
from qorworker.models.sql.limits import waiting_keys
from qorworker.worker.parent import claims as module
from qorworker.worker.parent import floors
from qorworker.worker.parent.claims import Claimer
from tests.models.rows import make_job, somebody_else, written
from tests.models.test_limit_plans import read_by
from tests.models.test_plans import fill
from tests.testapp import jobs

has_dead_entries = pytest.mark.only_on("postgresql", "mysql")  # whose claims begin at a floor


def new_claimer():
    return Claimer(Writer("default", 1, "host:1"), ["*"], [])


@pytest.fixture
def resting(monkeypatch):
    """After its first look at all entries a worker does not look again until ``rests_until`` is set back."""
    monkeypatch.setattr(module, "rest_after", lambda seconds: 1e9)


@pytest.fixture
def claimer(db, resting):
    return new_claimer()


def taken(claimer, slots=1):
    """Ids of the jobs that a worker with free slots takes."""
    claimer.look()
    order = claimer.next_claim(slots, 0, ())
    return [job.id for job in claimer.claim(order)]


def blocks(order):
    """Blocks of the table and its indexes that the database visits to find the jobs of a claim, which is undone."""
    with transaction.atomic():
        visited = blocks_mysql(order) if connection.vendor == "mysql" else blocks_postgresql(order)
        transaction.set_rollback(True)
    return visited


def blocks_postgresql(order):
    with connection.cursor() as cursor:
        sql, params = claim_statement(connection, order.sensible())
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {sql}", params)
        whole = next(line for (line,) in cursor.fetchall() if "Buffers: shared" in line)
    return sum(int(count) for count in re.findall(r"(?:hit|read)=(\d+)", whole))


def blocks_mysql(order):
    visited = []

    def analyze(execute, sql, params, many, context):
        if sql.startswith("SELECT"):
            execute(f"ANALYZE FORMAT=JSON {sql}", params, many, context)
            (plan,) = context["cursor"].fetchone()
            visited.extend(int(count) for count in re.findall(r'"pages_accessed": (\d+)', plan))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(analyze):
        claim(connection.alias, order)
    return sum(visited)


@has_dead_entries
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("writes", [False, True])  # MariaDB then looks up each entry of a page that was changed since
@pytest.mark.parametrize("priorities", [(0,), (0, 5, -100)])
def test_a_claim_visits_no_more_after_many_finished_jobs_than_after_few(resting, priorities, writes):
    claimer = new_claimer()
    make_job("killed", queue_name="z")  # the entry before all waiting jobs, whatever other tests have left
    for priority in priorities:
        jobs.noop.using(priority=priority).enqueue_many([{}] * (6_000 // len(priorities)))

    def finish(count):
        claimer.look()
        done = claimer.claim(claimer.next_claim(count, 0, ()))
        assert len(done) == count
        written(*[AttemptUpdate(job.id, job.token, "done") for job in done])

    with somebody_else() as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1 FROM qorworker_job LIMIT 1")
        if writes:
            old.execute("INSERT INTO auth_group (name) VALUES ('a transaction that writes')")
        finish(300)
        few = blocks(claimer.next_claim(2, 0, ()))
        for _ in range(6):
            finish(900)
        order = claimer.next_claim(2, 0, ())
        assert blocks(replace(order, stretches={}, returned=())) > 4 * few  # otherwise there is nothing to avoid
        assert blocks(order) < 1.5 * few


@pytest.mark.only_on("postgresql")
@pytest.mark.django_db(transaction=True)
def test_the_look_at_the_keys_of_limits_passes_finished_jobs_once():
    fill("new", 2_000, limit_key="'app.job/a'")
    fill("new", 5, limit_key="'app.job/b'")
    with somebody_else() as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1 FROM qorworker_job LIMIT 1")
        Job.objects.filter(limit_key="app.job/a").update(status="done")
        last = make_job(limit_key="app.job/a", priority=-1)
        assert read_by(lambda: waiting_keys("default", "default")) < 2_500
        heads, _ = waiting_keys("default", "default")
    assert [head.limit_key for head in heads] == ["app.job/a", "app.job/b"]
    assert heads[0].id == last.pk


@has_dead_entries
class TestBetweenTwoLooksAtAllEntries:
    @pytest.fixture(autouse=True)
    def exact(self, monkeypatch):
        monkeypatch.setattr(floors, "SLACK", 0)

    def test_no_look_is_made_and_jobs_are_found_in_the_queues_that_had_some(self, claimer, django_assert_num_queries):
        first = jobs.noop.using(queue_name="mail").enqueue()
        assert taken(claimer) == [first.pk]
        second = jobs.noop.using(queue_name="mail").enqueue()
        with django_assert_num_queries(1):  # what is paused
            assert claimer.look()
        assert claimer.look_again_at == claimer.rests_until
        assert taken(claimer) == [second.pk]

    def test_what_others_returned_waits_for_the_next_of_them(self, claimer):
        first, second = jobs.noop.enqueue(), jobs.noop.enqueue()
        assert taken(claimer, 2) == [first.pk, second.pk]
        Job.objects.filter(pk=first.pk).update(status="new", attempt_token=None)
        third = jobs.noop.enqueue()
        assert taken(claimer, 2) == [third.pk]
        claimer.rests_until = 0.0
        assert taken(claimer, 2) == [first.pk]
        assert claimer.look_again_at == float("inf")

    def test_what_this_worker_returned_is_taken_first(self, claimer):
        first, _ = jobs.noop.enqueue(), jobs.noop.enqueue()
        claimer.look()
        job, _ = claimer.claim(claimer.next_claim(2, 0, ()))
        claimer.writer.hand_back(RunningAttempt(job, "default"))
        claimer.writer.flush(())
        third = jobs.noop.enqueue()
        assert taken(claimer, 1) == [first.pk]
        assert taken(claimer, 1) == [third.pk]

    def test_a_type_whose_pause_is_over_is_taken_first(self, claimer):
        held, first = jobs.noop.enqueue(), jobs.noop_again.enqueue()
        jobs.noop.pause()
        assert taken(claimer, 1) == [first.pk]
        jobs.noop.resume()
        second = jobs.noop_again.enqueue()
        assert taken(claimer, 1) == [held.pk]
        assert taken(claimer, 1) == [second.pk]

    def test_a_queue_whose_pause_is_over_is_served_again(self, claimer):
        held = jobs.noop.using(queue_name="mail").enqueue()
        pause_queue("mail")
        assert taken(claimer, 1) == []
        resume_queue("mail")
        assert taken(claimer, 1) == [held.pk]

    def test_jobs_of_limited_types_are_found_where_some_were(self, claimer):
        jobs.alone.enqueue(ledger="none")
        claimer.look()
        claimer.look()
        assert list(claimer.limited.resume_after) == ["default"]


class Workers(RuleBasedStateMachine):
    """Some workers, and what happens to jobs between their claims."""

    queues = st.sampled_from(["default", "mail"])
    types = st.sampled_from([jobs.noop, jobs.noop_again])
    priorities = st.sampled_from([-100, 0, 1])
    workers = st.integers(0, 2)

    def __init__(self):
        super().__init__()
        Job.objects.all().erase()
        for each in (jobs.noop, jobs.noop_again):
            each.resume()

    @initialize(count=st.integers(1, 3))
    def start(self, count):
        self.claimers = [new_claimer() for _ in range(count)]
        self.held = [[] for _ in range(count)]

    def number(self, worker):
        return worker % len(self.claimers)

    @rule(queue=queues, type=types, priority=priorities, count=st.integers(1, 4))
    def jobs_are_enqueued(self, queue, type, priority, count):
        type.using(queue_name=queue, priority=priority).enqueue_many([{}] * count)

    @rule(queue=queues, type=types, priority=priorities)
    def a_job_gets_an_id_and_is_not_committed_yet(self, queue, type, priority):
        job = type.using(queue_name=queue, priority=priority).enqueue()
        Job.objects.filter(pk=job.pk).update(status="cancelled")

    @rule()
    def what_was_late_is_committed(self):
        Job.objects.filter(status="cancelled").update(status="new")

    @rule(worker=workers, slots=st.integers(1, 3))
    def a_worker_claims(self, worker, slots):
        claimer = self.claimers[self.number(worker)]
        claimer.look()
        order = claimer.next_claim(slots, 0, ())
        found = claimer.claim(order)
        assert len({job.id for job in found} - {job.id for some in self.held for job in some}) == len(found)
        assert found == sorted(found, key=lambda job: (-job.priority, job.id))
        self.held[self.number(worker)] += found

    @rule(worker=workers)
    def a_worker_hands_back(self, worker):
        number = self.number(worker)
        for job in self.held[number][:2]:
            self.claimers[number].writer.hand_back(RunningAttempt(job, "default"))
        self.claimers[number].writer.flush(())
        self.held[number] = self.held[number][2:]

    @rule(worker=workers, promoter=workers)
    def an_attempt_fails_and_is_due_again(self, worker, promoter):
        number = self.number(worker)
        if self.held[number]:
            job = self.held[number].pop()
            written(AttemptUpdate(job.id, job.token, "scheduled", delay=-1.0))
            self.claimers[self.number(promoter)].floors.give_back(Job.objects.promote(1.0).jobs)

    @rule(worker=workers)
    def an_attempt_ends(self, worker):
        if self.held[self.number(worker)]:
            job = self.held[self.number(worker)].pop()
            written(AttemptUpdate(job.id, job.token, "done"))

    @rule(type=types)
    def a_type_is_paused(self, type):
        type.pause()

    @rule(type=types)
    def a_type_is_resumed(self, type):
        type.resume()

    @rule(worker=workers)
    def a_worker_looks_at_all_entries_and_leaves_nothing(self, worker):
        claimer = self.claimers[self.number(worker)]
        claimer.rests_until = 0.0
        self.a_worker_claims(worker, 100)
        waiting = Job.objects.queued().exclude(name__in=claimer.paused.names)
        assert not waiting.exists()

    @invariant()
    @precondition(lambda self: hasattr(self, "held"))
    def each_running_job_belongs_to_one_worker(self):
        held = [job.id for some in self.held for job in some]
        assert sorted(held) == sorted(Job.objects.running().values_list("pk", flat=True))


@pytest.mark.django_db
def test_each_job_is_taken_once_and_at_the_latest_after_the_next_look_at_all_entries(resting, monkeypatch):
    monkeypatch.setattr(floors, "SLACK", 0)
    calm = settings(
        max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(Workers, settings=calm)
