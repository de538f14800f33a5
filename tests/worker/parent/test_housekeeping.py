"""What a worker does for all jobs leaves it time for its own, and waits for no foreign lock."""

from datetime import timedelta

import pytest
from django.db import connection

from qorworker.models import database_now
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
        return [attempt.job.id for attempt in dispatcher.ready]

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

        claim_one = dispatcher.claim_one
        monkeypatch.setattr(dispatcher, "claim_one", slow)
        monkeypatch.setattr(module, "monotonic", lambda: clock[0])
        for number in range(1, 4):
            housekeeping.adopting.attend(dispatcher.database)
            assert len(self.ready(dispatcher)) == number
