"""What a second attempt, and a second job, show of the first."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse
from django.utils import timezone

from qorworker.models import Job, ResultsRow
from tests.testapp import jobs

pytestmark = [pytest.mark.django_db, pytest.mark.once]


@pytest.fixture
def page(client):
    client.force_login(get_user_model().objects.create_superuser("boss"))

    def read(job: Job) -> str:
        return client.get(reverse("admin:qorworker_job_change", args=[job.pk])).content.decode()

    return read


def ended(job: Job, **fields: object) -> Job:
    Job.objects.filter(pk=job.pk).update(status="exception", attempt=1, finished_at=timezone.now(), **fields)
    job.refresh_from_db()
    return job


def test_results_are_those_of_the_last_attempt(page, client):
    job = ended(jobs.row_errors.enqueue(), results_rows=3, results_before=2, results_errors=0)
    for number, value in ((1, "first try"), (2, "first try"), (3, "second try")):
        ResultsRow.objects.create(
            job=job, number=number, attempt=1 + (number > 2), cells=[{"value": value, "error": ""}]
        )
    text = page(job)
    assert "second try" in text
    assert "first try" not in text
    assert '<th scope="row">1</th>' in text
    csv = b"".join(client.get(reverse("admin:qorworker_job_results", args=[job.pk])).streaming_content).decode()
    assert "1,second try" in csv
    assert "first try" not in csv


def test_a_job_with_a_secret_is_run_again_through_the_form_only(page):
    job = ended(jobs.secretive.enqueue(password="hunter22"))
    text = page(job)
    assert reverse("admin:qorworker_job_run_again", args=[job.pk]) not in text
    assert "Run again with changes" in text


def test_a_job_without_secrets_has_a_button_to_run_it_again(page):
    job = ended(jobs.noop.enqueue())
    assert reverse("admin:qorworker_job_run_again", args=[job.pk]) in page(job)


def test_a_running_job_offers_to_download_its_log_before_the_first_line(page):
    job = jobs.noop.enqueue()
    address = reverse("admin:qorworker_job_log", args=[job.pk])
    assert address in page(job)
    assert address not in page(ended(job))
