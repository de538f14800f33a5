"""Which button is there in which state for whom, and what happens to those who press it without it being there."""

from __future__ import annotations

import pytest

from qorworker.models import AuditEntry, Job
from tests.admin.support import STATES, in_state, messages_of, page_of, superuser, user_with

pytestmark = pytest.mark.django_db

VERBS = ["abort", "cancel", "run-now", "retry", "run-again", "reschedule"]
OFFERED = {
    "new": {"cancel", "reschedule"},
    "scheduled": {"run-now", "cancel", "reschedule"},
    "will_retry": {"run-now", "cancel", "reschedule"},
    "running": {"abort", "run-again"},
    "aborting": {"run-again"},
    "silent": {"abort", "run-again"},
    "done": {"run-again"},
    "exception": {"retry", "run-again"},
    "killed": {"retry", "run-again"},
    "cancelled": {"run-again"},
}
NEEDS = {
    "abort": ["qorworker.abort_job"],
    "cancel": ["qorworker.abort_job"],
    "run-now": ["qorworker.reschedule_job"],
    "reschedule": ["qorworker.reschedule_job"],
    "retry": ["qorworker.retry_job"],
    "run-again": ["qorworker.run_job", "qorworker.view_job_arguments"],
}
LATER = {"qw-at_0": "2999-01-01", "qw-at_1": "09:00"}


def offered(client, job):
    page = client.get(page_of(job)).content.decode()
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
    assert NEEDS[verb][0] in response.content.decode()
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
        ("abort", "running", "running"),
    ],
)
def test_a_button_does_what_it_says_in_the_name_of_who_pressed_it(types, visitor, root, verb, state, after):
    job = in_state(types["open"], state)
    response = visitor.post(page_of(job, verb) + "/", {"confirmed": "1", **LATER}, follow=True)
    assert response.redirect_chain == [(page_of(job), 302)]
    job.refresh_from_db()
    assert job.status == after
    assert (job.abort_requested_at is not None) == (verb == "abort")
    entry = AuditEntry.objects.get()
    assert (entry.outcome, entry.user_name, entry.origin) == ("ok", "root", "admin")


def test_run_again_makes_a_new_job_and_lands_on_it(types, visitor, root):
    job = in_state(types["open"], "done")
    response = visitor.post(page_of(job, "run-again/"))
    new = Job.objects.latest("pk")
    assert response.url == page_of(new)
    assert (new.rerun_of_id, new.created_by, new.status) == (job.pk, root, "new")


@pytest.mark.parametrize("verb", ["abort", "cancel"])
def test_abort_and_cancel_ask_first_and_change_nothing_until_confirmed(types, visitor, verb):
    job = in_state(types["open"], "running" if verb == "abort" else "new")
    before = Job.objects.values().get()
    response = visitor.post(page_of(job, verb) + "/")
    assert response.status_code == 200
    assert 'name="confirmed"' in response.content.decode()
    assert Job.objects.values().get() == before


def test_run_again_asks_what_its_type_wants_to_be_confirmed(types, visitor):
    job = in_state(types["asks"], "done")
    assert "Everything will be deleted." in visitor.post(page_of(job, "run-again/")).content.decode()
    assert Job.objects.count() == 1
    visitor.post(page_of(job, "run-again/"), {"confirmed": "1"})
    assert Job.objects.count() == 2


@pytest.mark.parametrize(
    ("verb", "state", "told"),
    [
        ("abort", "done", "It had already finished at"),
        ("abort", "exception", "It had already failed at"),
        ("abort", "killed", "It was already aborted at"),
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
    assert "Enter a valid date." in response.content.decode()
    assert Job.objects.values().get() == before


def test_a_job_whose_code_is_gone_can_be_looked_at_but_not_run(types, visitor):
    job = in_state("tests.gone", "exception")
    assert offered(visitor, job) == set()
    response = visitor.post(page_of(job, "run-again/"), follow=True)
    assert "no longer part of the project" in messages_of(response)[0]
    assert Job.objects.count() == 1
