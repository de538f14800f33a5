"""How a child says the end of a job, and leaves; in this process, step by step."""

from __future__ import annotations

import gc
import os
import signal
import weakref
from functools import partial
from types import SimpleNamespace
from unittest import mock

import pytest
from django.forms import Form

from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.execution.endings import Ending
from qorworker.execution.messages import Work
from qorworker.worker.child import main as module
from qorworker.worker.child.main import Runner


class Left(BaseException):
    """In the place of the end of this process."""


@pytest.fixture
def sent():
    return []


@pytest.fixture
def child(monkeypatch, sent):
    """A child without pipes."""

    def leave(status):
        raise Left

    monkeypatch.setattr(module.os, "_exit", leave)
    monkeypatch.setattr(module.signal, "signal", lambda *given: None)
    monkeypatch.setattr(module.signal, "siginterrupt", lambda *given: None)
    monkeypatch.setattr(module.faulthandler, "register", lambda *given, **named: None)
    monkeypatch.setattr(module, "Leftovers", lambda: SimpleNamespace(restore=list))
    monkeypatch.setattr(module, "has_descendants", lambda: False)
    monkeypatch.setattr(module, "execute", lambda *given, **options: Ending("done"))
    child = Runner.__new__(Runner)
    child.process_id = os.getpid()
    child.abort_requested = child.in_handler = child.end_unsent = child.threads_go_on = False
    child.number, child.last, child.shared = 0, None, None
    child.peak_memory, child.board = SimpleNamespace(read=lambda: 1), SimpleNamespace(descriptor=-1)
    child.sessions = SimpleNamespace(reset=lambda warn: None)
    child.next_work = iter([Work(7, "testapp.noop", "{}", 1, 1, "token"), None]).__next__
    child.send_records = lambda *records: sent.extend(records)
    return child


def kinds(sent):
    return [record[0] for record in sent]


def test_a_signal_between_jobs_ends_the_process_at_once(child, sent):
    with pytest.raises(Left):
        child.on_term(signal.SIGTERM, None)
    assert sent == []


def test_a_signal_while_the_process_is_tidied_does_not_take_the_end_away(child, sent):
    child.sessions.reset = lambda warn: child.on_term(signal.SIGTERM, None)
    child.main()
    assert kinds(sent) == ["end", "left"]


def test_a_signal_while_the_end_is_said_has_the_process_leave_after_it(child, sent):
    def send_records(*records):
        sent.extend(records)
        if kinds(records) == ["end"]:
            child.on_term(signal.SIGTERM, None)

    child.send_records = send_records
    child.main()
    assert kinds(sent) == ["end", "left"]


def test_a_process_whose_output_is_not_read_in_time_runs_no_other_job(child, sent, monkeypatch):
    """Else that output would be taken for the other job's."""
    monkeypatch.setattr(module, "OUTPUT_WAIT", 0.0)
    monkeypatch.setattr(module.processes, "bytes_in", lambda pipe: 1)
    child.next_work = iter([Work(7, "testapp.noop", "{}", 1, 3, "token")] * 2).__next__
    child.main()
    assert kinds(sent) == ["end", "left"]
    assert sent[0][2]["leftovers"]


class TestAChildThatIsToHandBackWhatWaitsInIt:
    @pytest.fixture
    def several(self, child):
        work = Work(7, "testapp.noop", "{}", 1, 3, "token")
        child.next_work = iter([work, work, work, None]).__next__
        return child

    def ask(self, child, *given, **options):
        child.on_leave(39, None)
        return Ending("done")

    def test_ends_the_one_that_it_runs_and_starts_no_other(self, several, sent, monkeypatch):
        monkeypatch.setattr(module, "execute", partial(self.ask, several))
        several.main()
        assert sent == [["leaving", 1], ["end", 1, mock.ANY]]

    def test_between_two_it_starts_no_other(self, several, sent):
        def read_and_ask():
            if several.number == 1:
                self.ask(several)
            return next_work()

        next_work, several.next_work = several.next_work, read_and_ask
        several.main()
        assert sent == [["end", 1, mock.ANY], ["leaving", 1]]

    def test_says_so_once_and_not_in_a_process_that_the_job_has_forked(self, several, sent):
        several.process_id += 1
        self.ask(several)
        assert (several.last, sent) == (None, [])
        several.process_id -= 1
        self.ask(several)
        self.ask(several)
        assert sent == [["leaving", 0]]


def test_without_a_signal_it_waits_for_the_next_job(child, sent):
    child.main()
    assert kinds(sent) == ["end"]
    with pytest.raises(Left):
        child.on_term(signal.SIGTERM, None)


def test_a_process_that_has_a_single_job_leaves_after_it_and_is_not_tidied(child, sent, monkeypatch):
    monkeypatch.setattr(module, "Leftovers", lambda: pytest.fail("nobody will use this process again"))
    child.next_work = iter([Work(7, "testapp.isolated", "{}", 1, 1, "token")]).__next__
    child.main()
    assert kinds(sent) == ["end", "left"]


def test_an_error_while_the_process_is_tidied_has_it_replaced_and_keeps_the_end(child, sent):
    def fail(warn):
        raise AttributeError("no such thing")

    child.sessions.reset = fail
    child.main()
    assert kinds(sent) == ["log", "end", "left"]
    assert "AttributeError: no such thing" in sent[0][4]
    assert sent[1][2]["outcome"] == "done"


def test_forms_of_jobs_with_a_process_each_are_made_before_the_fork(monkeypatch):
    def declared(name, isolation, form=None):
        job_type = JobType(lambda number: None, {"name": name, "isolation": isolation, "form": form})
        registry.register(job_type)
        return job_type

    for name in ("Sessions", "Capture", "Leftovers", "close_all", "logging"):
        monkeypatch.setattr(module, name, mock.Mock())
    monkeypatch.setattr(registry, "_types", {})
    own, shared = declared("shop.own", "process"), declared("shop.shared", "warm")
    given = declared("shop.given", "process", Form)  # it may read rows, and those change
    module.prepare()
    made = [each.arguments._definition is not None for each in (own, shared, given)]
    assert made == [True, False, False]


def test_the_pipe_stays_open_until_the_exit_functions_have_run(monkeypatch):
    class Quick:
        def __init__(self, *given):
            made.append(weakref.ref(self))

        def main(self):
            pass

    def leave(status):
        gc.collect()
        alive.append(made[0]() is not None)

    made, alive = [], []
    monkeypatch.setattr(module, "Runner", Quick)
    monkeypatch.setattr(module, "_set_up", lambda *given: None)
    monkeypatch.setattr(module, "exit_process", leave)
    module.run(None, None, -1, None, -1, -1, os.getpid())
    assert alive == [True]


def test_a_signal_to_leave_right_before_an_attempt_begins_hands_that_back_or_keeps_it(child, sent, monkeypatch):
    monkeypatch.setattr(module.registry, "concurrency_of", lambda name: child.on_leave(signal.SIGRTMIN, None))
    child.main()
    assert sent == [["leaving", 0]]
