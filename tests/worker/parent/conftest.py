"""Parts of a parent, without a fork server and without processes."""

import selectors

import pytest

from qorworker.attempts.writer import Writer
from qorworker.database.connection import Database
from qorworker.worker.parent.channels import Child
from qorworker.worker.parent.dispatcher import Dispatcher
from qorworker.worker.parent.pool import Pool


@pytest.fixture
def selector():
    with selectors.DefaultSelector() as selector:
        yield selector


@pytest.fixture
def dispatcher(db, selector):
    """With its pool and its writer. ``pool.fork_server.sent`` has the orders that a fork server would have got."""
    pool = Pool(1, "", selector)
    pool.fork_server.sent = []
    pool.fork_server.send = lambda order, descriptors=(): pool.fork_server.sent.append(order)
    return Dispatcher(Database("default"), pool, Writer("default", 1, "host:1"), ["*"], [])


@pytest.fixture
def child(dispatcher):
    """A child without a process. Its messages are given to the dispatcher by hand."""
    child = Child(1, -1, None, -1, pid=4711)
    dispatcher.pool.children[1] = child
    dispatcher.pool.channels.drain = dispatcher.pool.channels._listen = lambda child: None
    return child
