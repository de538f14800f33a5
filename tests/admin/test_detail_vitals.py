"""What a job's page shows of its process while it runs and afterwards, and of its stack."""

from __future__ import annotations

import datetime as dt
import json
import re

import pytest
from django.utils import timezone

from qorworker.models import Attempt, AuditEntry, Job, Outcome
from qorworker.models.job_vitals import Sample, StackSource, stored_stack
from tests.admin.support import in_state, make_job, messages_of, page_of, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]
MIB = 1024 * 1024
SAMPLES = (
    Sample(1.0, 40 * MIB, 0.0, 3, 0.01, 0.0),
    Sample(5.0, 90 * MIB, 3.0, 400, 0.5, 0.0),
    Sample(10.0, 70 * MIB, 3.5, 1_204, 2.4, 65.0),
)


def stored(*samples, attempt=1):
    return json.dumps({"attempt": attempt, "samples": samples})


def with_samples(types, state, *samples, **fields):
    return in_state(types["open"], state, **{"attempt": 1, "samples": stored(*(samples or SAMPLES)), **fields})


def words_of(part):
    return " ".join(re.sub(r"<[^>]+>", " ", part).replace("\xa0", " ").split())


def part_of(page, name):
    return text_of(page).split(f'<div id="qw-{name}">')[1].split('<div id="qw-')[0]


def vitals_of(page):
    return part_of(page, "vitals")


def a_stack(text, source=StackSource.PYTHON, asked=None):
    asked = asked or timezone.now()
    return {"stack_requested_at": asked, "last_stack": stored_stack(text, source, timezone.now(), asked)}


class TestSamples:
    def test_a_running_job_tells_what_its_process_uses(self, types, visitor):
        words = words_of(vitals_of(visitor.get(page_of(with_samples(types, "running")))))
        assert "70.0 MB of memory" in words
        assert "90.0 MB of memory at most" in words
        assert "1,204 queries in 2.4 s" in words
        assert "no output for 1 min 5 s" in words

    def test_an_ended_job_keeps_them(self, types, visitor):
        words = words_of(vitals_of(visitor.get(page_of(with_samples(types, "done")))))
        assert "90.0 MB of memory at most" in words
        assert "no output" not in words

    def test_every_value_is_in_a_mark_that_has_the_focus_and_in_a_table(self, types, visitor):
        html = vitals_of(visitor.get(page_of(with_samples(types, "done"))))
        labels = re.findall(r'<g tabindex="0" role="img" aria-label="([^"]+)"', html.replace("\xa0", " "))
        assert labels == [
            "after 1 s: Memory: 40 MB", "after 5 s: Memory: 90 MB", "after 10 s: Memory: 70 MB",
            "after 5 s: Processor: 75 %", "after 10 s: Processor: 10 %",
        ]  # fmt: skip
        assert "after 10 s 10 % 1,204 2.4 s 1 min 5 s" in words_of(html)

    def test_without_samples_there_is_no_such_part(self, types, visitor):
        page = visitor.get(page_of(in_state(types["open"], "running")))
        assert 'href="#vitals"' not in text_of(page)
        assert 'id="vitals"' not in text_of(page)

    def test_one_sample_can_be_drawn(self, types, visitor):
        page = visitor.get(page_of(with_samples(types, "done", SAMPLES[0])))
        assert "40.0 MB of memory at most" in words_of(vitals_of(page))

    def test_jobs_that_share_a_process_say_that_its_memory_is_not_theirs_alone(self, types, visitor):
        job = with_samples(types, "running", SAMPLES[0], SAMPLES[1]._replace(together=12))
        words = words_of(vitals_of(visitor.get(page_of(job))))
        assert "Memory and processor are those of a process that 12 jobs share." in words

    def test_what_is_usual_comes_from_the_last_successes(self, types, visitor):
        for peak in (30, 31, 32):
            done = make_job(types["open"], "done", last_attempted_at=timezone.now(), finished_at=timezone.now())
            now = timezone.now()
            Attempt.objects.create(
                job=done, number=1, started_at=now, finished_at=now, outcome=Outcome.DONE, peak_memory=peak * MIB
            )
        words = words_of(vitals_of(visitor.get(page_of(with_samples(types, "running")))))
        assert "2.9 × as much as usual (usually 31.0 MB)" in words

    def test_a_new_sample_is_news_and_an_old_one_is_not_sent_again(self, types, visitor):
        job = with_samples(types, "running")
        known = visitor.get(page_of(job, "live/")).json()["state"]
        assert "vitals" not in visitor.get(page_of(job, "live/"), known).json()["parts"]
        Job.objects.filter(pk=job.pk).update(samples=stored(*SAMPLES, Sample(15.0, 95 * MIB, 4.0, 1_300, 2.5, 0.0)))
        parts = visitor.get(page_of(job, "live/"), known).json()["parts"]
        assert "95.0 MB of memory at most" in words_of(parts["vitals"])

    def test_scripts_get_them_as_json(self, types, visitor):
        data = visitor.get(page_of(with_samples(types, "done"), "job.json")).json()
        assert data["vitals"][1] == SAMPLES[1]._asdict()
        assert data["stack"] is None


class TestStack:
    def test_the_button_asks_for_it_in_the_name_of_who_pressed_it(self, types, visitor):
        job = in_state(types["open"], "running")
        answer = visitor.post(page_of(job, "show-stack/"), follow=True)
        assert messages_of(answer) == [f"{job} was asked where it is. Its stack appears on this page in a moment."]
        assert "comes in a moment" in words_of(part_of(answer, "stack"))
        assert AuditEntry.objects.get().action == "show the stack of"

    def test_it_is_shown_with_its_time_and_as_text(self, types, visitor):
        job = in_state(types["open"], "running", **a_stack('  File "x.py", line 7, in <listcomp>'))
        html = part_of(visitor.get(page_of(job)), "stack")
        assert "in &lt;listcomp&gt;" in html
        assert "Taken today" in words_of(html)
        assert "comes in a moment" not in words_of(html)

    @pytest.mark.parametrize(
        ("source", "told"),
        [
            (StackSource.C, "Python did not answer in its process"),
            (StackSource.TASK, "only the tasks of this job are shown"),
            (StackSource.WAITING, "It has not begun"),
            (StackSource.NONE, "The system says about its state: T (stopped)."),
        ],
    )
    def test_it_says_where_it_comes_from(self, types, visitor, source, told):
        job = in_state(types["open"], "running", **a_stack("T (stopped)", source))
        assert told in words_of(part_of(visitor.get(page_of(job)), "stack")).replace("\u2068", "").replace("\u2069", "")

    def test_who_may_not_see_the_log_sees_none_and_no_sign_of_it(self, types, client):
        job = in_state(types["open"], "running", **a_stack("secret place"))
        client.force_login(user_with("qorworker.view_job"))
        assert "secret place" not in text_of(client.get(page_of(job)))
        news = client.get(page_of(job, "live/"))
        assert "secret place" not in text_of(news)
        assert news.json()["state"]["stack"] == ""
        assert client.get(page_of(job, "job.json")).json()["stack"] is None

    def test_an_answer_is_news(self, types, visitor):
        job = in_state(types["open"], "running", stack_requested_at=timezone.now())
        known = visitor.get(page_of(job, "live/")).json()["state"]
        assert "stack" not in visitor.get(page_of(job, "live/"), known).json()["parts"]
        answer = a_stack("here", asked=job.stack_requested_at)
        Job.objects.filter(pk=job.pk).update(**answer)
        assert "here" in visitor.get(page_of(job, "live/"), known).json()["parts"]["stack"]

    def test_a_request_to_an_earlier_attempt_is_not_awaited(self, types):
        now = timezone.now()
        asked = {"stack_requested_at": now - dt.timedelta(minutes=2)}
        assert not in_state(types["open"], "running", last_attempted_at=now, **asked).awaits_stack
        assert in_state(types["open"], "running", last_attempted_at=now - dt.timedelta(hours=1), **asked).awaits_stack
