"""The loop goes on while the database works, and no other code needs to know that a thread sends the statement."""

import threading

import pytest

from qorworker.database.connection import Database
from qorworker.database.overlap import Overlap
from qorworker.models import Job
from tests.testapp import jobs


@pytest.fixture
def overlap():
    overlap = Overlap()
    yield overlap
    overlap.close()


class Statement:
    """One that is carried out once ``allowed`` is set, and that waits for that at most a minute."""

    def __init__(self, result=None, error=None):
        self.result, self.error = result, error
        self.allowed, self.ended = threading.Event(), False
        self.thread = None

    def __call__(self, *statement):
        self.thread = threading.current_thread()
        assert self.allowed.wait(60)
        self.ended = True
        if self.error:
            raise self.error
        return self.result, statement


def test_other_work_is_done_while_a_statement_is_carried_out(overlap):
    statement = Statement("rows")
    with overlap.meanwhile(statement.allowed.set):
        assert overlap.execute(statement, "SELECT 1", [1]) == ("rows", ("SELECT 1", [1]))
    assert statement.thread is not threading.current_thread()


def test_without_other_work_the_caller_carries_it_out(overlap):
    statement = Statement()
    statement.allowed.set()
    overlap.execute(statement)
    with overlap.meanwhile(lambda: None):
        pass
    overlap.execute(statement)
    assert statement.thread is threading.current_thread()


def test_an_error_of_the_statement_reaches_the_caller(overlap):
    statement = Statement(error=TimeoutError("the statement's own"))
    with overlap.meanwhile(statement.allowed.set), pytest.raises(TimeoutError, match="the statement's own"):
        overlap.execute(statement)


def test_an_error_of_the_other_work_waits_for_the_statement(overlap):
    statement = Statement()

    def fail():
        statement.allowed.set()
        raise LookupError

    with overlap.meanwhile(fail), pytest.raises(LookupError):
        overlap.execute(statement)
    assert statement.ended
    overlap.execute(statement)
    assert statement.thread is threading.current_thread()


def test_without_room_for_a_thread_the_caller_carries_it_out(overlap, monkeypatch):
    """As when jobs have started as many processes as there may be."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    statement = Statement("rows")
    statement.allowed.set()
    with overlap.meanwhile(lambda: None):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            assert overlap.execute(statement) == ("rows", ())
        assert statement.thread is threading.current_thread()
        overlap.execute(statement)
        assert statement.thread is not threading.current_thread()


def test_a_statement_of_the_other_work_waits_for_its_turn(overlap):
    first, order = Statement(), []

    def use_the_connection():
        first.allowed.set()
        overlap.execute(lambda: order.append(first.ended))

    with overlap.meanwhile(use_the_connection):
        overlap.execute(first)
    assert order
    assert all(order)


def test_a_statement_may_consist_of_several(overlap):
    """As with limits for a transaction, which are set before it."""
    inner, ended = Statement("inner"), threading.Event()

    def outer():
        overlap.wait()
        return overlap.execute(inner), inner.thread is threading.current_thread()

    def work():
        inner.allowed.set()
        ended.set()

    with overlap.meanwhile(work):
        assert overlap.execute(outer) == (("inner", ()), True)
    assert ended.is_set()


@pytest.mark.django_db(transaction=True)
def test_other_work_may_use_the_same_connection_after_all():
    """As the handler of a log message does that writes to the database."""
    database, counts = Database("default"), []

    def several():
        jobs.noop.enqueue_many([{}] * 300)
        return Job.objects.count()

    with database.limited():
        assert database.call(0.0, several, lambda: counts.append(Job.objects.count())) == 300
        assert database.call(0.0, Job.objects.count) == 300
    assert set(counts) <= {0, 300}
    assert "ensure_connection" not in vars(database.connection)
    assert not any("qorworker" in each.name for each in threading.enumerate())
