"""The verbs of a job that waits for an answer, and those who answer at the same time."""

import datetime as dt
from functools import partial
from types import SimpleNamespace

import pytest

from qorworker import InvalidArguments, JobContext, Unique, job
from qorworker.attempts.in_process import run_stored
from qorworker.exceptions import AlreadyEnqueued, InvalidTransition
from qorworker.models import Attempt, AuditEntry, Job, Question, database_now
from qorworker.models.sql import claim_one, exchange
from qorworker.status import CRASH_LIMIT, heeding
from qorworker.testing import run_job
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import leaving, make_job, race, token, wanted

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def ask(own_types):  # noqa: F811
    def handler(context: JobContext, expires: float = 0.0) -> list:
        answer = context.ask("Sure?", sure=bool, note=str, expires=dt.timedelta(seconds=expires) if expires else None)
        return [answer.sure, answer.note]

    asks = job(name="test.ask")(handler)
    return lambda expires=0.0: run_job(asks, expires=expires).job


def state(job):
    job.refresh_from_db()
    return job.status, job.waits_for_answer, job.questions.get().state


class TestAnswer:
    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            ({"sure": "perhaps"}, "sure: This must be True or False, not str."),
            ({"sure": None}, "sure: "),
            ({}, "sure: This field is required."),
            ({"sure": True, "colour": "red"}, "colour: This argument does not exist."),
            ({"sure": True, "note": 5}, "note: This must be a text, not int."),
            ({"sure": True, "note": "a\0b"}, "note: Null characters are not allowed."),
            ({"sure": True, "note": "x" * 300_000}, "note: The arguments take"),
            ([True], "__all__: The values must be a dict, by field."),
        ],
    )
    def test_what_does_not_fit_names_the_field_and_changes_nothing(self, ask, values, sentence):
        row = ask()
        with pytest.raises(InvalidArguments, match="Invalid arguments for the question of job") as refused:
            row.answer(values)
        assert sentence in str(refused.value)
        assert state(row) == ("scheduled", True, "open")
        assert not AuditEntry.objects.of_job(row.pk).exists()

    def test_the_first_answer_counts(self, ask):
        row = ask()
        row.answer(sure=True)
        with pytest.raises(InvalidTransition, match=r"has no open question\. Nothing was changed\."):
            row.answer(sure=False)
        with pytest.raises(InvalidTransition, match=r"has been answered already\. Nothing was changed\."):
            row.answer(sure=False, question=row.questions.get())
        with pytest.raises(InvalidTransition, match="has been answered already"):
            row.decline(question=row.questions.get())
        assert run_job(row).result == [True, ""]
        outcomes = list(AuditEntry.objects.of_job(row.pk).values_list("action", "outcome"))
        assert outcomes == [("answer", "ok"), ("answer", "too late"), ("decline", "too late")]

    def test_after_the_time_it_is_too_late(self, ask):
        row = ask(expires=3600)
        row.questions.update(expires_at=database_now("default"))
        with pytest.raises(InvalidTransition, match="could be answered only until its time was over"):
            row.answer(sure=True)
        assert state(row) == ("scheduled", True, "open")

    def test_a_question_of_another_job_is_not_answered(self, ask):
        row, other = ask(), ask()
        with pytest.raises(InvalidTransition, match="does not exist any more"):
            row.answer(sure=True, question=other.questions.get())

    def test_a_job_that_asks_nothing(self):
        with pytest.raises(InvalidTransition, match="has no open question"):
            make_job("scheduled").answer(sure=True)

    @pytest.mark.django_db(transaction=True)
    def test_of_two_at_the_same_moment_one_wins(self, ask):
        for _round in range(3):
            row = ask()
            copies = [Job.objects.get(pk=row.pk) for _number in range(4)]
            answers = [partial(copies[0].answer, sure=True), partial(copies[1].answer, sure=False)]
            declines = [partial(copy.decline, reason="no") for copy in copies[2:]]
            outcomes = race(*answers, *declines)
            assert [type(outcome) for outcome in outcomes].count(InvalidTransition) == 3, outcomes
            assert state(row)[:2] == ("new", False)
            assert Question.objects.filter(job=row).exclude(closed_at=None).count() == 1
            ok = AuditEntry.objects.of_job(row.pk).filter(outcome="ok")
            assert ok.count() == 1


class TestVerbs:
    """What becomes of a job that waits for an answer."""

    def test_cancel(self, ask):
        row = ask()
        row.cancel()
        assert row.status == "cancelled"
        with pytest.raises(InvalidTransition, match="is cancelled: it is not possible to answer it"):
            row.answer(sure=True)
        assert row.questions.get().answer is None

    def test_it_cannot_be_started_early(self, ask):
        row = ask()
        sentence = "waits for an answer, and goes on when it has got one. Nothing was changed."
        assert (row.can_run_now, row.can_reschedule, row.can_update) == (False, False, False)
        with pytest.raises(InvalidTransition, match=sentence):
            row.run_now()
        with pytest.raises(InvalidTransition, match=sentence):
            row.reschedule(database_now("default"))
        assert Job.objects.filter(pk=row.pk).run_now() == 0
        with pytest.raises(InvalidTransition):
            row.update(expires=1.0)
        assert claim_one("default", row.pk, wanted()) is None
        assert run_stored(row.pk, "default", worker_name="test", early=True) is None
        assert state(row) == ("scheduled", True, "open")

    def test_abort_and_retry_are_for_other_jobs(self, ask):
        row = ask()
        for verb in (row.abort, row.retry, row.mark_failed):
            with pytest.raises(InvalidTransition):
                verb()

    def test_a_pause_outlasts_the_answer(self, ask):
        row = ask()
        row.pause(reason="stocktaking")
        assert [reason.kind for reason in row.why_waiting()] == ["paused", "answer"]
        row.answer(sure=True)
        assert (row.status, row.is_paused, row.is_asking) == ("scheduled", True, False)
        assert Job.objects.promote_due() == 0
        row.resume()
        assert row.status == "new"
        assert run_job(row).result == [True, ""]

    def test_a_resumed_job_still_waits(self, ask):
        row = ask()
        row.pause()
        row.resume()
        assert state(row) == ("scheduled", True, "open")
        assert Job.objects.promote_due() == 0

    def test_rerun_asks_anew(self, ask):
        row = ask()
        row.answer(sure=True)
        new = run_job(row).job.rerun()
        assert run_job(new).job.is_asking

    def test_a_retry_after_an_error_keeps_the_answer(self):
        broken = SimpleNamespace(yes=True)

        def handler(context: JobContext) -> bool:
            sure = context.ask("Sure?", sure=bool).sure
            if broken.yes:
                raise ValueError
            return sure

        run = run_job(job(name="test.broken")(handler), answers=[{"sure": True}])
        assert run.status == "exception"
        broken.yes = False
        run.job.retry()
        assert run_job(run.job).result is True
        assert run.job.questions.count() == 1

    def test_delete_takes_the_questions_along(self, ask, django_assert_num_queries):
        row, other = ask(), ask()
        row.delete()
        assert list(Question.objects.values_list("job_id", flat=True)) == [other.pk]
        Job.objects.all().delete()
        assert not Question.objects.exists()

    def test_so_does_a_copy_that_was_read_before_it_asked(self, ask):
        row = ask()
        stale = make_job("new")
        stale.pk = row.pk
        assert not stale.has_questions
        stale.delete()
        assert not Question.objects.exists()

    def test_the_arguments_about_which_it_asked_stay(self):
        def handler(context: JobContext, number: int) -> int:
            context.ask(f"Delete {number}?")
            return number

        deletes = job(name="test.deletes", unique=Unique(by=[], on_conflict="replace"))(handler)
        row = run_job(deletes, number=1).job
        row.answer()
        assert (row.status, row.can_update) == ("new", False)
        with pytest.raises(InvalidTransition, match="has asked a question: its arguments cannot be changed any more"):
            row.update(number=2)
        with pytest.raises(AlreadyEnqueued, match="It keeps its arguments"):
            deletes.enqueue(number=2)
        assert run_job(row).result == 1

    def test_jobs_that_do_not_ask_cost_nothing_more(self, django_assert_num_queries):
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        row = make_job("done")
        with CaptureQueriesContext(connection) as queries:
            row.delete()
        assert not [query for query in queries.captured_queries if "qorworker_question" in query["sql"]]


class TestAttempts:
    """The end of an attempt that has asked."""

    @pytest.mark.parametrize("abort", [False, True])
    @pytest.mark.parametrize("pause", [False, True])
    @pytest.mark.parametrize("asks", [False, True])
    @pytest.mark.parametrize("crashes", [0, 1, 2, 3])
    @pytest.mark.parametrize("status", ["new", "scheduled", "exception", "done", "killed"])
    def test_the_statement_does_what_the_rule_says(self, status, crashes, asks, pause, abort):
        now = database_now("default")
        row = make_job("running", waits_for_answer=asks, run_after=now + dt.timedelta(hours=1))
        Job.objects.filter(pk=row.pk).update(
            abort_requested_at=now if abort else None, pause_requested_at=now if pause else None
        )
        delay = 60.0 if status == "scheduled" else None
        update = leaving(row, status, crashes=crashes, delay=delay)
        exchange("default", [update])
        before = row.run_after
        row.refresh_from_db()
        assert row.status == heeding(status, abort=abort, pause=pause, asks=asks, crashes=crashes)
        assert row.status == update.status
        assert bool(row.waits_for_answer) is (asks and not row.is_finished)
        assert (row.finished_at is not None) is row.is_finished
        assert (row.run_after == before) is (delay is None or asks)

    def test_a_crash_in_front_of_a_question_whose_time_is_over_does_not_repeat_for_ever(self, ask):
        row = ask(expires=3600.0)
        Question.objects.update(expires_at=row.enqueued_at)
        ends = []
        for crashes in range(1, CRASH_LIMIT + 1):
            Job.objects.filter(pk=row.pk).update(status="running", attempt_token=token(), worker_id=1, attempt=crashes)
            row.refresh_from_db()
            assert (row.max_attempts, row.waits_for_answer) == (1, True)
            exchange("default", [leaving(row, "exception", crashes=crashes)])
            row.refresh_from_db()
            ends.append(row.status)
        assert ends == ["scheduled"] * (CRASH_LIMIT - 1) + ["exception"]
        assert row.waits_for_answer is False

    def test_a_failure_in_front_of_a_question_whose_time_is_over_waits_for_its_back_off(self):
        row = make_job("running", waits_for_answer=True)
        exchange("default", [leaving(row, "scheduled", delay=60.0)])
        row.refresh_from_db()
        assert row.run_after - database_now("default") > dt.timedelta(seconds=50)
        assert (row.status, row.waits_for_answer) == ("scheduled", True)

    def test_an_answer_before_the_end_of_the_attempt_lets_it_go_on_at_once(self, ask):
        row = make_job("running", waits_for_answer=True)
        Question.objects.create(job=row, key="#1", kind="person", attempt=1, text="Sure?", asked_at=row.enqueued_at)
        row.answer()
        assert (row.status, row.waits_for_answer) == ("running", False)
        exchange("default", [leaving(row, "new", uncounted=True)])
        row.refresh_from_db()
        assert (row.status, row.run_after <= database_now("default")) == ("new", True)

    def test_the_attempts_of_all_questions_are_on_record(self, ask):
        row = ask()
        row.answer(sure=True)
        run_job(row)
        assert list(Attempt.objects.filter(job=row).order_by("id").values_list("number", "outcome", "counted")) == [
            (1, "suspended", None),
            (1, "done", True),
        ]
