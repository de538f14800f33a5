"""JOBS_PER_USER: a person who has as many unfinished jobs as are allowed starts no more, and is told so."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from qorworker import Every, Schedule
from qorworker.models import Job
from tests.admin.support import BASE, in_state, make_job, messages_of, page_of, superuser, user_with
from tests.admin.test_run_form import token_of
from tests.models.rows import race
from tests.security.people import READING, USING

pytestmark = pytest.mark.django_db

OPEN = BASE + "run/tests.open/"
TOLD = "You already have 2 jobs waiting or running"


@pytest.fixture
def ann(types, settings, client):
    settings.QORWORKER = {**settings.QORWORKER, "JOBS_PER_USER": 2}
    user = user_with(*USING, *READING, name="ann")
    client.force_login(user)
    return user


def run(client):
    return client.post(OPEN, {"qw-token": token_of(client, OPEN), "qw-when": "now"})


def test_as_many_as_are_allowed_start_and_the_next_is_refused_on_the_form(client, ann):
    assert [run(client).status_code for _ in range(4)] == [302, 302, 200, 200]
    assert TOLD in run(client).content.decode()
    assert Job.objects.count() == 2


@pytest.mark.parametrize("state", ["new", "scheduled", "will_retry", "running"])
def test_whatever_has_not_ended_counts(client, types, ann, state):
    for _ in range(2):
        in_state(types["open"], state, created_by=ann)
    assert run(client).status_code == 200


@pytest.mark.parametrize("state", ["done", "exception", "killed", "cancelled"])
def test_what_has_ended_does_not_count(client, types, ann, state):
    for _ in range(2):
        in_state(types["open"], state, created_by=ann)
    assert run(client).status_code == 302


def test_what_others_have_does_not_count(client, types, ann):
    for _ in range(2):
        make_job(types["open"], created_by=superuser("other") if not Job.objects.exists() else None)
    assert run(client).status_code == 302


@pytest.mark.parametrize("data", [{"confirmed": "1"}, {"confirmed": "1", "qw-token": "0." + "x" * 20}])
def test_run_again_counts_too(client, types, ann, data):
    done = make_job(types["open"], "done", created_by=ann)
    for _ in range(2):
        make_job(types["open"], created_by=ann)
    answer = client.post(page_of(done, "run-again/"), data, follow=True)
    assert messages_of(answer)[0].startswith(TOLD)
    assert Job.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_at_the_same_moment_no_more_start_either(types, settings):
    settings.QORWORKER = {**settings.QORWORKER, "JOBS_PER_USER": 1}
    user = user_with(*USING, *READING, name="ann")
    done = make_job(types["open"], "done", created_by=user)

    def run_again():
        client = Client()
        client.force_login(user)
        return client.post(page_of(done, "run-again/"), {"confirmed": "1"}).status_code

    assert race(*[run_again] * 4) == [302] * 4
    assert Job.objects.queued().count() == 1


def test_in_bulk_as_many_start_as_are_allowed(client, types, ann):
    done = [make_job(types["open"], "done", created_by=ann) for _ in range(3)]
    data = {"action": "run_again", "_selected_action": [job.pk for job in done], "confirmed": "1"}
    answer = client.post(BASE, {**data, "qw-token": "0." + "x" * 20}, follow=True)
    assert Job.objects.queued().count() == 2
    assert "1 was left alone: you have as many unfinished jobs as are allowed." in messages_of(answer)[0]


def test_a_schedule_that_is_run_by_hand_counts_too(client, types, ann):
    user = user_with(*USING, *READING, "qorworker.manage_schedule", name="planner")
    client.force_login(user)
    schedules = [Schedule.objects.create_for(types["open"], Every(minutes=15)) for _ in range(2)]
    make_job(types["open"], created_by=user)
    url = reverse("admin:qorworker_schedule_changelist")
    data = {"action": "run_now", "_selected_action": [schedule.pk for schedule in schedules], "confirmed": "1"}
    (message,) = messages_of(client.post(url, data, follow=True))
    assert message.endswith("1 was left alone: you have as many unfinished jobs as are allowed.")
    answer = client.post(f"{url}{schedules[0].pk}/run-now/", follow=True)
    assert messages_of(answer)[0].startswith(TOLD)
    assert Job.objects.count() == 2


def test_a_superuser_has_no_limit(client, types, ann):
    client.force_login(superuser())
    assert [run(client).status_code for _ in range(3)] == [302] * 3


def test_without_the_setting_there_is_none(client, types, ann, settings):
    settings.QORWORKER = {**settings.QORWORKER, "JOBS_PER_USER": 0}
    assert [run(client).status_code for _ in range(3)] == [302] * 3
