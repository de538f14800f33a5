"""The questions of a job in the admin: the form on its page, the buttons, the tab of the list."""

import datetime as dt
import json
import re
from typing import Annotated

import pytest
from django.urls import reverse

from qorworker import Arg, JobContext, job
from qorworker.models import AuditEntry, Job, Question
from qorworker.testing import run_job
from tests.job_types import own_types  # noqa: F401

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types"), pytest.mark.once]
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def people(django_user_model):
    """Makes a user with these permissions."""
    from django.contrib.auth.models import Permission

    def make(name, *codenames):
        user = django_user_model.objects.create_user(name, is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        return user

    return make


@pytest.fixture
def lou(people):
    return people("lou", "view_job", "run_job", "view_job_log")


@pytest.fixture
def ask(own_types):  # noqa: F811
    """A job that waits for an answer."""

    def ask(**options):
        def handler(context: JobContext) -> list:
            given = {"publish": bool, "note": Annotated[str, Arg(max_length=20)], **options}
            answer = context.ask("Publish <1,204> prices?", **given)
            return [answer.publish, answer.note, answer.answered_by]

        return run_job(job(name="test.ask", title="Publish")(handler)).job

    return ask


def page_of(job):
    return reverse("admin:qorworker_job_change", args=[job.pk])


def url_of(job):
    return reverse("admin:qorworker_job_answer", args=[job.pk, job.questions.get().pk])


def text(response):
    return response.content.decode()


class TestPage:
    def test_it_has_the_form(self, client, lou, ask):
        client.force_login(lou)
        row = ask(expires=HOUR, default={"publish": False})
        shown = text(client.get(page_of(row)))
        assert "Publish &lt;1,204&gt; prices?" in shown
        assert 'type="checkbox" name="publish"' in shown
        assert 'name="note"' in shown
        assert "Waiting for an answer" in shown
        assert re.search(r"Without an answer by <time.* \(.*\), “Publish: No” counts\.", shown)
        assert "[]" not in shown[shown.index('id="questions"') : shown.index("Decline to answer")]
        assert 'http-equiv="refresh"' not in shown  # it would empty the form where no script runs

    @pytest.mark.parametrize(
        ("asks", "sentence"),
        [
            (
                lambda context: context.ask("Go on?", default={}, expires=HOUR),
                "Then the job goes on as after an answer.",
            ),
            (lambda context: context.ask("Go on?", expires=HOUR), "It can be answered until"),
            (
                lambda context: context.callback(default=[1, "<a>"], expires=HOUR).wait(),
                "“[1, &quot;&lt;a&gt;&quot;]” counts.",
            ),
        ],
    )
    def test_it_says_what_counts_without_an_answer(self, client, lou, asks, sentence):
        client.force_login(lou)
        shown = text(client.get(page_of(run_job(job(name="test.ask")(asks)).job)))
        assert sentence in " ".join(shown.split())
        assert ("goes on as after an answer" in shown) is ("goes on" in sentence)

    def test_its_buttons_are_those_that_make_sense(self, client, people, ask):
        client.force_login(people("op", "view_job", "run_job", "abort_job", "reschedule_job", "view_job_arguments"))
        shown = text(client.get(page_of(ask())))
        assert [verb for verb in ("pause", "cancel", "run-now", "reschedule", "update") if f"/{verb}/" in shown] == [
            "pause",
            "cancel",
        ]

    def test_an_answer_lets_the_job_go_on(self, client, lou, ask):
        client.force_login(lou)
        row = ask()
        response = client.post(url_of(row), {"publish": "on", "note": "fine"}, follow=True)
        assert "Your answer was saved. The job goes on with it." in text(response)
        row.refresh_from_db()
        assert (row.status, row.waits_for_answer) == ("new", False)
        assert run_job(row).result == [True, "fine", "lou"]
        shown = text(client.get(page_of(row)))
        assert "lou answered its question" in shown
        assert "fine" in shown
        entry = AuditEntry.objects.of_job(row.pk).get(action="answer")
        assert (entry.user_name, entry.origin, entry.outcome) == ("lou", "admin", "ok")
        assert entry.address == "127.0.0.1"

    def test_errors_are_shown_at_their_fields(self, client, lou, ask):
        client.force_login(lou)
        row = ask()
        response = client.post(url_of(row), {"publish": "on", "note": "far longer than it may be"})
        assert response.status_code == 422
        assert "Ensure this value has at most 20 characters" in text(response)
        assert "far longer than it may be" in text(response)
        assert row.questions.get().state == "open"

    def test_declining_ends_the_wait(self, client, lou, ask):
        client.force_login(lou)
        row = ask()
        client.post(url_of(row), {"qw-decline": "1", "qw-reason": "Not  today."})
        row.refresh_from_db()
        run = run_job(row)
        assert (run.status, run.error) == ("exception", "lou declined to answer. (Not today.)")
        shown = text(client.get(page_of(row)))
        assert "lou declined to answer its question" in shown
        assert "Not today." in shown

    def test_the_second_answer_hears_who_was_faster(self, client, lou, ask, people):
        row = ask()
        url = url_of(row)
        row.answer(by=people("ann"), publish=True)
        client.force_login(lou)
        response = client.post(url, {"publish": "on"}, follow=True)
        assert "Ann has answered this question already. Nothing was changed." in text(response)
        assert row.questions.get().user_name == "ann"

    def test_an_answer_after_its_time_comes_too_late(self, client, lou, ask):
        client.force_login(lou)
        row = ask(expires=HOUR)
        row.questions.update(expires_at=row.enqueued_at)
        response = client.post(url_of(row), {"publish": "on"}, follow=True)
        assert "The time to answer this question is over. Nothing was changed." in text(response)
        assert row.questions.get().answer is None

    def test_a_cancelled_job_needs_no_answer(self, client, lou, ask):
        client.force_login(lou)
        row = ask()
        row.cancel()
        response = client.post(url_of(row), {"publish": "on"}, follow=True)
        assert "The job has ended: it needs no answer any more. Nothing was changed." in text(response)
        assert row.questions.get().state == "open"
        assert "No longer needed" in text(client.get(page_of(row)))

    def test_a_question_of_another_job_is_not_found(self, client, lou, ask):
        client.force_login(lou)
        row, other = ask(), ask()
        url = reverse("admin:qorworker_job_answer", args=[row.pk, other.questions.get().pk])
        assert client.post(url, {"publish": "on"}).status_code == 404
        assert client.get(url_of(row)).status_code == 405

    def test_help_that_a_handler_has_made_is_text(self, client, lou, ask):
        client.force_login(lou)
        row = ask(extra=Annotated[str, Arg(help="<b>bold</b>")])
        assert "&lt;b&gt;bold&lt;/b&gt;" in text(client.get(page_of(row)))

    def test_a_callback_can_only_be_declined(self, client, lou):
        client.force_login(lou)
        row = run_job(job(name="test.call")(lambda context: context.callback(expires=HOUR).wait())).job
        shown = text(client.get(page_of(row)))
        assert "A call from outside" in shown
        assert row.questions.get().nonce not in shown
        client.post(url_of(row), {"paid": "on"})
        assert row.questions.get().state == "open"
        row.answer({"secret": "<payload>"})
        assert "&lt;payload&gt;" in text(client.get(page_of(row)))

    def test_a_long_call_is_cut_and_job_json_has_all_of_it(self, client, lou, people):
        row = run_job(job(name="test.call")(lambda context: context.callback(expires=HOUR).wait())).job
        row.answer({"rows": ["x" * 100] * 100, "the last": "the end"})
        client.force_login(lou)
        shown = text(client.get(page_of(row)))
        url = reverse("admin:qorworker_job_json", args=[row.pk])
        assert "the end" not in shown
        assert re.search(rf'It has 1\d,\d+ characters\.\s+<a href="{url}">All of it</a>', shown)
        assert "the end" in text(client.get(url))
        client.force_login(people("op", "view_job", "run_job"))
        assert "All of it" not in text(client.get(page_of(row)))

    def test_the_live_page_leaves_the_form_alone_until_something_happens(self, client, lou, ask):
        client.force_login(lou)
        row = ask()
        url = reverse("admin:qorworker_job_live", args=[row.pk])
        state = client.get(url).json()["state"]["state"]
        row.pause()
        news = client.get(url, {"state": state}).json()
        assert "header" in news["parts"]
        assert "questions" not in news["parts"]
        row.answer(publish=True)
        assert "questions" in client.get(url, {"state": news["state"]["state"]}).json()["parts"]

    def test_job_json_has_the_answers(self, client, lou, ask):
        client.force_login(lou)
        row = ask()
        row.answer(publish=True, by=lou)
        data = json.loads(text(client.get(reverse("admin:qorworker_job_json", args=[row.pk]))))
        (question,) = data["questions"]
        assert (question["answer"], question["answered_by"]) == ({"publish": True, "note": ""}, "lou")


class TestRights:
    def test_who_may_only_look_sees_no_form(self, client, people, ask):
        client.force_login(people("eve", "view_job", "view_job_log"))
        row = ask()
        shown = text(client.get(page_of(row)))
        assert "You may not answer this question." in shown
        assert 'name="publish"' not in shown
        response = client.post(url_of(row), {"publish": "on"})
        assert response.status_code == 403
        assert "You may not answer the questions of" in text(response)
        assert row.questions.get().state == "open"
        assert AuditEntry.objects.of_job(row.pk).last().outcome == "denied"

    def test_who_may_neither_answer_nor_see_the_log_sees_no_question(self, client, people, ask):
        client.force_login(people("eve", "view_job"))
        row = ask()
        shown = text(client.get(page_of(row)))
        assert "1,204" not in shown
        assert "It waits for an answer." in shown
        listed = text(client.get(reverse("admin:qorworker_job_changelist"), {"tab": "asking"}))
        assert "1,204" not in listed

    def test_the_permission_of_a_question_decides_alone(self, client, people, ask):
        row = ask(permission="testapp.add_shop")
        client.force_login(people("lou", "view_job", "run_job", "view_job_log"))
        response = client.post(url_of(row), {"publish": "on"})
        assert response.status_code == 403
        assert "Only users with the permission “testapp.add_shop” may answer this question." in text(response)
        client.force_login(people("ann", "view_job", "add_shop"))
        assert 'name="publish"' in text(client.get(page_of(row)))
        assert client.post(url_of(row), {"publish": "on"}).status_code == 302
        assert row.questions.get().user_name == "ann"

    def test_a_hidden_job_is_not_found(self, client, people, ask):
        client.force_login(people("eve", "add_shop"))
        assert client.post(url_of(ask()), {"publish": "on"}).status_code == 404


class TestList:
    def test_the_tab_has_the_jobs_that_wait_for_an_answer(self, client, lou, ask):
        client.force_login(lou)
        row = ask(expires=HOUR)
        run_job(job(name="test.other", title="Elsewhere")(lambda: None))
        listed = text(client.get(reverse("admin:qorworker_job_changelist"), {"tab": "asking"}))
        assert "Publish &lt;1,204&gt; prices?" in listed
        assert f"/{row.pk + 1}/change/" not in listed
        assert list(Job.objects.asking()) == [row]
        row.answer(publish=True)
        assert "No job waits for an answer." in text(
            client.get(reverse("admin:qorworker_job_changelist"), {"tab": "asking"})
        )

    def test_one_query_finds_the_questions_of_a_page(self, client, lou, ask, django_assert_num_queries):
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        client.force_login(lou)
        counts = []
        for _number in range(3):
            ask()
            with CaptureQueriesContext(
                connection,
            ) as queries:
                client.get(reverse("admin:qorworker_job_changelist"), {"tab": "asking"})
            counts.append(len(queries))
        assert counts[1] == counts[2]
        assert Question.objects.count() == 3


class TestVerbs:
    @pytest.mark.parametrize(
        ("page", "values", "sentence"),
        [
            ("run-now", {"confirmed": "1"}, "It waits for an answer. Nothing was changed."),
            ("update", {}, "It has asked a question: its arguments cannot be changed any more. Nothing was changed."),
        ],
    )
    def test_it_says_why_it_refuses(self, admin_client, ask, page, values, sentence):
        row = ask()
        url = page_of(row).replace("change/", f"{page}/")
        response = admin_client.post(url, values, follow=True) if values else admin_client.get(url, follow=True)
        assert sentence in text(response)

    def test_so_does_one_that_was_answered(self, admin_client, ask):
        row = ask()
        row.answer(publish=True)
        shown = text(admin_client.get(page_of(row).replace("change/", "update/"), follow=True))
        assert "It has asked a question: its arguments cannot be changed any more. Nothing was changed." in shown


class TestLive:
    def test_the_next_question_takes_the_place_of_the_one_before(self, client, lou):
        """Also if it comes between two looks."""

        def two(context: JobContext) -> None:
            context.ask("First?")
            context.ask("Second?")

        row = run_job(job(name="test.two")(two)).job
        client.force_login(lou)
        news = reverse("admin:qorworker_job_live", args=[row.pk])
        before = client.get(news, {"state": ""}).json()["state"]["state"]
        assert "questions" not in client.get(news, {"state": before}).json()["parts"]
        run_job(row, answers=[{}])
        assert "Second?" in client.get(news, {"state": before}).json()["parts"]["questions"]
