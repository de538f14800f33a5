"""Children that cannot be started, and those that do not begin."""

import errno
import os
from types import SimpleNamespace

import pytest

from qorworker.system.processes import monotonic
from qorworker.worker.parent.pool import BEGIN_LIMIT, Pool


class TestAMachineWithoutRoom:
    def test_a_child_that_gets_no_pipes_is_started_later(self, selector, monkeypatch):
        pool, real, made = Pool(1, "", selector), os.pipe, []
        pool.fork_server.ready, pool.fork_server.maintain = True, lambda now: None

        def one_only():
            if made:
                raise OSError(errno.EMFILE, "Too many open files")
            made.append(real())
            return made[0]

        before = len(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "pipe", one_only)
            pool.maintain(monotonic())
        assert (pool.children, len(os.listdir("/proc/self/fd"))) == ({}, before)
        pool.maintain(monotonic())
        assert pool.children == {}
        pool.maintain(monotonic() + 1.0)
        [child] = pool.children.values()
        pool.channels.close(child)


class PoolOfOneChild:
    """A pool whose fork server only notes its orders."""

    @pytest.fixture
    def pool(self, selector, monkeypatch, clock):
        pool, descriptors = Pool(1, "", selector), []
        pool.fork_server.ready, pool.fork_server.maintain, pool.orders = True, lambda now: None, []

        def send(order, given=()):
            descriptors.extend(given)
            pool.orders.append(order)

        monkeypatch.setattr(pool.fork_server, "send", send)
        pool.maintain(clock[0])
        pool.child_end = descriptors
        yield pool
        pool.channels.close(next(iter(pool.children.values())))
        for descriptor in descriptors:
            os.close(descriptor)

    def is_stopped(self, pool, clock, seconds):
        clock[0] += seconds
        pool.maintain(clock[0])
        return {"stop": 1, "grace": 0} in pool.orders

    def give(self, pool):
        (child,) = pool.children.values()
        pool.channels.give(child, SimpleNamespace(), ["an attempt"])
        pool.channels.push(child)

    def fork(self, pool):
        pool._on_news({"forked": 1, "pid": 4711}, 0.0)


class TestAChildThatHangsWhereItWasForked(PoolOfOneChild):
    """A thread of the project's code held a lock at that moment, for example."""

    def test_is_ended_some_time_after_it_was_given_an_attempt(self, pool, clock):
        self.fork(pool)
        assert not self.is_stopped(pool, clock, 10 * BEGIN_LIMIT)
        self.give(pool)
        assert not self.is_stopped(pool, clock, BEGIN_LIMIT)
        assert self.is_stopped(pool, clock, 1)

    def test_is_given_that_time_from_its_fork_on(self, pool, clock):
        self.give(pool)
        assert not self.is_stopped(pool, clock, 10 * BEGIN_LIMIT)
        self.fork(pool)
        assert not self.is_stopped(pool, clock, BEGIN_LIMIT)
        assert self.is_stopped(pool, clock, 1)

    def test_is_no_child_that_has_read_its_attempt(self, pool, clock):
        self.fork(pool)
        self.give(pool)
        os.read(pool.child_end[0], 1 << 16)
        assert not self.is_stopped(pool, clock, 10 * BEGIN_LIMIT)

    def test_is_ended_even_if_more_attempts_wait_behind_the_first(self, pool, clock):
        self.fork(pool)
        self.give(pool)
        self.give(pool)
        assert not self.is_stopped(pool, clock, BEGIN_LIMIT)
        assert self.is_stopped(pool, clock, 1)


class TestAChildThatClosedItsConnection(PoolOfOneChild):
    @pytest.mark.parametrize(
        ("status", "error"), [(-9, "it had closed its connection to the worker"), (-11, ""), (1, "")]
    )
    def test_is_said_to_have_closed_its_connection_only_if_it_was_ended_for_that(self, pool, clock, status, error):
        """Before a child that crashed is reported, all that it started is ended, and that may take a while."""
        exits = []
        pool.on_exit = lambda child, exit: exits.append((exit.status, exit.error))
        self.fork(pool)
        self.give(pool)
        os.close(pool.child_end.pop(1))
        (child,) = pool.children.values()
        pool.channels._hear(child)
        assert self.is_stopped(pool, clock, 1)
        pool._on_news({"exited": 1, "status": status, "peak": 0, "survivors": 0, "expired": False}, clock[0])
        pool.maintain(clock[0] + 60)  # another child, for the end of the test
        assert exits == [(status, error)]

    def test_is_ended_although_it_goes_on_printing(self, pool, clock):
        self.fork(pool)
        self.give(pool)
        os.close(pool.child_end.pop(1))
        (child,) = pool.children.values()
        pool.channels._hear(child)
        assert not self.is_stopped(pool, clock, 0.4)
        pool.channels._hear_output(child)
        assert self.is_stopped(pool, clock, 0.4)


class TestAChildThatLeavesAfterItsWork:
    @pytest.fixture
    def pool(self, selector, monkeypatch, clock):
        """With two children, whose fork server takes all orders."""
        pool, descriptors = Pool(2, "", selector), []
        pool.fork_server.ready, pool.fork_server.maintain = True, lambda now: None
        monkeypatch.setattr(pool.fork_server, "send", lambda order, given=(): descriptors.extend(given))
        pool.maintain(clock[0])
        yield pool
        for child in list(pool.children.values()):
            pool.channels.close(child)
        for descriptor in descriptors:
            os.close(descriptor)

    def give_last(self, pool, child):
        """An attempt after which the child leaves."""
        pool.channels.give(child, SimpleNamespace(), ["an attempt"])
        pool.retire(child)

    def numbers(self, pool):
        """All children, and those that take work."""
        return list(pool.children), [child.number for child in pool.available]

    def test_has_its_successor_waiting_which_takes_no_work_until_then(self, pool, clock):
        for child in pool.available:
            self.give_last(pool, child)
        pool.maintain(clock[0])
        assert self.numbers(pool) == ([1, 2, 3], [])
        pool.children[2].attempts.clear()
        assert self.numbers(pool) == ([1, 2, 3], [3])
        pool.maintain(clock[0])
        assert self.numbers(pool) == ([1, 2, 3, 4], [3])

    def test_leaves_those_in_peace_that_have_served_and_wait(self, pool, clock):
        for child in pool.available:
            child.served = 1
        fresh = pool.fresh_child()
        self.give_last(pool, fresh)
        pool.maintain(clock[0])
        assert self.numbers(pool) == ([1, 2, 3], [1])
        fresh.attempts.clear()
        assert self.numbers(pool) == ([1, 2, 3], [1, 2])

    def test_has_no_successor_while_it_is_stopped(self, pool, clock):
        (child, _) = pool.available
        pool.channels.give(child, SimpleNamespace(), ["an attempt"])
        pool.stop(child, 10)
        pool.maintain(clock[0])
        assert self.numbers(pool) == ([1, 2], [2])

    def test_is_waited_for_when_many_do_not_end(self, pool, clock):
        for _ in range(10):
            for child in pool.available:
                pool.retire(child)
            pool.maintain(clock[0])
        assert len(pool.children) == 5
        assert pool.fresh_child() is None
