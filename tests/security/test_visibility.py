"""Whatever rights a viewer has: no page says anything that depends on rows or texts that the viewer may not see."""

from __future__ import annotations

import datetime as dt
import re
from itertools import combinations
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from qorworker import Every, Plan, Unique, job
from qorworker.models import AuditEntry, Job, LogLine, Preset, ResultsRow, Schedule, Worker
from qorworker.permissions import Visibility
from tests.admin.support import a_worker, in_state, make_job, page_of, stored, text_of, user_with
from tests.security.people import told
from tests.security.walk import path, routes

pytestmark = [pytest.mark.django_db, pytest.mark.once]

MARK = "qzx-marker"
LOOKING = ("qorworker.view_job", "qorworker.view_job_arguments", "qorworker.view_job_log")
DOING = (
    "qorworker.run_job", "qorworker.abort_job", "qorworker.reschedule_job", "qorworker.retry_job",
    "qorworker.delete_job", "qorworker.manage_schedule", "qorworker.view_worker", "qorworker.pause_job_type",
)  # fmt: skip
RIGHTS = [rights for number in range(4) for rights in combinations(LOOKING, number)]
STATES = ("new", "running", "done", "exception")
ONLY_POST = (
    "/abort/", "/cancel/", "/retry/", "/run-now/", "/run-again/", "/mark-failed/", "/reschedule/", "/pause/",
    "/resume/", "/skip-next/", "/drain/", "/save/", "/preview/<str:name>/", "<path:object_id>/",
)  # fmt: skip
LISTS = (
    "job/?tab=queued", "job/?tab=failed", f"job/?q=error:{MARK}", "job/?q=arg.subject:tea", "job/?q=error:Value",
    "job/?q=tests.greet", "job/list.json?tab=queued", "job/list.json?q=arg.subject:tea", "schedule/?tab=attention",
    "job/catalogue/?view=table", "schedule/add/?job=tests.greet",
    "?range=7d", "?job=tests.greet", "job/failures/?job=tests.greet",
)  # fmt: skip


def all_paths(*rows: Any) -> list[str]:
    """Every page about every one of these jobs and schedules, and the lists."""
    schedule = next(row for row in rows if isinstance(row, Schedule))
    found = {reverse("admin:index") + "qorworker/" + query: None for query in LISTS}
    for row in rows:
        for route in routes():
            if route.endswith(ONLY_POST):
                continue
            about = schedule.pk if route.startswith("schedule/") else row.pk
            found[path(route, pk=about, object_id=about, name="tests.greet", field="shop")] = None
    return list(found)


def looked_at(client: Client, urls: list[str]) -> dict[str, tuple[int, str, str]]:
    """Status, headers and body of each page, without what differs from one request to the next."""
    found = {}
    client.get(reverse("admin:index"))  # shows the messages that earlier pages left
    for url in urls:
        answer = client.get(url)
        headers = {name: value for name, value in answer.items() if name not in ("Content-Length", "Expires")}
        body = "" if "spreadsheet" in answer.get("Content-Type", "") else text_of(answer)
        body = re.sub(r'(csrfmiddlewaretoken"|name="qw-token") value="[^"]*"', r"\1", body)
        body = re.sub(r'csrfmiddlewaretoken\\" value=\\"\w+|qw-token\\" value=\\"[\w.-]+', "", body)
        body = re.sub(r"\b\d+([.,]\d+)? ?(ms|s|min)\b|data-qw-clock=\W+\d+", "T", body)
        found[url] = (answer.status_code, str(sorted(headers.items())), body)
    return found


def tags_of(body: str) -> list[str]:
    """The tags and texts of a page, one by one."""
    return body.replace("><", ">\n<").splitlines()


def differing(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[str]]:
    wrong = {}
    for url, seen in before.items():
        if after[url] != seen:
            pairs = zip(tags_of(seen[2]), tags_of(after[url][2]), strict=False)
            lines = [f"{old!r} -> {new!r}" for old, new in pairs if old != new][:2]
            wrong[url] = lines or [f"{seen[:2]} -> {after[url][:2]}", str(len(seen[2])), str(len(after[url][2]))]
    return wrong


def old_job(job_type: Any, state: str, **fields: Any) -> Job:
    """A job of a month ago, of which no page counts the seconds."""
    made = in_state(job_type, state, **fields)
    past = timezone.now() - dt.timedelta(days=30)
    times = {
        name: past
        for name in ("enqueued_at", "started_at", "last_attempted_at", "finished_at", "run_after")
        if getattr(made, name) is not None and (name != "run_after" or made.status == "new")
    }
    Job.objects.filter(pk=made.pk).update(**times)
    made.refresh_from_db()
    return made


def a_schedule_of(types: dict[str, Any], user: Any, subject: str, name: str) -> Schedule:
    plan = Plan(Every(days=1), name=name)
    return Schedule.objects.create_dumped(
        types["greet"], plan, stored(types["greet"], subject=subject), by=user, origin="admin"
    )


@pytest.fixture
def limited(types, db):
    def one_at_a_time() -> None:
        """Has a limit."""

    types["limited"] = job(name="tests.limited", title="One at a time", max_concurrency=1)(one_at_a_time)
    # With a worker that stays alive on a slow machine, too: jobs wait for their turn, and for nothing else.
    ahead = timezone.now() + dt.timedelta(days=1)
    Worker.objects.filter(pk=a_worker().pk).update(heartbeat_at=ahead)
    return types


def rows_of(types: dict[str, Any], user: Any, text: str) -> list[Any]:
    """A job of *user* in every state, one behind a limit, and a schedule; what they say has *text* in it."""
    arguments = stored(types["greet"], subject=text)
    jobs = [old_job(types["greet"], state, created_by=user, arguments=arguments, error=text) for state in STATES]
    for each in jobs:
        told(each, text)
    jobs.append(old_job(types["limited"], "new", created_by=user, limit_key=key_of(types)))
    schedule = a_schedule_of(types, user, text, f"schedule of {user.get_username()}")
    # At a distance that the page rounds to the same hours for as long as the test takes.
    later = timezone.now() + dt.timedelta(days=1, hours=12, minutes=30)
    Schedule.objects.filter(pk=schedule.pk).update(needs_attention=text, next_slot=later)
    return [*jobs, Schedule.objects.get(pk=schedule.pk)]


def key_of(types: dict[str, Any]) -> str:
    from qorworker.definitions.limits import limit_key

    return limit_key(types["limited"], {})


def rows_of_others(types: dict[str, Any], mine: list[Any]) -> None:
    """Of everything that there is something of somebody else, before, beside and after what is there."""
    other = user_with(name=MARK)
    rows = rows_of(types, other, MARK)
    Job.objects.filter(created_by=other, status="new").update(priority=50)
    old_job(types["limited"], "running", created_by=other, limit_key=key_of(types))
    old_job(f"{MARK}.gone", "new", created_by=other, queue_name=f"{MARK}-queue")
    Job.objects.filter(created_by=other, status="running").update(worker=Worker.objects.get())
    slow = old_job(types["greet"], "done", created_by=other)
    Job.objects.filter(pk=slow.pk).update(finished_at=slow.last_attempted_at + dt.timedelta(days=3))
    again = old_job(types["greet"], "done", created_by=other, rerun_of=mine[0])
    Preset.objects.create(
        job_name="tests.greet", name=MARK, owner=other, arguments=stored(types["greet"], subject=MARK)
    )
    AuditEntry.objects.record("cancel", job=again, user=other, reason=MARK)
    assert rows


@pytest.mark.parametrize(
    ("rights", "doing"),
    [(rights, DOING if len(rights) % 2 else ()) for rights in RIGHTS] + [(LOOKING, ()), ((), DOING)],
)
def test_no_page_depends_on_jobs_of_others_where_users_see_only_their_own(limited, client, settings, rights, doing):
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
    viewer = user_with(*rights, *doing, name="ann")
    client.force_login(viewer)
    mine = rows_of(limited, viewer, "tea")
    urls = all_paths(*mine)
    before = looked_at(client, urls)
    rows_of_others(limited, mine)
    after = looked_at(client, urls)
    assert not [url for url, seen in after.items() if MARK in seen[2] and MARK not in url]
    assert differing(before, after) == {}


@pytest.mark.parametrize("rights", [r for r in RIGHTS if "qorworker.view_job" in r and len(r) < 3])
def test_no_page_depends_on_arguments_logs_and_errors_without_the_right_to_see_them(limited, client, rights):
    viewer = user_with(*rights, *DOING, name="ann")
    client.force_login(viewer)
    mine = rows_of(limited, viewer, "tea")
    urls = [url for url in all_paths(*mine) if MARK not in url]
    before = looked_at(client, urls)
    jobs = Job.objects.filter(name="tests.greet")
    if "qorworker.view_job_log" not in rights:
        jobs.update(error=MARK, log_lines=7, results_rows=9)
        jobs.filter(status="done").update(return_value=f'"{MARK}"')  # of a failed job it would be another status
        LogLine.objects.update(text=MARK)
        ResultsRow.objects.update(cells=[{"value": MARK}])
    if "qorworker.view_job_arguments" not in rights:
        jobs.update(arguments=stored(limited["greet"], subject=MARK))
        Schedule.objects.update(
            arguments=stored(limited["greet"], subject=MARK), needs_attention=f"“{MARK}” is not one of the choices."
        )
    after = looked_at(client, urls)
    assert not [url for url, seen in after.items() if MARK in seen[2]]
    assert differing(before, after) == {}


def test_who_sees_all_jobs_learns_of_all(limited, client, settings):
    """The other side of both: the texts are left out for lack of a right, and for nothing else."""
    chief = user_with(*LOOKING, *DOING, "qorworker.view_all_jobs", name="chief")
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
    client.force_login(chief)
    mine = rows_of(limited, chief, "tea")
    rows_of_others(limited, mine)
    other = Job.objects.filter(created_by__username=MARK, name="tests.greet", status="exception").get()
    assert MARK in text_of(client.get(page_of(other)))
    waiting = Job.objects.filter(created_by=chief, name="tests.greet", status="new").get()
    assert "before it" in text_of(client.get(page_of(waiting)))
    held = Job.objects.filter(created_by=chief, name="tests.limited").get()
    holder = Job.objects.filter(name="tests.limited", status="running").get()
    assert page_of(holder, "change/") in text_of(client.get(page_of(held)))
    assert MARK in text_of(client.get(reverse("admin:qorworker_schedule_changelist")))
    assert Visibility(chief).sees_everything


def test_the_tag_of_the_live_view_cannot_be_worked_out_from_a_guess_of_the_error(types, client, monkeypatch, settings):
    client.force_login(user_with("qorworker.view_job", name="ann"))
    failed = make_job(types["greet"], "exception", error="secret 1")
    tag = client.get(page_of(failed, "live/"))["ETag"]
    Job.objects.update(error="secret 2")
    assert client.get(page_of(failed, "live/"))["ETag"] == tag
    reader = user_with("qorworker.view_job", "qorworker.view_job_log", name="reader")
    client.force_login(reader)
    seen = client.get(page_of(failed, "live/"))["ETag"]
    Job.objects.update(error="secret 1")
    assert client.get(page_of(failed, "live/"))["ETag"] != seen
    settings.SECRET_KEY = "another one"  # without it the same is another tag
    client.force_login(reader)
    assert client.get(page_of(failed, "live/"))["ETag"] != seen


# Unique jobs


@pytest.fixture
def replacing(types):
    def by_subject(subject: str, text: str = "") -> None:
        """Of one subject only one waits, with the newest text."""

    rule = Unique(by=["subject"], among="waiting", on_conflict="replace")
    return job(name="tests.replacing", title="Replaces", unique=rule)(by_subject)


def submit(client: Client, text: str) -> str:
    data = {"qw-token": f"0.{text:x<20}", "qw-when": "now", "subject": "tea", "text": text}
    answer = client.post(reverse("admin:qorworker_job_run", args=("tests.replacing",)), data, follow=True)
    return text_of(answer)


def test_a_waiting_job_that_one_may_not_see_keeps_its_arguments(replacing, client, settings):
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
    boss = user_with(name="boss")
    hidden = replacing.using(user=boss).enqueue(subject="tea", text="of the boss")
    client.force_login(user_with(*LOOKING, "qorworker.run_job", name="ann"))
    page = submit(client, "mine")
    hidden.refresh_from_db()
    assert hidden.arguments["text"] == "of the boss"
    assert Job.objects.count() == 1
    assert "A matching job already exists." in page
    assert f"#{hidden.pk}" not in page
    assert not AuditEntry.objects.filter(action="replace arguments").exists()


@pytest.mark.parametrize("rights", [(), LOOKING])
def test_ones_own_waiting_job_gets_the_new_arguments(replacing, client, settings, rights):
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
    ann = user_with(*rights, "qorworker.run_job", name="ann")
    mine = replacing.using(user=ann).enqueue(subject="tea", text="old")
    client.force_login(ann)
    assert "It now has the new arguments" in submit(client, "new")
    mine.refresh_from_db()
    assert mine.arguments["text"] == "new"


def test_a_visible_job_of_another_user_gets_the_new_arguments(replacing, client):
    theirs = replacing.using(user=user_with(name="ben")).enqueue(subject="tea", text="old")
    client.force_login(user_with(*LOOKING, "qorworker.run_job", name="ann"))
    submit(client, "new")
    theirs.refresh_from_db()
    assert theirs.arguments["text"] == "new"


def test_code_replaces_whatever_it_likes(replacing):
    theirs = replacing.using(user=user_with(name="ben")).enqueue(subject="tea", text="old")
    replacing.enqueue(subject="tea", text="new")
    theirs.refresh_from_db()
    assert theirs.arguments["text"] == "new"


def test_many_pages_are_walked(types):
    job = make_job(types["greet"])
    assert len(routes()) > 40
    assert a_worker().pk
    assert page_of(job) in [path(route, pk=job.pk, object_id=job.pk, name="a", field="b") for route in routes()]
