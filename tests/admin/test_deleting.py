"""Deleting: only what has ended, with everything that belongs to it and nothing that does not."""

from __future__ import annotations

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

import qorworker
from qorworker.admin import bulk
from qorworker.models import AuditEntry, Job, pages
from qorworker.models.job import JobQuerySet
from qorworker.registry import registry
from tests.admin.support import BASE, in_state, make_job, page_of, stored
from tests.testapp.models import Shop

pytestmark = pytest.mark.django_db


def takes_anything(data: dict) -> None:
    pass


@pytest.fixture
def uploaded(types):
    """A finished job with an upload, and the key of that."""
    arguments = stored(types["upload"], file=ContentFile(b"x", name="a.txt"), shop=Shop.objects.create(name="Berlin"))
    return in_state(types["upload"], "done", arguments=arguments), arguments["file"]["$file"]


@pytest.fixture
def precious():
    key = default_storage.save("qorworker/precious.txt", ContentFile(b"x"))
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
    assert not pages.delete_ended(job)
    assert Job.objects.get().status == "new"


def test_more_than_can_be_shown_are_not_deleted_at_once(types, visitor, monkeypatch):
    monkeypatch.setattr(bulk, "AT_ONCE", 2)
    jobs = [make_job(types["open"], "done") for _number in range(3)]
    form = {"action": "delete_selected", "post": "yes", "_selected_action": [job.pk for job in jobs]}
    page = visitor.post(BASE, form).content.decode()
    assert "At most 2 jobs can be deleted at once." in page
    assert Job.objects.count() == 3
    visitor.post(BASE, {**form, "_selected_action": [job.pk for job in jobs[:2]]})
    assert list(Job.objects.all()) == [jobs[2]]
    assert AuditEntry.objects.filter(action="delete", outcome="ok").count() == 2
