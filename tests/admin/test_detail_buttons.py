"""One matrix: every state that a job can be in, every right alone and all together; exactly what is offered then."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.utils import timezone

from qorworker.models import AuditEntry, Job
from tests.admin.support import STATES, in_state, messages_of, page_of, superuser, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]

# What there is for whom may do everything, the first button first; "!" marks that which stands out.
OFFERED = {
    "new": "Pause Cancel… Schedule Change…",
    "scheduled": "Run-now Pause Cancel… !Update-schedule Change…",
    "will_retry": "!Run-now Pause Cancel… Update-schedule Change…",
    "paused": "!Resume Cancel… Update-schedule Change…",
    "running": "Abort… Show-stack Run-again…",
    "looping": "Pause Abort… Show-stack Run-again…",
    "pausing": "Resume Abort… Show-stack Run-again…",
    "aborting": "Show-stack Run-again…",
    "silent": "Mark-as-failed… Abort… Show-stack Run-again…",
    "done": "!Run-again… Delete…",
    "exception": "!Retry… Run-again… Delete…",
    "killed": "!Run-again… Retry… Delete…",
    "cancelled": "!Run-again Delete…",
}
CHANGES = "Run-again-with-changes…"  # the run form with the job's arguments, from every state
RIGHTS: dict[str, set[str]] = {
    "qorworker.abort_job": {"Mark-as-failed…", "Pause", "Resume", "Abort…", "Cancel…"},
    "qorworker.reschedule_job": {"Run-now", "Schedule", "Update-schedule"},
    "qorworker.retry_job": {"Retry…"},
    "qorworker.delete_job": {"Delete…"},
    "qorworker.run_job": set(),  # running again needs a look at the arguments too
    "qorworker.view_job_arguments": set(),
    "qorworker.run_job qorworker.view_job_arguments": {"Run-again", "Run-again…", CHANGES},
    "qorworker.reschedule_job qorworker.run_job qorworker.view_job_arguments": {
        "Run-now", "Schedule", "Update-schedule", "Change…", "Run-again", "Run-again…", CHANGES,
    },
    "qorworker.view_job_log": {"Show-stack"},
}  # fmt: skip


def offered(page):
    """Labels of the buttons and links with which something is done, with "!" before those that stand out."""
    part = page.split('id="qw-actions">')[1].split('id="qw-announcement"')[0]
    found = []
    for classes, label in re.findall(r'<button type="submit" class="([^"]+)">([^<]+)</button>', part):
        found.append(("!" if "qw-primary" in classes else "") + label.replace(" ", "-"))
    links = re.findall(r"<a [^>]+>([^<]+…)</a>", part)
    return [*found, *(label.replace(" ", "-") for label in links)]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("rights", [*RIGHTS, "all", "none"])
def test_each_state_offers_exactly_what_makes_sense_and_is_allowed(types, client, state, rights):
    everything = [*OFFERED[state].split(), CHANGES]
    if rights == "all":
        client.force_login(superuser())
        allowed = {name.strip("!") for name in everything}
    else:
        named = [] if rights == "none" else rights.split()
        client.force_login(user_with("qorworker.view_job", *named))
        allowed = RIGHTS.get(rights, set())
    shown = offered(text_of(client.get(page_of(in_state(types["greet"], state)))))
    assert sorted(shown) == sorted(name for name in everything if name.strip("!") in allowed)
    buttons = [name for name in shown if name not in (CHANGES, "Delete…")]
    assert buttons == [name for name in OFFERED[state].split() if name.strip("!") in allowed and name != "Delete…"]


@pytest.mark.parametrize("state", STATES)
def test_a_state_without_its_code_offers_only_what_needs_none(types, visitor, state):
    left = {"Cancel…", "Abort…", "Mark-as-failed…", "Run-now", "!Run-now", "Schedule", "Update-schedule", "Delete…"}
    left |= {"!Update-schedule", "Pause", "Resume", "!Resume", "Show-stack"}
    shown = offered(text_of(visitor.get(page_of(in_state("tests.gone", state)))))
    assert set(shown) == left & set(OFFERED[state].split())


def test_a_second_run_beside_the_first_is_asked_for_twice(types, visitor):
    job = in_state(types["open"], "running")
    page = text_of(visitor.post(page_of(job, "run-again/")))
    assert "is still running. Run it again in parallel?" in page
    assert Job.objects.count() == 1
    visitor.post(page_of(job, "run-again/"), {"confirmed": "1"})
    assert Job.objects.count() == 2


# Aborting


def test_the_reason_of_an_abort_is_on_record_and_shown(types, visitor):
    job = in_state(types["open"], "running")
    assert 'name="reason"' in text_of(visitor.post(page_of(job, "abort/")))
    visitor.post(page_of(job, "abort/"), {"confirmed": "1", "reason": "  wrong\nfile " + "x" * 300})
    reason = AuditEntry.objects.get().details["reason"]
    assert reason.startswith("wrong file xxx")
    assert len(reason) <= 200
    page = text_of(visitor.get(page_of(job)))
    assert "root asked it to stop" in page
    assert "wrong file xxx" in page.split("qw-facts")[0]
    assert "It is ended by force" in page
    Job.objects.filter(pk=job.pk).update(status="killed", attempt_token=None, finished_at=timezone.now())
    ended = text_of(visitor.get(page_of(job)))
    assert "wrong file xxx" in ended.split("qw-facts")[0]
    assert "It is ended by force" not in ended


def test_an_abort_needs_no_reason(types, visitor):
    job = in_state(types["open"], "running")
    visitor.post(page_of(job, "abort/"), {"confirmed": "1"})
    assert AuditEntry.objects.get().details == {}
    assert "root asked it to stop" in text_of(visitor.get(page_of(job)))


def test_who_aborts_what_another_has_aborted_is_told_who_and_how_long_ago(types, visitor):
    job = in_state(types["open"], "running")
    job.abort(by=superuser("ben"))
    response = visitor.post(page_of(job, "abort/"), {"confirmed": "1"}, follow=True)
    (message,) = messages_of(response)
    assert message == "ben asked to abort it 10 s ago."
    assert AuditEntry.objects.count() == 1


def test_who_aborts_at_the_same_moment_as_another_is_not_told_that_it_was_them(types, visitor, monkeypatch):
    job = in_state(types["open"], "running")
    ben = superuser("ben")
    really = Job.abort

    def late(self, **options):
        really(Job.objects.get(pk=self.pk), by=ben)
        return really(self, **options)

    monkeypatch.setattr(Job, "abort", late)
    response = visitor.post(page_of(job, "abort/"), {"confirmed": "1"}, follow=True)
    assert messages_of(response) == ["ben asked to abort it 10 s ago."]


# Marking as failed


def test_who_marks_a_job_as_failed_is_told_the_risk_before_and_named_afterwards(types, visitor):
    job = in_state(types["greet"], "silent")
    asked = text_of(visitor.post(page_of(job, "mark-failed/")))
    assert f"Mark Send greetings #{job.pk} as failed?" in asked
    assert "If its process is still running somewhere, it continues until its worker notices." in asked
    assert 'name="reason"' in asked
    form = {"confirmed": "1", "reason": "switched\noff"}
    response = visitor.post(page_of(job, "mark-failed/"), form, follow=True)
    assert messages_of(response) == [f"Send greetings #{job.pk} was marked as failed."]
    page = text_of(response)
    assert "Marked as failed by root: its worker had not answered since " in page
    assert "(switched off)" in page
    assert "!Retry…" in offered(page)
    assert AuditEntry.objects.get().details == {"reason": "switched off"}


def test_a_job_whose_abort_nobody_carries_out_can_be_marked_as_failed(types, visitor):
    job = in_state(types["open"], "silent", abort_requested_at=timezone.now())
    assert "Mark-as-failed…" in offered(text_of(visitor.get(page_of(job))))
    visitor.post(page_of(job, "mark-failed/"), {"confirmed": "1"})
    job.refresh_from_db()
    assert job.status == "exception"


def test_a_worker_that_answers_between_the_question_and_the_answer_keeps_its_job(types, visitor):
    job = in_state(types["open"], "silent")
    assert 'name="confirmed"' in text_of(visitor.post(page_of(job, "mark-failed/")))
    Job.objects.renew({job.pk: job.attempt_token}, 15)
    before = Job.objects.values().get()
    response = visitor.post(page_of(job, "mark-failed/"), {"confirmed": "1"}, follow=True)
    assert messages_of(response) == ["Its worker answers. Nothing was changed."]
    assert "Mark-as-failed…" not in offered(text_of(response))
    assert Job.objects.values().get() == before


# Around


def test_after_an_action_the_status_has_the_focus_and_not_before(types, visitor):
    job = in_state(types["open"], "new")
    assert "data-qw-focus" not in text_of(visitor.get(page_of(job)))
    page = text_of(visitor.post(page_of(job, "cancel/"), {"confirmed": "1"}, follow=True))
    assert 'id="qw-header" tabindex="-1" data-qw-landing data-qw-focus' in page


def test_who_is_refused_finds_a_way_back(types, client):
    job = in_state(types["open"], "running")
    client.force_login(user_with("qorworker.view_job"))
    page = text_of(client.post(page_of(job, "abort/"), {"confirmed": "1"}))
    assert f'href="{page_of(job)}"' in page
    assert "Back to the job" in page


@pytest.mark.parametrize(
    ("days", "told"), [(0, r"at \d\d:\d\d:\d\d\. "), (3, r"at \w+\.? \d+, \d{4} \d\d:\d\d:\d\d\. ")]
)
def test_times_in_messages_are_written_as_on_the_page(types, visitor, days, told):
    ended = timezone.now() - dt.timedelta(days=days)
    job = in_state(types["open"], "done", finished_at=ended)
    response = visitor.post(page_of(job, "abort/"), {"confirmed": "1"}, follow=True)
    (message,) = messages_of(response)
    assert re.search(told, message)
    shown = re.search(r"at (.+)\. ", message)[1]
    assert shown in re.sub(r"<[^>]+>", "", text_of(response)).replace("today ", "")
