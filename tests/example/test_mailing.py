from __future__ import annotations

import pytest

from example_project.newsletter.jobs import report_mailing, send_offer, spring_mailing
from example_project.newsletter.models import Subscriber
from qorworker import Batch
from qorworker.models import Job
from qorworker.testing.running import drain, run_job


@pytest.fixture
def subscribers(db):
    people = [Subscriber(email=f"{name.lower()}@example.com", name=name) for name in ("Ada", "Ben", "Chloe")]
    Subscriber.objects.bulk_create([*people, Subscriber(email="gone@example.com", name="gone", active=False)])
    return people


def test_every_active_subscriber_gets_an_offer_in_a_job_of_its_own(subscribers, mailoutbox):
    spring_mailing.enqueue(subject="Tulips", content="Dear {name}, …")
    drain()
    batch = Batch.objects.get()
    assert (batch.title, batch.outcome, batch.counts()) == ("Spring mailing: Tulips", "done", {"done": 3})
    assert sorted(mail.body for mail in mailoutbox) == [f"Dear {name}, …" for name in ("Ada", "Ben", "Chloe")]
    assert Job.objects.for_type(report_mailing).done().get().result == {"done": 3}


def test_a_second_attempt_sends_no_second_mail(subscribers, mailoutbox):
    job = spring_mailing.enqueue(subject="Tulips", content="Dear {name}, …")
    run_job(job)
    Job.objects.filter(pk=job.pk).update(status="exception")
    Job.objects.get(pk=job.pk).retry()
    drain()
    assert len(mailoutbox) == 3
    assert Job.objects.for_type(send_offer).count() == 3


def test_the_report_runs_only_at_the_end_of_a_mailing(db):
    assert "at the end of a mailing only" in run_job(report_mailing).error
