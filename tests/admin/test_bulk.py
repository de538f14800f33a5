"""Many jobs at once: counted first, asked, then done, with an honest account of what was left alone."""

from __future__ import annotations

import pytest
from django.utils.translation import override

from qorworker.admin import many
from qorworker.admin.jobs import bulk
from qorworker.models import AuditEntry, Job
from tests.admin.support import BASE, STATES, in_state, make_job, messages_of, text_of, user_with

pytestmark = pytest.mark.django_db


RUNNING = ("running", "looping", "pausing")


def choose(client, action, jobs, follow=True, query="", **extra):
    data = {"action": action, "_selected_action": [job.pk for job in jobs], **extra}
    return client.post(BASE + query, data, follow=follow)


def statuses():
    return dict(Job.objects.values_list("pk", "status"))


@pytest.mark.parametrize(
    ("action", "fitting"),
    [
        ("abort", {*RUNNING, "silent"}),
        ("pause", {"new", "scheduled", "will_retry", "looping"}),
        ("resume", {"paused", "pausing"}),
        ("mark_failed", {"silent"}),
        ("cancel", {"new", "scheduled", "will_retry", "paused"}),
        ("run_now", {"scheduled", "will_retry"}),
        ("retry", {"exception", "killed"}),
        (
            "run_again",
            {"running", "looping", "pausing", "aborting", "silent", "done", "exception", "killed", "cancelled"},
        ),
    ],
)
def test_what_fits_and_what_is_left_alone_is_counted_before_anything_changes(types, visitor, action, fitting):
    jobs = {state: in_state(types["open"], state) for state in STATES}
    before = statuses()
    response = choose(visitor, action, jobs.values())
    assert {job.pk for job in response.context["fitting"]} == {jobs[state].pk for state in fitting}
    assert f" {len(fitting)} of {len(STATES)}." in response.context["lead"]
    assert sum(int(sentence.split()[0]) for sentence in response.context["left"]) == len(STATES) - len(fitting)
    assert statuses() == before


def test_confirmed_it_is_done_for_those_that_fit_and_the_rest_is_told(types, visitor):
    failed = [in_state(types["open"], "exception") for _ in range(3)]
    running = in_state(types["open"], "running")
    response = choose(visitor, "retry", [*failed, running], confirmed="1")
    assert Job.objects.queued().count() == 3
    running.refresh_from_db()
    assert running.status == "running"
    (message,) = messages_of(response)
    assert message == "3 jobs are queued again. 1 was left alone: Running."
    assert AuditEntry.objects.filter(action="retry", outcome="ok").count() == 3


def test_if_nothing_fits_nothing_is_claimed(types, visitor):
    response = choose(visitor, "cancel", [in_state(types["open"], "done")], confirmed="1")
    assert messages_of(response) == ["Nothing was changed. 1 was left alone: Done."]


def test_jobs_that_moved_between_the_question_and_the_answer_are_left_alone(types, visitor, monkeypatch):
    job = in_state(types["open"], "new")
    sort_out = bulk.ManyJobs.sorted_out

    def overtaken(*args):
        found = sort_out(*args)
        Job.objects.filter(pk=job.pk).update(status="running", attempt_token="t" * 32)
        return found

    monkeypatch.setattr(bulk.ManyJobs, "sorted_out", overtaken)
    response = choose(visitor, "cancel", [job], confirmed="1")
    assert statuses() == {job.pk: "running"}
    assert messages_of(response)[0].startswith("Nothing was changed")


def test_jobs_whose_worker_answered_between_the_question_and_the_answer_are_not_marked_as_failed(
    types, visitor, monkeypatch
):
    answering, silent = in_state(types["open"], "silent", attempt_token="a" * 32), in_state(types["open"], "silent")
    sort_out = bulk.ManyJobs.sorted_out

    def overtaken(*args):
        found = sort_out(*args)
        Job.objects.renew({answering.pk: "a" * 32}, 15)
        return found

    monkeypatch.setattr(bulk.ManyJobs, "sorted_out", overtaken)
    response = choose(
        visitor, "mark_failed", [answering, silent], query="?tab=not_responding", confirmed="1", reason="power cut"
    )
    assert statuses() == {answering.pk: "running", silent.pk: "exception"}
    assert messages_of(response) == ["1 job was marked as failed. 1 was left alone: Running."]
    assert "(power cut)" in Job.objects.get(pk=silent.pk).error


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
    monkeypatch.setattr(many, "AT_ONCE", 3)
    jobs = [make_job(types["open"]) for _ in range(4)]
    response = choose(visitor, "cancel", jobs, confirmed="1")
    assert set(statuses().values()) == {"new"}
    assert "At most 3 can" in messages_of(response)[0]


def test_run_again_for_many_asks_what_their_types_want_confirmed(types, visitor):
    job = in_state(types["asks"], "done")
    assert "Everything will be deleted." in text_of(choose(visitor, "run_again", [job]))
    choose(visitor, "run_again", [job], confirmed="1")
    assert Job.objects.filter(rerun_of=job).count() == 1


def test_unfinished_jobs_cannot_be_deleted_in_bulk(types, visitor):
    jobs = [in_state(types["open"], "running"), in_state(types["open"], "done")]
    page = choose(visitor, "delete_finished", jobs)
    assert page.context["lead"] == "Delete 1 of 2."
    assert page.context["left"] == ["1 is “Running” and will be left alone."]
    response = choose(visitor, "delete_finished", jobs, confirmed="1")
    assert messages_of(response) == ["1 job was deleted. 1 was left alone: Running."]
    assert list(statuses()) == [jobs[0].pk]
    assert AuditEntry.objects.get(action="delete").outcome == "ok"


def test_many_are_paused_and_resumed_together_in_a_few_statements(types, visitor, django_assert_max_num_queries):
    jobs = [in_state(types["open"], state) for state in ("new", "looping") * 20]
    with django_assert_max_num_queries(60):
        response = choose(visitor, "pause", jobs, confirmed="1")
    assert messages_of(response) == ["40 jobs were paused or asked to pause."]
    assert (Job.objects.paused().count(), Job.objects.pausing().count()) == (20, 20)
    assert messages_of(choose(visitor, "resume", jobs, confirmed="1")) == ["40 jobs were resumed."]
    assert not Job.objects.can_be_resumed().exists()


# Which actions there are

BOTH = ("pause", "resume")
MOST = ("run_now", "retry", "mark_failed", "abort", "cancel", "run_again", "reschedule")


def offered(client, query=""):
    form = client.get(BASE + query).context["action_form"]
    return {name for name, _label in form.fields["action"].choices if name} if form else set()


@pytest.mark.parametrize(
    ("query", "actions"),
    [
        (
            "",
            {*BOTH, "run_now", "retry", "mark_failed", "abort", "cancel", "run_again", "reschedule", "delete_finished"},
        ),
        ("?tab=queued", {"cancel", "pause", "reschedule"}),
        ("?tab=running", {"abort", *BOTH}),
        ("?tab=paused", {"resume", "reschedule", "cancel"}),
        ("?tab=not_responding", {"mark_failed", "abort"}),
        ("?tab=scheduled", {"run_now", "reschedule", "pause", "cancel"}),
        ("?tab=done", {"run_again", "delete_finished"}),
        ("?tab=failed", {"retry", "run_again", "delete_finished"}),
        ("?tab=cancelled", {"run_again", "delete_finished"}),
    ],
)
def test_a_tab_offers_what_makes_sense_for_its_jobs(types, visitor, query, actions):
    for state in STATES:
        in_state(types["open"], state)
    assert offered(visitor, query) == actions


def test_only_what_one_may_do_with_the_jobs_of_some_type_is_offered(types, client):
    in_state(types["open"], "new")
    client.force_login(user_with("qorworker.view_job", name="viewer"))
    assert offered(client) == set()
    client.force_login(user_with("qorworker.view_job", "qorworker.abort_job", name="stopper"))
    assert offered(client) == {"mark_failed", "abort", "cancel", *BOTH}
    client.force_login(user_with("testapp.change_shop", name="owner of a type"))
    in_state(types["by_name"], "new")
    assert offered(client) == {*BOTH, *MOST}


def test_with_nothing_selected_django_warns_and_nothing_happens(types, visitor):
    in_state(types["open"], "new")
    (message,) = messages_of(choose(visitor, "cancel", [], index="0"))
    assert "Items must be selected" in message
    assert set(statuses().values()) == {"new"}


# What is asked and what is said


def test_one_reason_is_a_sentence_and_several_are_counted_in_one(types, visitor):
    failed, running = in_state(types["open"], "exception"), in_state(types["open"], "running")
    assert choose(visitor, "retry", [failed, running]).context["left"] == ["1 is “Running” and will be left alone."]
    more = [in_state(types["open"], state) for state in ("done", "done", "new")]
    response = choose(visitor, "retry", [failed, running, *more])
    assert response.context["lead"] == "Retry 1 of 5."
    assert response.context["left"] == ["4 will be left alone: 2 Done, 1 Queued, 1 Running."]


@pytest.mark.parametrize(
    ("action", "state", "label"),
    [("run_now", "paused", "Paused"), ("pause", "pausing", "Pausing"), ("abort", "aborting", "Aborting")],
)
def test_a_job_is_left_alone_by_the_name_that_its_badge_has(types, visitor, action, state, label):
    response = choose(visitor, action, [in_state(types["open"], state)])
    assert response.context["left"] == [f"1 is “{label}” and will be left alone."]


def test_jobs_without_code_with_secrets_or_without_the_right_are_told_apart(types, client):
    gone, open_one = in_state("tests.gone", "done"), in_state(types["open"], "done")
    secret = in_state(types["log_in"], "done", arguments={"password": {"$secret": "x"}})
    mine = in_state(types["by_name"], "done")
    client.force_login(
        user_with("qorworker.view_job", "qorworker.view_job_arguments", "testapp.change_shop", "qorworker.run_job")
    )
    left = choose(client, "run_again", [gone, secret, mine]).context["left"]
    assert [sentence.split(" and ")[0] for sentence in left] == [
        "1 has no code in the project",
        "1 has a secret that must be entered again, on its own page,",
    ]
    client.force_login(user_with("qorworker.view_job", "testapp.change_shop", name="only one type"))
    response = choose(client, "run_again", [open_one, mine])
    assert response.context["left"] == ["You may not do this with 1 of them; it will be left alone."]
    assert list(response.context["fitting"]) == [mine]


def test_jobs_that_left_the_tab_after_the_question_are_told_by_where_they_went(types, visitor):
    jobs = [in_state(types["open"], "exception") for _ in range(3)]
    assert len(choose(visitor, "retry", jobs, query="?tab=failed").context["fitting"]) == 3
    Job.objects.filter(pk=jobs[0].pk).update(status="new")
    Job.objects.filter(pk=jobs[1].pk).delete()
    (message,) = messages_of(choose(visitor, "retry", jobs, query="?tab=failed", confirmed="1"))
    assert message == "1 job is queued again. 2 were left alone: 1 Queued, 1 deleted meanwhile."


def test_all_that_fit_the_search_can_be_chosen_at_once(types, visitor):
    mine = {in_state(types["greet"], "exception").pk for _ in range(3)}
    other = in_state(types["open"], "exception")
    response = choose(visitor, "retry", [other], query="?q=greet", select_across="1")
    assert {job.pk for job in response.context["rows"]} == mine


@pytest.mark.parametrize("query", ["?q=arg.left:tea", "?q=%22tea", "?tab=nonsense", "?from=x", "?user=a%00b"])
@pytest.mark.parametrize("extra", [{}, {"confirmed": "1"}, {"confirmed": "1", "qw-newest": "999"}])
def test_nothing_is_done_with_all_that_match_if_the_filters_are_not_understood(types, visitor, query, extra):
    jobs = [in_state(types["greet"], "new") for _ in range(3)]
    page = text_of(choose(visitor, "cancel", jobs[:1], query=query, select_across="1", **extra))
    assert set(statuses().values()) == {"new"}
    assert 'id="qw-search-errors"' in page or "was left out" in page


# All that match, beyond what one page can name


@pytest.fixture
def few_at_once(monkeypatch):
    monkeypatch.setattr(many, "AT_ONCE", 3)


def everything(client, action, query="", **extra):
    """All that match: first the question, then what it leads to."""
    first = Job.objects.order_by("-pk").first()
    page = choose(client, action, [first], query=query, select_across="1")
    assert page.context["is_all"], messages_of(page)
    names = ("select_across", "qw-newest", "_selected_action")
    fields = {name: text_of(page).split(f'name="{name}" value="')[1].split('"')[0] for name in names}
    return page, lambda **more: client.post(
        BASE + query, {"action": action, "confirmed": "1", **fields, **extra, **more}, follow=True
    )


def test_more_than_can_be_named_are_gone_through_batch_by_batch(types, visitor, few_at_once):
    failed = {in_state(types["open"], "exception").pk for _ in range(8)}
    page, go_on = everything(visitor, "retry", "?tab=failed")
    assert page.context["lead"] == "Retry all that fit, of 8."
    assert set(statuses().values()) == {"exception"}
    later = in_state(types["open"], "exception")  # nobody was asked about this one
    assert messages_of(go_on()) == ["8 jobs are queued again."]
    assert {pk for pk, status in statuses().items() if status == "new"} == failed
    assert statuses()[later.pk] == "exception"


def test_what_does_not_fit_or_is_not_allowed_is_left_alone_there_too(types, client, few_at_once):
    mine = [in_state(types["by_name"], "new") for _ in range(4)]
    other = [in_state(types["open"], "new") for _ in range(2)]
    in_state(types["by_name"], "done")
    client.force_login(user_with("qorworker.view_job", "testapp.change_shop"))
    _page, go_on = everything(client, "cancel")
    (message,) = messages_of(go_on())
    assert message == "4 jobs were cancelled. 3 were left alone: 1 Done, 2 not allowed."
    assert {pk for pk, status in statuses().items() if status == "cancelled"} == {job.pk for job in mine}
    assert AuditEntry.objects.filter(outcome="denied").count() == len(other)


def test_when_time_is_up_it_says_how_many_were_not_reached(types, visitor, few_at_once, monkeypatch):
    monkeypatch.setattr(many, "BUDGET", -1.0)
    for _ in range(8):
        in_state(types["open"], "exception")
    _page, go_on = everything(visitor, "delete_finished")
    assert messages_of(go_on()) == ["3 jobs were deleted. Time ran out: 5 more were not processed. Select them again."]
    assert Job.objects.count() == 5


def test_a_time_that_cannot_be_read_is_asked_for_once_more(types, visitor, few_at_once):
    for _ in range(5):
        in_state(types["open"], "scheduled")
    _page, go_on = everything(visitor, "reschedule")
    page = go_on(**{"qw-at_0": "x", "qw-at_1": "09:00"})
    assert (page.status_code, page.context["is_all"]) == (422, True)
    assert messages_of(go_on(**{"qw-at_0": "2999-01-02", "qw-at_1": "09:00"})) == ["5 jobs have another time."]


def test_what_is_no_number_bounds_nothing(types, visitor, few_at_once):
    for _ in range(5):
        in_state(types["open"], "new")
    _page, go_on = everything(visitor, "cancel")
    assert go_on(**{"qw-newest": "x"}).status_code == 400
    assert set(statuses().values()) == {"new"}


# Another time


def at(day, time="09:00", **more):
    return {"qw-at_0": day, "qw-at_1": time, "confirmed": "1", **more}


def test_waiting_jobs_get_another_time(types, visitor):
    jobs = [in_state(types["open"], state) for state in ("new", "scheduled", "will_retry", "done")]
    page = choose(visitor, "reschedule", jobs)
    assert page.context["lead"] == "Reschedule 3 of 4."
    assert 'name="qw-at_0"' in text_of(page)
    (message,) = messages_of(choose(visitor, "reschedule", jobs, **at("2999-01-02")))
    assert message == "3 jobs have another time. 1 was left alone: Done."
    moved = Job.objects.scheduled()
    assert {job.run_after.year for job in moved} == {2999}
    assert moved.count() == 3
    assert AuditEntry.objects.filter(action="reschedule", outcome="ok").count() == 3


def test_a_time_in_the_past_starts_the_scheduled_ones_at_once(types, visitor):
    jobs = [in_state(types["open"], "new"), in_state(types["open"], "scheduled")]
    choose(visitor, "reschedule", jobs, **at("2001-01-02"))
    assert set(statuses().values()) == {"new"}


@pytest.mark.parametrize(("day", "told"), [("", "This field is required."), ("x", "Enter a valid date.")])
def test_without_a_time_that_can_be_nothing_is_changed_and_the_selection_is_kept(types, visitor, day, told):
    jobs = [in_state(types["open"], "new") for _ in range(2)]
    response = choose(visitor, "reschedule", jobs, **at(day))
    assert response.status_code == 422
    page = text_of(response)
    assert told in page
    assert all(f'name="_selected_action" value="{job.pk}"' in page for job in jobs)
    assert set(statuses().values()) == {"new"}


def test_types_for_which_no_time_is_chosen_are_left_alone(types, visitor):
    job = in_state(types["log_in"], "new")
    assert list(choose(visitor, "reschedule", [job]).context["fitting"]) == []


# Deleting


def test_who_may_not_delete_is_not_offered_it_and_refused(types, client):
    job = in_state(types["open"], "done")
    client.force_login(user_with("qorworker.view_job", "qorworker.run_job"))
    assert "delete_finished" not in offered(client)
    choose(client, "delete_finished", [job], confirmed="1")
    assert Job.objects.exists()
    assert AuditEntry.objects.get(action="delete").outcome == "denied"


@pytest.mark.parametrize(("language", "stop"), [("en", "."), ("de", "."), ("ja", "。"), ("zh-hans", "。")])
def test_the_outcome_ends_with_the_full_stop_of_the_language(types, visitor, language, stop):
    failed = in_state(types["open"], "exception")
    with override(language):
        (message,) = messages_of(choose(visitor, "retry", [failed], confirmed="1"))
    assert message.endswith(stop)
