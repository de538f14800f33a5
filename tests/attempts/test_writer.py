"""Jobs that end in their own transaction, at the isolation levels that a project may have chosen."""

import threading
from contextlib import suppress

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, connections, transaction

from qorworker import job
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.writer import End, Writer
from qorworker.definitions.registry import registry
from qorworker.execution.execute import Work, execute
from qorworker.models import Job
from qorworker.models.sql import AttemptUpdate, claimed_with, insert
from tests.models.rows import make_job, written

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.only_on("postgresql", "mysql"),  # in SQLite nobody writes while such a job runs
]


@pytest.fixture
def attempt(isolation):
    """``attempt(meanwhile)``: how an attempt ends during which its worker does something."""

    def run(meanwhile):
        row, begun, go_on, endings = make_job("running", name="test.atomic"), threading.Event(), threading.Event(), []

        def handler() -> None:
            get_user_model().objects.create(username="kept")
            begun.set()
            assert go_on.wait(30)

        def child():
            try:
                endings.append(execute(Work(row.pk, "test.atomic", "{}", 1, 1, row.attempt_token), lambda record: None))
            finally:
                begun.set()
                connections.close_all()

        job(name="test.atomic", atomic=True)(handler)
        thread = threading.Thread(target=child)
        thread.start()
        assert begun.wait(30)
        meanwhile(row)
        go_on.set()
        thread.join(30)
        return row, endings[0]

    return run


@pytest.fixture(autouse=True)
def registered():
    registered = dict(registry._types)
    yield
    registry._types.clear()
    registry._types.update(registered)


def test_it_ends_although_its_worker_writes_to_the_row_meanwhile(attempt):
    def write(row):
        assert Job.objects.renew({row.pk: row.attempt_token}, 15) == 1
        assert written(AttemptUpdate(row.pk, row.attempt_token, "running", progress=40)) == {row.pk}

    row, ending = attempt(write)
    assert (ending.outcome, ending.committed, ending.error) == ("done", True, "")
    assert get_user_model().objects.filter(username="kept").exists()
    assert row.attempts.get().outcome == "done"


def test_it_leaves_no_writes_if_it_was_taken_over_meanwhile(attempt):
    def take_over(row):
        row.mark_failed()

    row, ending = attempt(take_over)
    assert not ending.committed
    assert not get_user_model().objects.exists()
    assert [note.outcome for note in row.attempts.all()] == ["lost"]
    row.refresh_from_db()
    assert row.status == "exception"


def test_it_is_done_if_it_commits_while_its_parent_decides_that_it_crashed(isolation, monkeypatch):
    job(name="test.atomic", atomic=True)(lambda: None)
    row, end_noted, go_on = make_job("running", name="test.atomic"), threading.Event(), threading.Event()

    def child():
        try:
            with transaction.atomic():
                assert Job.objects.end_in_transaction(row.pk, row.attempt, row.attempt_token)
                end_noted.set()
                assert go_on.wait(30)
        finally:
            connections.close_all()

    thread = threading.Thread(target=child)

    def insert_later(*what):
        go_on.set()
        thread.join(30)
        return insert(*what)

    monkeypatch.setattr("qorworker.attempts.writer.insert", insert_later)
    thread.start()
    assert end_noted.wait(30)
    writer = Writer("default", 1, "host:1")
    attempt = RunningAttempt(claimed_with("default", [row.attempt_token])[0], "default")
    writer.end(End(attempt, attempt.end("crashed", "The process crashed."), "crashed"))
    for _ in range(3):  # a worker tries again what fails because another transaction was faster
        with suppress(OperationalError):
            writer.flush(())
        go_on.set()
        thread.join(30)
    row.refresh_from_db()
    assert (row.status, row.error) == ("done", "")
    assert row.attempts.get().outcome == "done"
