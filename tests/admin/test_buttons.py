"""Which button is there in which state for whom, and what happens to those who press it without it being there."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.utils import timezone

from qorworker.models import AuditEntry, Job
from tests.admin.support import BASE, STATES, in_state, messages_of, page_of, superuser, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]

VERBS = [
    "mark-failed",
    "pause",
    "resume",
    "abort",
    "cancel",
    "run-now",
    "retry",
    "run-again",
    "reschedule",
    "show-stack",
]
OFFERED = {
    "new": {"pause", "cancel", "reschedule"},
    "scheduled": {"run-now", "pause", "cancel", "reschedule"},
    "will_retry": {"run-now", "pause", "cancel", "reschedule"},
    "paused": {"resume", "cancel", "reschedule"},
    "running": {"abort", "run-again", "show-stack"},
    "looping": {"pause", "abort", "run-again", "show-stack"},
    "pausing": {"resume", "abort", "run-again", "show-stack"},
    "aborting": {"run-again", "show-stack"},
    "silent": {"mark-failed", "abort", "run-again", "show-stack"},
    "done": {"run-again"},
    "exception": {"retry", "run-again"},
    "killed": {"retry", "run-again"},
    "cancelled": {"run-again"},
}
NEEDS = {
    "mark-failed": ["qorworker.abort_job"],
    "abort": ["qorworker.abort_job"],
    "pause": ["qorworker.abort_job"],
    "resume": ["qorworker.abort_job"],
    "cancel": ["qorworker.abort_job"],
    "run-now": ["qorworker.reschedule_job"],
    "reschedule": ["qorworker.reschedule_job"],
    "retry": ["qorworker.retry_job"],
    "run-again": ["qorworker.run_job", "qorworker.view_job_arguments"],
    "show-stack": ["qorworker.view_job_log"],
}
LATER = {"qw-at_0": "2999-01-01", "qw-at_1": "09:00"}


def offered(client, job):
    page = text_of(client.get(page_of(job)))
    return {verb for verb in VERBS if f'action="{page_of(job, verb)}/"' in page}


@pytest.mark.parametrize("state", STATES)
def test_each_state_has_exactly_its_buttons(types, client, state):
    client.force_login(superuser())
    assert offered(client, in_state(types["open"], state)) == OFFERED[state]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("verb", VERBS)
def test_each_button_needs_its_own_permission_and_no_other(types, client, state, verb):
    client.force_login(user_with("qorworker.view_job", *NEEDS[verb]))
    same = {other for other in VERBS if set(NEEDS[other]) <= set(NEEDS[verb])}
    assert offered(client, in_state(types["open"], state)) == OFFERED[state] & same


@pytest.mark.parametrize("verb", VERBS)
def test_without_the_permission_nothing_changes_and_the_attempt_is_written_down(types, client, verb):
    everything = {name for names in NEEDS.values() for name in names} - set(NEEDS[verb][:1])
    user = user_with("qorworker.view_job", *everything)
    client.force_login(user)
    state = next(state for state, verbs in OFFERED.items() if verb in verbs)
    job = in_state(types["open"], state)
    before = Job.objects.values().get()
    response = client.post(page_of(job, verb) + "/", {"confirmed": "1", **LATER})
    assert response.status_code == 403
    assert NEEDS[verb][0] in text_of(response)
    assert Job.objects.values().get() == before
    entry = AuditEntry.objects.get()
    assert (entry.outcome, entry.user_name, entry.job_id, entry.origin) == ("denied", "staff", job.pk, "admin")
    assert entry.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("verb", "state", "after"),
    [
        ("cancel", "new", "cancelled"),
        ("cancel", "will_retry", "cancelled"),
        ("run-now", "scheduled", "new"),
        ("retry", "exception", "new"),
        ("retry", "killed", "new"),
        ("reschedule", "new", "scheduled"),
        ("reschedule", "paused", "scheduled"),
        ("pause", "new", "scheduled"),
        ("pause", "looping", "running"),
        ("resume", "paused", "scheduled"),
        ("resume", "pausing", "running"),
        ("abort", "running", "running"),
        ("abort", "pausing", "running"),
        ("mark-failed", "silent", "exception"),
        ("show-stack", "running", "running"),
    ],
)
def test_a_button_does_what_it_says_in_the_name_of_who_pressed_it(types, visitor, root, verb, state, after):
    job = in_state(types["open"], state)
    response = visitor.post(page_of(job, verb) + "/", {"confirmed": "1", **LATER}, follow=True)
    assert response.redirect_chain == [(page_of(job), 302)]
    job.refresh_from_db()
    assert job.status == after
    assert (job.abort_requested_at is not None) == (verb == "abort")
    assert (job.stack_requested_at is not None) == (verb == "show-stack")
    is_or_will_be_paused = verb == "pause" or (state in ("paused", "pausing") and verb != "resume")
    assert (job.pause_requested_at is not None) == is_or_will_be_paused
    entry = AuditEntry.objects.get()
    assert (entry.outcome, entry.user_name, entry.origin) == ("ok", "root", "admin")


def test_another_time_is_told_with_the_job_and_without_the_seconds_that_nobody_chose(types, visitor):
    job = in_state(types["open"], "scheduled")
    told = messages_of(visitor.post(page_of(job, "reschedule/"), LATER, follow=True))[0]
    assert told.startswith(f"Open door #{job.pk} is scheduled for ")
    assert told.endswith(f" {LATER['qw-at_1']}.")


def test_run_again_makes_a_new_job_and_lands_on_it(types, visitor, root):
    job = in_state(types["open"], "done")
    response = visitor.post(page_of(job, "run-again/"), {"confirmed": "1"})
    new = Job.objects.latest("pk")
    assert response.url == page_of(new)
    assert (new.rerun_of_id, new.created_by, new.status) == (job.pk, root, "new")


@pytest.mark.parametrize(("verb", "state"), [("abort", "running"), ("mark-failed", "silent"), ("cancel", "new")])
def test_what_cannot_be_undone_is_asked_first_and_changes_nothing_until_confirmed(types, visitor, verb, state):
    job = in_state(types["open"], state)
    before = Job.objects.values().get()
    response = visitor.post(page_of(job, verb) + "/")
    assert response.status_code == 200
    assert 'name="confirmed"' in text_of(response)
    assert Job.objects.values().get() == before


def test_run_again_asks_what_its_type_wants_to_be_confirmed(types, visitor):
    job = in_state(types["asks"], "done")
    assert "Everything will be deleted." in text_of(visitor.post(page_of(job, "run-again/")))
    assert Job.objects.count() == 1
    visitor.post(page_of(job, "run-again/"), {"confirmed": "1"})
    assert Job.objects.count() == 2


@pytest.mark.parametrize(("verb", "state"), [("retry", "exception"), ("retry", "killed"), ("run-again", "done")])
def test_what_a_job_of_one_attempt_did_is_done_again_only_after_a_question(types, visitor, verb, state):
    job = in_state(types["open"], state, started_at=timezone.now())
    page = text_of(visitor.post(page_of(job, f"{verb}/")))
    assert "It repeats everything it did before" in page
    assert list(Job.objects.values_list("status", flat=True)) == [job.status]
    visitor.post(page_of(job, f"{verb}/"), {"confirmed": "1"})
    assert Job.objects.filter(status="new").count() == 1


def test_a_job_that_may_run_again_is_retried_without_a_question(types, visitor):
    job = in_state(types["open"], "exception", started_at=timezone.now(), max_attempts=3)
    visitor.post(page_of(job, "retry/"))
    assert Job.objects.get().status == "new"


def test_a_job_that_was_meant_for_later_starts_at_once_only_after_a_question(types, visitor):
    later = timezone.now() + dt.timedelta(hours=5)
    job = in_state(types["open"], "cancelled", run_after=later, started_at=None)
    assert "was meant for" in text_of(visitor.post(page_of(job, "run-again/")))
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    ("verb", "state", "told"),
    [
        ("abort", "done", "It had already finished at"),
        ("abort", "exception", "It had already failed at"),
        ("abort", "killed", "It was already aborted at"),
        ("mark-failed", "running", "Its worker answers."),
        ("mark-failed", "aborting", "Its worker answers."),
        ("mark-failed", "exception", "It had already failed at"),
        ("mark-failed", "will_retry", "It is scheduled for"),
        ("pause", "done", "It had already finished at"),
        ("pause", "aborting", "It is already being aborted."),
        ("pause", "running", "It has not come to a place where it could stop and go on later."),
        ("resume", "new", "It is not paused."),
        ("resume", "running", "It is not paused."),
        ("resume", "aborting", "It is already being aborted."),
        ("resume", "cancelled", "It was already cancelled at"),
        ("run-now", "paused", "It is paused."),
        ("abort", "paused", "It is paused."),
        ("cancel", "running", "It was already started at"),
        ("cancel", "cancelled", "It was already cancelled at"),
        ("retry", "running", "It was already started at"),
        ("run-now", "new", "It has been queued since"),
        ("reschedule", "running", "It was already started at"),
    ],
)
def test_who_comes_too_late_is_told_what_happened_and_nothing_changes(types, visitor, verb, state, told):
    job = in_state(types["open"], state)
    before = Job.objects.values().get()
    response = visitor.post(page_of(job, verb) + "/", {"confirmed": "1", **LATER}, follow=True)
    (message,) = messages_of(response)
    assert message.startswith(told)
    assert message.endswith("Nothing was changed.")
    assert Job.objects.values().get() == before


def test_who_aborts_twice_is_told_when_it_was_asked_first(types, visitor):
    job = in_state(types["open"], "aborting")
    response = visitor.post(page_of(job, "abort/"), {"confirmed": "1"}, follow=True)
    assert messages_of(response)[0].startswith("It was already asked to stop at")


@pytest.mark.parametrize("state", ["scheduled", "new"])
def test_a_time_within_the_window_queues_the_job_and_says_so(types, visitor, state):
    job = in_state(types["open"], state)
    response = visitor.post(page_of(job, "reschedule/"), {"qw-at_0": "2001-01-01", "qw-at_1": "09:00"}, follow=True)
    job.refresh_from_db()
    assert job.status == "new"
    assert "starts at once" in messages_of(response)[0]


def test_a_time_that_cannot_be_read_is_refused_on_the_page_of_the_job(types, visitor):
    job = in_state(types["open"], "scheduled")
    before = Job.objects.values().get()
    response = visitor.post(page_of(job, "reschedule/"), {"qw-at_0": "soon", "qw-at_1": "09:00"})
    assert response.status_code == 422
    assert "Enter a valid date." in text_of(response)
    assert Job.objects.values().get() == before


def test_a_job_whose_code_is_gone_can_be_looked_at_but_not_run(types, visitor):
    job = in_state("tests.gone", "exception")
    assert offered(visitor, job) == set()
    response = visitor.post(page_of(job, "run-again/"), follow=True)
    assert "no longer part of the project" in messages_of(response)[0]
    assert Job.objects.count() == 1


def test_a_time_that_is_near_leaves_a_queued_job_queued(types, visitor):
    job = in_state(types["open"], "new")
    before = Job.objects.values().get()
    soon = timezone.now() + dt.timedelta(seconds=60)
    soon = timezone.localtime(soon) if timezone.is_aware(soon) else soon
    form = {"qw-at_0": f"{soon:%Y-%m-%d}", "qw-at_1": f"{soon:%H:%M:%S}"}
    response = visitor.post(page_of(job, "reschedule/"), form, follow=True)
    assert "starts at once" in messages_of(response)[0]
    assert Job.objects.values().get() == before


@pytest.mark.parametrize("state", ["new", "scheduled"])
def test_no_time_is_offered_or_taken_for_a_type_that_has_none(types, visitor, state):
    job = in_state(types["log_in"], state)
    before = Job.objects.values().get()
    assert "reschedule/" not in text_of(visitor.get(page_of(job)))
    response = visitor.post(page_of(job, "reschedule/"), {"qw-at_0": "2099-01-01", "qw-at_1": "09:00"}, follow=True)
    assert messages_of(response) == ["No time can be chosen for this job. Nothing was changed."]
    assert Job.objects.values().get() == before


def clicked_twice(client, url, form):
    return [client.post(url, form, follow=True) for _click in range(2)]


def test_run_again_clicked_twice_makes_one_job_and_lands_on_it_twice(types, visitor):
    job = in_state(types["open"], "done")
    token = re.search(r'name="qw-token" value="([^"]+)"', text_of(visitor.get(page_of(job))))[1]
    first, second = clicked_twice(visitor, page_of(job, "run-again/"), {"qw-token": token, "confirmed": "1"})
    assert Job.objects.count() == 2
    assert first.redirect_chain == second.redirect_chain
    assert messages_of(second) == ["This run was already started."]


def test_run_again_confirmed_twice_makes_one_job(types, visitor):
    job = in_state(types["asks"], "done")
    token = re.search(r'name="qw-token" value="([^"]+)"', text_of(visitor.get(page_of(job))))[1]
    page = text_of(visitor.post(page_of(job, "run-again/"), {"qw-token": token}))
    assert f'value="{token}"' in page
    clicked_twice(visitor, page_of(job, "run-again/"), {"qw-token": token, "confirmed": "1"})
    assert Job.objects.count() == 2


def test_run_again_for_many_clicked_twice_makes_one_job_of_each(types, visitor):
    jobs = [in_state(types["open"], "done") for _number in range(2)]
    form = {"action": "run_again", "_selected_action": [job.pk for job in jobs]}
    token = re.search(r'name="qw-token" value="([^"]+)"', text_of(visitor.post(BASE, form)))[1]
    clicked_twice(visitor, BASE, {**form, "confirmed": "1", "qw-token": token})
    assert Job.objects.count() == 4


@pytest.mark.parametrize("bulk", [False, True])
def test_what_was_done_is_on_record_with_the_address_of_who_did_it(types, visitor, bulk):
    job = in_state(types["open"], "new")
    if bulk:
        visitor.post(BASE, {"action": "cancel", "_selected_action": [job.pk], "confirmed": "1"})
    else:
        visitor.post(page_of(job, "cancel/"), {"confirmed": "1"})
    assert AuditEntry.objects.get().address == "127.0.0.1"
    job.rerun(by=None)
    in_state(types["open"], "new").cancel()
    assert AuditEntry.objects.latest("id").address is None
