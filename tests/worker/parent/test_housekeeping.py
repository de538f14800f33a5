"""What a worker does for all jobs leaves it time for its own, and waits for no foreign lock."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection

from qorworker.models import Attempt, Summary, database_now
from qorworker.worker.parent import housekeeping as module
from qorworker.worker.parent.channels import Child
from qorworker.worker.parent.housekeeping import Housekeeping
from tests.models.rows import make_job, somebody_else
from tests.testapp import jobs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def housekeeping(dispatcher, settings):
    queues = {
        "default": {"BACKEND": "qorworker.backends.local.LocalBackend"},
        "now": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"},
    }
    settings.QORWORKER = {**settings.QORWORKER, "QUEUES": queues}
    for number in range(1, 4):
        dispatcher.pool.children[number] = Child(number, -1, None, -1, pid=4710 + number)
    yield Housekeeping(dispatcher.database, dispatcher, None, None, lambda: True)
    connection.close()  # its session has the limits of a worker


class TestJobsThatTheirCallerLeftBehind:
    @pytest.fixture
    def left(self):
        long_ago = database_now("default") - timedelta(hours=1)
        return [make_job(name=jobs.noop.name, queue_name="now", run_after=long_ago) for _ in range(4)]

    def ready(self, dispatcher):
        return [attempt.job.id for attempt in dispatcher.intake.ready]

    def test_are_claimed_for_the_free_slots(self, housekeeping, dispatcher, left):
        housekeeping.adopting.attend(dispatcher.database)
        assert self.ready(dispatcher) == [job.pk for job in left[:3]]

    @pytest.mark.only_on("postgresql", "mysql")
    def test_are_claimed_although_others_are_locked(self, housekeeping, dispatcher, left):
        with somebody_else() as cursor:
            cursor.execute("SELECT 1 FROM qorworker_job WHERE id = %s FOR UPDATE", [left[0].pk])
            housekeeping.adopting.attend(dispatcher.database)
        assert self.ready(dispatcher) == [job.pk for job in left[1:]]

    def test_are_claimed_in_several_rounds_if_a_claim_takes_long(self, housekeeping, dispatcher, left, monkeypatch):
        clock = [0.0]

        def slow(*given, **more):
            clock[0] += 1.0
            return claim_one(*given, **more)

        claim_one = dispatcher.intake.claim_one
        monkeypatch.setattr(dispatcher.intake, "claim_one", slow)
        monkeypatch.setattr(module, "monotonic", lambda: clock[0])
        for number in range(1, 4):
            housekeeping.adopting.attend(dispatcher.database)
            assert len(self.ready(dispatcher)) == number


class TestJobsThatWaitLong:
    def test_rise_in_the_queues_that_ask_for_it_and_are_claimed_first(self, housekeeping, dispatcher, settings):
        settings.QORWORKER["QUEUES"]["default"]["AGEING"] = 2.0
        old = make_job(name=jobs.noop.name, run_after=database_now("default") - timedelta(minutes=10, seconds=1))
        housekeeping._raise_waiting(0.0)
        old.refresh_from_db()
        assert (old.priority, old.base_priority) == (20, 0)
        assert [job.id for job in dispatcher.claimer.floors._returned] == [old.pk]

    def test_are_no_duty_of_a_worker_whose_queues_do_not_age(self, housekeeping, dispatcher, settings, monkeypatch):
        monkeypatch.setattr(module, "Reaper", lambda *given: None)
        before = housekeeping.duties(SimpleNamespace(pk=1), None, for_one_job=False)
        settings.QORWORKER["QUEUES"]["default"]["AGEING"] = 2.0
        assert len(housekeeping.duties(SimpleNamespace(pk=1), None, for_one_job=False)) == len(before) + 1
        assert len(housekeeping.duties(SimpleNamespace(pk=1), None, for_one_job=True)) == 2


class TestSummaries:
    def test_are_a_duty_of_every_worker_that_stays_but_not_at_its_start(self, housekeeping, monkeypatch):
        monkeypatch.setattr(module, "Reaper", lambda *given: None)
        monkeypatch.setattr(module, "monotonic", lambda: 100.0)

        def summarising(duties):
            return [duty.at for duty in duties if duty is housekeeping.summarising]

        assert summarising(housekeeping.duties(SimpleNamespace(pk=1), None, for_one_job=False)) == [110.0]
        assert summarising(housekeeping.duties(SimpleNamespace(pk=1), None, for_one_job=True)) == []

    def test_have_what_has_ended(self, housekeeping):
        at = database_now("default")
        Attempt.objects.create(job=make_job("done"), number=1, started_at=at, finished_at=at, outcome="done")
        housekeeping._summarise(0.0)
        assert set(Summary.objects.values_list("done", flat=True)) == {1}

    def test_that_take_long_are_continued_after_a_pause(self, housekeeping, monkeypatch):
        monkeypatch.setattr(module, "SUMMARISING", 0.0)
        monkeypatch.setattr(module, "monotonic", lambda: 100.0)
        monkeypatch.setattr("qorworker.actions.summarising.MOST", 1)
        at = database_now("default")
        for _ in range(3):
            Attempt.objects.create(job=make_job("done"), number=1, started_at=at, finished_at=at, outcome="done")
        added_up = []
        for _ in range(3):
            housekeeping.summarising.at = 160.0
            housekeeping._summarise(0.0)
            added_up.append((Summary.objects.filter(seconds=3600).get().done, housekeeping.summarising.at))
        assert added_up == [(1, 101.0), (2, 101.0), (3, 101.0)]
        housekeeping._summarise(0.0)
        assert not housekeeping.is_behind

    def test_have_messages_sent_about_it(self, housekeeping):
        job = make_job("done")
        job.notify("ann@example.com")
        housekeeping._message(0.0)
        assert job.messages.get().state == "queued"
