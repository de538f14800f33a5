"""``BackendContract``: the contract of backends, as tests for pytest. Test processes only."""

from __future__ import annotations

import pytest

from qorworker.testing.contract.batches import Batches
from qorworker.testing.contract.ending import Endings
from qorworker.testing.contract.failing import Failures
from qorworker.testing.contract.flows import Flows
from qorworker.testing.contract.ground import alive, lines_of, log_of
from qorworker.testing.contract.later import Waits
from qorworker.testing.contract.life import Life
from qorworker.testing.contract.loops import Loops
from qorworker.testing.contract.questions import Questions
from qorworker.testing.contract.story import Stories

__all__ = ["BackendContract", "alive", "lines_of", "log_of"]


@pytest.mark.usefixtures("transactional_db", "running")
class BackendContract(Life, Stories, Loops, Questions, Failures, Endings, Waits, Batches, Flows):
    """Subclass it, name a queue of the backend, and start the processes that run its jobs in the fixture ``running``.

    The settings of the tests, and of every process that runs jobs, list ``"qorworker.testing"`` in ``INSTALLED_APPS``,
    and their URLs include ``qorworker.urls``.
    If the flags of the backend say that it does not support something, the tests expect a refusal.
    """
