"""One job's whole life, driven by chance against a real database and a model of what must come of it."""

from contextlib import nullcontext
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from qorworker.exceptions import InvalidTransition
from qorworker.models import AuditEntry, Job
from qorworker.models.sql import AttemptUpdate, claim, claim_one
from qorworker.status import FINISHED
from tests.models.rows import make_job, token, wanted, written

PAST, FUTURE = datetime(2001, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)


class Life(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        Job.objects.all().erase()
        self.job = make_job(max_attempts=3)
        self.audits = AuditEntry.objects.count()
        self.status, self.attempt, self.token, self.aborting, self.due = "new", 0, None, False, True
        self.old_tokens = [token()]

    # Workers.

    def owned_by(self, order, claimed):
        assert claimed.attempt == self.attempt + 1
        self.status, self.attempt, self.token, self.aborting = "running", claimed.attempt, order.token, False

    @rule()
    def a_worker_asks(self):
        order = wanted()
        claimed = claim("default", order)
        assert len(claimed) == (self.status == "new")
        if claimed:
            self.owned_by(order, claimed[0])

    @rule()
    def somebody_runs_this_very_job(self):
        order = wanted()
        claimed = claim_one("default", self.job.pk, order)
        assert bool(claimed) is (self.status in ("new", "scheduled"))
        if claimed:
            self.owned_by(order, claimed)

    @rule(percent=st.none() | st.integers(0, 100))
    @precondition(lambda self: self.token)
    def it_makes_progress(self, percent):
        assert written(AttemptUpdate(self.job.pk, self.token, "running", progress=percent))

    @rule(status=st.sampled_from(("done", "exception", "killed")))
    @precondition(lambda self: self.token)
    def it_ends(self, status):
        assert written(AttemptUpdate(self.job.pk, self.token, status, error="told"))
        self.left_for(status)

    @rule(due=st.booleans())
    @precondition(lambda self: self.token)
    def it_fails_and_will_be_tried_again(self, due):
        delay = -60.0 if due else 86400.0
        update = AttemptUpdate(self.job.pk, self.token, "scheduled", delay=delay)
        assert written(update)
        self.due = due
        self.left_for("killed" if self.aborting else "scheduled")
        assert update.status == self.status

    @rule()
    @precondition(lambda self: self.token)
    def it_is_handed_back(self):
        update = AttemptUpdate(self.job.pk, self.token, "new", uncounted=True)
        assert written(update)
        self.attempt -= 1
        self.left_for("killed" if self.aborting else "new")
        assert update.status == self.status

    def left_for(self, status):
        self.old_tokens.append(self.token)
        self.status, self.token = status, None

    @rule(status=st.sampled_from(("running", "done", "exception", "killed", "new", "scheduled")), data=st.data())
    def an_attempt_that_is_over_says_something(self, status, data):
        stale = data.draw(st.sampled_from(self.old_tokens))
        assert written(AttemptUpdate(self.job.pk, stale, status, error="ghost")) == set()
        assert Job.objects.renew({self.job.pk: stale}, 60) == 0
        assert Job.objects.requests({self.job.pk: stale}) == {}

    @rule()
    def the_clock_is_looked_at(self):
        is_due = self.status == "scheduled" and self.due
        assert Job.objects.promote_due() == is_due
        if is_due:
            self.status = "new"

    # People.

    def ask(self, verb, possible, *arguments):
        self.audits += not (verb == "abort" and self.status == "running" and self.aborting)
        with nullcontext() if possible else pytest.raises(InvalidTransition):
            getattr(Job.objects.get(pk=self.job.pk), verb)(*arguments)

    @rule()
    def somebody_cancels(self):
        possible = self.status in ("new", "scheduled")
        self.ask("cancel", possible)
        if possible:
            self.status = "cancelled"

    @rule(when=st.sampled_from((PAST, FUTURE)))
    def somebody_reschedules(self, when):
        possible = self.status in ("new", "scheduled")
        self.ask("reschedule", possible, when)
        if possible:
            self.due = when == PAST
            self.status = "new" if self.due else "scheduled"

    @rule()
    def somebody_runs_it_now(self):
        possible = self.status == "scheduled"
        self.ask("run_now", possible)
        if possible:
            self.status, self.due = "new", True

    @rule()
    def somebody_aborts(self):
        possible = self.status == "running"
        self.ask("abort", possible)
        if possible:
            self.aborting = True

    @rule()
    def somebody_retries(self):
        possible = self.status in ("exception", "killed")
        self.ask("retry", possible)
        if possible:
            self.status, self.aborting, self.due = "new", False, True

    # What holds at every moment.

    @invariant()
    def the_row_is_what_the_model_says(self):
        job = Job.objects.get(pk=self.job.pk)
        assert (job.status, job.attempt, job.attempt_token) == (self.status, self.attempt, self.token)
        assert (job.abort_requested_at is not None) is self.aborting
        assert (job.finished_at is not None) is (self.status in FINISHED)
        assert (job.lease_expires_at is not None) is (self.status == "running")
        assert job.error != "ghost"

    @invariant()
    def everything_that_was_asked_is_on_record(self):
        assert AuditEntry.objects.count() == self.audits


@pytest.mark.django_db
def test_a_job_lives_as_the_table_says_whatever_happens_in_whatever_order():
    calm = settings(
        max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(Life, settings=calm)
