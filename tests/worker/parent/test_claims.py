"""How much a worker asks for, and of which queue."""

from collections import Counter
from datetime import timedelta
from math import ceil

import pytest
from django import forms
from django.db import InterfaceError, OperationalError

from qorworker import job
from qorworker.attempts.limited_claims import give_key
from qorworker.attempts.writer import Writer
from qorworker.database.session_limits import statement_limit
from qorworker.models import Job, database_now
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.sql import claim, claim_one
from qorworker.models.sql import limits as sql
from qorworker.worker.parent import unanswered
from qorworker.worker.parent.claims import Claimer
from tests.job_types import own_types  # noqa: F401
from tests.testapp import jobs

LOCAL = "qorworker.backends.local.LocalBackend"
AGAIN = [jobs.noop_again.name]


@pytest.fixture
def claimer(db):
    return Claimer(Writer("default", 1, "host:1"), ["*"], [])


def taken(claimer, slots, ahead=0, short=()):
    """What it asks for and gets."""
    claimer.find_queues()
    order = claimer.next_claim(slots, ahead, short)
    if order is None:
        return None
    claimed = claim("default", order)
    claimer.learn_from(order, claimed)
    return len(claimed)


def test_without_room_it_asks_for_nothing(claimer):
    jobs.noop.enqueue()
    assert taken(claimer, 0) is None


def test_single_attempt_jobs_are_taken_for_free_slots_only(claimer):
    jobs.noop.enqueue_many([{}] * 5)
    assert [taken(claimer, 2, 100, AGAIN), taken(claimer, 1, 100, AGAIN), taken(claimer, 0, 100, AGAIN)] == [2, 1, 0]
    assert Job.objects.queued().count() == 2


def test_what_may_wait_is_taken_ahead_in_growing_numbers(claimer):
    jobs.noop_again.enqueue_many([{}] * 40)
    assert [taken(claimer, 1, 100, AGAIN) for _ in range(6)] == [1, 2, 4, 8, 16, 9]


def test_where_a_job_that_may_not_wait_is_next_it_looks_less_far(claimer):
    jobs.noop_again.enqueue_many([{}] * 20)
    jobs.noop.enqueue()
    jobs.noop_again.enqueue_many([{}] * 20)
    claimer.lookahead = 100
    assert taken(claimer, 1, 100, AGAIN) == 20
    assert taken(claimer, 0, 100, AGAIN) == 0
    assert claimer.has_more  # it waits for a free slot, not for the next look
    assert claimer.next_claim(0, 100, AGAIN) is None
    assert claimer.next_claim(1, 100, AGAIN).limit == 1


def test_no_more_than_the_limit_is_ever_started(claimer):
    jobs.noop_again.enqueue_many([{}] * 9)
    claimer.limit = 5
    claimer.lookahead = 100
    assert [taken(claimer, 2, 100, AGAIN), claimer.is_exhausted(), taken(claimer, 2, 100, AGAIN)] == [5, True, None]


def test_less_than_the_free_slots_says_that_nothing_is_left(claimer):
    jobs.noop.enqueue_many([{}] * 3)
    assert (taken(claimer, 2), claimer.has_more) == (2, True)
    assert (taken(claimer, 2), claimer.has_more) == (1, False)


class TestAClaimWithoutAnswer:
    LOST = OperationalError("server closed the connection unexpectedly")

    @pytest.fixture
    def clock(self, monkeypatch):
        now = [1_000.0]
        monkeypatch.setattr(unanswered, "monotonic", lambda: now[0])
        return now

    def lose(self, claimer, order, error=LOST):
        with pytest.raises(OperationalError), claimer.unanswered.remembering(order):
            raise error

    def ask(self, claimer):
        claimer.find_queues()
        return claimer.next_claim(2, 0, ())

    def test_that_was_carried_out_is_found_at_once(self, claimer, clock):
        job = jobs.noop.enqueue()
        order = self.ask(claimer)
        claim("default", order)
        self.lose(claimer, order)
        assert [claimed.id for claimed in claimer.recover()] == [job.pk]
        assert claimer.claimed == 1

    def test_that_is_carried_out_later_is_found_with_the_next_renewal(self, claimer, clock):
        job = jobs.noop.enqueue()
        order = self.ask(claimer)
        self.lose(claimer, order)
        assert claimer.recover() == []
        claim("default", order)
        assert claimer.recover() == []  # it is not time to look again
        clock[0] += 5.0
        assert [claimed.id for claimed in claimer.recover()] == [job.pk]

    def test_gives_each_job_once_although_it_is_looked_for_again(self, claimer, clock):
        first, second = jobs.noop.enqueue(), jobs.noop.enqueue()
        order = self.ask(claimer)
        self.lose(claimer, order)
        recovered = []
        for each in (first, second):  # a claim of limited types takes them one by one
            claim_one("default", each.pk, order)
            clock[0] += 5.0
            recovered.append([taken.id for taken in claimer.recover()])
        assert recovered == [[first.pk], [second.pk]]

    def test_is_owned_for_a_whole_lease_from_then_on(self, claimer, clock):
        job = jobs.noop_again.enqueue()
        order = self.ask(claimer)
        claim("default", order)
        self.lose(claimer, order)
        before = database_now("default")
        Job.objects.filter(pk=job.pk).update(lease_expires_at=before + timedelta(seconds=1))
        assert [claimed.id for claimed in claimer.recover()] == [job.pk]
        job.refresh_from_db()
        assert job.lease_expires_at >= before + timedelta(seconds=15)

    def test_whose_row_is_locked_is_found_when_its_lease_can_be_renewed(self, claimer, clock, monkeypatch):
        job = jobs.noop_again.enqueue()
        order = self.ask(claimer)
        claim("default", order)
        self.lose(claimer, order)
        with monkeypatch.context() as patch:
            patch.setattr(JobQuerySet, "unlocked", JobQuerySet.none)
            assert claimer.recover() == []
        clock[0] += 5.0
        assert [claimed.id for claimed in claimer.recover()] == [job.pk]

    def test_is_forgotten_when_the_lease_that_it_could_have_is_over(self, claimer, clock, django_assert_num_queries):
        order = self.ask(claimer)
        self.lose(claimer, order)
        looks = 0
        while claimer.unanswered:
            with django_assert_num_queries(1):
                claimer.recover()
            looks, clock[0] = looks + 1, clock[0] + 5.0
        assert looks == ceil((statement_limit() + 15) / 5) + 1
        with django_assert_num_queries(0):
            claimer.recover()

    def test_is_looked_for_once_more_after_an_outage_that_was_longer(self, claimer, clock):
        job = jobs.noop.enqueue()
        order = self.ask(claimer)
        claim("default", order)
        self.lose(claimer, order)
        clock[0] += 3600.0
        assert [claimed.id for claimed in claimer.recover()] == [job.pk]
        assert not claimer.unanswered

    @pytest.mark.parametrize(
        ("details", "is_kept"),
        [
            ({"sqlite_errorcode": 5}, False),
            ({"sqlstate": "55P03"}, False),
            ({"sqlstate": "40P01"}, False),
            ({"sqlstate": "57P01"}, True),
            ({"sqlstate": None}, True),
            ({"args": (1205, "Lock wait timeout exceeded")}, False),
            ({"args": (1927, "Connection was killed")}, True),
            ({"args": (2013, "Lost connection")}, True),
            ({"args": ("connection is closed",)}, True),
        ],
    )
    def test_is_not_looked_for_if_the_database_has_refused_it(self, claimer, clock, details, is_kept):
        cause = Exception()
        for name, value in details.items():
            setattr(cause, name, value)
        error = OperationalError("of some kind")
        error.__cause__ = cause
        self.lose(claimer, self.ask(claimer), error)
        assert bool(claimer.unanswered) is is_kept

    def test_of_limited_types_is_found_although_the_database_has_refused_a_later_key(self, claimer, monkeypatch):
        for shop in "ab":
            jobs.alone_for_each.enqueue(ledger="none", shop=shop)
        take, taken = sql.take, []

        def take_one(*arguments, **more):
            if taken:
                busy = OperationalError("database is locked")
                busy.__cause__ = Exception()
                busy.__cause__.sqlite_errorcode = 5
                raise busy
            taken.extend(take(*arguments, **more))
            return taken

        monkeypatch.setattr(sql, "take", take_one)
        claimer.find_queues()
        with pytest.raises(OperationalError, match="locked"):
            claimer.claim_limited(2, 0.0)
        assert [claimed.id for claimed in claimer.recover()] == [claimed.id for claimed in taken] != []


@pytest.mark.usefixtures("own_types")
@pytest.mark.parametrize(("error", "key"), [(KeyError("a"), "app.faulty/"), (InterfaceError("connection closed"), "")])
def test_no_error_of_a_form_ends_a_worker_that_gives_a_job_the_key_of_its_new_limit(claimer, error, key):
    raised = []

    class Field(forms.CharField):
        def clean(self, value):
            for each in raised:
                raise each
            return value

    @job(name="app.faulty", form=type("Form", (forms.Form,), {"word": Field()}))
    def before(word): ...

    made = before.enqueue(word="a")
    before.options = job(name="app.limited", max_concurrency=1, concurrency_key=str)(before.function).options
    raised.append(error)
    claimer.find_queues()
    [claimed] = claimer.claim(claimer.next_claim(1, 0, ()))
    give_key("default", claimed)
    made.refresh_from_db()
    assert made.limit_key == key


class TestMoreKeysThanOneLookTakes:
    @pytest.fixture
    def limited(self, claimer, monkeypatch):
        monkeypatch.setattr(sql, "KEYS", 2)
        for shop in range(5):
            running, _ = jobs.alone_for_each.enqueue_many([{"ledger": "none", "shop": str(shop)}] * 2)
            Job.objects.filter(pk=running.pk).update(status="running", attempt_token="f" * 32)
        claimer.find_queues()
        return claimer.limited

    def pauses(self, claimer, looks):
        pauses, now = [], 1_000.0
        for _ in range(looks):
            assert claimer.claim_limited(1, now) == []
            pauses.append(round(claimer.limited.next_look_at - now, 3))
            now = claimer.limited.next_look_at
        return pauses

    def test_are_looked_at_in_turn_and_once_in_a_while_as_long_as_none_has_a_place(self, claimer, limited):
        around = [sql.BUSY, sql.BUSY, 0.9]  # a second after the first of them
        assert self.pauses(claimer, 9) == [sql.BUSY] * 3 + around + around

    def test_are_looked_at_again_at_once_when_a_place_may_have_become_free_behind_its_back(self, claimer, limited):
        self.pauses(claimer, 4)
        claimer.writer.limits_freed = True
        assert limited.due(0.0, 1, ahead=False)
        first = Job.objects.running().order_by("pk").first()
        Job.objects.filter(pk=first.pk).update(status="done", attempt_token=None)
        assert self.pauses(claimer, 2) == [sql.BUSY] * 2
        [taken] = claimer.claim_limited(1, 2_000.0)
        assert taken.limit_key == first.limit_key


@pytest.fixture
def weights(settings):
    def give(**weights):
        queues = {name: {"BACKEND": LOCAL, "WEIGHT": weight} for name, weight in weights.items()}
        settings.QORWORKER = {**settings.QORWORKER, "QUEUES": {**settings.QORWORKER["QUEUES"], **queues}}
        return Claimer(Writer("default", 1, "host:1"), ["*"], [])

    return give


def by_queue(claimer, rounds):
    counts = Counter()
    for _ in range(rounds):
        order = claimer.next_claim(1, 0, ())
        if order is None or not claimer.has_more:
            break
        some = claim("default", order)
        claimer.learn_from(order, some)
        counts.update(job.queue_name for job in some)
    return counts


@pytest.mark.django_db
class TestQueuesWithWeights:
    def fill(self, each):
        for queue, priority in (("mail", 100), ("reports", 0)):
            jobs.noop.using(queue_name=queue, priority=priority).enqueue_many([{}] * each)

    def test_takes_from_the_queues_by_their_weights_whatever_the_priorities(self, weights):
        claimer = weights(mail=1, reports=3)
        self.fill(40)
        claimer.find_queues()
        assert by_queue(claimer, 40) == {"mail": 10, "reports": 30}

    def test_takes_all_from_one_when_the_other_is_empty(self, weights):
        claimer = weights(mail=1, reports=3)
        self.fill(10)
        claimer.find_queues()
        assert by_queue(claimer, 100) == {"mail": 10, "reports": 10}
        assert not claimer.has_more
        assert not Job.objects.queued().exists()

    def test_within_a_queue_the_priority_decides(self, weights):
        claimer = weights(mail=1)
        low, high = (jobs.noop.using(queue_name="mail", priority=priority).enqueue() for priority in (1, 2))
        claimer.find_queues()
        assert [claim("default", claimer.next_claim(1, 0, ()))[0].id for _ in range(2)] == [high.pk, low.pk]

    def test_without_weights_the_priority_decides_across_queues(self):
        claimer = Claimer(Writer("default", 1, "host:1"), ["*"], [])
        self.fill(10)
        claimer.find_queues()
        assert by_queue(claimer, 10) == {"mail": 10}
