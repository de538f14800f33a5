"""The page of the queues: what waits, who serves it, what is paused by whom; and who may pause and resume."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from qorworker import pause_queue
from qorworker.models import Attempt, AuditEntry, Pause
from tests.admin.support import BASE, XSS, a_worker, compact, make_job, messages_of, page_of, text_of, user_with

pytestmark = pytest.mark.django_db

QUEUES = BASE.replace("/job/", "/queue/")
WORKERS = BASE.replace("/job/", "/worker/")
MAIL, GREET = "queue:mail", "job type:tests.greet"
LATER = {"qw-until_0": "2999-01-01", "qw-until_1": "09:00"}


def cells(client, name="mail"):
    """The texts of a queue's row."""
    page = compact(client.get(QUEUES + "live/").json()["parts"]["queues"])
    rows = [row for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL) if f"<strong>{name}</strong>" in row]
    found = re.findall(r"<td\b[^>]*>(.*?)</td>", rows[0], re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", cell).replace("\xa0", " ").split()) for cell in found]


def post(client, verb, what, **data):
    return client.post(f"{QUEUES}{verb}/", {"qw-what": what, **data}, follow=True)


def test_a_row_tells_what_waits_runs_comes_and_failed_and_who_serves_the_queue(types, visitor):
    now = timezone.now()
    worker = a_worker(queues=["mail", "reports"], slots=4)
    make_job(types["open"], queue_name="mail", run_after=now - dt.timedelta(minutes=9))
    make_job(types["open"], queue_name="mail")
    make_job(types["open"], "running", queue_name="mail", worker=worker)
    make_job(types["open"], "scheduled", queue_name="mail")
    make_job(types["open"], "scheduled", queue_name="mail", pause_requested_at=timezone.now())
    make_job(types["open"], "exception", queue_name="mail", finished_at=now - dt.timedelta(days=2))
    job = make_job(types["open"], "exception", queue_name="mail", run_after=now - dt.timedelta(seconds=30))
    Attempt.objects.create(
        job=job, number=1, started_at=now - dt.timedelta(seconds=10), finished_at=now, outcome="failed"
    )
    name, waiting, oldest, running, scheduled, failed, pace, waits, served, _verbs = cells(visitor)
    assert (name, waiting, running, scheduled, failed) == ("mail Local", "2", "1 / 4", "1 1 paused", "1")
    assert oldest.startswith("9 min")
    assert (pace, waits, served) == ("0.2", "20 s / 20 s", "web-1:7")
    links = re.findall(r'href="([^"]+)"', text_of(visitor.get(QUEUES)))
    assert f"{BASE}?tab=queued&amp;queue=mail" in links


def test_an_empty_queue_that_nobody_serves_says_so_and_one_of_another_backend_does_not(types, visitor, settings):
    queues = settings.QORWORKER["QUEUES"]
    at_once = {"BACKEND": "qorworker.backends.immediate.ImmediateBackend", "OPTIONS": {}}
    settings.QORWORKER = {"QUEUES": {**queues, "at-once": at_once}}
    assert cells(visitor)[1:-1] == ["0", "–", "0 / 0", "0", "0", "–", "–", "no worker"]
    assert cells(visitor, "at-once")[-2] == "Immediate"


def test_a_queue_that_is_not_in_the_settings_is_shown_while_it_has_jobs(types, visitor):
    assert "Not in the settings" not in text_of(visitor.get(QUEUES))
    make_job(types["open"], queue_name="old")
    assert "Not in the settings" in cells(visitor, "old")[0]


def test_a_worker_that_is_paused_serves_with_no_slot(types, visitor):
    worker = a_worker(queues=["mail"])
    worker.pause()
    assert cells(visitor)[3] == "0 / 0"
    assert cells(visitor)[-2] == "web-1:7 (paused)"


def test_the_weights_of_queues_are_shown_where_there_are_some(types, visitor, settings):
    assert "Weight" not in text_of(visitor.get(QUEUES))
    assert "weight" in visitor.get(QUEUES + "list.json").json()["queues"][0]


def test_a_queue_is_paused_and_resumed_with_who_why_and_until_when(types, visitor, root):
    answer = post(visitor, "pause", MAIL, **{"qw-reason": " the  server is full ", **LATER})
    assert messages_of(answer) == ["“mail” is paused. Running jobs continue."]
    (pause,) = Pause.objects.for_people()
    assert (pause.name, pause.paused_by, pause.reason, pause.until.year) == ("mail", root, "the server is full", 2999)
    told = cells(visitor)[0]
    assert "Paused today" in told
    assert "by root , until" in told or "by root, until" in told
    assert told.endswith("“the server is full”")
    assert messages_of(post(visitor, "resume", MAIL)) == ["“mail” was resumed."]
    assert "Paused" not in cells(visitor)[0]
    assert messages_of(post(visitor, "resume", MAIL)) == [
        "That has already been done, or cannot be done now. Nothing was changed."
    ]
    assert list(AuditEntry.objects.order_by("id").values_list("action", "user_name", "origin")) == [
        ("pause queue", "root", "admin"),
        ("resume queue", "root", "admin"),
    ]


def test_a_job_type_is_paused_and_resumed_and_its_card_says_so(types, visitor):
    post(visitor, "pause", GREET, **{"qw-reason": "too many complaints"})
    page = text_of(visitor.get(QUEUES))
    assert "Paused job types" in page
    assert "too many complaints" in page
    catalogue = text_of(visitor.get(BASE + "catalogue/"))
    assert catalogue.count('<span class="qw-badge" data-look="aborting">Paused</span>') == 1
    assert messages_of(post(visitor, "resume", GREET)) == ["“Send greetings” was resumed."]
    assert not Pause.objects.exists()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"qw-until_0": "2001-01-01", "qw-until_1": "09:00"}, "A pause ends in the future."),
        ({"qw-until_0": "2999-01-01", "qw-until_1": ""}, "Enter a valid time."),
        ({"qw-reason": "x" * 201}, "at most 200 characters"),
    ],
)
def test_what_cannot_be_is_told_beside_the_field_and_nothing_is_paused(types, visitor, data, told):
    answer = post(visitor, "pause", MAIL, **data)
    assert answer.status_code == 422
    assert told in text_of(answer)
    assert not Pause.objects.exists()


@pytest.mark.parametrize(
    ("what", "status"),
    [("queue:nobody", 422), ("job type:tests.nobody", 404), ("shop:3", 404), ("", 404)],
)
def test_what_there_is_not_is_not_paused(types, visitor, what, status):
    assert post(visitor, "pause", what).status_code == status
    assert not Pause.objects.exists()


LOOK, QUEUE, TYPE = "qorworker.view_job", "qorworker.pause_queue", "qorworker.pause_job_type"


@pytest.mark.parametrize(
    ("rights", "what", "status"),
    [
        ((LOOK, QUEUE), MAIL, 200),
        ((LOOK, TYPE), MAIL, 403),
        ((LOOK,), MAIL, 403),
        ((QUEUE,), MAIL, 403),
        ((LOOK, TYPE), GREET, 200),
        ((LOOK, QUEUE), GREET, 403),
        ((LOOK,), GREET, 403),
        (("testapp.change_shop", TYPE), GREET, 404),  # may see jobs of another type only
        (("testapp.change_shop", TYPE), "job type:tests.by_name", 200),
    ],
)
@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_each_kind_of_pause_has_a_right_of_its_own(types, client, verb, rights, what, status):
    client.force_login(user_with(*rights))
    if verb == "resume":
        Pause.objects.start(*what.split(":"))
    before = Pause.objects.count()
    assert post(client, verb, what).status_code == status
    assert (Pause.objects.count() != before) == (status == 200)
    denied = AuditEntry.objects.filter(outcome="denied").count()
    assert denied == (status == 403)


def test_only_what_one_may_pause_is_offered(types, client):
    pause_queue("reports")
    client.force_login(user_with(LOOK))
    page = text_of(client.get(QUEUES))
    assert 'id="qw-pause"' not in page
    assert ">Resume<" not in page
    client.force_login(user_with(LOOK, TYPE, name="of types"))
    page = text_of(client.get(QUEUES))
    assert f'value="{GREET}"' in page
    assert f'value="{MAIL}"' not in page
    client.force_login(user_with(LOOK, QUEUE, name="of queues"))
    page = text_of(client.get(QUEUES + f"?pause={MAIL}"))
    assert f'value="{MAIL}" selected' in page
    assert f'value="{GREET}"' not in page
    assert ">Resume<" in page


def test_counts_are_of_the_jobs_that_one_may_see(types, client):
    make_job(types["greet"], queue_name="mail")
    make_job(types["by_name"], queue_name="mail")
    client.force_login(user_with("testapp.change_shop"))
    assert cells(client)[1] == "1"


def test_a_pause_of_a_type_is_told_only_to_those_who_may_see_its_jobs(types, client):
    Pause.objects.start("job type", "tests.greet", reason="secret plans")
    client.force_login(user_with("testapp.change_shop"))
    for page in (QUEUES, BASE, BASE + "catalogue/"):
        assert "secret plans" not in text_of(client.get(page, follow=True))
    client.force_login(user_with(LOOK, name="reader"))
    assert "secret plans" in text_of(client.get(QUEUES))


def test_whether_a_type_that_left_the_code_is_paused_is_not_to_be_guessed(types, client):
    client.force_login(user_with("testapp.change_shop", name="shopkeeper"))
    Pause.objects.start("job type", "tests.left")
    assert [post(client, "resume", f"job type:tests.{name}").status_code for name in ("left", "none")] == [404, 404]


def test_every_page_tells_of_a_paused_queue_and_how_many_wait_in_it(types, visitor):
    a_worker()
    make_job(types["open"], queue_name="mail")
    assert "is paused" not in text_of(visitor.get(BASE))
    pause_queue("mail", reason=XSS)
    for page in (BASE, BASE + "catalogue/", WORKERS, page_of(make_job(types["open"], "done"))):
        shown = " ".join(re.sub(r"<[^>]+>", " ", text_of(visitor.get(page))).split())
        told = rf"The queue “mail” has been paused since today [0-9:]+ : “{re.escape(escape(XSS))}” 1 job"
        assert re.search(told, shown)
        assert "is paused" not in shown
        assert XSS not in text_of(visitor.get(page))
    assert text_of(visitor.get(QUEUES)).count("Paused <time") == 1  # in its row


def test_the_json_has_the_figures_of_every_queue(types, visitor):
    make_job(types["open"], queue_name="mail")
    pause_queue("mail", reason="full")
    queues = {row["name"]: row for row in visitor.get(QUEUES + "list.json").json()["queues"]}
    assert set(queues) == {"default", "mail", "reports", "other"}
    mail = queues["mail"]
    assert (mail["waiting"], mail["paused"], mail["reason"], mail["backend"]) == (1, True, "full", "Local")
    assert queues["default"]["paused"] is False


def test_the_page_needs_as_many_queries_for_many_jobs_as_for_one(types, visitor):
    for number in range(8):
        a_worker(queues=["mail"])
        for state in ("new", "running", "scheduled", "exception"):
            make_job(types["open"], state, queue_name=f"q{number}")
    probes = 8 if connection.vendor == "mysql" else 0  # it is asked for each queue by itself
    with CaptureQueriesContext(connection) as captured:
        visitor.get(QUEUES)
    assert len(captured) <= 10 + probes, [each["sql"][:150] for each in captured]
    with CaptureQueriesContext(connection) as captured:
        visitor.get(QUEUES + "live/")
    assert len(captured) <= 10 + probes


# Workers


def offered(client):
    return re.findall(r'action="[^"]*/(pause|resume|drain)/"', text_of(client.get(WORKERS)))


def test_a_worker_offers_exactly_what_can_be_asked_of_it(types, visitor):
    worker = a_worker()
    assert offered(visitor) == ["pause", "drain"]
    visitor.post(f"{WORKERS}{worker.pk}/pause/", {"reason": "too  warm"})
    assert offered(visitor) == ["resume", "drain"]
    page = text_of(visitor.get(WORKERS))
    assert "Pausing…" in page
    assert "Asked by root" in page
    assert "too warm" in page
    type(worker).objects.beat(worker.pk, heeded="pause")
    assert "Pausing…" not in text_of(visitor.get(WORKERS))
    visitor.post(f"{WORKERS}{worker.pk}/resume/")
    assert offered(visitor) == ["pause", "drain"]
    visitor.post(f"{WORKERS}{worker.pk}/drain/")
    assert offered(visitor) == []
    assert "Draining" in text_of(visitor.get(WORKERS))
    answer = visitor.post(f"{WORKERS}{worker.pk}/pause/", follow=True)
    assert messages_of(answer) == ["The worker “web-1:7” cannot do this now. Nothing was changed."]


def test_the_buttons_of_a_worker_are_forms_that_a_browser_sends(types, visitor):
    """Of a form within a form it would send the outer one."""
    a_worker()
    inside = False
    for ends in re.findall(r"<(/?)form\b", text_of(visitor.get(WORKERS))):
        assert inside == bool(ends)
        inside = not ends


def test_the_page_of_a_worker_tells_what_was_asked_of_it(types, visitor):
    worker = a_worker()
    worker.pause()
    assert "Pausing…" in text_of(visitor.get(f"{WORKERS}{worker.pk}/change/"))


def test_requests_need_the_right_to_manage_workers(types, client):
    worker = a_worker()
    client.force_login(user_with("qorworker.view_worker"))
    assert offered(client) == []
    for verb in ("pause", "drain", "resume"):
        assert client.post(f"{WORKERS}{worker.pk}/{verb}/").status_code == 403
    worker.refresh_from_db()
    assert worker.request == ""
    client.force_login(user_with("qorworker.view_worker", "qorworker.manage_worker", name="manager"))
    assert client.post(f"{WORKERS}{worker.pk}/drain/").status_code == 302
    assert AuditEntry.objects.filter(action="drain worker", user_name="manager", outcome="ok").exists()
