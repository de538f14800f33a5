"""Who can be told of the end of a job, and what is refused."""

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model

from qorworker.definitions.registry import registry
from qorworker.exceptions import UnsupportedByBackend
from qorworker.models import Message
from qorworker.models.job_messages import SENDER
from tests.models.rows import make_job

pytestmark = pytest.mark.django_db


def test_a_user_or_an_address_is_stored_with_the_job_once_for_each_end():
    user, job = get_user_model().objects.create_user("ann"), make_job("new")
    first = job.notify(user, when="failed")
    assert job.notify(user, when="failed").pk == first.pk
    job.notify(user, when="done")
    job.notify("ann@example.com")
    found = Message.objects.values_list("recipient", "source", "state", "channel")
    assert list(found) == [
        (f"user:{user.pk}", f"job {job.pk} failed", "waiting", "mail"),
        (f"user:{user.pk}", f"job {job.pk} done", "waiting", "mail"),
        ("ann@example.com", f"job {job.pk} ended", "waiting", "mail"),
    ]
    assert list(job.messages.all()) == list(Message.objects.all())
    assert first.user_id == str(user.pk)


@pytest.mark.parametrize("to", ["ann", "", "ann@example.com\nBcc: b@example.com", "user:1", None, 3, "a@" + "b" * 300])
def test_what_is_no_recipient_is_refused_with_its_name(to):
    with pytest.raises(ValueError, match=r"^to: "):
        make_job("new").notify(to)
    assert not Message.objects.exists()


def test_a_user_who_is_not_stored_and_an_unknown_end_are_refused():
    with pytest.raises(ValueError, match=r"^to: must be a user who is stored"):
        make_job("new").notify(get_user_model()(username="ann"))
    with pytest.raises(ValueError, match=r"^when: must be one of 'failed', 'done', 'ended', not 'aborted'"):
        make_job("new").notify("ann@example.com", when="aborted")
    assert not Message.objects.exists()


def test_where_no_job_could_send_it_it_is_refused():
    before = registry.find(SENDER)
    registry.unregister(SENDER)
    try:
        with pytest.raises(UnsupportedByBackend, match="no queue"):
            make_job("new").notify("ann@example.com")
    finally:
        registry.register(before)
    assert not Message.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_coroutines_can_do_it_too():
    job = make_job("new")
    assert async_to_sync(job.anotify)("ann@example.com").job_id == job.pk
