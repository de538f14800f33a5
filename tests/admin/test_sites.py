"""Two admin sites with other registrations: every page leads to pages of its own site, and to none that it lacks."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import override_settings
from django.urls import path

from qorworker import Every
from qorworker.admin.jobs.admin import JobAdmin
from qorworker.admin.schedules.admin import ScheduleAdmin
from qorworker.models import AuditEntry, Job, Pause, Schedule
from tests.admin.support import a_worker, in_state, make_job, stored, text_of, user_with
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.once]

shop_floor = admin.AdminSite(name="floor")
shop_floor.register(Job, JobAdmin)
only_schedules = admin.AdminSite(name="calendar")
only_schedules.register(Schedule, ScheduleAdmin)
urlpatterns = [
    path("office/", admin.site.urls), path("floor/", shop_floor.urls), path("calendar/", only_schedules.urls)
]  # fmt: skip
ALONE = type("alone", (), {"urlpatterns": [path("floor/", shop_floor.urls)]})
LINK = re.compile(r'(?:href|action|data-qw-live|data-qw-preview)="(/[^"]*)"')


@pytest.fixture(autouse=True)
def _mounted():
    with override_settings(ROOT_URLCONF=__name__):
        yield


def links_of(page: str) -> set[str]:
    """The first part of each address on the page."""
    found = {link.split("/")[1] for link in LINK.findall(page)}
    return found - {"", "static"}  # the first leads from the admin to the project


@pytest.fixture
def job(types, root):
    schedule = Schedule.objects.create_for(types["greet"], Every(days=1), {"subject": "tea"}, name="daily", by=root)
    Pause.objects.start("queue", "default", by=root)
    shop = Shop.objects.create(name="Berlin")
    make_job(types["greet"], "running", worker=a_worker())
    return in_state(
        types["greet"], "exception", arguments=stored(types["greet"], subject=str(shop)), schedule=schedule,
        created_by=root,
    )  # fmt: skip


FLOOR = ("", "catalogue/", "run/tests.greet/", "{pk}/change/", "{pk}/delete/", "99999/change/", "?tab=failed")


@pytest.mark.parametrize("page", FLOOR)
@pytest.mark.parametrize("site", ["office", "floor"])
def test_every_link_stays_in_the_site_of_its_page(visitor, job, site, page):
    answer = visitor.get(f"/{site}/qorworker/job/{page.format(pk=job.pk)}")
    assert answer.status_code == (404 if page.startswith("99999") else 200)
    assert links_of(text_of(answer)) == {site}


def test_a_site_without_jobs_shows_schedules_without_links_to_jobs(visitor, job):
    for page in ("", "calendar/", f"{job.schedule_id}/change/", "99999/change/", "add/?job=tests.greet"):
        answer = visitor.get(f"/calendar/qorworker/schedule/{page}")
        assert answer.status_code == (404 if page.startswith("99999") else 200), page
        assert links_of(text_of(answer)) == {"calendar"}


def test_data_for_scripts_leads_to_its_own_site(visitor, job):
    for page in ("list.json", f"{job.pk}/job.json"):
        assert "/floor/qorworker/job/" in text_of(visitor.get(f"/floor/qorworker/job/{page}"))
    news = text_of(visitor.get(f"/floor/qorworker/job/{job.pk}/live/?state=other"))
    assert "/office/" not in news
    assert "/floor/" in news


@pytest.mark.parametrize("site", ["office", "floor"])
def test_buttons_redirect_within_their_site(visitor, job, site):
    for verb in ("retry", "cancel", "run-again"):
        answer = visitor.post(
            f"/{site}/qorworker/job/{job.pk}/{verb}/", {"confirmed": "1", "qw-token": "0." + "x" * 20}
        )
        assert answer["Location"].startswith(f"/{site}/qorworker/job/"), verb
    assert links_of(text_of(visitor.get(answer["Location"]))) == {site}  # with the messages of the buttons


def test_the_only_site_may_have_any_name(visitor, job):
    with override_settings(ROOT_URLCONF=ALONE):
        for page in FLOOR:
            answer = visitor.get(f"/floor/qorworker/job/{page.format(pk=job.pk)}")
            assert answer.status_code == (404 if page.startswith("99999") else 200), page
            assert links_of(text_of(answer)) == {"floor"}


# Refusals


REFUSED = [
    "job/", "job/add/", "job/catalogue/", "schedule/", "schedule/add/", "schedule/calendar/", "queue/", "worker/",
    "worker/add/", "job/1/delete/", "schedule/1/delete/",
]  # fmt: skip


@pytest.mark.parametrize("page", REFUSED)
def test_a_refusal_is_a_page_with_a_sentence_and_a_way_back(types, client, page):
    client.force_login(user_with("auth.view_user"))
    answer = client.get(f"/office/qorworker/{page}")
    assert answer.status_code in (302, 403)
    if answer.status_code == 403:
        text = text_of(answer)
        assert "You may not" in text
        assert '<a href="/office/">Back to the start page</a>' in text


def test_a_refusal_names_the_permission_as_django_does(types, client):
    client.force_login(user_with("qorworker.view_job"))
    job = make_job(types["by_name"], "exception")
    answer = client.post(f"/office/qorworker/job/{job.pk}/retry/")
    wanted = Permission.objects.get(codename="change_shop", content_type__app_label="testapp")
    assert str(wanted) == answer.context["permission_name"]
    assert str(wanted) in text_of(answer).replace("&#x27;", "'")
    assert f'href="/office/qorworker/job/{job.pk}/change/"' in text_of(answer)


@pytest.mark.parametrize(
    "refused",
    ["queue/pause/", "queue/resume/", "job/{pk}/retry/", "schedule/{schedule}/run-now/", "worker/{worker}/pause/"],
)
def test_refusals_have_an_address_and_are_recorded_once_a_minute(types, client, job, refused):
    client.force_login(user_with("qorworker.view_job", "qorworker.view_worker"))
    url = "/office/qorworker/" + refused.format(pk=job.pk, schedule=job.schedule_id, worker=a_worker().pk)
    for _ in range(5):
        assert client.post(url, {"qw-what": "queue:default"}, REMOTE_ADDR="192.0.2.7").status_code == 403
    entries = AuditEntry.objects.filter(outcome="denied")
    assert [entry.address for entry in entries] == ["192.0.2.7"]


def test_refusals_of_two_people_are_both_recorded(types, client, job):
    for name in ("ann", "ben"):
        client.force_login(user_with("qorworker.view_job", name=name))
        client.post(f"/office/qorworker/job/{job.pk}/retry/")
    assert AuditEntry.objects.filter(outcome="denied").count() == 2


def test_refusals_take_no_place_of_what_was_done(types, visitor, job):
    AuditEntry.objects.record("cancel", job=job, reason="the one that counts")
    for _ in range(300):
        AuditEntry.objects.record("retry", job=job, outcome="denied")
    page = text_of(visitor.get(f"/office/qorworker/job/{job.pk}/change/"))
    assert "the one that counts" in page
    assert page.count("tried to retry it without permission") == 20
