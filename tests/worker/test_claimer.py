"""How much a worker asks for, and of which queue."""

from collections import Counter

import pytest
from django import forms
from django.db import InterfaceError, OperationalError

from qorworker import job
from qorworker.models import Job
from qorworker.models.sql import claim
from qorworker.models.sql import limits as sql
from qorworker.worker.claimer import Claimer
from qorworker.worker.limited import give_key
from qorworker.worker.writer import Writer
from tests.definitions import own_types  # noqa: F401
from tests.testapp import jobs

LOCAL = "qorworker.backends.local.LocalBackend"
AGAIN = [jobs.noop_again.name]


@pytest.fixture
def claimer(db):
    return Claimer(Writer("default", 1, "host:1"), ["*"], [])


def taken(claimer, slots, ahead=0, short=()):
    """What it asks for and gets."""
    claimer.look()
    order = claimer.wanted(slots, ahead, short)
    if order is None:
        return None
    found = claim("default", order)
    claimer.answered(order, found)
    return len(found)


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
    claimer.reach = 100
    assert taken(claimer, 1, 100, AGAIN) == 20
    assert taken(claimer, 0, 100, AGAIN) == 0
    assert claimer.more  # it waits for a free slot, not for the next look
    assert claimer.wanted(0, 100, AGAIN) is None
    assert claimer.wanted(1, 100, AGAIN).limit == 1


def test_no_more_than_the_limit_is_ever_started(claimer):
    jobs.noop_again.enqueue_many([{}] * 9)
    claimer.limit = 5
    claimer.reach = 100
    assert [taken(claimer, 2, 100, AGAIN), claimer.exhausted(), taken(claimer, 2, 100, AGAIN)] == [5, True, None]


def test_less_than_the_free_slots_says_that_nothing_is_left(claimer):
    jobs.noop.enqueue_many([{}] * 3)
    assert (taken(claimer, 2), claimer.more) == (2, True)
    assert (taken(claimer, 2), claimer.more) == (1, False)


def test_jobs_whose_claim_was_not_answered_are_found(claimer):
    job = jobs.noop.enqueue()
    claimer.look()
    order = claimer.wanted(1, 0, ())

    def lose_the_answer():
        with claimer.asking(order):
            claim("default", order)
            raise OperationalError("the connection was lost")

    with pytest.raises(OperationalError):
        lose_the_answer()
    assert [found.id for found in claimer.recover()] == [job.pk]
    assert claimer.recover() == []
    assert claimer.claimed == 1


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
    claimer.look()
    [claimed] = claimer.claim(claimer.wanted(1, 0, ()))
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
        claimer.look()
        return claimer.limited

    def pauses(self, claimer, looks):
        found, now = [], 1_000.0
        for _ in range(looks):
            assert claimer.claim_limited(1, now) == []
            found.append(round(claimer.limited.at - now, 3))
            now = claimer.limited.at
        return found

    def test_are_looked_at_in_turn_and_once_in_a_while_as_long_as_none_has_a_place(self, claimer, limited):
        around = [sql.BUSY, sql.BUSY, 0.9]  # a second after the first of them
        assert self.pauses(claimer, 9) == [sql.BUSY] * 3 + around + around

    def test_are_looked_at_again_at_once_when_a_place_may_have_become_free_behind_its_back(self, claimer, limited):
        self.pauses(claimer, 4)
        claimer.writer.places_freed = True
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
    found = Counter()
    for _ in range(rounds):
        order = claimer.wanted(1, 0, ())
        if order is None or not claimer.more:
            break
        some = claim("default", order)
        claimer.answered(order, some)
        found.update(job.queue_name for job in some)
    return found


@pytest.mark.django_db
class TestQueuesWithWeights:
    def fill(self, each):
        for queue, priority in (("mail", 100), ("reports", 0)):
            jobs.noop.using(queue_name=queue, priority=priority).enqueue_many([{}] * each)

    def test_takes_from_the_queues_by_their_weights_whatever_the_priorities(self, weights):
        claimer = weights(mail=1, reports=3)
        self.fill(40)
        claimer.look()
        assert by_queue(claimer, 40) == {"mail": 10, "reports": 30}

    def test_takes_all_from_one_when_the_other_is_empty(self, weights):
        claimer = weights(mail=1, reports=3)
        self.fill(10)
        claimer.look()
        assert by_queue(claimer, 100) == {"mail": 10, "reports": 10}
        assert not claimer.more
        assert not Job.objects.queued().exists()

    def test_within_a_queue_the_priority_decides(self, weights):
        claimer = weights(mail=1)
        low, high = (jobs.noop.using(queue_name="mail", priority=priority).enqueue() for priority in (1, 2))
        claimer.look()
        assert [claim("default", claimer.wanted(1, 0, ()))[0].id for _ in range(2)] == [high.pk, low.pk]

    def test_without_weights_the_priority_decides_across_queues(self):
        claimer = Claimer(Writer("default", 1, "host:1"), ["*"], [])
        self.fill(10)
        claimer.look()
        assert by_queue(claimer, 10) == {"mail": 10}
