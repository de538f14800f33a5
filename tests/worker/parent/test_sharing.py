import json
import logging
import os
import selectors
import socket
from collections import deque
from types import SimpleNamespace

import pytest

from qorworker.execution.messages import encode
from qorworker.system.processes import monotonic
from qorworker.worker.child.main import REQUEST_BYTES
from qorworker.worker.parent import sharing as module
from qorworker.worker.parent.channels import REQUESTS, Channels, Child
from qorworker.worker.parent.sharing import Sharing

NAME = "testapp.shared_quick"
DONE = {"outcome": "done", "error": ""}


class Attempt(SimpleNamespace):
    __hash__ = object.__hash__
    __eq__ = object.__eq__


def attempt(name=NAME, crashes=0, max_attempts=3, mask=""):
    return Attempt(job=SimpleNamespace(name=name, crashes=crashes, max_attempts=max_attempts), mask=mask, begun=0.0)


def a_child(number=1):
    return Child(number, -1, None, -1)


@pytest.fixture
def asked():
    return []


@pytest.fixture
def sharing(asked):
    channels = SimpleNamespace(
        request=lambda child, kind, number: asked.append((kind, number)), catch_up=lambda child: True
    )
    return Sharing(SimpleNamespace(channels=channels, stop=lambda child, grace: asked.append(("stop", grace))))


def give(sharing, child, *attempts, limit=3, now=0.0):
    for each in attempts:
        sharing.add(child, each, limit, now)
        child.attempts.append(each)
        child.served += 1
        child.lengths.append(100)


def child_for(sharing, attempt, limit, idle):
    return sharing.with_room(attempt) or idle or sharing.to_wait_in(attempt, limit)


def test_a_child_is_filled_before_another_one_begins(sharing):
    child, idle = a_child(), a_child(2)
    assert child_for(sharing, attempt(), 3, idle) is idle
    give(sharing, child, attempt())
    assert child_for(sharing, attempt(), 3, idle) is child
    give(sharing, child, attempt(), attempt())
    assert child_for(sharing, attempt(), 3, idle) is idle
    assert child_for(sharing, attempt(), 3, None) is None
    assert child_for(sharing, attempt("testapp.other"), 3, None) is None


def test_attempts_are_looked_at_only_once_they_are_not_young_any_more(sharing):
    child, old, young = a_child(), attempt(), attempt()
    give(sharing, child, old, now=10.0)
    give(sharing, child, young, now=11.0)
    assert list(sharing.given_before(10.0)) == []
    assert list(sharing.given_before(11.0)) == [old]
    assert list(sharing.given_before(11.1)) == [old, young]


def test_jobs_of_a_short_type_may_wait_in_the_child_with_the_fewest(sharing):
    first, second = a_child(), a_child(2)
    give(sharing, first, attempt(), attempt(), attempt(), attempt())
    give(sharing, second, attempt(), attempt(), attempt())
    assert child_for(sharing, attempt(), 3, None) is None
    for _ in range(3):
        sharing.durations.note(NAME, 0.01)
    assert child_for(sharing, attempt(), 3, None) is second


def test_an_attempt_runs_alone_before_its_last_chance_and_if_it_may_not_run_again(sharing):
    child, idle = a_child(), a_child(2)
    give(sharing, child, attempt())
    assert child_for(sharing, attempt(crashes=1), 3, idle) is child
    assert child_for(sharing, attempt(crashes=2), 3, idle) is idle
    assert child_for(sharing, attempt(max_attempts=1), 3, idle) is idle
    give(sharing, idle, attempt(crashes=2))
    give(sharing, child, attempt(), attempt())
    assert child_for(sharing, attempt(), 3, None) is None


def test_the_room_is_that_of_the_latest_type(sharing):
    assert sharing.room(2) == 0
    child = a_child()
    give(sharing, child, attempt())
    assert sharing.room(0) == 2
    assert sharing.room(1) == 5
    child.leaving = True
    assert sharing.room(0) == 0


def test_a_child_in_which_a_job_runs_alone_has_no_room(sharing):
    child, alone = a_child(), a_child(2)
    give(sharing, child, attempt(), attempt(), attempt())
    give(sharing, alone, attempt(crashes=2))
    assert sharing.room(0) == 0


def test_the_one_that_takes_the_place_of_one_that_has_ended_is_known(sharing):
    child, attempts = a_child(), [attempt() for _ in range(5)]
    give(sharing, child, *attempts)
    sharing.remove(child, attempts[1])
    assert sharing.next_in(child) is attempts[3]
    sharing.remove(child, attempts[0])
    assert sharing.next_in(child) is attempts[4]
    sharing.remove(child, attempts[2])
    assert sharing.next_in(child) is None


def test_a_child_takes_other_work_again_once_it_is_empty(sharing):
    child, first, second = a_child(), attempt(), attempt()
    give(sharing, child, first, second)
    assert child.shared_by == NAME
    assert child.attempt_of(1) is first
    sharing.remove(child, first)
    assert (child.attempt_of(1), child.attempt_of(2), sharing.child_of(first)) == (None, second, None)
    sharing.remove(child, second)
    assert (child.shared_by, child.limit, sharing.children, len(sharing)) == ("", 1, [], 0)
    assert child.current_number == 3


def test_those_that_an_ended_child_had_not_read_or_not_begun_are_known(sharing):
    child, attempts = a_child(), [attempt() for _ in range(6)]
    give(sharing, child, *attempts)
    sharing.remove(child, attempts[1])
    assert sharing.begun_in(child) == [attempts[0], attempts[2], attempts[3]]
    child.unread = 250  # the last three, of which it has read a part of the first
    assert sharing.begun_in(child) == [attempts[0], attempts[2]]
    child.has_left = True
    assert sharing.begun_in(child) == []


def test_one_that_does_not_end_in_time_takes_its_child_with_it(sharing, asked):
    child, one, other = a_child(), attempt(), attempt()
    give(sharing, child, one, other)
    now = monotonic()
    sharing.cancel(one, now + 10)
    sharing.cancel(other, now + 20)
    sharing.kill_overdue(now + 5)
    sharing.remove(child, one)
    sharing.kill_overdue(now + 15)
    assert asked == [("cancel", 1), ("cancel", 2)]
    sharing.kill_overdue(now + 25)
    assert asked[2:] == [("stop", 0)]


def test_those_that_end_at_the_last_moment_together_are_not_killed(sharing, asked):
    child, one, other = a_child(), attempt(), attempt()
    give(sharing, child, one, other)
    for each in (one, other):
        sharing.cancel(each, 10.0)

    def catch_up(child):
        for each in list(child.attempts):
            sharing.remove(child, each)
        return True

    sharing.pool.channels.catch_up = catch_up
    sharing.kill_overdue(11.0)
    assert asked == [("cancel", 1), ("cancel", 2)]


def test_a_child_gets_all_requests_however_many_there_are_at_once():
    with selectors.DefaultSelector() as selector:
        channels = Channels(selector)
        child, descriptors = channels.open(1)
        theirs = socket.socket(fileno=descriptors[1])
        theirs.setblocking(False)
        for number in range(1, 1001):
            channels.request(child, "cancel", number)
        got = []
        while child.unasked or len(got) < 1000:
            message = theirs.recv(REQUEST_BYTES)
            got += json.loads(message)
            channels.ask(child)
        assert got == [["cancel", number] for number in range(1, 1001)]
        theirs.close()
        channels.request(child, "cancel", 1)
        assert not child.unasked
        for descriptor in (descriptors[0], *descriptors[2:], child.work, child.output, child.board):
            os.close(descriptor)
        child.records.close()


def test_all_that_a_child_has_sent_is_heard_at_once_however_many_messages_it_is(monkeypatch):
    channels, child, heard = Channels(selectors.DefaultSelector()), a_child(), []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    child.records = ours
    channels.on_record = lambda child, record: heard.append(record)
    messages = [encode([["end", number, DONE], ["end", number + 1, DONE]]) for number in range(0, 40, 2)]
    for message in messages:
        theirs.send(message)
    assert channels._hear(child) == 40
    assert [number for _end, number, _ending in heard] == list(range(40))
    monkeypatch.setattr("qorworker.worker.parent.channels.READS", 10)
    for message in messages:
        theirs.send(message)
    assert channels._hear(child) == 10
    theirs.close()
    ours.close()


def test_a_message_with_as_many_requests_as_it_may_have_is_read_as_a_whole():
    longest = json.dumps([("suspend", 10**9)] * REQUESTS).encode()
    assert len(longest) <= REQUEST_BYTES


def test_one_that_waits_behind_others_for_too_long_is_noticed(sharing):
    child, attempts = a_child(), [attempt() for _ in range(4)]
    give(sharing, child, *attempts[:3])
    assert not sharing.is_overrun(child, 100.0)
    give(sharing, child, attempts[3])
    assert sharing.is_overrun(child, 100.0)
    sharing.remove(child, attempts[3])
    give(sharing, child, attempt(), now=200.0)
    assert not sharing.is_overrun(child, 100.0)


def test_one_that_is_not_read_for_too_long_is_noticed(sharing):
    child, attempts = a_child(), [attempt() for _ in range(2)]
    give(sharing, child, *attempts)
    assert not sharing.is_overrun(child, 100.0)
    child.unsent += b"." * 50  # a part of the second one
    assert sharing.is_overrun(child, 100.0)
    assert not sharing.is_overrun(child, 0.0)
    child.keeps_current = True
    assert not sharing.is_overrun(child, 100.0)


def test_output_that_may_be_of_any_of_them_is_not_shown_if_one_has_secrets(sharing, caplog):
    child = a_child()
    give(sharing, child, attempt(), attempt())
    with caplog.at_level(logging.WARNING, module.logger.name):
        sharing.log_output(child, "harmless")
        give(sharing, child, attempt(mask="a mask"))
        sharing.log_output(child, "hunter2")
    assert "harmless" in caplog.messages[0]
    assert "hunter2" not in caplog.messages[1]
    assert child.attempts == deque(child.together.values())
