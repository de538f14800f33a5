"""The page of the workers: who is alive, what each is at, what is wrong; to look at only."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import qorworker
from qorworker.admin.workers import cards
from qorworker.models import Worker
from qorworker.queries import worker_list
from tests.admin.support import BASE, LONG_AGO, XSS, a_worker, make_job, page_of, text_of, user_with

pytestmark = pytest.mark.django_db

WORKERS = BASE.replace("/job/", "/worker/")
ALL_QUEUES = ["default", "mail"]


def a_sound_worker(**fields):
    return a_worker(**{"version": qorworker.__version__, "queues": ALL_QUEUES, **fields})


def gone(worker):
    Worker.objects.filter(pk=worker.pk).update(heartbeat_at=timezone.now() - LONG_AGO)
    return worker


def words_of(response):
    page = text_of(response)
    page = page[page.index('id="qw-workers"') :].split("</main>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", page).replace("\xa0", " ").split())


def test_those_alive_come_first_then_those_gone_then_those_stopped(types, visitor):
    Worker.objects.stop(a_worker(name="stopped-one").pk)
    gone(a_worker(name="gone-one"))
    a_worker(name="alive-one")
    page = text_of(visitor.get(WORKERS))
    assert re.findall(r"</svg>\s*<span>(Alive|Gone|Stopped)<", page) == ["Alive", "Gone", "Stopped"]
    assert re.findall(r"/change/\">(\w+)-one</a>", page) == ["alive", "gone", "stopped"]
    assert "1 alive · 1 gone" in words_of(visitor.get(WORKERS))


def test_nobody_can_change_add_or_delete_a_worker(types, visitor):
    worker = a_worker()
    assert visitor.get(f"{WORKERS}{worker.pk}/change/").status_code == 200
    assert visitor.post(f"{WORKERS}{worker.pk}/change/", {}).status_code == 403
    assert visitor.get(WORKERS + "add/").status_code == 403
    assert visitor.post(f"{WORKERS}{worker.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_card_tells_what_its_row_knows(types, visitor):
    worker = a_sound_worker(slots=4, memory=212 * 1024 * 1024)
    Worker.objects.filter(pk=worker.pk).update(started_at=timezone.now() - dt.timedelta(days=3, minutes=1))
    words = words_of(visitor.get(WORKERS))
    assert "web-1:7" in words
    assert "Running for 3 d" in words
    assert "default, mail" in words
    assert "0 of 4 busy" in words
    assert "212.0 MB" in words
    assert f"Version {qorworker.__version__}" in words


def test_a_busy_slot_links_to_its_job_with_progress_and_process(types, visitor):
    worker = a_sound_worker()
    job = make_job(types["greet"], "running", worker=worker, progress=42, process_id=4733)
    response = visitor.get(WORKERS)
    assert f'href="{page_of(job)}"' in text_of(response)
    words = words_of(response)
    assert "1 of 2 busy" in words
    assert "42 %" in words
    assert "process 4733" in words


@pytest.mark.parametrize("may_manage", [True, False])
def test_invisible_jobs_are_counted_only_for_users_who_manage_workers(types, client, may_manage):
    worker = a_sound_worker()
    make_job(types["greet"], "running", worker=worker, progress_text="hidden")
    rights = ["qorworker.manage_worker"] if may_manage else []
    client.force_login(user_with("qorworker.view_worker", "testapp.change_shop", *rights))
    response = client.get(WORKERS)
    assert ("1 of 2 busy" in words_of(response)) is may_manage
    assert ("1 job that you may not see" in words_of(response)) is may_manage
    assert "Send greetings" not in text_of(response)


def test_a_sound_worker_has_no_warning(types, visitor):
    a_sound_worker()
    assert "data-kind" not in text_of(visitor.get(WORKERS))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"version": "0.0.1"}, f"It runs qorworker 0.0.1, this site {qorworker.__version__}."),
        ({"job_types": ["tests.open"]}, "It does not know these jobs: "),
        ({"queues": ["mail"]}, "No worker serves the queue “default”."),
    ],
)
def test_what_is_wrong_is_told(types, visitor, fields, told):
    a_sound_worker(**fields)
    assert told in words_of(visitor.get(WORKERS))


def test_a_job_of_a_queue_that_a_worker_does_not_serve_need_not_be_known_to_it(types, visitor):
    a_sound_worker()
    a_sound_worker(queues=["mail"], job_types=[])
    assert "does not know" not in words_of(visitor.get(WORKERS))


def test_a_worker_that_is_gone_is_not_warned_about(types, visitor):
    a_sound_worker()
    gone(a_sound_worker(version="0.0.1"))
    assert "0.0.1, this site" not in words_of(visitor.get(WORKERS))


def test_clocks_that_differ_are_told_and_signs_of_life_are_judged_by_that_of_the_database(types, visitor, monkeypatch):
    worker = a_sound_worker()
    database = worker_list.now()
    monkeypatch.setattr(cards.timezone, "now", lambda: database + dt.timedelta(minutes=5))
    words = words_of(visitor.get(WORKERS))
    assert re.search(r"differ by (299|300) s", words)
    assert cards.state_of(worker, database) == "alive"
    assert "1 alive" in words


def test_without_any_worker_the_page_says_how_to_start_one(types, visitor):
    assert "manage.py runworker" in words_of(visitor.get(WORKERS))


def test_what_workers_say_of_themselves_is_text(types, visitor):
    worker = a_worker(name=XSS, host=XSS, version=XSS[:50], queues=[XSS], job_types=[XSS])
    for path in (WORKERS, f"{WORKERS}{worker.pk}/change/"):
        assert XSS not in text_of(visitor.get(path))
    assert XSS not in visitor.get(WORKERS + "live/").json()["parts"]["workers"]


def test_news_of_the_workers_are_the_cards_as_they_are_now(types, visitor):
    worker = a_sound_worker()
    assert "Alive" in visitor.get(WORKERS + "live/").json()["parts"]["workers"]
    Worker.objects.stop(worker.pk)
    news = visitor.get(WORKERS + "live/").json()
    assert "Alive" not in news["parts"]["workers"]
    assert "Stopped" in news["parts"]["workers"]
    assert news["final"] is False


def test_news_of_the_workers_need_the_right_to_see_them(types, client):
    client.force_login(user_with("qorworker.view_job"))
    assert client.get(WORKERS + "live/").status_code == 403
    assert client.get(WORKERS).status_code == 403


@pytest.mark.parametrize("page", ["change/", "history/", "delete/"])
def test_without_the_right_to_see_workers_nobody_learns_which_there_are(types, client, page):
    client.force_login(user_with("qorworker.view_job"))
    numbers = (a_worker().pk, 987_654)
    assert [client.get(f"{WORKERS}{number}/{page}").status_code for number in numbers] == [403, 403]


def test_the_page_needs_as_many_queries_for_twenty_workers_as_for_one(types, visitor):
    for _number in range(20):
        make_job(types["open"], "running", worker=a_sound_worker())
    with CaptureQueriesContext(connection) as captured:
        visitor.get(WORKERS)
    assert len(captured) <= 10


def test_the_page_of_a_worker_names_only_job_types_that_one_may_see(types, client):
    worker = a_sound_worker(job_types=["tests.open", "tests.by_name", "tests.gone"])
    page = f"{WORKERS}{worker.pk}/change/"
    names = {"tests.open", "tests.by_name", "tests.gone"}

    def named(*permissions, name):
        client.force_login(user_with("qorworker.view_worker", *permissions, name=name))
        shown = text_of(client.get(page))
        return {each for each in names if each in shown}

    assert named(name="nobody") == set()
    assert named("testapp.change_shop", name="of one type") == {"tests.by_name"}
    assert named("qorworker.view_job", name="reader") == names
    worker.refresh_from_db()
    assert set(worker.job_types) == names
