"""Deleting: only what has ended, with everything that belongs to it and nothing that does not."""

from __future__ import annotations

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

import qorworker
from qorworker.actions import pruning
from qorworker.admin import many
from qorworker.definitions.registry import registry
from qorworker.models import AuditEntry, Job, Origin
from qorworker.models.audit import AuditQuerySet
from qorworker.models.job_queries import JobQuerySet
from tests.admin.support import BASE, in_state, make_job, messages_of, page_of, stored, text_of, user_with
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.once]

NOT_DELETED = "It has not ended, so it cannot be deleted. Nothing was changed."


def takes_anything(data: dict) -> None:
    pass


@pytest.fixture
def uploaded(types):
    """A finished job with an upload, and the key of that."""
    arguments = stored(types["upload"], file=ContentFile(b"x", name="a.txt"), shop=Shop.objects.create(name="Berlin"))
    return in_state(types["upload"], "done", arguments=arguments), arguments["file"]["$file"]


@pytest.fixture
def precious():
    key = default_storage.save(f"qorworker/0000/{'0' * 32}", ContentFile(b"x"))
    yield {"$file": key, "storage": "default", "name": "", "size": 1, "sha256": "", "content_type": ""}
    default_storage.delete(key)


@pytest.mark.parametrize("is_known", [True, False])
def test_the_uploads_of_a_job_go_with_it(uploaded, visitor, django_capture_on_commit_callbacks, is_known):
    job, key = uploaded
    if not is_known:
        registry.unregister(job.name)
    with django_capture_on_commit_callbacks(execute=True):
        visitor.post(page_of(job, "delete/"), {"post": "yes"})
    assert not Job.objects.exists()
    assert not default_storage.exists(key)


def test_an_argument_that_looks_like_an_upload_deletes_no_file(
    types, visitor, precious, django_capture_on_commit_callbacks
):
    job_type = qorworker.job(name="tests.anything")(takes_anything)
    job = in_state(job_type, "done", arguments={"data": precious})
    with django_capture_on_commit_callbacks(execute=True):
        visitor.post(page_of(job, "delete/"), {"post": "yes"})
    assert not Job.objects.exists()
    assert default_storage.exists(precious["$file"])


@pytest.mark.parametrize(
    ("key", "storage"),
    [
        ("qorworker/../private/salaries.csv", "default"),
        ("qorworker/0000/../../private/salaries.csv", "default"),
        ("qorworker/0000/salaries.csv", "default"),
        (f"qorworker/0000/{'1' * 32}", "other"),
        (f"qorworker/0000/{'1' * 32}\n", "default"),
    ],
)
def test_a_planted_argument_deletes_no_file_when_its_type_has_left_the_code(
    types, visitor, settings, tmp_path, django_capture_on_commit_callbacks, key, storage
):
    settings.MEDIA_ROOT = str(tmp_path)
    settings.STORAGES = {**settings.STORAGES, "other": {"BACKEND": "django.core.files.storage.FileSystemStorage"}}
    place = tmp_path / key
    for folder in (tmp_path / "qorworker/0000", place.parent):
        folder.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"x")
    planted = {"$file": key, "storage": storage, "name": "", "size": 1, "sha256": "", "content_type": ""}
    job_type = qorworker.job(name="tests.anything")(takes_anything)
    job = in_state(job_type, "done", arguments=stored(job_type, data=planted))
    registry.unregister(job.name)
    with django_capture_on_commit_callbacks(execute=True):
        visitor.post(page_of(job, "delete/"), {"post": "yes"})
    assert not Job.objects.exists()
    assert place.exists()


def test_enqueueing_that_fails_deletes_no_file_that_an_argument_names(types, precious, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr(JobQuerySet, "enqueue_rows", fail)
    with pytest.raises(RuntimeError):
        qorworker.job(name="tests.anything")(takes_anything).enqueue(data=precious)
    assert default_storage.exists(precious["$file"])


def test_a_job_that_was_taken_up_again_meanwhile_stays(types):
    job = in_state(types["open"], "exception")
    Job.objects.get(pk=job.pk).retry()
    assert not pruning.delete_if_ended(job, by=None, origin=Origin.ADMIN)
    assert Job.objects.get().status == "new"


@pytest.mark.parametrize("method", ["get", "post"])
def test_to_delete_what_has_not_ended_leads_back_to_it_and_says_why(types, visitor, method):
    job = in_state(types["open"], "new")  # somebody retried it since the page with the button was made
    answer = getattr(visitor, method)(page_of(job, "delete/"), {"post": "yes"}, follow=True)
    assert answer.redirect_chain[-1][0] == page_of(job)
    assert messages_of(answer) == [NOT_DELETED]


@pytest.mark.parametrize(("method", "written"), [("get", 0), ("post", 1)])
@pytest.mark.parametrize("state", ["new", "done"])
def test_who_may_not_delete_is_told_which_permission_is_missing(types, client, method, written, state):
    client.force_login(user_with("qorworker.view_job"))
    job = in_state(types["open"], state)
    answer = getattr(client, method)(page_of(job, "delete/"), {"post": "yes"})
    assert answer.status_code == 403
    assert "<code>qorworker.delete_job</code>" in text_of(answer)
    assert AuditEntry.objects.filter(job_id=job.pk, action="delete", outcome="denied").count() == written
    assert Job.objects.filter(pk=job.pk).exists()


def test_a_job_that_is_retried_at_the_same_moment_is_not_said_to_be_deleted(types, visitor, monkeypatch):
    job = in_state(types["open"], "exception")

    def retried_first(asked, *args, **options):
        Job.objects.get(pk=asked[0].pk).retry()
        return []

    monkeypatch.setattr(pruning, "delete_ended", retried_first)
    answer = visitor.post(page_of(job, "delete/"), {"post": "yes"}, follow=True)
    assert messages_of(answer) == [NOT_DELETED]
    assert AuditEntry.objects.get(action="delete").outcome == "too late"


def test_a_deletion_that_cannot_be_written_down_is_none(types, visitor, monkeypatch):
    job = in_state(types["open"], "done")

    def fail(*args, **options):
        raise RuntimeError("The audit cannot be written.")

    monkeypatch.setattr(AuditQuerySet, "record_many", fail)
    with pytest.raises(RuntimeError):
        visitor.post(page_of(job, "delete/"), {"post": "yes"})
    assert Job.objects.get() == job


def test_what_was_done_with_a_job_stays_on_record_when_it_is_gone(types, visitor):
    job = in_state(types["open"], "exception")
    job.retry()
    job.cancel()
    visitor.post(page_of(job, "delete/"), {"post": "yes"})
    told = AuditEntry.objects.of_job(job.pk)
    assert [entry.action for entry in told] == ["retry", "cancel", "delete"]
    assert (told.last().job_name, told.last().user_name, told.last().address) == (job.name, "root", "127.0.0.1")


def test_more_than_can_be_shown_are_not_deleted_at_once(types, visitor, monkeypatch):
    monkeypatch.setattr(many, "AT_ONCE", 2)
    jobs = [make_job(types["open"], "done") for _number in range(3)]
    form = {"action": "delete_finished", "confirmed": "1", "_selected_action": [job.pk for job in jobs]}
    page = text_of(visitor.post(BASE, form, follow=True))
    assert "At most 2 can be chosen one by one." in page
    assert Job.objects.count() == 3
    visitor.post(BASE, {**form, "_selected_action": [job.pk for job in jobs[:2]]})
    assert list(Job.objects.all()) == [jobs[2]]
    assert AuditEntry.objects.filter(action="delete", outcome="ok").count() == 2


def test_the_deletion_that_django_brings_is_not_offered_because_it_would_take_running_jobs(types, visitor):
    running = make_job(types["open"], "running")
    visitor.post(BASE, {"action": "delete_selected", "post": "yes", "_selected_action": [running.pk]})
    assert Job.objects.exists()
