"""The line at the top of every page: where one may go, where one is, what is told beside the names."""

from __future__ import annotations

import re

import pytest

from tests.admin.support import BASE, a_worker, in_state, make_job, page_of, text_of, user_with

pytestmark = pytest.mark.django_db

WORKERS = BASE.replace("/job/", "/worker/")
QUEUES = BASE.replace("/job/", "/queue/")
SCHEDULES = BASE.replace("/job/", "/schedule/")


def places(client, path):
    """The names of the places with what is told beside them; the current one between stars."""
    page = text_of(client.get(path))
    line = page[page.index('class="qw-nav"') : page.index("</nav>", page.index('class="qw-nav"'))]
    found = re.findall(r'<li><a [^>]*?(aria-current="true")?>([^<]+)</a>(?: ?<span[^>]*>([^<]+)</span>)?', line)
    return [f"*{name}*{told}" if current else f"{name} {told}".strip() for current, name, told in found]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (BASE, ["*Jobs*1 running", "Run a job", "Schedules", "Queues", "Workers 1"]),
        (BASE + "?tab=failed", ["*Jobs*1 running", "Run a job", "Schedules", "Queues", "Workers 1"]),
        (BASE + "catalogue/", ["Jobs 1 running", "*Run a job*", "Schedules", "Queues", "Workers 1"]),
        (BASE + "run/tests.greet/", ["Jobs 1 running", "*Run a job*", "Schedules", "Queues", "Workers 1"]),
        (SCHEDULES, ["Jobs 1 running", "Run a job", "*Schedules*", "Queues", "Workers 1"]),
        (SCHEDULES + "add/", ["Jobs 1 running", "Run a job", "*Schedules*", "Queues", "Workers 1"]),
        (QUEUES, ["Jobs 1 running", "Run a job", "Schedules", "*Queues*", "Workers 1"]),
        (WORKERS, ["Jobs 1 running", "Run a job", "Schedules", "Queues", "*Workers*1"]),
    ],
)
def test_every_page_tells_where_one_can_go_and_is(types, visitor, path, shown):
    a_worker()
    in_state(types["open"], "running")
    assert places(visitor, path) == shown


def test_the_pages_of_one_job_and_one_worker_belong_to_their_lists(types, visitor):
    worker, job = a_worker(), make_job(types["open"])
    assert places(visitor, page_of(job))[0] == "*Jobs*"
    assert places(visitor, f"{WORKERS}{worker.pk}/change/")[-1] == "*Workers*1"


def test_only_places_that_one_may_go_to_are_named_and_only_visible_jobs_counted(types, client):
    a_worker()
    in_state(types["open"], "running")
    client.force_login(user_with("testapp.change_shop"))
    assert places(client, BASE) == ["*Jobs*", "Run a job", "Schedules", "Queues"]
    client.force_login(user_with("qorworker.view_worker", name="only workers"))
    assert places(client, WORKERS) == ["*Workers*1"]


def test_keys_lead_to_the_places(types, visitor):
    keys = dict(re.findall(r'href="([^"]+)" data-qw-key="([^"]+)"', text_of(visitor.get(BASE))))
    assert keys == {BASE: "g j", BASE + "catalogue/": "g c", SCHEDULES: "g s", QUEUES: "g q", WORKERS: "g w"}


def test_that_nobody_works_is_told_once(types, visitor):
    job = make_job(types["open"])
    assert "No worker is running." in text_of(visitor.get(BASE))
    page = text_of(visitor.get(page_of(job)))
    assert "No worker is running that serves the queue" in page
    assert "No worker is running.</strong>" not in page
    assert "No worker is running.</strong>" in text_of(visitor.get(page_of(in_state(types["open"], "done"))))
