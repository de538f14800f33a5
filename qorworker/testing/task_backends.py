"""``TaskBackendContract``: the contract of Django's task framework for backends, as tests for pytest. Test processes
only.
"""

from __future__ import annotations

import pytest

from qorworker.testing.task_contract.calls import Calls
from qorworker.testing.task_contract.changes import Changes
from qorworker.testing.task_contract.ends import Ends
from qorworker.testing.task_contract.events import Events
from qorworker.testing.task_contract.ground import heard
from qorworker.testing.task_contract.lookup import Lookups

__all__ = ["TaskBackendContract", "heard"]


@pytest.mark.usefixtures("transactional_db", "running")
class TaskBackendContract(Calls, Ends, Lookups, Changes, Events):
    """Subclass it, name the alias of the backend in ``TASKS``, and run waiting tasks in ``drain``.

    A backend whose results cannot be looked up has to run its tasks in ``enqueue``. If the flags of the backend say
    that it does not support something, the tests expect a refusal.
    """
