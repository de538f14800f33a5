"""One job alone, many that are alike, and many that are not: all are stored the same, whatever statement is used."""

import datetime as dt
import threading
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, OperationalError, connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from qorworker import Job, job
from qorworker.models.sql import jobs as statements
from qorworker.models.sql import parts
from tests.job_types import own_types  # noqa: F401

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]
TEXTS = ["", "x", 'O\'Brien \\ "quoted" %s %% $1 ? :name', "Straße 😀 \u2028\x7f\x1f", "null", "x" * 5000]


@pytest.fixture
def plain(own_types):  # noqa: F811
    @job(name="test.plain", max_attempts=2)
    def plain(text: str = "", number: int = 0, share: float = 0.5, price: Decimal = Decimal("1.10"), on: bool = True):
        pass

    return plain


@pytest.fixture
def anything(own_types):  # noqa: F811
    @job(name="test.anything")
    def anything(value: Any) -> None:
        pass

    return anything


@pytest.fixture
def no_form(monkeypatch, plain):
    """Fails where the arguments of ``plain`` go through their form."""
    monkeypatch.setattr(plain.arguments, "clean", None)


def arguments_of(jobs):
    return list(
        Job.objects.filter(pk__in=[each.pk for each in jobs]).order_by("pk").values_list("arguments", flat=True)
    )


def columns_of(each):
    differing = {"id", "arguments", "enqueued_at", "run_after"}
    return {field.attname: getattr(each, field.attname) for field in Job._meta.concrete_fields} | dict.fromkeys(
        differing
    )


def test_plain_arguments_are_stored_the_same_alone_and_among_many(plain, no_form):
    calls = [{"text": text, "number": -(2**40), "share": 0.1} for text in TEXTS]
    given = [{**call, "price": "1.10", "on": True} for call in calls]
    assert arguments_of([plain.enqueue(**call) for call in calls]) == given
    assert arguments_of(plain.enqueue_many(calls)) == given


@pytest.mark.parametrize("value", [*TEXTS, None, [], {}, {"": {"a": [None, 1.5, -0.0, 2**70]}}, [[[]]]])
def test_any_arguments_are_stored_the_same_alone_and_among_many(anything, value):
    alone, many = anything.enqueue(value=value), anything.enqueue_many([{"value": value}] * 3)
    assert arguments_of([alone, *many]) == [{"value": value}] * 4


def test_the_rest_of_the_row_is_the_same_alone_and_among_many(plain):
    ben = User.objects.create(username="ben")
    for using in ({}, {"user": ben, "priority": -5, "meta": {"a": "'"}}, {"run_after": dt.timedelta(hours=1)}):
        alone, *many = plain.using(**using).enqueue(), *plain.using(**using).enqueue_many([{}, {}])
        stored = Job.objects.order_by("-pk")[:3]
        expected = columns_of(alone)
        assert [columns_of(each) for each in (*many, *stored)] == [expected] * 5


def test_many_jobs_for_a_time_are_due_at_that_time_exactly(plain):
    when = timezone.now().replace(microsecond=0) + dt.timedelta(days=1)
    made = plain.using(run_after=when).enqueue_many([{}, {}])
    assert [each.run_after for each in Job.objects.all()] == [when, when] == [each.run_after for each in made]


def test_more_jobs_than_one_statement_takes_keep_their_order(plain):
    made = plain.enqueue_many([{"number": number} for number in range(1203)])
    assert [each.pk for each in made] == sorted({each.pk for each in made})
    assert [stored["number"] for stored in arguments_of(made)] == list(range(1203))
    assert [each.arguments["number"] for each in made] == list(range(1203))


def test_jobs_that_are_not_alike_are_stored_together(plain):
    made = [Job(name=f"test.{number}", arguments={"number": number}, priority=number) for number in range(3)]
    Job.objects.enqueue_rows(made)
    stored = Job.objects.order_by("pk").values_list("name", "arguments", "priority")
    assert list(stored) == [(f"test.{number}", {"number": number}, number) for number in range(3)]


def test_jobs_too_large_for_one_statement_are_stored_by_several(plain, monkeypatch):
    monkeypatch.setattr(statements, "LARGE", 1000)
    made = plain.enqueue_many([{"text": str(number) * 100} for number in range(9)])
    assert [stored["text"][0] for stored in arguments_of(made)] == [str(number) for number in range(9)]


@pytest.mark.django_db(transaction=True)
def test_jobs_that_take_several_statements_are_all_stored_or_none(plain, monkeypatch):
    monkeypatch.setattr(statements, "LARGE", 1000)
    monkeypatch.setattr(parts, "LARGE", 1000)
    monkeypatch.setattr(parts, "SMALL", 1000)
    insert, calls = statements.insert_returning, []

    def fail_later(*given, **more):
        calls.append(given)
        if len(calls) == 3:
            raise OperationalError("the connection is lost")
        return insert(*given, **more)

    monkeypatch.setattr(statements, "insert_returning", fail_later)
    with pytest.raises(OperationalError):
        plain.enqueue_many([{"text": str(number) * 100} for number in range(9)])
    assert not Job.objects.exists()


def test_the_statements_of_enqueueing_are_logged_where_django_logs_them(plain):
    with CaptureQueriesContext(connection) as queries:
        plain.enqueue(text="O'Brien")
        plain.enqueue_many([{"text": "Miller"}, {}])
    texts = [query["sql"] for query in queries if query["sql"].startswith("INSERT INTO")]
    assert len(texts) == 2
    assert "Brien" in texts[0]
    assert "Miller" in texts[1]


def test_a_connection_of_another_thread_is_refused(plain):
    theirs, errors = connections["default"], []

    def enqueue():
        connections["default"] = theirs
        for many in ([{}], [{}, {}]):
            try:
                plain.enqueue_many(many)
            except DatabaseError as error:
                errors.append(str(error))

    thread = threading.Thread(target=enqueue)
    thread.start()
    thread.join()
    assert len(errors) == 2
    assert "created in a thread" in errors[0]


@pytest.mark.parametrize("many", [[{}], [{}, {}]])
def test_a_kept_connection_is_checked_before_its_first_statement(plain, monkeypatch, many):
    kept, checks = connections["default"], []
    kept.ensure_connection()
    if kept.vendor == "postgresql":
        monkeypatch.setattr(kept.connection, "prepare_threshold", 0)
    monkeypatch.setattr(kept, "health_check_enabled", True)
    monkeypatch.setattr(kept, "health_check_done", False)
    monkeypatch.setattr(kept, "is_usable", lambda: checks.append("checked") or True)
    plain.enqueue_many(many)
    assert checks == ["checked"]


@pytest.mark.only_on("postgresql")
def test_postgresql_plans_the_statement_of_one_job_once_where_that_is_allowed(plain, monkeypatch):
    connection.ensure_connection()
    monkeypatch.setattr(connection.connection, "prepare_threshold", 0)
    for number in (1, 2, 3):
        plain.enqueue(number=number)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO qorworker_job%%'", []
        )
        assert cursor.fetchone() == (1,)
