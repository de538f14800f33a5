"""The pages of batches: what they show to whom, their buttons, and the picture of the flow."""

import json
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import translation

from qorworker import Batch
from qorworker.admin.batches import page as pages
from qorworker.admin.batches import verbs
from qorworker.models import Job
from qorworker.models.dependents import hold, lock_parents
from qorworker.queries.flow import MOST, flow_of, key_of
from tests.admin.support import make_job, page_of, text_of, user_with

pytestmark = pytest.mark.django_db


def a_batch(types, *statuses, title="Spring mailing", **fields):
    job = make_job(types["open"])
    batch = Batch.objects.create(
        title=title, created_at=job.enqueued_at, total=len(statuses), names=["tests.open"], **fields
    )
    job.delete()
    for status in statuses:
        error = {"error": "ValueError: no such luck"} if status == "exception" else {}
        make_job(types["open"], status, batch=batch, created_by=batch.created_by, **error)
    return batch


def page(batch):
    return reverse("admin:qorworker_batch_change", args=[batch.pk])


def press(client, batch, verb, **data):
    url = reverse(f"admin:qorworker_batch_{verb}", args=[batch.pk])
    return client.post(url, {"confirmed": "1", **data}, follow=True)


def test_the_list_names_each_batch(types, visitor):
    batch = a_batch(types, "done", "new")
    shown = text_of(visitor.get(reverse("admin:qorworker_batch_changelist")))
    assert f'href="{page(batch)}"' in shown
    assert "Spring mailing" in shown


def test_an_empty_list_says_how_batches_come_about(types, visitor):
    assert "Batch.objects.enqueue()" in text_of(visitor.get(reverse("admin:qorworker_batch_changelist")))


def test_the_page_counts_the_jobs_and_links_each_count_to_the_list(types, visitor):
    batch = a_batch(types, "done", "done", "exception", "new", "running")
    shown = text_of(visitor.get(page(batch)))
    assert "60 %" in shown
    assert "3 of 5 jobs have ended" in shown
    for label, number, tab in (("Done", 2, "done"), ("Failed", 1, "failed"), ("Queued", 1, "queued")):
        assert f"{label}: {number}" in shown
        assert f"batch={batch.pk}&amp;tab={tab}" in shown


def test_the_list_of_jobs_can_be_narrowed_to_a_batch(types, visitor):
    batch = a_batch(types, "done")
    other = make_job(types["open"], "done")
    shown = text_of(visitor.get(reverse("admin:qorworker_job_changelist") + f"?batch={batch.pk}"))
    assert f"Batch: #{batch.pk}" in shown
    assert page_of(batch.jobs.get()) in shown
    assert page_of(other) not in shown
    wrong = text_of(visitor.get(reverse("admin:qorworker_job_changelist") + "?batch=x"))
    assert "“x” is not the number of a batch; it was left out." in wrong


def test_failures_are_grouped_and_those_with_one_error_can_be_retried(types, visitor):
    batch = a_batch(types, "exception", "exception", "done")
    make_job(types["open"], "exception", batch=batch, error="KeyError: 'sku'")
    shown = text_of(visitor.get(page(batch)))
    assert "ValueError: no such luck" in shown
    assert "Retry these" in shown
    answer = press(visitor, batch, "retry_failed", error="ValueError: no such luck")
    assert "2 jobs are queued again." in text_of(answer)
    assert batch.counts() == {"new": 2, "done": 1, "exception": 1}


def test_errors_of_deleted_jobs_stay(types, visitor):
    batch = a_batch(types, "exception", "done")
    Job.objects.filter(batch=batch).delete()
    shown = text_of(visitor.get(page(batch)))
    assert "ValueError: no such luck" in shown
    assert "Retry these" not in shown
    assert "(1 of them was deleted since)" in shown
    assert "It has no jobs, or they have been deleted." in shown


@pytest.mark.parametrize(
    ("verb", "before", "after", "text"),
    [
        ("retry_failed", "exception", "new", "1 job is queued again."),
        ("pause", "new", "scheduled", "1 job was paused or asked to pause."),
        ("cancel", "new", "cancelled", "1 job was cancelled."),
        ("abort", "new", "cancelled", "1 job was cancelled or asked to stop."),
    ],
)
def test_a_button_works_on_all_its_jobs(types, visitor, verb, before, after, text):
    batch = a_batch(types, before)
    assert text in text_of(press(visitor, batch, verb))
    assert batch.jobs.get().status == after


def test_a_paused_batch_is_resumed(types, visitor):
    batch = a_batch(types, "new", "new")
    batch.pause()
    shown = text_of(visitor.get(page(batch)))
    assert "Paused: 2" in shown
    assert "<span>Paused</span>" in shown
    assert "<span>Running</span>" not in shown
    assert "2 jobs were resumed." in text_of(press(visitor, batch, "resume"))


def test_a_batch_that_has_ended_runs_again_as_a_new_one(types, visitor):
    batch = a_batch(types, "done", ended_at=make_job(types["open"]).enqueued_at, outcome="done")
    assert "The new batch has the same jobs." in text_of(press(visitor, batch, "rerun"))
    again = Batch.objects.get(rerun_of=batch)
    assert again.jobs.count() == 1
    assert page(batch) in text_of(visitor.get(page(again)))


def test_a_second_click_makes_no_second_batch(types, visitor):
    batch = a_batch(types, "done", ended_at=make_job(types["open"]).enqueued_at, outcome="done")
    token = re.search(r'name="qw-token" value="([^"]+)"', text_of(visitor.get(page(batch))))[1]
    press(visitor, batch, "rerun", **{"qw-token": token})
    again = press(visitor, batch, "rerun", **{"qw-token": token})
    assert "This run was already started." in text_of(again)
    made = Batch.objects.get(rerun_of=batch)
    assert again.redirect_chain[-1][0].endswith(page(made))
    press(visitor, batch, "rerun")
    assert Batch.objects.filter(rerun_of=batch).count() == 2


def test_the_jobs_at_its_end_count_among_those_that_a_user_may_have(types, client, settings):
    settings.QORWORKER = {"JOBS_PER_USER": 2}
    user = user_with("qorworker.view_job", "qorworker.run_job", "qorworker.view_job_arguments")
    client.force_login(user)
    then = make_job(types["open"], "done")
    batch = a_batch(types, "done", "done", ended_at=then.enqueued_at, outcome="done", then=then)
    assert "more jobs than you may have" in text_of(press(client, batch, "rerun"))
    assert Batch.objects.count() == 1
    Batch.objects.update(then=None)
    assert "The new batch has the same jobs." in text_of(press(client, batch, "rerun"))
    assert "You already have 2 jobs waiting or running" in text_of(press(client, batch, "rerun"))
    assert Batch.objects.count() == 2


def test_a_very_large_batch_is_run_again_by_code_only(types, visitor, monkeypatch):
    monkeypatch.setattr(verbs, "RERUN_MOST", 1)
    batch = a_batch(types, "done", "done", ended_at=make_job(types["open"]).enqueued_at)
    assert "is run again by code" in text_of(press(visitor, batch, "rerun"))
    assert Batch.objects.count() == 1


def test_a_verb_that_fits_no_job_says_so(types, visitor):
    assert "No job of the batch fits." in text_of(press(visitor, a_batch(types, "done"), "cancel"))


def test_a_verb_stops_when_its_time_is_over_and_says_so(types, visitor, monkeypatch):
    monkeypatch.setattr(verbs, "BUDGET", -1.0)
    batch = a_batch(types, "new")
    monkeypatch.setattr(verbs.bulk, "for_all", lambda *given, **options: 1)
    assert "Time ran out: request it again for the others." in text_of(press(visitor, batch, "cancel"))


def test_what_cannot_be_undone_asks_first(types, visitor):
    batch = a_batch(types, "new")
    answer = visitor.post(reverse("admin:qorworker_batch_cancel", args=[batch.pk]))
    assert "that have not started?" in text_of(answer)
    assert batch.jobs.get().status == "new"


def test_the_page_updates_itself_until_all_have_ended(types, visitor):
    batch = a_batch(types, "running", "done")
    url = reverse("admin:qorworker_batch_live", args=[batch.pk])
    assert f'data-qw-live="{url}"' in text_of(visitor.get(page(batch)))
    answer = visitor.get(url)
    news = json.loads(answer.content)
    assert "50 %" in news["parts"]["header"]
    assert not news["final"]
    assert visitor.get(url, headers={"If-None-Match": answer["ETag"]}).status_code == 304
    Job.objects.filter(batch=batch).update(status="done", attempt_token=None)
    Batch.objects.update(ended_at=batch.created_at, outcome="done")
    news = json.loads(visitor.get(url).content)
    assert "100 %" in news["parts"]["header"]
    assert news["final"]


def test_the_page_of_a_job_names_its_batch_and_those_that_it_has_spawned(types, visitor):
    batch = a_batch(types, "done")
    spawned = Batch.objects.create(
        title="All mails", created_at=batch.created_at, spawned_by=batch.jobs.get(), spawn_key="x", names=["tests.open"]
    )
    shown = text_of(visitor.get(page_of(batch.jobs.get())))
    assert page(batch) in shown
    assert page(spawned) in shown
    assert page_of(batch.jobs.get()) in text_of(visitor.get(page(spawned)))


def test_a_reader_sees_only_their_own_batches(types, client, settings):
    settings.QORWORKER = {"OWN_JOBS_ONLY": True}
    reader = user_with("qorworker.view_job")
    own, foreign = a_batch(types, "done", created_by=reader), a_batch(types, "done", title="Secret mailing")
    client.force_login(reader)
    shown = text_of(client.get(reverse("admin:qorworker_batch_changelist")))
    assert page(own) in shown
    assert "Secret mailing" not in shown
    assert client.get(page(foreign)).status_code == 404


def test_a_reader_without_the_right_sees_no_errors_and_no_buttons(types, client):
    client.force_login(user_with("qorworker.view_job"))
    batch = a_batch(types, "exception", "new")
    shown = text_of(client.get(page(batch)))
    assert "no such luck" not in shown
    assert "Retry failed jobs" not in shown
    assert client.post(reverse("admin:qorworker_batch_cancel", args=[batch.pk])).status_code == 403


def test_errors_that_a_database_takes_for_the_same_are_told_apart(types, visitor):
    batch = a_batch(types, "done")
    for error in ("KeyError: 'SKU'", "KeyError: 'sku'", "KeyError: 'sku' "):
        make_job(types["open"], "exception", batch=batch, error=error)
    shown = text_of(visitor.get(page(batch)))
    assert "KeyError: &#x27;SKU&#x27;" in shown
    assert "KeyError: &#x27;sku&#x27;" in shown
    assert shown.count("Retry these") == 3
    assert "1 job is queued again." in text_of(press(visitor, batch, "retry_failed", error="KeyError: 'sku'"))
    assert batch.retry_failed(error="KeyError: 'SKU'") == 1


def test_errors_of_several_lines_can_be_retried(types, visitor):
    batch = a_batch(types, "done")
    make_job(types["open"], "exception", batch=batch, error="Error: no\nDETAIL: none")
    assert "u000a" not in text_of(visitor.get(page(batch)))
    assert "1 job is queued again." in text_of(press(visitor, batch, "retry_failed", error="Error: no\r\nDETAIL: none"))


def test_batches_that_a_user_may_not_see_take_no_place_in_the_list(types, client, monkeypatch):
    monkeypatch.setattr(pages, "PER_PAGE", 2)
    client.force_login(user_with("testapp.change_shop"))
    old = a_batch(types, "done", title="Mine")
    Batch.objects.filter(pk=old.pk).update(names=["tests.by_name"])
    for _ in range(3):
        a_batch(types, "done")
    assert page(old) in text_of(client.get(reverse("admin:qorworker_batch_changelist")))


def test_the_list_reads_no_other_batches(types, client):
    client.force_login(user_with("testapp.change_shop"))
    for names in (["tests.By_name"], ["tests.by_name2"], ["other", "tests.by_name"], []):
        batch = a_batch(types, "done", title=f"{names}")
        Batch.objects.filter(pk=batch.pk).update(names=names)
    with CaptureQueriesContext(connection) as queries:
        shown = text_of(client.get(reverse("admin:qorworker_batch_changelist")))
    assert [title in shown for title in ("By_name", "by_name2", "other")] == [False, False, True]
    assert not [each for each in queries if "qorworker_batch" in each["sql"] and _has_no_bound(each["sql"])]


def _has_no_bound(sql):
    return "LIMIT" not in sql and "COUNT(" not in sql


@pytest.mark.parametrize("name", ["tests.größe", "tests.“a”", "tests.a\\b", 'tests."x"', "tests.100%_"])
def test_batches_are_found_by_the_name_of_a_type_whatever_it_is(types, name):
    batch, other = a_batch(types, "done"), a_batch(types, "done")
    Batch.objects.filter(pk=batch.pk).update(names=["a", name])
    Batch.objects.filter(pk=other.pk).update(names=["a", name + "x", name.upper(), name[:-1]])
    assert list(Batch.objects.of_types([name])) == [batch]
    assert not Batch.objects.of_types([]).exists()


def test_the_list_counts_no_jobs_of_types_that_a_user_may_not_see(types, client):
    batch = a_batch(types, *["done"] * 6)
    make_job(types["by_name"], "done", batch=batch)
    Batch.objects.update(names=["tests.by_name", "tests.open"], total=777)
    client.force_login(user_with("testapp.change_shop"))
    shown = text_of(client.get(reverse("admin:qorworker_batch_changelist")))
    assert page(batch) in shown
    assert "777" not in shown


def test_to_run_a_batch_again_takes_the_rights_to_the_jobs_at_its_end(types, client):
    then = make_job(types["open"], "done")
    batch = a_batch(types, ended_at=then.enqueued_at, outcome="done", then=then)
    make_job(types["by_name"], "done", batch=batch)
    Batch.objects.update(names=["tests.by_name"], total=1)
    client.force_login(user_with("testapp.change_shop"))
    rerun = reverse("admin:qorworker_batch_rerun", args=[batch.pk])
    assert rerun not in text_of(client.get(page(batch)))
    assert client.post(rerun, {"confirmed": "1"}).status_code == 403
    assert Batch.objects.count() == 1
    Batch.objects.update(then=None)
    assert rerun in text_of(client.get(page(batch)))
    assert client.post(rerun, {"confirmed": "1"}).status_code == 302
    assert Batch.objects.count() == 2


class TestFlow:
    def flow(self, root):
        return flow_of(root, Job.objects.all(), lambda batch: True)

    def held(self, types, *parents):
        job = make_job(types["open"])
        rows = Job.objects.using("default")
        hold(rows, [job], lock_parents(rows, [parent.pk for parent in parents]), "cancel")
        return Job.objects.get(pk=job.pk)

    def test_it_has_all_before_and_behind_a_job(self, types):
        first = make_job(types["open"])
        second = self.held(types, first)
        third = self.held(types, second)
        beside = self.held(types, first)
        flow = self.flow(Job.objects.get(pk=second.pk))
        assert flow.nodes.keys() == {key_of(each) for each in (first, second, third)}
        assert key_of(beside) not in flow.nodes
        assert flow.levels() == {key_of(first): 0, key_of(second): 1, key_of(third): 2}

    def test_a_batch_is_one_node_between_what_spawned_it_and_its_callbacks(self, types):
        parent, then = make_job(types["open"], "done"), make_job(types["open"])
        batch = a_batch(types, "done", "new", spawned_by=parent, spawn_key="x", then=then)
        Job.objects.filter(pk=then.pk).update(callback_of=batch)
        after = self.held(types, then)
        then.refresh_from_db()
        flow = self.flow(then)
        assert [kind for kind, _pk in sorted(flow.nodes)] == ["batch", "job", "job", "job"]
        assert flow.levels() == {
            key_of(parent): 0, key_of(batch): 1, key_of(then): 2, key_of(after): 3,
        }  # fmt: skip

    def test_it_counts_no_jobs_of_types_that_a_user_may_not_see(self, types, client):
        then = make_job(types["by_name"])
        batch = a_batch(types, "done", then=then)
        Batch.objects.update(names=["tests.by_name", "tests.open"], total=777)
        Job.objects.filter(pk=then.pk).update(callback_of=batch)
        client.force_login(user_with("testapp.change_shop"))
        shown = text_of(client.get(page_of(then)))
        assert "<svg" in shown
        assert "777" not in shown

    def test_what_the_jobs_of_a_batch_wait_for_comes_before_it(self, types):
        parent, batch = make_job(types["open"]), a_batch(types, "new")
        inside = batch.jobs.get()
        job = self.held(types, parent, inside)
        Job.objects.filter(pk=job.pk).update(batch=batch)
        assert self.flow(batch).edges == {(key_of(parent), key_of(batch))}

    def test_a_usual_line_is_not_cut_in_a_language_with_longer_words(self, types, visitor):
        batch = a_batch(types, "done", outcome="done", then=make_job(types["open"]))
        Batch.objects.update(total=15)
        with translation.override("de"):
            shown = text_of(visitor.get(page(batch)))
        assert f"Stapel {batch.pk} ✓ Erledigt, 15 Jobs</text>" in shown

    def test_a_line_fits_into_its_box(self, types, visitor):
        batch = a_batch(types, "exception", outcome="failed", then=make_job(types["open"]))
        Batch.objects.update(total=100_000)
        shown = text_of(visitor.get(page(batch)))
        assert f"batch {batch.pk} ✕ With failures, 100,000 jobs"[:29] + "…</text>" in shown

    def test_it_is_bounded(self, types):
        parents = [make_job(types["open"]) for _ in range(MOST + 5)]
        flow = self.flow(self.held(types, *parents))
        assert len(flow.nodes) == MOST
        assert flow.is_cut

    def test_the_pages_show_it_as_a_picture_and_as_a_list(self, types, visitor):
        parent = make_job(types["open"], "exception")
        job = make_job(types["open"])
        rows = Job.objects.using("default")
        hold(rows, [job], lock_parents(rows, [parent.pk]), "run")
        shown = text_of(visitor.get(page_of(job)))
        assert "<svg" in shown
        assert "✕ Failed" in shown
        assert f"after #{parent.pk}" in shown
        assert "qw-arrow" not in text_of(visitor.get(page_of(make_job(types["open"]))))

    def test_it_shows_no_jobs_of_others(self, types, client, settings):
        settings.QORWORKER = {"OWN_JOBS_ONLY": True}
        reader = user_with("qorworker.view_job")
        foreign = make_job(types["open"], "running")
        job = self.held(types, foreign)
        Job.objects.filter(pk=job.pk).update(created_by=reader)
        client.force_login(reader)
        assert f"#{foreign.pk}" not in text_of(client.get(page_of(job)))


def test_queries_do_not_grow_with_the_batch(types, visitor, django_assert_max_num_queries):
    batch = a_batch(types, *["done"] * 30, *["exception"] * 5)
    with django_assert_max_num_queries(25):
        visitor.get(page(batch))
