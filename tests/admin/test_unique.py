"""What the pages say where there may be no second job like one that is there."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.urls import reverse
from django.utils import timezone

from qorworker import Every, Schedule, Unique, job
from qorworker.models import AuditEntry, Job, ScheduleSlot
from qorworker.schedules.timetable import Slot
from tests.admin.support import BASE, make_job, messages_of, page_of, text_of, user_with
from tests.admin.test_bulk import choose
from tests.job_types import own_types  # noqa: F401

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types"), pytest.mark.once]
URL = BASE + "run/tests.only/"


def declare(**rule):
    @job(name="tests.only", title="Only one", unique=Unique(**rule))
    def only(shop: int = 1, mode: str = "add"):
        pass

    return only


def submit(client, **values):
    token = re.search(r'name="qw-token" value="([^"]+)"', text_of(client.get(URL)))[1]
    posted = {"shop": "1", "mode": "add", "qw-when": "now", "qw-token": token, **values}
    return client.post(URL, posted, follow=True)


def test_the_form_leads_to_the_job_that_is_there(visitor):
    first = declare().enqueue()
    response = submit(visitor)
    assert Job.objects.count() == 1
    assert response.redirect_chain == [(page_of(first), 302)]
    (message,) = messages_of(response)
    assert f"is already waiting as job #{first.pk}. No new job was started." in re.sub("<[^>]+>", "", message)
    assert f'<a href="{page_of(first)}">#{first.pk}</a>' in text_of(response)
    assert Job.objects.get().form_tokens is None  # that is of whoever started it
    assert "only one may wait or run" in text_of(response)


def test_the_form_says_that_arguments_were_replaced(visitor):
    first = declare(by="shop", on_conflict="replace").enqueue(mode="old")
    response = submit(visitor, mode="new")
    assert "It now has the new arguments" in messages_of(response)[0]
    assert Job.objects.get().arguments["mode"] == "new"
    assert "asked for the same job" in text_of(visitor.get(page_of(first)))


def test_the_form_stays_open_with_what_was_typed_where_a_second_one_is_an_error(visitor):
    first = declare(by="shop", on_conflict="raise").enqueue()
    response = submit(visitor, mode="mine")
    assert Job.objects.count() == 1
    page = text_of(response)
    assert f'<a href="{page_of(first)}">#{first.pk}</a>' in page
    assert 'value="mine"' in page


@pytest.mark.parametrize("on_conflict", ["return", "raise"])
def test_who_may_not_see_the_job_does_not_learn_its_number(client, root, settings, on_conflict):
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
    first = declare(on_conflict=on_conflict).using(user=root).enqueue()
    client.force_login(user_with("qorworker.run_job", "qorworker.view_job"))
    response = submit(client)
    assert "A matching job already exists" in text_of(response)
    assert f"#{first.pk}" not in text_of(response)
    assert Job.objects.count() == 1


def test_a_title_is_text(visitor):
    @job(name="tests.only", title="<b>Bold</b>", unique=Unique(on_conflict="raise"))
    def only(shop: int = 1, mode: str = "add"):
        pass

    only.enqueue()
    assert "<b>Bold</b>" not in text_of(submit(visitor))


def test_a_retry_is_refused_while_another_is_there(visitor):
    only = declare()
    failed = only.enqueue()
    Job.objects.filter(pk=failed.pk).transition("exception", finished_at=timezone.now())
    waits = only.enqueue()
    response = visitor.post(page_of(failed, "retry/"), follow=True)
    assert f"#{waits.pk}" in messages_of(response)[0]
    assert Job.objects.get(pk=failed.pk).status == "exception"
    assert "tried to retry it, but a matching job already existed" in text_of(visitor.get(page_of(failed)))
    again = visitor.post(page_of(failed, "run-again/"), follow=True)
    assert "No new job was started" in messages_of(again)[0]
    assert Job.objects.count() == 2


@pytest.mark.parametrize(("action", "done"), [("retry", "1 job is queued again"), ("run_again", "1 new job is queued")])
def test_of_many_those_are_left_alone_whose_like_is_there(visitor, action, done):
    only = declare()
    failed = [only.enqueue(shop=shop) for shop in (1, 2)]
    Job.objects.transition("exception", finished_at=timezone.now())
    only.enqueue(shop=1)
    response = choose(visitor, action, failed, confirmed="1")
    (message,) = messages_of(response)
    assert message == f"{done}. 1 was left alone: a matching job already exists."
    outcomes = AuditEntry.objects.of_job(failed[0].pk).values_list("action", "outcome")
    assert list(outcomes) == ([("retry", "taken")] if action == "retry" else [])


def test_the_page_of_a_schedule_tells_which_job_was_in_the_way(visitor):
    only = declare()
    first = only.enqueue()
    schedule = Schedule.objects.create_for(only, Every(minutes=15))
    slot = Slot(dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC), "noon")
    slots = ScheduleSlot.objects
    row = ScheduleSlot.of(schedule, slot, outcome="fired")
    slots.note_all([row])
    slots.made_none(row, first)
    url = reverse("admin:qorworker_schedule_change", args=[schedule.pk])
    page = re.sub("<[^>]+>", "", text_of(visitor.get(url)))
    assert f"Left out: A matching job already existed. #{first.pk}" in page
    run = visitor.post(url.replace("/change/", "/run-now/"), follow=True)
    assert "No new job was started" in messages_of(run)[0]


def test_a_job_without_a_rule_says_nothing_of_it(visitor, types):
    assert "only one may" not in text_of(visitor.get(page_of(make_job(types["open"]))))


def test_a_schedule_that_is_run_now_says_which_job_was_there_instead(visitor):
    only = declare()
    schedule = Schedule.objects.create_for(only, Every(minutes=15), {"shop": 1})
    waits = only.enqueue(shop=1)
    schedules = reverse("admin:qorworker_schedule_changelist")
    (message,) = visitor.post(f"{schedules}{schedule.pk}/run-now/", follow=True).context["messages"]
    assert (message.level_tag, f"#{waits.pk}" in str(message)) == ("warning", True)
    data = {"action": "run_now", "_selected_action": [schedule.pk], "confirmed": "1"}
    (message,) = messages_of(visitor.post(schedules, data, follow=True))
    assert message == "Nothing was changed. 1 was left alone: a matching job already exists."
    assert Job.objects.count() == 1
