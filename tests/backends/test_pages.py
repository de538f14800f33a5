"""The admin offers what the backend of a job's queue can do, and nothing else."""

import datetime as dt

import pytest
from django.test import override_settings
from django.utils import timezone

from qorworker.exceptions import UnsupportedByBackend
from qorworker.models import Job, database_now
from qorworker.testing import jobs
from tests.admin.filled_in import filled_in
from tests.backends.test_immediate import QUEUES

pytestmark = pytest.mark.django_db
RUN = "/admin/qorworker/job/run/contract.story/"


@pytest.fixture
def default_is_now(settings):
    settings.QORWORKER = {"QUEUES": {"default": QUEUES["now"], "local": QUEUES["default"]}}


def text_of(response):
    return response.content.decode()


def running(queue):
    later = database_now("default") + dt.timedelta(hours=1)
    row = Job(name="contract.wait", queue_name=queue, arguments={"path": "a", "gate": "b"})
    Job.objects.enqueue_rows([row])
    Job.objects.filter(pk=row.pk).update(
        status="running",
        attempt=1,
        attempt_token="t",
        lease_expires_at=later,
        last_attempted_at=database_now("default"),
    )
    return Job.objects.get(pk=row.pk)


def test_a_time_is_asked_for_only_where_jobs_can_wait(admin_client, default_is_now):
    assert 'name="qw-when"' not in admin_client.get(RUN).content.decode()
    with override_settings(QORWORKER={"QUEUES": {"default": QUEUES["default"]}}):
        assert 'name="qw-when"' in admin_client.get(RUN).content.decode()


def test_what_the_queue_cannot_do_is_told_on_the_form(admin_client, settings):
    settings.QORWORKER = {"QUEUES": {"default": QUEUES["default"], "now": QUEUES["now"]}}
    token = admin_client.get(RUN).context["token"]
    later = timezone.localtime() + dt.timedelta(days=1)
    chosen = {"qw-when": "later", "qw-at_0": f"{later:%Y-%m-%d}", "qw-at_1": f"{later:%H:%M:%S}"}
    data = {"qw-token": token, "qw-queue_name": "now", "qw-priority": "0", **chosen}
    page = admin_client.post(RUN, data).content.decode()
    assert "The queue “now” cannot keep a job for a later time." in page
    assert not Job.objects.exists()


def test_abort_says_what_it_can_do(admin_client, settings):
    settings.QORWORKER = {"QUEUES": QUEUES}
    here, there = running("now"), running("default")
    pages = {job.pk: text_of(admin_client.get(f"/admin/qorworker/job/{job.pk}/change/")) for job in (here, there)}
    assert 'data-qw-warning="It stops only where its code checks for an abort' in pages[here.pk]
    assert 'data-qw-warning="Its process is ended' in pages[there.pk]
    asked = {job.pk: text_of(admin_client.post(f"/admin/qorworker/job/{job.pk}/abort/")) for job in (here, there)}
    assert "It stops only where its code checks for an abort" in asked[here.pk]
    assert "Its process is ended" in asked[there.pk]


def test_a_page_does_not_promise_an_end_by_force_where_there_is_none(admin_client, settings):
    settings.QORWORKER = {"QUEUES": QUEUES}
    here, there = running("now"), running("default")
    Job.objects.update(abort_requested_at=database_now("default"))
    texts = {job.pk: text_of(admin_client.get(f"/admin/qorworker/job/{job.pk}/change/")) for job in (here, there)}
    assert "It stops only where its code checks for an abort." in texts[here.pk]
    assert "It is ended by force" not in texts[here.pk]
    assert "It is ended by force" in texts[there.pk]


def test_no_page_promises_that_a_silent_worker_ends_a_process(admin_client, settings):
    settings.QORWORKER = {"QUEUES": QUEUES}
    job = running("default")
    Job.objects.update(lease_expires_at=database_now("default") - dt.timedelta(minutes=1))
    told = "only a living worker can end"
    page = text_of(admin_client.get(f"/admin/qorworker/job/{job.pk}/change/"))
    assert 'data-qw-warning="Its worker does not respond' in page
    assert told in text_of(admin_client.post(f"/admin/qorworker/job/{job.pk}/abort/"))
    data = {"action": "abort", "_selected_action": [job.pk]}
    assert told in text_of(admin_client.post("/admin/qorworker/job/?tab=all", data))
    Job.objects.update(abort_requested_at=database_now("default"))
    page = text_of(admin_client.get(f"/admin/qorworker/job/{job.pk}/change/"))
    assert "Only a living worker can end its processes." in page
    assert "It is ended by force" not in page


@pytest.mark.parametrize(
    ("queues", "told"),
    [
        (["default", "default"], "Its process is ended. What it has already changed stays changed.</p>"),
        (["now", "default"], "stays changed. 1 of them stops only where its code checks for an abort.</p>"),
        (["now", "now"], "<p>They stop only where their code checks for an abort."),
    ],
)
def test_abort_of_many_says_what_it_can_do(admin_client, settings, queues, told):
    settings.QORWORKER = {"QUEUES": QUEUES}
    chosen = [running(queue).pk for queue in queues]
    data = {"action": "abort", "_selected_action": chosen}
    assert told in text_of(admin_client.post("/admin/qorworker/job/?tab=all", data))


def test_no_abort_where_there_is_none(admin_client, settings, monkeypatch):
    settings.QORWORKER = {"QUEUES": QUEUES}
    job = running("now")
    assert job.can_abort
    monkeypatch.setattr("qorworker.backends.immediate.ImmediateBackend.supports_abort", False)
    assert not job.can_abort
    with pytest.raises(UnsupportedByBackend, match="cannot end running jobs"):
        job.abort()
    page = admin_client.post(f"/admin/qorworker/job/{job.pk}/abort/", follow=True).content.decode()
    assert "cannot end running jobs" in page
    job.refresh_from_db()
    assert job.abort_requested_at is None


def test_a_job_is_run_again_in_its_own_queue(settings):
    settings.QORWORKER = {"QUEUES": QUEUES}
    job = jobs.story.using(queue_name="now").enqueue()
    assert job.rerun().queue_name == "now"
    settings.QORWORKER = {"QUEUES": {"default": QUEUES["default"]}}
    assert job.rerun().queue_name == "default"


def test_a_job_where_none_can_wait_for_a_time_can_be_changed_but_not_moved(admin_client, settings):
    settings.QORWORKER = {"QUEUES": QUEUES}
    made = jobs.story.using(queue_name="default").enqueue()
    Job.objects.update(queue_name="now")
    page = f"/admin/qorworker/job/{made.pk}/update/"
    shown = filled_in(admin_client.get(page))
    assert "qw-when" not in shown
    later = {"qw-when": "later", "qw-at_0": "2999-01-01", "qw-at_1": "09:00"}
    assert admin_client.post(page, {**shown, **later}).status_code == 302
    again = Job.objects.get()
    assert (again.status, again.run_after) == ("new", made.run_after)
    with pytest.raises(UnsupportedByBackend):
        again.update(run_after=database_now("default") + dt.timedelta(days=1))
    assert Job.objects.get().run_after == made.run_after
