"""How the rows of messages are found among very many that were sent, and what they allow."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Max

from qorworker.models import Message, MessageState
from tests.models.rows import make_job

pytestmark = pytest.mark.django_db

SENT = 5_000


def message(job, source, **fields):
    return Message(job=job, source=source, created_at=job.enqueued_at, **fields)


@pytest.fixture
def many():
    job = make_job("exception")
    common = {"rule": "failures", "state": "sent"}
    rows = [message(job, f"attempt {number}", kind=f"{number % 500:032}", **common) for number in range(SENT)]
    Message.objects.bulk_create(rows, batch_size=500)
    if connection.vendor != "mysql":  # which counts by itself, and would commit
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {Message._meta.db_table}")
    return job


def test_open_messages_are_found_by_their_index(many):
    message(many, "attempt new").save()
    assert list(Message.objects.open_states()) == [MessageState.QUEUED]
    assert "qorworker_message_state" in Message.objects.open_states().explain()
    assert "qorworker_message_state" in Message.objects.filter(state=MessageState.QUEUED).explain()


def test_the_newest_of_a_kind_is_found_by_its_index(many):
    [found] = Message.objects.newest_of(["failures"], [f"{7:032}"])
    assert found.source == f"attempt {SENT - 500 + 7}"
    groups = Message.objects.filter(rule__in=["failures"], kind__in=[f"{7:032}"]).order_by().values("rule", "kind")
    assert "qorworker_message_kind" in groups.annotate(last=Max("pk")).explain()


def test_the_database_refuses_a_second_message_about_the_same():
    job = make_job("exception")
    first = message(job, "attempt 1", rule="failures")
    first.save()
    for source, uid in (("attempt 1", "0" * 32), ("attempt 2", first.uid)):
        with pytest.raises(IntegrityError), transaction.atomic():
            message(job, source, rule="failures", uid=uid).save()
    message(job, "attempt 1", rule="others").save()
    assert Message.objects.count() == 2


def test_what_was_sent_is_neither_tried_nor_closed_again():
    row = message(make_job("done"), "attempt 1", rule="failures")
    row.save()
    assert Message.objects.try_again(row.uid).attempts == 1
    assert Message.objects.close(MessageState.SENT) == 1
    assert Message.objects.try_again(row.uid) is None
    assert Message.objects.close(MessageState.FAILED) == 0
    assert Message.objects.get().attempts == 1
