"""Who holds a key: through every move of a job, in every scope; and what enqueueing comes to."""

import multiprocessing
import threading
from contextlib import nullcontext
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from qorworker import Unique, job
from qorworker.actions.pruning import delete_ended
from qorworker.exceptions import AlreadyEnqueued
from qorworker.models import AuditEntry, DatabaseNow, Job
from qorworker.models.sql import AttemptUpdate, claim, claim_one
from qorworker.models.unique import HOLDS
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import race, wanted, written
from tests.support import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]
LONG = timedelta(days=1)
RULES = {"waiting": Unique(among="waiting"), "unfinished": Unique(), "period": Unique(period=LONG)}
SCOPES = list(RULES)
WAITS, LIVES = ("new", "scheduled"), ("new", "scheduled", "running")


def declare(rule=True, **options):
    @job(name="app.job", unique=rule, **options)
    def handler(shop: int = 1, text: str = ""):
        pass

    return handler


class Keys(RuleBasedStateMachine):
    """Any number of jobs that are alike, in all that can happen to them, and who of them must hold the key."""

    rule_of_type = None

    def __init__(self):
        super().__init__()
        Job.objects.all().erase()
        self.scope = self.rule_of_type.scope
        self.handler = declare(self.rule_of_type, max_attempts=3)
        self.status, self.tokens, self.periods = {}, {}, set()

    def standing(self):
        """Those of which only one may be: a job that is enqueued now is no new one, but one of them."""
        if self.scope == "period":
            return self.periods
        counted = WAITS if self.scope == "waiting" else LIVES
        return {pk for pk, status in self.status.items() if status in counted}

    def of(self, data, *statuses):
        found = sorted(pk for pk, status in self.status.items() if status in statuses)
        return data.draw(st.sampled_from(found)) if found else None

    def has(*statuses):
        return precondition(lambda self: any(status in statuses for status in self.status.values()))

    @rule(later=st.booleans())
    def it_is_enqueued(self, later):
        expected = self.standing()
        made = self.handler.using(run_after=LONG if later else None).enqueue()
        assert made.is_existing is bool(expected)
        assert made.pk in expected if expected else made.pk not in self.status
        if not expected:
            self.status[made.pk] = "scheduled" if later else "new"
            self.periods |= {made.pk}

    @rule(data=st.data())
    @has("new", "scheduled")
    def it_starts(self, data):
        pk = self.of(data, "new", "scheduled")
        if data.draw(st.booleans()) and self.status[pk] == "new":
            for claimed in claim("default", wanted()):
                self.status[claimed.id], self.tokens[claimed.id] = "running", claimed.token
        else:
            self.status[pk], self.tokens[pk] = "running", claim_one("default", pk, wanted()).token

    @rule(data=st.data(), to=st.sampled_from(("running", "done", "exception", "killed", "scheduled", "new")))
    @has("running")
    def it_goes_on(self, data, to):
        pk = self.of(data, "running")
        delay, uncounted = (86400.0 if to == "scheduled" else None), to == "new"
        update = AttemptUpdate(pk, self.tokens[pk], to, delay=delay, uncounted=uncounted)
        assert written(update) == {pk}
        self.status[pk] = update.status

    @rule(data=st.data())
    @has("running")
    def it_ends_in_its_own_transaction(self, data):
        pk = self.of(data, "running")
        assert Job.objects.end_in_transaction(pk, Job.objects.get(pk=pk).attempt, self.tokens[pk])
        assert written(AttemptUpdate(pk, self.tokens[pk], "done")) == {pk}
        self.status[pk] = "done"

    @rule(data=st.data())
    @has("running")
    def it_is_aborted(self, data):
        pk = self.of(data, "running")
        Job.objects.get(pk=pk).abort()
        update = AttemptUpdate(pk, self.tokens[pk], "new")
        assert written(update) == {pk}
        self.status[pk] = "killed"

    @rule(data=st.data())
    @has("running")
    def its_worker_is_lost(self, data):
        pk = self.of(data, "running")
        Job.objects.filter(pk=pk).update(lease_expires_at=DatabaseNow(-60))
        token = "f" * 20 + f"{pk:012}"
        assert Job.objects.seize(pk, self.tokens[pk], token, 60)
        self.tokens[pk] = token

    @rule(data=st.data(), verb=st.sampled_from(("cancel", "run_now")))
    @has("scheduled")
    def somebody_changes_it(self, data, verb):
        pk = self.of(data, "scheduled")
        getattr(Job.objects.get(pk=pk), verb)()
        self.status[pk] = {"cancel": "cancelled", "run_now": "new"}[verb]

    @rule(data=st.data())
    @has("new")
    def a_queued_one_is_withdrawn_or_refused(self, data):
        pk = self.of(data, "new")
        to = data.draw(st.sampled_from(("cancelled", "exception", "scheduled")))
        assert Job.objects.filter(pk=pk).transition(to) == 1
        self.status[pk] = to

    @rule(data=st.data())
    @has("exception", "killed")
    def somebody_retries(self, data):
        pk = self.of(data, "exception", "killed")
        in_the_way = set() if self.scope == "period" else self.standing()
        with pytest.raises(AlreadyEnqueued) if in_the_way else nullcontext() as refused:
            Job.objects.get(pk=pk).retry()
        if in_the_way:
            assert refused.value.job.pk in in_the_way
        else:
            self.status[pk] = "new"

    @rule(data=st.data())
    @has("done", "exception", "killed", "cancelled")
    def it_is_deleted(self, data):
        pk = self.of(data, "done", "exception", "killed", "cancelled")
        assert delete_ended([Job.objects.get(pk=pk)], "default")
        del self.status[pk]
        self.periods -= {pk}

    @rule()
    @precondition(lambda self: self.scope == "period")
    def its_time_is_over(self):
        Job.objects.update(unique_until=DatabaseNow(-1))
        self.periods = set()

    @invariant()
    def nobody_holds_the_key_who_must_not(self):
        rows = Job.objects.in_bulk()
        assert {pk: row.status for pk, row in rows.items()} == self.status
        holding = {pk for pk, row in rows.items() if row.unique_place == HOLDS}
        assert len(holding) <= 1
        if self.scope == "unfinished":
            assert holding == self.standing()
        elif self.scope == "waiting":
            assert holding <= self.standing()
        else:
            assert self.periods <= holding


@pytest.mark.parametrize("scope", SCOPES)
def test_the_key_is_held_exactly_when_the_rule_says_so_whatever_happens(scope):
    machine = type("Machine", (Keys,), {"rule_of_type": RULES[scope]})
    calm = settings(
        max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(machine, settings=calm)


@pytest.mark.parametrize("scope", ["waiting", "unfinished"])
def test_many_are_retried_but_for_those_whose_like_is_there(scope):
    handler = declare(RULES[scope])
    ended = handler.enqueue_many([{"shop": number} for number in range(3)])
    Job.objects.transition("exception", finished_at=DatabaseNow())
    now = handler.enqueue(shop=1)
    assert Job.objects.all().retry() == 2
    assert set(Job.objects.queued()) == {ended[0], now, ended[2]}
    outcomes = AuditEntry.objects.of_job(ended[1].pk).values_list("action", "outcome")
    assert list(outcomes) == [("retry", "taken")]


def test_a_job_that_waits_for_another_attempt_stands_in_for_a_new_one():
    handler = declare(RULES["waiting"], max_attempts=3)
    first = handler.enqueue()
    token = claim_one("default", first.pk, wanted()).token
    second = handler.enqueue()
    assert second.pk != first.pk  # it runs: what has changed since it began is not in its work
    written(AttemptUpdate(first.pk, token, "scheduled", delay=3600.0))
    assert handler.enqueue().pk == second.pk
    second.cancel()
    assert handler.enqueue().pk == first.pk


# Others at the same time.


def wait_for_a_waiter():
    """Until somebody waits for a lock, where the database tells that."""
    asked = {
        "postgresql": "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'",
        "mysql": "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
    }.get(connection.vendor)

    def waits():
        with connection.cursor() as cursor:
            cursor.execute(asked)
            return cursor.fetchone()

    if asked:
        wait_until(waits, every=0.2)  # MariaDB tells anew only if it was not asked for a tenth of a second


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("commits", [True, False])
def test_who_comes_second_waits_for_the_first_transaction_and_gets_its_job_if_there_is_one(commits):
    handler = declare()
    begun, decided, made = threading.Event(), threading.Event(), {}

    def first():
        with transaction.atomic():
            made["first"] = handler.enqueue()
            begun.set()
            assert decided.wait(30)
            transaction.set_rollback(not commits)

    def second():
        assert begun.wait(30)
        with transaction.atomic():
            made["second"] = handler.enqueue()

    def judge():
        assert begun.wait(30)
        wait_for_a_waiter()
        decided.set()

    assert race(first, second, judge) == [None, None, None]
    assert Job.objects.count() == 1
    assert made["second"].is_existing is commits
    assert Job.objects.get().pk == made["second"].pk


@pytest.mark.django_db(transaction=True)
def test_of_a_thousand_enqueued_by_eight_processes_there_is_one():
    handler = declare()
    connections.close_all()
    fork = multiprocessing.get_context("fork")
    start, told = fork.Barrier(8), fork.SimpleQueue()

    def enqueue():
        start.wait(60)
        made = [handler.enqueue() for _ in range(125)]
        told.put((sum(not each.is_existing for each in made), {each.pk for each in made}))
        connections.close_all()

    processes = [fork.Process(target=enqueue) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8
    answers = [told.get() for _ in processes]
    assert sum(new for new, _ in answers) == 1
    assert set().union(*(numbers for _, numbers in answers)) == {Job.objects.get().pk}


@pytest.mark.django_db(transaction=True)
def test_batches_in_opposite_orders_both_go_through():
    handler = declare()
    many = [{"shop": number} for number in range(40)]

    def enqueue(batch):
        return lambda: len(handler.enqueue_many(batch))

    assert race(*(enqueue(batch) for batch in (many, many[::-1]) * 3)) == [40] * 6
    assert Job.objects.count() == 40
