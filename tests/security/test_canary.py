"""Markup in every text that somebody can bring in: on every page, in every message and file it is text.

Each input gets a text of its own, so that a page that lets one through is told by its name; and each must be seen, as
text, somewhere: else this test would not look where it is shown.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile
from django.urls import reverse
from django.utils import timezone

import qorworker
from qorworker import Arg, RowKeys
from qorworker.admin.jobs.update import revision_of
from qorworker.definitions.registry import registry
from qorworker.models import Attempt, AuditEntry, Job, JobFile, LogLine, ResultsRow, Worker
from tests.admin.support import BASE, a_worker, make_job, page_of, text_of, user_with
from tests.security.canaries import as_text, canary, raw
from tests.security.people import READING
from tests.security.walk import paths
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.once]


ODD_NAME = "tests.<img src=x onerror=\"alert('name')\">"  # no slash: it stands in URLs


def odd(
    text: str,
    lines: Annotated[str, Arg(multiline=True, label=canary("label"))],
    row: Shop,
    file: UploadedFile,
    items: list[str],
    data: dict[str, Any],
    choice: Literal["a", "b"] = "a",
    number: int = 1,
    only: RowKeys | None = None,
) -> None:
    pass


odd.__doc__ = canary("description")

# Where texts come in. Each is planted by ``planted`` and must be shown, as text, on some page. The help of a field is
# not among them: it is HTML in every form of Django, and comes from code.
INPUTS = {
    "title", "group", "description", "label", "confirm", "queue", "user", "text", "lines", "row", "file", "item", "key",
    "value", "log", "progress", "error", "cell", "cell_error", "attempt_error", "traceback", "reason", "worker", "host",
    "gone", "version", "worker_queue", "worker_type", "column", "row_key", "added",
}  # fmt: skip
# In an address, or in a form that is wrong.
ASKED = {"asked_q", "asked_job", "asked_text", "asked_again", "asked_change", "asked_late"}


@pytest.fixture
def planted(types, settings, visitor, tmp_path):
    """Jobs of a type that is odd throughout: failed, running, waiting, scheduled."""
    settings.MEDIA_ROOT = str(tmp_path)
    settings.QORWORKER = {
        "QUEUES": {
            canary("queue"): {"BACKEND": "qorworker.backends.local.LocalBackend"},
            **settings.QORWORKER["QUEUES"],
        }
    }
    job_type = qorworker.job(
        name=ODD_NAME, title=canary("title"), group=canary("group"), confirm=canary("confirm"),
        queue_name=canary("queue"),
    )(odd)  # fmt: skip
    author = user_with(name=canary("user"))
    values = {
        "text": canary("text"), "lines": canary("lines"), "row": Shop.objects.create(name=canary("row")),
        "file": SimpleUploadedFile(canary("file").replace("/", ""), b"x"), "items": [canary("item")],
        "data": {canary("key"): canary("value")}, "only": [canary("row_key")],
    }  # fmt: skip
    first = job_type.using(user=author).enqueue(**values)
    first.refresh_from_db()
    yield job_type, [tell_all(first), *others(first)]
    registry.unregister(ODD_NAME)


def tell_all(job: Job) -> Job:
    """The job has failed, and told everything that a job can tell."""
    now, said = timezone.now(), canary
    Job.objects.filter(pk=job.pk).update(
        status="exception", finished_at=now, started_at=now, last_attempted_at=now, attempt=1, progress=3,
        progress_text=said("progress"), error=said("error"), log_lines=1, results_rows=1, results_errors=1,
        results_columns=json.dumps([said("column")]), files_count=1,
    )  # fmt: skip
    LogLine.objects.create(job=job, number=1, attempt=1, at=now, level=20, text=said("log"))
    cells = [{"value": said("cell"), "error": said("cell_error")}]
    ResultsRow.objects.create(job=job, number=1, attempt=1, cells=cells, has_error=True)
    JobFile.objects.create(
        job=job, attempt=1, at=now, name=said("added"), size=1, key=f"qorworker/0000/{'0' * 32}", storage="default"
    )
    Attempt.objects.create(
        job=job, number=1, worker_name=said("worker"), started_at=now, finished_at=now, outcome="failed",
        error=said("attempt_error"),
        traceback=f'  File "{said("traceback")}.py", line 7, in {said("traceback")}\n    x\n',
    )  # fmt: skip
    AuditEntry.objects.record("abort", job=job, user=job.created_by, reason=said("reason"))
    a_worker(
        name=said("worker"), host=said("host"), version=said("version")[:50], queues=[said("worker_queue")],
        job_types=[said("worker_type")],
    )  # fmt: skip
    job.refresh_from_db()
    return job


def others(job: Job) -> list[Job]:
    like = {"arguments": job.arguments, "queue_name": job.queue_name, "created_by": job.created_by}
    running = make_job(job.job_type, "running", progress_text=canary("progress"), **like)
    waiting = make_job(job.job_type, "new", rerun_of=job, **like)
    drifted = {**like, "arguments": {**job.arguments, canary("gone"): 1}, "fingerprint": ""}
    return [running, waiting, make_job(job.job_type, "scheduled", **drifted)]


def answers(visitor, job_type, jobs):
    """Every page there is about these jobs, and those that answer a form."""
    queries = {
        BASE: [
            {}, {"q": canary("asked_q")}, {"tab": canary("asked_tab")}, {"job": canary("asked_job")},
            {"group": canary("asked_group")}, {"job": ODD_NAME}, {"group": canary("group")}, {"tab": "failed"},
        ],
        BASE + "catalogue/": [{}, {"q": canary("asked_q")}, {"group": canary("group")}],
        reverse("admin:qorworker_job_run", args=(ODD_NAME,)): [
            {"from": jobs[0].pk}, {"from": canary("asked_from")},
            {"text": canary("asked_text"), canary("asked_field"): "1", "number": canary("asked_number")},
        ],
    }  # fmt: skip
    for job in jobs:
        for url in paths(job):
            yield visitor.get(url)
        queries[page_of(job)] = [{name: canary("asked") for name in ("level", "before", "rows", "page")}]
    for worker in Worker.objects.all():
        yield visitor.get(reverse("admin:qorworker_worker_change", args=(worker.pk,)))
    for url, asked in queries.items():
        for query in asked:
            yield visitor.get(url, query)
    yield from answers_to_forms(visitor, jobs)


def answers_to_forms(visitor, jobs):
    failed, running, waiting, scheduled = jobs
    run = reverse("admin:qorworker_job_run", args=(ODD_NAME,))
    wrong = {"text": canary("asked_again"), "lines": "x", "number": canary("asked_number"), "row": canary("asked_row")}
    yield visitor.post(run, wrong)
    yield visitor.post(page_of(scheduled, "update/"), {**wrong, "text": canary("asked_change")})
    yield visitor.post(page_of(running, "update/"), {**wrong, "text": canary("asked_late")})
    right = {
        "text": canary("text"), "lines": canary("lines"), "number": "1", "row": Shop.objects.get().pk, "items": "x",
        "data": "{}", "choice": "a", "qw-token": "0." + "x" * 20, "qw-when": "keep", "qw-confirmed": "on",
        "qw-revision": revision_of(scheduled),
    }  # fmt: skip
    saved = visitor.post(page_of(scheduled, "update/"), right, follow=True)
    assert saved.redirect_chain
    yield saved
    for job, verb in (
        (running, "abort"),
        (waiting, "cancel"),
        (failed, "retry"),
        (failed, "run-again"),
        (failed, "run-failed-rows"),
    ):
        yield visitor.post(page_of(job, f"{verb}/"))
    yield visitor.post(page_of(scheduled, "reschedule/"), {"qw-at_0": canary("asked_at"), "qw-at_1": "09:00"})
    for action in ("cancel", "retry", "run_again", "abort", "delete_selected"):
        yield visitor.post(BASE, {"action": action, "_selected_action": [job.pk for job in jobs]})
    yield visitor.post(page_of(scheduled, "cancel/"), {"confirmed": "1"}, follow=True)
    yield visitor.post(page_of(running, "abort/"), {"confirmed": "1"}, follow=True)
    yield visitor.post(page_of(running, "abort/"), {"confirmed": "1"}, follow=True)


def test_text_is_text_wherever_it_comes_in_and_wherever_it_is_shown(planted, visitor):
    job_type, jobs = planted
    seen: set[str] = set()
    for answer in answers(visitor, job_type, jobs):
        body, kind = text_of(answer), answer.get("Content-Type", "")
        asked = f"{answer.request['REQUEST_METHOD']} {answer.request['PATH_INFO']}?{answer.request['QUERY_STRING']}"
        assert answer.status_code < 500, asked
        assert answer["X-Content-Type-Options"] == "nosniff", asked
        if kind.startswith("text/html"):
            assert raw(body) == [], asked
        elif kind.startswith("application/json") and not answer.streaming:
            for part in answer.json().get("parts", {}).values():  # what the script puts there as it is
                assert raw(part) == [], asked
        elif body:
            assert answer["Content-Disposition"].startswith("attachment"), asked
        if kind.startswith("text/html"):
            seen |= {name for name in INPUTS | ASKED if as_text(name) in body}
    assert (INPUTS | ASKED) - seen == set()


def test_who_is_refused_is_told_so_in_text(planted, client):
    job_type, jobs = planted
    client.force_login(user_with(*READING, name="reader"))
    for url in (page_of(jobs[0], "retry/"), page_of(jobs[1], "abort/")):
        answer = client.post(url)
        assert answer.status_code == 403
        assert as_text("title") in answer.content.decode()
        assert raw(answer.content.decode()) == []


def test_a_cell_with_markup_is_data_in_the_file(planted, visitor):
    job = planted[1][0]
    answer = visitor.get(page_of(job, "results.csv"))
    assert canary("cell").replace('"', '""') in text_of(answer)
    assert answer["Content-Disposition"].startswith("attachment")
