"""Arguments, attempts and history on a job's page, and what can be taken away of them."""

from __future__ import annotations

import datetime as dt
import json
import re
from itertools import pairwise
from typing import Annotated

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from django.utils.html import escape

import qorworker
from qorworker import Arg
from qorworker.admin.jobs.attempts import strip_of, tries_of
from qorworker.models import Attempt, AuditEntry, Job, Outcome
from qorworker.text.masking import MASK
from tests.admin.support import (
    BASE,
    a_worker,
    make_job,
    messages_of,
    page_of,
    stored,
    superuser,
    text_of,
    user_with,
)
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.once]


def section(response, name):
    page = text_of(response).replace("\xa0", " ")
    return page.split(f'<section class="qw-card" id="{name}"')[1].split("</section>")[0]


def words(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


# Arguments


@pytest.fixture
def upload(types, tmp_path, settings):
    """A job with a file, and the file's content."""
    settings.MEDIA_ROOT = str(tmp_path)
    content = b"sku,name\n1,\xff\n"
    file = SimpleUploadedFile("spring <b>.csv", content)
    arguments = stored(types["upload"], file=file, shop=Shop.objects.create(name="Verona"))
    return make_job(types["upload"], "done", arguments=arguments), content


def test_a_file_is_told_with_its_size_and_can_be_downloaded_as_it_came(visitor, upload):
    job, content = upload
    assert f'href="{page_of(job, "file/file/")}">spring &lt;b&gt;.csv (' in section(
        visitor.get(page_of(job)), "arguments"
    )
    response = visitor.get(page_of(job, "file/file/"))
    assert b"".join(response.streaming_content) == content
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment")
    assert response["X-Content-Type-Options"] == "nosniff"


def test_a_file_needs_the_right_to_the_arguments(client, upload):
    client.force_login(user_with("qorworker.view_job", "qorworker.view_job_log"))
    assert client.get(page_of(upload[0], "file/file/")).status_code == 403


def test_a_file_that_is_gone_is_said_to_be(visitor, upload, tmp_path):
    for path in (tmp_path / "qorworker").rglob("*"):
        if path.is_file():
            path.unlink()
    response = visitor.get(page_of(upload[0], "file/file/"), follow=True)
    assert "is gone" in messages_of(response)[0]


@pytest.mark.parametrize("name", ["shop", "nonsense"])
def test_only_uploads_are_files(visitor, upload, name):
    assert visitor.get(page_of(upload[0], f"file/{name}/")).status_code == 404


def test_what_only_looks_like_an_upload_names_no_file(types, visitor, upload):
    planted = upload[0].arguments["file"]
    job = make_job(types["greet"], arguments={"subject": planted, "copies": 1, "mode": "plain"})
    assert visitor.get(page_of(job, "file/subject/")).status_code == 404
    gone = make_job("tests.gone", arguments={"file": planted})
    assert visitor.get(page_of(gone, "file/file/")).status_code == 404
    assert "/file/file/" not in section(visitor.get(page_of(gone)), "arguments")


def test_arguments_have_the_labels_and_values_of_their_form_and_long_text_is_folded(types, visitor):
    def told(text: Annotated[str, Arg(label="What to say")], times: int = 3) -> None:
        pass

    job_type = qorworker.job(name="tests.told")(told)
    job = make_job(job_type, arguments=stored(job_type, text="word " * 100))
    html = section(visitor.get(page_of(job)), "arguments")
    assert "<dt>What to say</dt>" in html
    assert re.search(r"<dt>Times</dt><dd><span[^>]*>3<", html)
    assert re.search(r"<details><summary>word word [^<]{,120}…</summary>", html)


def test_arguments_as_json_have_dots_for_secrets(types, visitor):
    job = make_job(types["log_in"], arguments=stored(types["log_in"], password="hunter2", user_name="<Ä>"))
    html = section(visitor.get(page_of(job)), "arguments")
    raw = re.search(r'id="qw-json">(.*?)</pre>', html, re.S)[1].replace("&quot;", '"')
    assert json.loads(raw) == {"password": MASK, "user_name": "&lt;Ä&gt;"}
    assert "Copy as JSON" in html
    assert f'href="{BASE}run/tests.log_in/?from={job.pk}">Open in form' in html


def test_arguments_of_a_job_whose_code_is_gone_can_be_read(types, visitor):
    job = make_job("tests.gone", arguments={"region": "north", "password": {"$secret": "gAAA"}})
    html = section(visitor.get(page_of(job)), "arguments")
    assert "north" in html
    assert MASK in html
    assert "gAAA" not in html
    assert "Open in form" not in html


# Attempts

START = timezone.now().replace(microsecond=0) - dt.timedelta(seconds=300)


def at(seconds):
    return START + dt.timedelta(seconds=seconds)


@pytest.fixture
def tried(types):
    """Created at 0; failed from 10 to 30, crashed from 90 to 100, runs since 200."""
    worker = a_worker()
    job = make_job(
        types["greet"], "running", enqueued_at=at(0), run_after=at(0), attempt=3, max_attempts=3, started_at=at(10),
        last_attempted_at=at(200), worker=worker, process_id=99, log_lines=1,
    )  # fmt: skip
    for number, start, end, outcome, more in (
        (1, 10, 30, Outcome.FAILED, {"exit_code": 0, "peak_memory": 2**20}),
        (2, 90, 100, Outcome.CRASHED, {"signal": 9}),
    ):
        Attempt.objects.create(
            job=job, number=number, worker_id=worker.pk, worker_name="web-1:7", process_id=10 + number,
            started_at=at(start), finished_at=at(end), outcome=outcome, **more,
        )  # fmt: skip
    return job


def test_each_attempt_has_its_line_the_newest_first_with_the_one_that_runs(visitor, tried):
    html = section(visitor.get(page_of(tried)), "attempts")
    rows = [words(row) for row in re.findall(r"<tr>(.*?)</tr>", html, re.S)][1:]
    assert [row.split()[0] for row in rows] == ["3", "2", "1"]
    assert re.search(r"^3 1 min 40 s .* – Running .*web-1:7 · 99", rows[0])
    assert re.search(r"^2 1 min .* 10 s Process ended unexpectedly .*· 12 signal 9 –", rows[1])
    assert re.search(r"^1 10 s .* 20 s Failed .*· 11 0 1.0 MB", rows[2])
    assert 'href="?attempt=2#log"' in html


def test_the_strip_shows_waiting_and_running_in_proportion(tried, monkeypatch):
    monkeypatch.setattr(timezone, "now", lambda: at(260))
    pieces = strip_of(tried, tries_of(tried, list(tried.attempts.order_by("-number"))))
    assert [piece.kind for piece in pieces] == ["waiting", "failed", "again", "failed", "again", "running"]
    assert pieces[0].x == 0
    assert sum(piece.width for piece in pieces) == 1_000
    assert all(one.x + one.width == next_.x for one, next_ in pairwise(pieces))
    assert pieces[2].width == pytest.approx(6 * pieces[3].width, rel=0.1)
    assert pieces[1].title == "attempt 1: Failed, 20 s"


def test_the_smallest_piece_of_the_strip_can_be_seen(types):
    job = make_job(types["open"], "done", enqueued_at=at(-864_000), run_after=at(-864_000), started_at=at(0))
    Attempt.objects.create(job=job, number=1, started_at=at(0), finished_at=at(1), outcome=Outcome.DONE)
    pieces = strip_of(job, tries_of(job, list(job.attempts.all())))
    assert [piece.kind for piece in pieces] == ["waiting", "done"]
    assert pieces[1].width >= 7


def test_the_strip_is_told_in_words_too(visitor, tried):
    html = section(visitor.get(page_of(tried)), "attempts")
    label = re.search(r'<svg class="qw-strip"[^>]*role="img" aria-label="([^"]+)"', html)[1]
    assert label.startswith("waited: 10 s; attempt 1: Failed, 20 s; waited again: 1 min;")
    assert "style=" not in html


def test_a_job_with_a_time_of_its_own_did_not_wait_before_it(types):
    job = make_job(types["open"], "done", enqueued_at=at(0), run_after=at(500), started_at=at(505))
    Attempt.objects.create(job=job, number=1, started_at=at(505), finished_at=at(506), outcome=Outcome.DONE)
    (one,) = tries_of(job, list(job.attempts.all()))
    assert one.waited == dt.timedelta(seconds=5)


# History


def events_of(client, job):
    html = section(client.get(page_of(job)), "history")
    return [words(line.split("</span>", 1)[1]) for line in re.findall(r"<li>(.*?)</li>", html, re.S)]


def test_the_history_is_told_in_sentences_and_in_order(visitor, tried):
    assert events_of(visitor, tried) == [
        "It was created",
        "Attempt 1 started on web-1:7",
        "Attempt 1 ended after 20 s: Failed",
        "Attempt 2 started on web-1:7",
        "Attempt 2 ended after 10 s: Process ended unexpectedly",
        "Attempt 3 started on web-1:7",
    ]


@pytest.mark.parametrize(
    ("action", "outcome", "told"),
    [
        ("enqueue", "ok", "ben created it"),
        ("cancel", "ok", "ben cancelled it"),
        ("reschedule", "ok", "ben moved it to another time"),
        ("run now", "ok", "ben queued it without waiting for its time"),
        ("abort", "ok", "ben asked it to stop"),
        ("mark failed", "ok", "ben marked it as failed"),
        ("retry", "ok", "ben queued it for one more attempt"),
        ("delete", "ok", "ben deleted it"),
        ("abort", "too late", "ben tried to abort it, but it was no longer running"),
        ("cancel", "too late", "ben tried to cancel it, but it was too late"),
        ("reschedule", "too late", "ben tried to change its time, but it was too late"),
        ("run now", "too late", "ben tried to queue it, but it was no longer scheduled"),
        ("mark failed", "too late", "ben tried to mark it as failed, but it was too late"),
        ("retry", "too late", "ben tried to retry it, but it had not failed"),
        ("delete", "too late", "ben tried to delete it, but it had not ended"),
        ("abort", "denied", "ben tried to abort it without permission"),
        ("cancel", "denied", "ben tried to cancel it without permission"),
        ("retry", "denied", "ben tried to retry it without permission"),
        ("rerun", "denied", "ben tried to run it again without permission"),
        ("reschedule", "denied", "ben tried to change its time without permission"),
        ("delete", "denied", "ben tried to delete it without permission"),
    ],
)
def test_every_verb_and_outcome_has_its_sentence(types, visitor, action, outcome, told):
    job = make_job(types["open"], "done")
    AuditEntry.objects.record(action, job=job, user=superuser("ben"), outcome=outcome, origin="admin")
    assert f"{told} (in the admin)" in events_of(visitor, job)


def test_what_nobody_is_named_for_is_told_by_where_it_came_from(types, visitor):
    job = make_job(types["open"], "scheduled")
    for origin in ("code", "command", "worker"):
        AuditEntry.objects.record("cancel", job=job, origin=origin)
    assert events_of(visitor, job)[1:] == [
        "The program cancelled it",
        "The command line cancelled it",
        "A worker cancelled it",
    ]


def test_a_request_at_the_moment_of_the_creation_is_told_after_it(types, visitor):
    job = make_job(types["open"], "scheduled")
    AuditEntry.objects.record("cancel", job=job, origin="code")
    Job.objects.filter(pk=job.pk).update(enqueued_at=AuditEntry.objects.get().at)
    assert events_of(visitor, job) == ["It was created", "The program cancelled it"]


def test_an_action_that_this_version_does_not_know_is_told_as_it_is(types, visitor):
    job = make_job(types["open"], "done")
    AuditEntry.objects.record("promote", job=job, user=superuser("ben"))
    assert "ben: promote (done) (from code)" in events_of(visitor, job)


def test_a_change_of_time_is_told_with_both_times_as_they_are_written_elsewhere(types, visitor):
    now = timezone.now().replace(second=7)  # seconds are left out of a full minute
    job = make_job(types["open"], "scheduled", run_after=now + dt.timedelta(days=9))
    job.reschedule(now + dt.timedelta(days=10), by=superuser("ben"))
    (told,) = (event for event in events_of(visitor, job) if "moved" in event)
    assert re.search(r"another time: \w+\.? \d+, \d{4} \d\d:\d\d:\d\d → \w+\.? \d+, \d{4} \d\d:\d\d:\d\d \(", told)


@pytest.mark.parametrize("details", [{"before": "soon", "after": 7}, {"before": "2026-99-99T00:00:00", "after": "x"}])
def test_times_that_cannot_be_read_are_left_out(types, visitor, details):
    job = make_job(types["open"], "scheduled")
    AuditEntry.objects.record("reschedule", job=job, user=superuser("ben"), **details)
    assert "ben moved it to another time (from code)" in events_of(visitor, job)


def test_a_reason_is_told_as_text(types, visitor):
    job = make_job(types["open"], "running")
    job.abort(by=superuser("ben"), reason="<b>wrong</b>\u202efile")
    html = section(visitor.get(page_of(job)), "history")
    assert escape("<b>wrong</b>") + "\\u202efile" in html


def test_relations_are_told_in_the_head(types, visitor):
    first = make_job(types["open"], "done")
    second, third = (make_job(types["open"], "done", rerun_of=first) for _number in range(2))
    head = text_of(visitor.get(page_of(first))).split('id="qw-actions"')[0]
    assert re.findall(r">#(\d+)<", head.split("Run again as")[1]) == [str(third.pk), str(second.pk)]
    assert f'href="{page_of(first)}">#{first.pk}' in text_of(visitor.get(page_of(second)))
