"""Running a job again for its rows with errors, from its page."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from qorworker import Cell, JobContext, RowKeys, Secret, job
from qorworker.models import AuditEntry, Job
from qorworker.testing import run_job
from tests.admin.support import compact, make_job, messages_of, page_of, stored, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]
RIGHTS = ("view_job", "view_job_log", "view_job_arguments", "run_job")


@pytest.fixture
def import_rows(types):
    @job(name="tests.import_rows", title="Import rows", max_attempts=2)
    def import_rows(
        context: JobContext, bad: int = 0, nameless: int = 0, fail: bool = False, only: RowKeys | None = None
    ) -> None:
        context.add_results_row("fine", key="fine")
        for number in range(bad):
            context.add_results_row(Cell(number, error="refused"), key=f"<i>{number}")
        for number in range(nameless):
            context.add_results_row(Cell(number, error="refused"))
        if fail:
            raise ValueError("in the middle")

    return import_rows


def failed(job_type, **arguments):
    ended = run_job(job_type, **arguments).job
    Job.objects.filter(pk=ended.pk, status="scheduled").update(status="exception", max_attempts=1)
    ended.refresh_from_db()
    return ended


def button(page):
    """The text of the button and its question, or None."""
    found = re.search(r'<form method="post" action="[^"]*/run-failed-rows/"(.*?)</form>', page, re.S)
    if not found:
        return None
    question = re.search(r'data-qw-ask="([^"]*)" data-qw-warning="([^"]*)"', found[1])
    label = re.search(r"<button[^>]*>\s*(.*?)\s*</button>", found[1], re.S)[1]
    return label, question and question[2]


class TestButton:
    @pytest.mark.parametrize(
        ("arguments", "label"),
        [({"bad": 1}, "Run again for 1 row with errors"), ({"bad": 4}, "Run again for the 4 rows with errors")],
    )
    def test_it_names_the_number_of_rows_and_stands_out(self, import_rows, visitor, arguments, label):
        page = text_of(visitor.get(page_of(failed(import_rows, **arguments))))
        assert button(page) == (label, None)
        assert f'<button type="submit" class="button qw-primary">{label}' in page
        assert page.count("qw-primary") == 1

    @pytest.mark.parametrize("arguments", [{}, {"nameless": 2}])
    def test_without_rows_to_repeat_there_is_none(self, import_rows, visitor, arguments):
        assert button(text_of(visitor.get(page_of(failed(import_rows, **arguments))))) is None

    @pytest.mark.parametrize("status", ["new", "scheduled", "running"])
    def test_before_the_end_there_is_none(self, import_rows, visitor, status):
        found = failed(import_rows, bad=1)
        token = "t" if status == "running" else None
        Job.objects.filter(pk=found.pk).update(status=status, attempt_token=token)
        assert button(text_of(visitor.get(page_of(found)))) is None

    def test_for_a_type_that_takes_no_keys_there_is_none_and_nothing_is_counted(self, types, visitor):
        found = make_job(types["open"], "exception", results_rows=1, results_errors=1, return_value="null")
        page = text_of(visitor.get(page_of(found)))
        assert button(page) is None
        assert "no key" not in page

    def test_with_a_secret_there_is_none(self, types, visitor):
        @job(name="tests.secretive", max_attempts=2)
        def secretive(context: JobContext, password: Secret[str], only: RowKeys | None = None) -> None:
            context.add_results_row(Cell(1, error="refused"), key="a")

        assert button(text_of(visitor.get(page_of(failed(secretive, password="pw123"))))) is None

    @pytest.mark.parametrize("missing", RIGHTS)
    def test_it_needs_the_right_to_run_the_type_and_to_see_what_it_repeats(self, import_rows, client, missing):
        found = failed(import_rows, bad=2)
        client.force_login(user_with(*(f"qorworker.{right}" for right in RIGHTS)))
        assert button(text_of(client.get(page_of(found)))) is not None
        client.force_login(user_with(*(f"qorworker.{right}" for right in RIGHTS if right != missing), name="less"))
        assert button(text_of(client.get(page_of(found)))) is None
        answer = client.post(page_of(found, "run-failed-rows/"), {"confirmed": "1"})
        assert answer.status_code in (403, 404)
        assert Job.objects.count() == 1

    def test_rows_that_are_left_out_are_named_before(self, import_rows, visitor):
        page = text_of(visitor.get(page_of(failed(import_rows, bad=2, nameless=3))))
        assert button(page) == (
            "Run again for the 2 rows with errors…", "3 rows with errors have no key and are left out."
        )  # fmt: skip
        assert "3 rows with errors have no key, so they can only be repeated together with all other rows." in page
        page = text_of(visitor.get(page_of(failed(import_rows, bad=1, fail=True))))
        assert button(page)[1] == "It did not finish: the rows that it had not reached are left out."

    def test_rows_without_a_key_are_named_also_if_none_can_be_repeated(self, import_rows, visitor):
        page = text_of(visitor.get(page_of(failed(import_rows, nameless=1))))
        assert "1 row with errors has no key, so it can only be repeated together with all other rows." in page

    def test_a_job_type_that_asks_asks_here_too(self, types, visitor):
        @job(name="tests.asking", confirm="Everything will be deleted.", max_attempts=2)
        def asking(context: JobContext, only: RowKeys | None = None) -> None:
            context.add_results_row(Cell(1, error="refused"), key="a")

        found = failed(asking)
        assert "Everything will be deleted." in text_of(visitor.post(page_of(found, "run-failed-rows/")))
        assert Job.objects.count() == 1


class TestClick:
    def test_it_leads_to_the_new_job_which_names_the_rows(self, import_rows, visitor, root):
        found = failed(import_rows, bad=2)
        response = visitor.post(page_of(found, "run-failed-rows/"), {"confirmed": "1"}, follow=True)
        again = Job.objects.get(rerun_of=found)
        assert response.redirect_chain == [(page_of(again), 302)]
        assert messages_of(response) == [f"{again} is queued: it repeats the rows with errors of #{found.pk}."]
        assert (again.row_keys, again.created_by) == (RowKeys(["<i>0", "<i>1"]), root)
        page = text_of(response)
        assert "<dt>Only these rows</dt><dd>2 rows: &lt;i&gt;0, &lt;i&gt;1</dd>" in page
        assert f'<dt>Repeats</dt><dd><a href="{page_of(found)}">#{found.pk}</a></dd>' in page
        assert AuditEntry.objects.get(job_id=again.pk).origin == "admin"

    def test_of_many_keys_the_page_names_the_first_ones(self, import_rows, visitor):
        again = failed(import_rows, bad=12).rerun_failed_rows()
        page = text_of(visitor.get(page_of(again)))
        assert re.search(r"<dd>12 rows: &lt;i&gt;0, .*&lt;i&gt;9, …</dd>", page)

    def test_who_may_not_see_the_arguments_is_not_told_the_keys(self, import_rows, client):
        again = failed(import_rows, bad=2).rerun_failed_rows()
        client.force_login(user_with("qorworker.view_job", "qorworker.view_job_log"))
        assert "Only these rows" not in text_of(client.get(page_of(again)))

    def test_a_second_click_starts_no_second_job(self, import_rows, visitor):
        found = failed(import_rows, bad=2)
        page = text_of(visitor.get(page_of(found)))
        token = re.search(r'name="qw-token" value="([^"]+)"', page)[1]
        for _click in range(2):
            response = visitor.post(page_of(found, "run-failed-rows/"), {"qw-token": token}, follow=True)
        assert messages_of(response) == ["This run was already started."]
        assert Job.objects.filter(rerun_of=found).count() == 1

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({}, "No row of its results has an error."),
            ({"nameless": 2}, "2 rows have errors, but none of them has a key by which it could be repeated."),
        ],
    )
    def test_with_nothing_to_repeat_it_says_why(self, import_rows, visitor, arguments, sentence):
        found = failed(import_rows, **arguments)
        response = visitor.post(page_of(found, "run-failed-rows/"), {"confirmed": "1"}, follow=True)
        assert messages_of(response) == [sentence]
        assert Job.objects.count() == 1

    def test_more_rows_than_a_job_can_name_are_refused_in_words(self, import_rows, visitor, settings):
        found = failed(import_rows, bad=200)
        settings.QORWORKER = {**settings.QORWORKER, "ARGUMENTS_BYTES": 1024}
        response = visitor.post(page_of(found, "run-failed-rows/"), {"confirmed": "1"}, follow=True)
        [message] = messages_of(response)
        assert message == (
            "These are too many rows for one job: with their keys its arguments would take more than 1,024 bytes."
        )
        assert Job.objects.count() == 1

    def test_a_get_does_nothing(self, import_rows, visitor):
        assert visitor.get(page_of(failed(import_rows, bad=1), "run-failed-rows/")).status_code == 405


class TestForms:
    def test_the_run_form_does_not_ask_for_keys_and_ignores_them(self, import_rows, visitor):
        address = reverse("admin:qorworker_job_run", args=[import_rows.name])
        page = text_of(visitor.get(address + "?only=a"))
        assert 'name="only"' not in page
        assert "The field “only” does not exist; it was ignored." in page

    def test_run_again_with_changes_says_that_it_is_for_all_rows(self, import_rows, visitor):
        again = failed(import_rows, bad=2).rerun_failed_rows()
        page = text_of(visitor.get(reverse("admin:qorworker_job_run", args=[import_rows.name]) + f"?from={again.pk}"))
        assert f"Job #{again.pk} was for 2 rows only; this form is for all rows." in page
        assert "no longer exists" not in page

    def test_a_change_of_a_waiting_job_keeps_its_rows(self, import_rows, visitor):
        again = failed(import_rows, bad=2).rerun_failed_rows()
        page = compact(visitor.get(page_of(again, "update/")).content.decode())
        fields = dict(re.findall(r'name="(qw-[^"]+)"[^>]*value="([^"]*)"', page))
        data = {**fields, "qw-when": "keep", "bad": "5", "nameless": "0"}
        response = visitor.post(page_of(again, "update/"), data, follow=True)
        assert messages_of(response) == [f"“{again}” was saved."]
        again.refresh_from_db()
        assert (again.arguments["bad"], again.row_keys) == (5, RowKeys(["<i>0", "<i>1"]))

    def test_stored_keys_are_no_drift(self, import_rows, visitor):
        again = failed(import_rows, bad=2).rerun_failed_rows()
        Job.objects.filter(pk=again.pk).update(fingerprint="older")
        assert "no longer exists" not in text_of(visitor.get(page_of(again)))
        assert stored(import_rows, only=["a"])["only"] == ["a"]
