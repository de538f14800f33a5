"""Rehearsals in the pages: the button, the report, and the run for real."""

import json
import re

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from qorworker import JobContext, Secret, job
from qorworker.models import AuditEntry, Job
from tests.admin.support import make_job, messages_of, page_of, stored, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]
RIGHTS = ("qorworker.view_job", "qorworker.view_job_log", "qorworker.view_job_arguments", "qorworker.run_job")
TOKEN = {"qw-token": "0." + "x" * 20}
REPORT = {
    "models": [
        {
            "database": "default", "table": "testapp_shop", "model": "testapp.Shop",
            "created": 1, "changed": 1204, "deleted": 0,
            "samples": [{"kind": "changed", "pk": "7", "before": {"name": "<b>old"}, "after": {"name": "new"}}],
        },
        {
            "database": "default", "table": "legacy", "model": "", "created": 0, "changed": 0, "deleted": 2,
            "samples": [],
        },
    ],
    "statements": [{"database": "default", "kind": "DELETE", "table": "legacy", "number": 2}],
    "mails": [
        {
            "subject": "<i>Tea", "from": "a@example.com", "to": ["b@example.com"], "cc": [], "bcc": [],
            "recipients": 1, "body": "Hello", "attachments": ["menu.pdf"],
        }
    ],
    "mails_count": 500,
    "jobs": {"tests.open": 3, "gone.type": 1},
    "hooks": 2,
    "refusals": [],
}  # fmt: skip


@pytest.fixture
def relabel(types):
    @job(name="tests.relabel", title="Relabel", dry_run=True)
    def relabel(context: JobContext, prefix: str = "New") -> None:
        pass

    return relabel


@pytest.fixture
def rehearsed(relabel):
    return make_job(
        relabel, "done", is_dry_run=True, arguments=stored(relabel, prefix="Old"), rehearsal_report=json.dumps(REPORT)
    )


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


def run_url(job_type):
    return reverse("admin:qorworker_job_run", args=[job_type.name])


def has_button(page, name):
    return f'/{name}/"' in page


class TestRunForm:
    def test_it_has_a_button_only_for_types_that_allow_it(self, relabel, types, visitor):
        assert 'name="qw-rehearse"' in text_of(visitor.get(run_url(relabel)))
        assert 'name="qw-rehearse"' not in text_of(visitor.get(run_url(types["greet"])))

    def test_the_button_makes_a_rehearsal_once(self, relabel, visitor):
        data = {**TOKEN, "prefix": "Old", "qw-when": "now", "qw-rehearse": "Rehearse"}
        for _ in range(2):
            visitor.post(run_url(relabel), data)

        (made,) = Job.objects.all()
        assert (made.is_dry_run, made.arguments["prefix"]) == (True, "Old")

    def test_the_other_button_makes_a_usual_job(self, relabel, visitor):
        visitor.post(run_url(relabel), {**TOKEN, "prefix": "Old", "qw-when": "now"})

        assert not Job.objects.get().is_dry_run

    def test_it_is_never_a_usual_job_where_that_is_not_possible(self, types, visitor):
        data = {**TOKEN, "subject": "Tea", "copies": "1", "mode": "plain", "qw-when": "now", "qw-rehearse": "1"}
        page = text_of(visitor.post(run_url(types["greet"]), data))

        assert "This job cannot be rehearsed. Nothing was started." in page
        assert not Job.objects.exists()


class TestPage:
    def test_it_shows_what_would_happen(self, rehearsed, visitor):
        page = text_of(visitor.get(page_of(rehearsed)))

        assert "Rehearsal" in page
        assert re.search(r"Shops</th>\s*<td>1</td>\s*<td>1,204</td>\s*<td>0</td>", page)
        assert "&lt;b&gt;old" in page
        assert "500 mails would be sent" in page
        assert "499 more mails are not shown." in page
        assert "&lt;i&gt;Tea" in page
        assert re.search(r"3 × \S*Open door", page)
        assert "2 functions would have been called after a commit, and were not." in page
        assert "calls over the network, files" in page

    def test_only_who_may_see_the_log_sees_it(self, rehearsed):
        reader = signed_in(user_with("qorworker.view_job", "qorworker.view_job_arguments"))
        page = text_of(reader.get(page_of(rehearsed)))

        assert "You may not see what this rehearsal has found." in page
        assert "example.com" not in page
        assert json.loads(text_of(reader.get(page_of(rehearsed, "job.json"))))["rehearsal"] is None

    def test_a_refusal_is_shown(self, rehearsed, visitor):
        report = {**REPORT, "refusals": ["The statement “COMMIT …” cannot be rehearsed."]}
        Job.objects.filter(pk=rehearsed.pk).update(rehearsal_report=json.dumps(report), status="exception")

        page = text_of(visitor.get(page_of(rehearsed)))
        assert "COMMIT …" in page
        assert not has_button(page, "run-for-real")

    def test_a_rehearsal_without_a_report_says_so(self, relabel, visitor):
        waits = make_job(relabel, is_dry_run=True)
        assert "as soon as it has ended" in text_of(visitor.get(page_of(waits)))

        Job.objects.filter(pk=waits.pk).update(status="killed", finished_at=timezone.now())
        assert "It has not come so far" in text_of(visitor.get(page_of(waits)))

    def test_json_has_all(self, rehearsed, visitor):
        data = json.loads(text_of(visitor.get(page_of(rehearsed, "job.json"))))
        assert data["is_dry_run"] is True
        assert data["rehearsal"]["mails_count"] == 500

    def test_the_list_names_it(self, rehearsed, visitor):
        assert "Rehearsal" in text_of(visitor.get(reverse("admin:qorworker_job_changelist")))

    def test_a_usual_job_has_nothing_of_it(self, relabel, visitor):
        page = text_of(visitor.get(page_of(make_job(relabel, "done"))))
        assert "Rehearsal" not in page
        assert not has_button(page, "run-for-real")


class TestRunForReal:
    def test_a_click_makes_one_job_with_the_same_arguments(self, rehearsed, visitor, root):
        assert has_button(text_of(visitor.get(page_of(rehearsed))), "run-for-real")
        for _ in range(2):
            told = messages_of(visitor.post(page_of(rehearsed, "run-for-real/"), TOKEN, follow=True))

        (new,) = Job.objects.filter(rerun_of=rehearsed)
        assert (new.is_dry_run, new.arguments, new.created_by) == (False, {"prefix": "Old"}, root)
        assert told == ["This run was already started."]
        assert AuditEntry.objects.filter(action="run for real").count() == 1
        assert "had it run for real" in text_of(visitor.get(page_of(rehearsed)))

    def test_it_takes_the_right_to_run(self, rehearsed):
        for lacking in ("qorworker.run_job", "qorworker.view_job_arguments"):
            user = user_with(*(right for right in RIGHTS if right != lacking), name=f"without {lacking}")
            client = signed_in(user)
            assert not has_button(text_of(client.get(page_of(rehearsed))), "run-for-real")
            assert client.post(page_of(rehearsed, "run-for-real/"), TOKEN).status_code == 403
        assert Job.objects.count() == 1

    def test_a_usual_job_is_left_alone(self, relabel, visitor):
        usual = make_job(relabel, "done", arguments=stored(relabel, prefix="Old"))
        (told,) = messages_of(visitor.post(page_of(usual, "run-for-real/"), TOKEN, follow=True))

        assert "Only a rehearsal that has succeeded can be run for real." in told
        assert Job.objects.count() == 1

    def test_what_has_to_be_confirmed_is_asked(self, types, visitor):
        @job(name="tests.careful", dry_run=True, confirm="Everything changes.")
        def careful():
            pass

        done = make_job(careful, "done", is_dry_run=True)
        assert "Everything changes." in text_of(visitor.post(page_of(done, "run-for-real/"), TOKEN))
        assert Job.objects.count() == 1

    def test_with_a_secret_it_leads_to_the_form(self, types, visitor):
        @job(name="tests.secret", dry_run=True)
        def secret(key: Secret[str]):
            pass

        arguments = {"key": {"$secret": None}}
        done = make_job(secret, "done", is_dry_run=True, arguments=arguments, rehearsal_report=json.dumps(REPORT))
        page = text_of(visitor.get(page_of(done)))

        assert not has_button(page, "run-for-real")
        assert f"?from={done.pk}" in page
        assert "enter them again" in page

    def test_run_again_rehearses_again_without_a_question(self, rehearsed, visitor):
        assert "Rehearse again" in text_of(visitor.get(page_of(rehearsed)))
        visitor.post(page_of(rehearsed, "run-again/"), TOKEN)

        assert Job.objects.filter(rerun_of=rehearsed, is_dry_run=True).count() == 1
