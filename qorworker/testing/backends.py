"""``BackendContract``: what every backend has to do, as tests for pytest. Test processes only."""

from __future__ import annotations

import pytest

from qorworker.testing.contract.ending import Endings
from qorworker.testing.contract.failing import Failures
from qorworker.testing.contract.ground import alive, log_of, told
from qorworker.testing.contract.later import Waits
from qorworker.testing.contract.life import Life
from qorworker.testing.contract.story import Stories

__all__ = ["BackendContract", "alive", "log_of", "told"]


@pytest.mark.usefixtures("transactional_db", "running")
class BackendContract(Life, Stories, Failures, Endings, Waits):
    """Subclass it, name a queue of the backend, and start in the fixture ``running`` what runs its jobs.

    The settings of the tests, and of every process that runs jobs, list ``"qorworker.testing"`` in
    ``INSTALLED_APPS``. What the flags of the backend say it cannot do is tested to be refused.
    """
