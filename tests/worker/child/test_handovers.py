import json
import os

import pytest

from qorworker.execution.messages import Work, frame
from qorworker.worker.child.handovers import Handovers


def work(number):
    return Work(number, "testapp.noop", "{}", 1, 3, "token")


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield Handovers(read), lambda data: os.write(write, data), lambda: os.close(write)
    os.close(read)


def test_attempts_are_read_in_their_order_however_they_arrive(pipe):
    handovers, write, close = pipe
    data = b"".join(frame(json.dumps(work(number)).encode()) for number in range(3))
    assert handovers.arrived() == []
    write(data[:-5])
    assert handovers.next() == work(0)
    assert handovers.arrived() == [work(1)]
    write(data[-5:])
    assert handovers.arrived() == [work(2)]
    assert not handovers.has_ended
    write(data[:7])
    close()
    assert handovers.next() is None
    assert (handovers.arrived(), handovers.has_ended) == ([], True)
