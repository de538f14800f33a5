"""The line at the top of every page: where one may go, where one is, what is told beside the names."""

from __future__ import annotations

import re

import pytest
from django.contrib.staticfiles import finders

from qorworker.admin import media
from tests.admin.support import BASE, a_worker, in_state, make_job, page_of, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]

WORKERS = BASE.replace("/job/", "/worker/")
BATCHES = BASE.replace("/job/", "/batch/")
QUEUES = BASE.replace("/job/", "/queue/")
MESSAGES = BASE.replace("/job/", "/message/")
RULES = BASE.replace("/job/", "/messagerule/")
DASHBOARD = BASE.replace("job/", "")
SCHEDULES = BASE.replace("/job/", "/schedule/")


def places(client, path):
    """The names of the places with what is told beside them; the current one between stars."""
    page = text_of(client.get(path))
    line = page[page.index('class="qw-nav"') : page.index("</nav>", page.index('class="qw-nav"'))]
    found = re.findall(r'<li><a [^>]*?(aria-current="true")?>([^<]+)</a>(?: ?<span[^>]*>([^<]+)</span>)?', line)
    return [f"*{name}*{told}" if current else f"{name} {told}".strip() for current, name, told in found]


PLACES = ["Jobs 1 running", "Run a job", "Schedules", "Batches", "Queues", "Workers 1", "Messages", "Dashboard"]


@pytest.mark.parametrize(
    ("path", "current"),
    [
        (BASE, "*Jobs*1 running"),
        (BASE + "?tab=failed", "*Jobs*1 running"),
        (BASE + "catalogue/", "*Run a job*"),
        (BASE + "run/tests.greet/", "*Run a job*"),
        (SCHEDULES, "*Schedules*"),
        (SCHEDULES + "add/", "*Schedules*"),
        (BATCHES, "*Batches*"),
        (QUEUES, "*Queues*"),
        (WORKERS, "*Workers*1"),
        (MESSAGES, "*Messages*"),
        (RULES, "*Messages*"),
        (RULES + "add/", "*Messages*"),
        (DASHBOARD, "*Dashboard*"),
        (BASE + "failures/", "*Dashboard*"),
    ],
)
def test_every_page_tells_where_one_can_go_and_is(types, visitor, path, current):
    a_worker()
    in_state(types["open"], "running")
    plain = current.replace("*", " ").strip()
    assert places(visitor, path) == [current if place == plain else place for place in PLACES]


def test_the_pages_of_one_job_and_one_worker_belong_to_their_lists(types, visitor):
    worker, job = a_worker(), make_job(types["open"])
    assert places(visitor, page_of(job))[0] == "*Jobs*"
    assert places(visitor, f"{WORKERS}{worker.pk}/change/")[-3] == "*Workers*1"


def test_only_places_that_one_may_go_to_are_named_and_only_visible_jobs_counted(types, client):
    a_worker()
    in_state(types["open"], "running")
    client.force_login(user_with("testapp.change_shop"))
    assert places(client, BASE) == ["*Jobs*", "Run a job", "Schedules", "Batches", "Queues", "Dashboard"]
    client.force_login(user_with("qorworker.view_worker", name="only workers"))
    assert places(client, WORKERS) == ["*Workers*1"]
    client.force_login(user_with("qorworker.view_messagerule", name="only rules"))
    assert places(client, RULES) == ["*Messages*"]


def test_keys_lead_to_the_places(types, visitor):
    keys = dict(re.findall(r'href="([^"]+)" data-qw-key="([^"]+)"', text_of(visitor.get(BASE))))
    assert keys == {
        BASE: "g j",
        BASE + "catalogue/": "g c",
        SCHEDULES: "g s",
        BATCHES: "g b",
        QUEUES: "g q",
        WORKERS: "g w",
        MESSAGES: "g m",
        DASHBOARD: "g d",
    }


def test_that_nobody_works_is_told_once(types, visitor):
    job = make_job(types["open"])
    assert "No worker is running." in text_of(visitor.get(BASE))
    page = text_of(visitor.get(page_of(job)))
    assert "No worker is running that serves the queue" in page
    assert "No worker is running.</strong>" not in page
    assert "No worker is running.</strong>" in text_of(visitor.get(page_of(in_state(types["open"], "done"))))


@pytest.mark.parametrize("theme", media.THEMES)
def test_a_theme_brings_its_sheet_before_ours(monkeypatch, theme):
    monkeypatch.setattr(media.apps, "is_installed", lambda name: name == theme)
    assert media._sheets() == [f"qorworker/{name}.css" for name in ("base", f"themes/{theme}", "qorworker", "controls")]
    assert all(finders.find(sheet) for sheet in media._sheets())
