"""A verb whose connection is lost, at whatever statement, has happened with its record, or not at all."""

from contextlib import contextmanager

import pytest
from django.db import DatabaseError, InterfaceError, connection

from qorworker.models import AuditEntry, Job
from tests.models.rows import make_job
from tests.models.test_job_verbs import VERBS
from tests.proxy import COMMIT
from tests.settings import ENGINE
from tests.testapp import jobs

pytestmark = pytest.mark.django_db(transaction=True)
UPDATE = "UPDATE .?qorworker_job"
AUDIT = "INSERT INTO .?qorworker_auditentry"
# Each fault with whether the verb has happened then.
FAULTS = {
    "before its update": (lambda proxy: proxy.cut_before(UPDATE), False),
    "during its update": (lambda proxy: proxy.cut_during(UPDATE), False),
    "after its update": (lambda proxy: proxy.cut_after(UPDATE), False),
    "before its record": (lambda proxy: proxy.cut_before(AUDIT), False),
    "after its record": (lambda proxy: proxy.cut_after(AUDIT), False),
    "before the commit": (lambda proxy: proxy.cut_before(COMMIT), False),
    "after the commit": (lambda proxy: proxy.cut_after_commit(), True),
}

if ENGINE == "mariadb":  # which needs the lock in a statement of its own
    FAULTS["before the row is locked"] = (lambda proxy: proxy.cut_before("FOR UPDATE"), False)

if ENGINE != "sqlite":

    @contextmanager
    def through(proxy):
        """The connection of this process goes through the proxy."""
        settings = connection.settings_dict
        connection.close()
        connection.settings_dict = {**settings, "HOST": "127.0.0.1", "PORT": str(proxy.port)}
        try:
            yield
        finally:
            connection.close()
            connection.settings_dict = settings

    @pytest.mark.parametrize("fault", FAULTS)
    @pytest.mark.parametrize("verb", VERBS)
    def test_a_verb_happens_with_its_record_or_not_at_all(proxy, verb, fault):
        act, statuses, target = VERBS[verb]
        before = sorted(statuses)[0]
        job = make_job(before)
        spring, has_happened = FAULTS[fault]
        with through(proxy):
            trap = spring(proxy)
            with pytest.raises((DatabaseError, InterfaceError)):
                act(job)
            assert trap.sprung
            connection.close()  # as Django does at the end of a request
            assert Job.objects.count() == 1
        job = Job.objects.get()
        done = AuditEntry.objects.of_job(job.pk).filter(action=verb, outcome="ok").count()
        assert (done, job.abort_requested_at is not None) == (has_happened, has_happened and verb == "abort")
        assert job.status == (target if has_happened else before)

    @pytest.mark.parametrize("verb", VERBS)
    def test_a_verb_is_carried_out_over_a_slow_connection(proxy, verb):
        act, statuses, target = VERBS[verb]
        job = make_job(sorted(statuses)[0])
        with through(proxy):
            proxy.delay(0.02)
            act(job)
            assert job.status == target

    @pytest.mark.parametrize("number", [1, 700])
    @pytest.mark.parametrize(("fault", "stored"), [("cut_before", 0), ("cut_after", None)])
    def test_jobs_are_enqueued_all_or_none(proxy, number, fault, stored):
        with through(proxy):
            trap = getattr(proxy, fault)("INSERT INTO .?qorworker_job")
            with pytest.raises((DatabaseError, InterfaceError)):
                jobs.noop.enqueue_many([{}] * number)
            assert trap.sprung
            connection.close()
        assert Job.objects.count() in ({stored} if stored is not None else {0, number})
