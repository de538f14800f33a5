import asyncio
from contextlib import nullcontext

import django
import pytest
from asgiref.sync import sync_to_async
from django.core.mail import EmailMessage, get_connection, mail_admins, send_mail, send_mass_mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection, transaction
from django.test import override_settings

from qorworker import JobContext, job
from qorworker.exceptions import JobTypeError
from qorworker.execution.messages import Work
from qorworker.execution.together import execute_together
from qorworker.models import Outcome
from qorworker.text.masking import NOTHING
from tests.testapp.models import Shop

ADMINS = ["ann@example.com"] if django.VERSION >= (6, 0) else [("Ann", "ann@example.com")]


@pytest.fixture
def run_together(own_types, transactional_db):
    """``run_together(function, numbers, max_mails=3)``: jobs in one event loop, and how they ended."""

    def run_together(function, numbers, **options):
        job(name="test.shared", concurrency=10, max_attempts=2, **options)(function)

        async def one(number):
            work = Work(number, "test.shared", f'{{"number": {number}}}', 1, 2, "t")
            requests = {"abort_requested": lambda: False, "suspend_requested": lambda: False}
            surroundings = lambda context: nullcontext()  # noqa: E731
            return await execute_together(
                work, lambda record: None, requests=requests, surroundings=surroundings, tasks=list, mask=NOTHING
            )

        async def all_of_them():
            return await asyncio.gather(*map(one, numbers))

        return asyncio.run(all_of_them())

    return run_together


def send(number=1):
    for _ in range(number):
        send_mail("Hello", "…", "a@example.com", ["b@example.com"])


class TestMails:
    def test_what_would_be_one_too_many_is_not_sent_and_ends_the_job(self, run, mailoutbox):
        ending, _ = run(lambda: send(5), max_mails=3, max_attempts=3)

        assert (ending.outcome, ending.error) == (
            Outcome.BUDGET, "The job would have sent more than 3 mails (max_mails)."
        )  # fmt: skip
        assert len(mailoutbox) == 3

    def test_as_many_as_allowed_are_sent(self, run, mailoutbox):
        ending, _ = run(lambda: send(3), max_mails=3)

        assert (ending.outcome, len(mailoutbox)) == (Outcome.DONE, 3)

    @override_settings(ADMINS=ADMINS)
    @pytest.mark.parametrize(
        "way",
        [
            lambda: send(2),
            lambda: mail_admins("a", "b") or mail_admins("a", "b"),
            lambda: send_mass_mail([("a", "b", "c@example.com", ["d@example.com"])] * 2),
            lambda: get_connection().send_messages([EmailMessage("a", "b", to=["d@example.com"])] * 2),
            lambda: EmailBackend().send_messages(EmailMessage("a", "b", to=["d@example.com"]) for _ in range(2)),
        ],
    )
    def test_every_way_counts(self, run, way, mailoutbox):
        ending, _ = run(way, max_mails=1)

        assert ending.outcome == Outcome.BUDGET
        assert len(mailoutbox) <= 1

    def test_a_backend_that_passes_mail_on_counts_it_once(self, run, mailoutbox):
        class Passing(EmailBackend):
            def send_messages(self, messages):
                return EmailBackend().send_messages(messages)

        ending, _ = run(lambda: Passing().send_messages([EmailMessage("a", "b", to=["d@example.com"])]), max_mails=1)

        assert (ending.outcome, len(mailoutbox)) == (Outcome.DONE, 1)

    def test_a_handler_that_suppresses_it_fails_at_its_end(self, run, mailoutbox):
        def handler():
            for _ in range(5):
                try:
                    send()
                except Exception:
                    continue

        ending, _ = run(handler, max_mails=2)

        assert (ending.outcome, len(mailoutbox)) == (Outcome.BUDGET, 2)

    def test_mail_after_the_job_counts_no_more(self, run, mailoutbox):
        run(lambda: send(), max_mails=1)
        send(3)

        assert len(mailoutbox) == 4


class TestQueries:
    def test_one_too_many_ends_the_job_and_its_transaction_is_rolled_back(self, run):
        def handler():
            with transaction.atomic():
                for number in range(5):
                    Shop.objects.create(name=f"{number}")

        ending, _ = run(handler, max_queries=3)

        assert ending.error == "The job would have made more than 3 database queries (max_queries)."
        assert not Shop.objects.exists()

    def test_savepoints_are_no_queries(self, run):
        def handler():
            with transaction.atomic():
                for number in range(3):
                    with transaction.atomic():
                        Shop.objects.create(name=f"{number}")

        assert run(handler, max_queries=3)[0].outcome == Outcome.DONE
        assert Shop.objects.count() == 3

    def test_raw_sql_counts_and_so_does_a_new_connection(self, run):
        def handler():
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            connection.close()
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")

        assert run(handler, max_queries=1)[0].outcome == Outcome.BUDGET
        assert run(handler, max_queries=2)[0].outcome == Outcome.DONE

    def test_a_coroutine_is_counted(self, run):
        async def handler():
            for _ in range(3):
                await Shop.objects.acount()

        assert run(handler, max_queries=2)[0].outcome == Outcome.BUDGET
        assert run(handler, max_queries=3)[0].outcome == Outcome.DONE


class TestLogAndRows:
    def test_lines_of_the_log(self, run):
        def handler(context: JobContext):
            context.add_log("one\ntwo\nthree")

        ending, sent = run(handler, max_log_lines=2)

        assert ending.error == "The job would have added more than 2 lines to its log (max_log_lines)."
        assert [record[4] for record in sent if record[0] == "log"] == ["one", "two"]

    def test_rows_of_the_results(self, run):
        def handler(context: JobContext):
            for number in range(5):
                context.add_results_row(number)

        ending, sent = run(handler, max_rows=2)

        assert ending.error == "The job would have added more than 2 rows to its results (max_rows)."
        assert len([record for record in sent if record[0] == "row"]) == 2

    def test_a_budget_of_nothing_allows_nothing(self, run):
        def handler(context: JobContext):
            context.add_results_row(1)

        ending, _ = run(handler, max_rows=0)
        assert ending.error == "The job would have added more than 0 rows to its results (max_rows)."


@pytest.mark.parametrize("name", ["max_queries", "max_mails", "max_log_lines", "max_rows"])
@pytest.mark.parametrize("value", [-1, 1.5, "5", True])
def test_a_budget_that_is_no_number_is_refused_where_it_is_written(run, name, value):
    with pytest.raises(JobTypeError, match=f"{name}=.*must be a whole number of at least 0, or None"):
        run(lambda: None, **{name: value})


def test_jobs_that_share_a_loop_have_a_budget_each(run_together, mailoutbox):
    async def handler(context: JobContext, number: int):
        for _ in range(number):
            await sync_to_async(send)()
            await Shop.objects.acount()

    endings = run_together(handler, [1, 2, 3], max_mails=2, max_queries=2)

    assert [ending.outcome for ending in endings] == [Outcome.DONE, Outcome.DONE, Outcome.BUDGET]
    assert len(mailoutbox) == 5
