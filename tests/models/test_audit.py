import asyncio

import pytest
from django.db import transaction
from django.utils.translation import gettext_lazy

from qorworker.models import AuditEntry, Origin, database_now
from tests.models.rows import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def entry():
    AuditEntry.objects.record("run", job_name="app.job", origin=Origin.COMMAND, address="2001:db8::1", reason="why not")
    return AuditEntry.objects.get()


def test_an_entry_says_what_when_and_through_which_door(entry):
    assert (entry.action, entry.outcome, entry.origin, entry.job_id) == ("run", "ok", "command", None)
    assert (entry.job_name, entry.address, entry.details) == ("app.job", "2001:db8::1", {"reason": "why not"})
    assert entry.at <= database_now("default")


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.save(),
        lambda entry: entry.delete(),
        lambda entry: AuditEntry.objects.update(action="other"),
        lambda entry: AuditEntry.objects.all().delete(),
        lambda entry: AuditEntry.objects.bulk_update([entry], ["action"]),
        lambda entry: AuditEntry.objects.update_or_create({"action": "other"}, pk=entry.pk),
        lambda entry: asyncio.run(AuditEntry.objects.aupdate(action="other")),
        lambda entry: asyncio.run(AuditEntry.objects.all().adelete()),
    ],
)
def test_an_entry_is_never_changed_and_never_deleted(entry, change):
    entry.action = "other"
    with pytest.raises(TypeError, match="never"), transaction.atomic():
        change(entry)
    assert AuditEntry.objects.get().action == "run"


def test_the_history_of_a_job_is_in_order_and_outlives_it():
    job, other = make_job(), make_job()
    for action in ("enqueue", "abort", "retry"):
        AuditEntry.objects.record(action, job=job)
    AuditEntry.objects.record("enqueue", job=other)
    pk = job.pk
    job.delete()
    history = AuditEntry.objects.of_job(pk)
    assert [entry.action for entry in history] == ["enqueue", "abort", "retry", "delete"]
    assert history[0].job_name == "app.job"


def test_a_long_user_name_is_cut_not_refused(django_user_model):
    user = django_user_model(pk=1, username="x" * 300)
    AuditEntry.objects.record("run", user=user)
    assert AuditEntry.objects.get().user_name == "x" * 254


def test_translated_texts_can_be_details():
    AuditEntry.objects.record("run", reason=gettext_lazy("job"))
    assert AuditEntry.objects.get().details == {"reason": "job"}
