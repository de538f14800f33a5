"""Many jobs at once: counted first, asked, then done, with an honest account of what was left alone."""

from __future__ import annotations

import pytest

from qorworker.admin import bulk
from qorworker.models import AuditEntry, Job
from tests.admin.support import BASE, STATES, in_state, make_job, messages_of, user_with

pytestmark = pytest.mark.django_db


def choose(client, action, jobs, follow=True, query="", **extra):
    data = {"action": action, "_selected_action": [job.pk for job in jobs], **extra}
    return client.post(BASE + query, data, follow=follow)


def statuses():
    return dict(Job.objects.values_list("pk", "status"))


@pytest.mark.parametrize(
    ("action", "fitting"),
    [
        ("abort", {"running", "silent"}),
        ("cancel", {"new", "scheduled", "will_retry"}),
        ("run_now", {"scheduled", "will_retry"}),
        ("retry", {"exception", "killed"}),
        ("run_again", {"running", "aborting", "silent", "done", "exception", "killed", "cancelled"}),
    ],
)
def test_what_fits_and_what_is_left_alone_is_counted_before_anything_changes(types, visitor, action, fitting):
    jobs = {state: in_state(types["open"], state) for state in STATES}
    before = statuses()
    response = choose(visitor, action, jobs.values())
    assert {job.pk for job in response.context["fitting"]} == {jobs[state].pk for state in fitting}
    assert f"{len(fitting)} of {len(STATES)} selected" in response.content.decode()
    assert f"{len(STATES) - len(fitting)} will be left alone:" in response.content.decode()
    assert statuses() == before


def test_confirmed_it_is_done_for_those_that_fit_and_the_rest_is_told(types, visitor):
    failed = [in_state(types["open"], "exception") for _ in range(3)]
    running = in_state(types["open"], "running")
    response = choose(visitor, "retry", [*failed, running], confirmed="1")
    assert Job.objects.queued().count() == 3
    running.refresh_from_db()
    assert running.status == "running"
    (message,) = messages_of(response)
    assert message == "3 jobs are queued again. 1 was left alone: its status or your rights do not allow it."
    assert AuditEntry.objects.filter(action="retry", outcome="ok").count() == 3


def test_if_nothing_fits_nothing_is_claimed(types, visitor):
    response = choose(visitor, "cancel", [in_state(types["open"], "done")], confirmed="1")
    assert messages_of(response) == ["Nothing was changed: the status of the jobs or your rights do not allow it."]


def test_jobs_that_moved_between_the_question_and_the_answer_are_left_alone(types, visitor, monkeypatch):
    job = in_state(types["open"], "new")
    sort_out = bulk._sorted_out

    def overtaken(*args):
        found = sort_out(*args)
        Job.objects.filter(pk=job.pk).update(status="running", attempt_token="t" * 32)
        return found

    monkeypatch.setattr(bulk, "_sorted_out", overtaken)
    response = choose(visitor, "cancel", [job], confirmed="1")
    assert statuses() == {job.pk: "running"}
    assert messages_of(response)[0].startswith("Nothing was changed")


def test_jobs_one_may_see_but_not_touch_are_left_alone_and_written_down(types, client):
    mine, other = in_state(types["by_name"], "new"), in_state(types["open"], "new")
    client.force_login(user_with("qorworker.view_job", "testapp.change_shop"))
    choose(client, "cancel", [mine, other], confirmed="1")
    assert statuses() == {mine.pk: "cancelled", other.pk: "new"}
    assert AuditEntry.objects.get(outcome="denied").job_id == other.pk


def test_jobs_one_may_not_see_are_untouched_even_if_named_or_all_are_chosen(types, client):
    hidden, mine = in_state(types["open"], "new"), in_state(types["by_name"], "new")
    client.force_login(user_with("testapp.change_shop"))
    choose(client, "cancel", [hidden, mine], confirmed="1")
    assert statuses()[hidden.pk] == "new"
    choose(client, "cancel", [hidden, mine], select_across="1", confirmed="1")
    assert statuses() == {hidden.pk: "new", mine.pk: "cancelled"}


def test_too_many_are_refused_whole(types, visitor, monkeypatch):
    monkeypatch.setattr(bulk, "AT_ONCE", 3)
    jobs = [make_job(types["open"]) for _ in range(4)]
    response = choose(visitor, "cancel", jobs, confirmed="1")
    assert set(statuses().values()) == {"new"}
    assert "At most 3 jobs" in messages_of(response)[0]


def test_run_again_for_many_asks_what_their_types_want_confirmed(types, visitor):
    job = in_state(types["asks"], "done")
    assert "Everything will be deleted." in choose(visitor, "run_again", [job]).content.decode()
    choose(visitor, "run_again", [job], confirmed="1")
    assert Job.objects.filter(rerun_of=job).count() == 1


def test_unfinished_jobs_cannot_be_deleted_in_bulk(types, visitor):
    jobs = [in_state(types["open"], "running"), in_state(types["open"], "done")]
    choose(visitor, "delete_selected", jobs, post="yes")
    assert Job.objects.count() == 2
    choose(visitor, "delete_selected", jobs[1:], post="yes")
    assert list(statuses()) == [jobs[0].pk]
