"""Every page for every role: what is shown, what is not, with what methods, as what, and in how many queries."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern
from django.utils import timezone

import qorworker
from qorworker.admin.jobs import verbs
from qorworker.admin.jobs.downloads import safe_cell
from qorworker.definitions.registry import registry
from qorworker.models import Attempt, AuditEntry, Job, LogLine, Outcome, ResultsRow, Worker
from qorworker.queries import job_details
from qorworker.text.cleaning import visible
from tests.admin.support import (
    BASE,
    LONG_AGO,
    STATES,
    XSS,
    a_worker,
    in_state,
    make_job,
    page_of,
    stored,
    superuser,
    text_of,
    user_with,
    without_tokens,
)

pytestmark = [pytest.mark.django_db, pytest.mark.once]

CATALOGUE = BASE + "catalogue/"
WORKERS = BASE.replace("/job/", "/worker/")
OF_A_JOB = ["change/", "live/", "log.txt", "results.csv", "history/"]
VERBS = (*verbs.VERBS, "reschedule")
AUTH_TABLES = ("django_session", "auth_user", "auth_permission", "auth_group", "django_content_type")


def full_job(job_type, text="line", **fields):
    """A failed job with a bit of everything, *text* wherever text can be."""
    job = make_job(
        job_type,
        "exception",
        error=f"ValueError: {text}",
        progress=50,
        progress_text=text,
        log_lines=3,
        results_rows=2,
        results_errors=1,
        **fields,
    )
    now = timezone.now()
    worker = a_worker(name=text, host=text)
    LogLine.objects.bulk_create(
        LogLine(job=job, number=number, attempt=1, at=now, level=level, text=f"{text} {number}")
        for number, level in ((1, 10), (2, 20), (3, 40))
    )
    ResultsRow.objects.create(job=job, number=1, attempt=1, cells=[{"value": text, "error": ""}])
    ResultsRow.objects.create(
        job=job, number=2, attempt=1, cells=[{"value": "=1+1", "error": text}, {"value": -3}], has_error=True
    )
    Attempt.objects.create(
        job=job,
        number=1,
        worker_id=worker.pk,
        worker_name=text,
        process_id=7,
        started_at=now,
        finished_at=now,
        outcome=Outcome.FAILED,
        error=text,
        traceback=f'  File "/srv/app/{text}.py", line 7, in run\n    go()\nValueError: {text}\n',
    )
    AuditEntry.objects.record("retry", job=job, job_name=text, reason=text)
    return job


def queries_of_ours(captured):
    return [q["sql"] for q in captured if not any(table in q["sql"] for table in AUTH_TABLES)]


def numbers_in(html):
    return [int(number) for number in re.findall(r'id="L(\d+)"', html)]


# Who sees what


@pytest.mark.parametrize("path", ["", "catalogue/"])
def test_staff_without_any_right_gets_no_page(types, client, path):
    make_job(types["open"])
    client.force_login(user_with())
    response = client.get(BASE + path)
    assert response.status_code == 403
    assert "Open door" not in text_of(response)


@pytest.mark.parametrize("end", OF_A_JOB)
def test_a_job_one_may_not_see_is_not_found_exactly_like_one_that_does_not_exist(types, client, end):
    hidden = full_job(types["open"])
    client.force_login(user_with("testapp.change_shop"))
    forbidden = client.get(page_of(hidden, end))
    hidden.pk += 1000
    unknown = client.get(page_of(hidden, end))
    assert (forbidden.status_code, unknown.status_code) == (404, 404)
    assert without_tokens(text_of(forbidden)) == without_tokens(text_of(unknown))


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_on_a_job_one_may_not_see_is_not_found_and_changes_nothing(types, client, verb):
    hidden = in_state(types["open"], "new")
    client.force_login(user_with("testapp.change_shop"))
    assert client.post(page_of(hidden, verb) + "/", {"confirmed": "1"}).status_code == 404
    assert Job.objects.get().status == "new"


def test_the_list_and_its_counts_and_search_know_only_jobs_one_may_see(types, client):
    mine = make_job(types["by_name"])
    other = make_job(types["open"])
    client.force_login(user_with("testapp.change_shop"))
    for query in ("", f"?q={other.pk}", "?q=Open", "?tab=queued", "?job=tests.open"):
        page = text_of(client.get(BASE + query))
        assert f">#{other.pk}<" not in page
    assert client.get(BASE).context["cl"].counts["all"].number == 1
    assert f">#{mine.pk}<" in text_of(client.get(BASE))


def test_log_errors_and_results_need_their_own_right(types, client):
    job = full_job(types["open"], text="the-secret-of-the-log")
    client.force_login(user_with("qorworker.view_job", "qorworker.view_job_arguments"))
    page = text_of(client.get(page_of(job)))
    assert "You may not see the log of this job." in page
    assert "the-secret-of-the-log 1" not in page
    assert "ValueError" not in page
    assert "ValueError" not in text_of(client.get(BASE))
    assert client.get(page_of(job, "live/")).json()["append"] == {}
    assert client.get(page_of(job, "log.txt")).status_code == 403
    assert client.get(page_of(job, "results.csv")).status_code == 403


def test_arguments_need_their_own_right(types, client):
    make_job(types["greet"], arguments=stored(types["greet"], subject="between-us"))
    job = Job.objects.get()
    client.force_login(user_with("qorworker.view_job", "qorworker.view_job_log"))
    for page in (BASE, page_of(job), page_of(job, "live/")):
        assert "between-us" not in text_of(client.get(page))


@pytest.mark.parametrize("query", ["created_by__password__startswith=p", "arguments__subject=x", "error__contains=x"])
def test_the_list_cannot_be_filtered_by_what_one_may_not_see(types, visitor, query):
    assert visitor.get(f"{BASE}?{query}").status_code == 400


# Methods


def own_urls():
    """Every URL of the job admin that is ours, from the resolver, so that none can be forgotten."""
    job_admin = admin.site._registry[Job]
    return [url for url in job_admin.get_urls() if isinstance(url, URLPattern) and url.name]


def test_looking_never_changes_anything(types, visitor):
    jobs = [in_state(types["open"], state) for state in STATES] + [full_job(types["greet"])]
    paths = [BASE, CATALOGUE, WORKERS]
    for url in own_urls():
        for job in jobs:
            route = str(url.pattern)
            for part, value in (("<int:pk>", job.pk), ("<path:object_id>", job.pk), ("<str:name>", job.name)):
                route = route.replace(part, str(value))
            paths.append(BASE + route.replace("<str:field>", "x"))
    tables = (Job, AuditEntry, LogLine, ResultsRow, Attempt, Worker)
    before = [list(model.objects.values()) for model in tables]
    for path in sorted(set(paths)):
        for method in ("get", "head", "options"):
            response = getattr(visitor, method)(path)
            assert response.status_code in (200, 302, 403, 404, 405), path
            if any(f"/{verb}/" in path for verb in VERBS):
                assert response.status_code == 405
    assert [list(model.objects.values()) for model in tables] == before


@pytest.mark.parametrize("end", ["change/", "live/", "log.txt", "results.csv"])
def test_pages_to_look_at_take_no_post(types, visitor, end):
    assert visitor.post(page_of(full_job(types["open"]), end)).status_code == 405


def test_a_post_without_the_csrf_token_is_refused(types, root):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(root)
    job = in_state(types["open"], "new")
    assert client.post(page_of(job, "cancel/"), {"confirmed": "1"}).status_code == 403
    assert client.post(BASE + "run/tests.open/", {"qw-when": "now"}).status_code == 403
    assert Job.objects.get().status == "new"


@pytest.mark.parametrize("end", [*OF_A_JOB, "abort/"])
def test_who_is_not_signed_in_is_sent_to_the_login_or_told_so_if_a_script_asks(types, client, end):
    response = client.post(page_of(full_job(types["open"]), end))
    if end == "live/":
        assert (response.status_code, response.json()) == (401, {})
        assert "no-store" in response["Cache-Control"]
    else:
        assert response.status_code == 302
        assert "/login/" in response.url


# What is shown


def test_text_is_text_on_every_page(types, visitor):
    greet = types["greet"]
    job = full_job(greet, text=XSS, arguments=stored(greet, subject=XSS))
    running = make_job(greet, "running", progress_text=XSS, arguments=stored(greet, subject=XSS))
    for path in (BASE, CATALOGUE, WORKERS, page_of(job), page_of(running), f"{BASE}run/tests.greet/?subject={XSS}"):
        page = text_of(visitor.get(path))
        assert XSS not in page, path
    assert "&lt;script&gt;alert" in text_of(visitor.get(page_of(job)))
    news = visitor.get(page_of(job, "live/")).json()
    assert all(XSS not in html for html in news["parts"].values())
    assert XSS not in news["append"]["lines"]
    assert "&lt;script&gt;alert" in news["append"]["lines"]


def test_names_of_types_are_text_too(types, visitor):
    qorworker.job(name="tests.odd", title=XSS, group=XSS, confirm=XSS)(lambda: None)
    odd = registry.get("tests.odd")
    job = make_job(odd, "running")
    for path in (BASE, CATALOGUE, f"{CATALOGUE}?q={XSS}", f"{CATALOGUE}?group={XSS}", f"{BASE}?job=tests.odd"):
        assert XSS not in text_of(visitor.get(path))
    for path in (page_of(job), BASE + "run/tests.odd/"):
        assert XSS not in text_of(visitor.get(path))
    assert XSS not in text_of(visitor.post(page_of(job, "abort/")))


def test_no_page_has_inline_script_or_style(types, visitor):
    job = full_job(types["greet"])
    running, waiting = make_job(types["open"], "running"), make_job(types["open"], "scheduled")
    own = [CATALOGUE, page_of(job), page_of(running), page_of(waiting), BASE + "run/tests.upload/", BASE, WORKERS]
    for path in own:
        page = text_of(visitor.get(path))
        for script in re.findall(r"<script[^>]*>", page):
            assert " src=" in script or ' type="application/json"' in script, path  # which no browser runs
        assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", page), path
        assert "<style" not in page, path


def test_control_and_direction_characters_are_shown_as_escapes(types, visitor):
    job = full_job(types["open"], text="safe\u202etxt\x1b]0;x")
    page = text_of(visitor.get(page_of(job)))
    assert "safe\\u202etxt\\u001b]0;x 1" in page
    assert "safe\u202etxt" not in page.split('id="log"')[1].split("</section>")[0]


@pytest.mark.parametrize("text", ["12\u202f500\u00a0€", "\u3000全角", "می\u200cخواهم", "👩\u200d💻", "a\tb"])
def test_spaces_and_joiners_of_any_script_stay_as_they_are(text):
    assert visible(text) == text


@pytest.mark.parametrize("state", STATES)
def test_each_state_is_told_by_text_and_icon(types, visitor, state):
    label = {
        "new": "Queued", "scheduled": "Scheduled", "will_retry": "Will retry", "paused": "Paused",
            "running": "Running", "looping": "Running", "pausing": "Pausing",
        "aborting": "Aborting", "silent": "Not responding", "done": "Done", "exception": "Failed",
        "killed": "Aborted", "cancelled": "Cancelled",
    }[state]  # fmt: skip
    job = in_state(types["open"], state)
    for page in (visitor.get(BASE), visitor.get(page_of(job))):
        assert re.search(rf'class="qw-badge"[^>]*><svg class="qw-icon".*?</svg>\s*<span>{label}</span>', text_of(page))


def test_the_error_comes_before_the_log_with_the_frames_of_the_project(types, visitor):
    job = full_job(types["open"], text="no such luck")
    page = text_of(visitor.get(page_of(job)))
    assert page.index("qw-failure") < page.index('id="log"')
    assert "/srv/app/no such luck.py" in page.split("Full traceback")[0]


@pytest.mark.parametrize(
    ("outcome", "fields", "told"),
    [
        (
            Outcome.CRASHED,
            {"signal": 9, "peak_memory": 2**50},
            "most likely because memory ran out. Its peak memory was",
        ),
        (Outcome.CRASHED, {"signal": 9, "peak_memory": 2**20}, "ended by signal 9 (SIGKILL). Its peak memory was"),
        (Outcome.CRASHED, {"signal": 11}, "signal 11 (SIGSEGV)"),
        (Outcome.CRASHED, {"exit_code": 3}, "exit code 3"),
        (Outcome.TIMEOUT, {}, "longer than its time limit"),
        (Outcome.MEMORY, {"peak_memory": 2**31}, "more memory than its limit. Its peak memory was"),
        (Outcome.LOST, {}, "The worker stopped answering"),
        (Outcome.REFUSED, {}, "never started"),
    ],
)
def test_the_way_in_which_a_process_ended_is_explained(types, visitor, outcome, fields, told):
    job = make_job(types["open"], "exception", error="It ended.")
    now = timezone.now()
    Attempt.objects.create(job=job, number=1, started_at=now, finished_at=now, outcome=outcome, **fields)
    assert told in text_of(visitor.get(page_of(job))).replace("\xa0", " ")


def test_processes_that_survived_an_abort_are_told(types, visitor):
    job = make_job(types["open"], "killed")
    now = timezone.now()
    Attempt.objects.create(job=job, number=1, started_at=now, finished_at=now, outcome=Outcome.ABORTED, survivors=2)
    assert "2 of its processes could not be ended." in text_of(visitor.get(page_of(job)))


def test_the_log_can_be_narrowed_to_a_level_and_read_backwards(types, visitor, monkeypatch):
    monkeypatch.setattr(job_details, "LOG_LINES", 2)
    job = full_job(types["open"])

    def shown(query):
        return re.findall(r'id="L(\d+)"', text_of(visitor.get(page_of(job) + query)))

    assert shown("") == ["2", "3"]
    assert 'href="?before=2#log"' in text_of(visitor.get(page_of(job)))
    assert shown("?before=2") == ["1"]
    assert shown("?level=40") == ["3"]
    assert shown("?level=7&before=x") == ["2", "3"]


def test_results_can_be_paged_and_narrowed_to_errors(types, visitor):
    job = make_job(types["open"], "exception", results_rows=120, results_errors=1)
    ResultsRow.objects.bulk_create(
        ResultsRow(job=job, number=n, attempt=1, cells=[{"value": f"cell-{n}", "error": "bad" if n == 99 else ""}],
                   has_error=n == 99)
        for n in range(1, 121)
    )  # fmt: skip

    def shown(query):
        return re.findall(r">cell-(\d+)", text_of(visitor.get(page_of(job) + query)))

    assert shown("")[:1] + shown("")[-1:] == ["1", "50"]
    assert shown("?page=3")[-1:] == ["120"]
    assert shown("?rows=errors") == ["99"]
    assert shown("?page=999")[-1:] == ["120"]


def test_history_and_reruns_are_linked(types, visitor):
    job = full_job(types["open"])
    again = make_job(types["open"], rerun_of=job)
    assert f'href="{page_of(again)}"' in text_of(visitor.get(page_of(job)))
    assert f'href="{page_of(job)}"' in text_of(visitor.get(page_of(again)))


# Downloads


def test_the_log_is_downloaded_whole_as_text(types, visitor):
    job = full_job(types["open"], log_dropped=5)
    response = visitor.get(page_of(job, "log.txt"))
    lines = text_of(response).splitlines()
    assert [line.split(maxsplit=2)[2] for line in lines[:3]] == [
        "DEBUG    line 1",
        "INFO     line 2",
        "ERROR    line 3",
    ]
    assert "5 further lines were dropped" in lines[3]
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response["Content-Disposition"] == f'attachment; filename="open-door-{job.pk}-log.txt"'
    assert response["X-Content-Type-Options"] == "nosniff"


def test_no_cell_of_the_csv_is_a_formula_and_negative_numbers_stay_numbers(types, visitor):
    response = visitor.get(page_of(full_job(types["open"], text="@cmd"), "results.csv"))
    assert text_of(response).splitlines() == ["\ufeff1,'@cmd", "2,'=1+1,-3,'@cmd"]


@pytest.mark.parametrize(
    "text", ["=1", " =1", "+a", "-a", "@a", "\ta", "\ra", "\uff1d1", "\uff0ba", "\uff0da", "\uff20a"]
)
def test_every_way_to_begin_a_formula_is_quoted(text):
    assert safe_cell(text) == f"'{text}"


# Live data


def test_nothing_new_costs_one_query_of_ours_and_no_body(types, visitor):
    job = make_job(types["open"], "running", log_lines=0)
    first = visitor.get(page_of(job, "live/"))
    with CaptureQueriesContext(
        connection,
    ) as captured:
        second = visitor.get(page_of(job, "live/"), headers={"if-none-match": first["ETag"]})
    assert (second.status_code, second.content) == (304, b"")
    assert len(queries_of_ours(captured)) <= 2


@pytest.mark.parametrize(
    "change",
    [
        {"progress": 3}, {"progress_text": "x"}, {"log_lines": 9}, {"results_rows": 9}, {"abort_requested_at": 1},
        {"lease_expires_at": -1},
    ],
)  # fmt: skip
def test_whatever_changes_on_the_page_changes_the_version(types, visitor, change):
    job = make_job(types["open"], "running")
    tag = visitor.get(page_of(job, "live/"))["ETag"]
    changed = {
        key: timezone.now() + LONG_AGO * value if key.endswith("_at") else value for key, value in change.items()
    }
    Job.objects.filter(pk=job.pk).update(**changed)
    assert visitor.get(page_of(job, "live/"), headers={"if-none-match": tag}).status_code == 200


def test_only_new_lines_are_sent(types, visitor):
    job = full_job(types["open"])
    news = visitor.get(page_of(job, "live/") + "?after=1").json()
    assert numbers_in(news["append"]["lines"]) == [2, 3]
    assert news["state"]["after"] == 3
    assert numbers_in(visitor.get(page_of(job, "live/") + "?after=1&level=40").json()["append"]["lines"]) == [3]


def test_lines_that_came_after_the_job_was_read_are_not_sent_twice(types, visitor):
    job = full_job(types["open"])
    Job.objects.filter(pk=job.pk).update(log_lines=2)
    assert visitor.get(page_of(job, "live/") + "?after=1").json()["state"]["after"] == 3


def test_parts_are_sent_again_only_when_the_state_has_changed(types, visitor):
    job = make_job(types["open"], "running")
    news = visitor.get(page_of(job, "live/")).json()
    assert set(news["parts"]) > {"header", "actions"}
    same = visitor.get(page_of(job, "live/"), news["state"]).json()
    assert set(same["parts"]) == {"header", "announcement"}
    assert not same["final"]
    Job.objects.filter(pk=job.pk).update(status="done", attempt_token=None, finished_at=timezone.now())
    end = visitor.get(page_of(job, "live/"), news["state"]).json()
    assert end["final"]
    assert "Done" in end["parts"]["header"]


def test_live_data_is_never_kept_by_anybody(types, visitor):
    assert "no-store" in visitor.get(page_of(make_job(types["open"]), "live/"))["Cache-Control"]


@pytest.mark.parametrize(
    ("state", "is_live"), [("new", True), ("running", True), ("done", False), ("exception", False)]
)
def test_only_a_job_with_a_future_is_polled(types, visitor, state, is_live):
    page = text_of(visitor.get(page_of(in_state(types["open"], state))))
    assert ("data-qw-live" in page) is is_live
    assert ('<noscript><meta http-equiv="refresh"' in page) is is_live


# Workers


@pytest.mark.parametrize("path", [BASE, CATALOGUE, WORKERS])
def test_the_banner_is_there_exactly_while_no_worker_is_alive(types, visitor, path):
    make_job(types["open"])
    assert "No worker is running." in text_of(visitor.get(path))
    a_worker()
    assert "No worker is running." not in text_of(visitor.get(path))


def test_the_banner_counts_only_jobs_that_one_may_see(types, client):
    make_job(types["open"])
    make_job(types["by_name"])
    client.force_login(user_with("testapp.change_shop", name="some"))
    page = text_of(client.get(BASE))
    assert "No worker is running." in page
    assert "1 job waiting" in page
    client.force_login(user_with("qorworker.view_worker", name="none"))
    page = text_of(client.get(WORKERS))
    assert "No worker is running." in page
    assert "waiting" not in page


# Deleting


def test_only_jobs_that_have_ended_can_be_deleted_and_it_is_written_down(types, visitor):
    running, done = make_job(types["open"], "running"), full_job(types["open"])
    assert visitor.post(page_of(running, "delete/"), {"post": "yes"}).url == page_of(running)
    assert Job.objects.filter(pk=running.pk).exists()
    number = done.pk
    visitor.post(page_of(done, "delete/"), {"post": "yes"})
    assert list(Job.objects.all()) == [running]
    assert not LogLine.objects.exists()
    assert AuditEntry.objects.of_job(number).latest("id").action == "delete"


# Queries and sizes


def test_the_list_needs_at_most_ten_queries(types, visitor):
    for state in STATES:
        for name in ("open", "greet", "by_name"):
            in_state(types[name], state, created_by=None)
    with CaptureQueriesContext(connection) as captured:
        visitor.get(BASE)
    assert len(captured) <= 10


def test_the_list_needs_as_many_queries_for_a_person_with_single_rights(types, client):
    for name in ("open", "greet", "by_name") * 5:
        in_state(types[name], "exception", created_by=superuser(f"u{Job.objects.count()}"))
    client.force_login(user_with("qorworker.view_job", "qorworker.view_job_log", "qorworker.view_job_arguments"))
    with CaptureQueriesContext(connection) as captured:
        client.get(BASE)
    assert len(captured) <= 10


def test_a_job_needs_at_most_twelve_queries(types, visitor):
    job = full_job(types["greet"], arguments=stored(types["greet"], subject="x"))
    make_job(types["greet"], rerun_of=job)
    with CaptureQueriesContext(connection) as captured:
        visitor.get(page_of(job))
    assert len(captured) <= 12


@pytest.mark.parametrize("page", ["catalogue", "run", "list", "detail", "workers"])
@pytest.mark.parametrize("kind", ["css", "js"])
def test_script_and_style_of_a_page_stay_small(page, kind):
    scripts = {"list": ("live", "list"), "detail": ("live", "detail"), "workers": ("live",)}.get(page, (page,))
    names = ("base", "qorworker", "controls", page) if kind == "css" else ("qorworker", *scripts)
    limit = (28 if page == "detail" else 24) if kind == "css" else (18 if page == "detail" else 13)
    folder = Path(qorworker.__file__).parent / "static" / "qorworker"
    assert sum((folder / f"{name}.{kind}").stat().st_size for name in names) <= limit * 1024


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("name", ["red", "amber", "blue", "green", "violet", "grey"])
def test_text_of_every_status_stands_out_from_its_ground_in_light_and_dark(name, mode):
    css = (Path(qorworker.__file__).parent / "static" / "qorworker" / "qorworker.css").read_text()
    pair = r"light-dark\((#\w{6}), (#\w{6})\)"
    text, ground = (re.search(rf"--qw-{name}{end}: {pair}", css)[mode] for end in ("", "-bg"))
    lighter, darker = sorted((luminance(text), luminance(ground)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_the_breadcrumbs_lead_back_and_end_here(types, visitor):
    page = text_of(visitor.get(BASE + "run/tests.greet/"))
    trail = page[page.index('class="breadcrumbs">') : page.index("</nav>", page.index('class="breadcrumbs">'))]
    words = re.sub(r'<[^>]+>|\u203a|class="breadcrumbs">', " ", trail).split()
    assert words == ["Home", "Background", "jobs", "Run", "a", "job", "Send", "greetings"]
    assert f'href="{CATALOGUE}"' in trail
