"""A database that other processes see too; see ``tests/worker``."""

import pytest

from tests.worker.conftest import open_database, start, transactional_db

pytest.register_assert_rewrite("qorworker.testing.contract", "qorworker.testing.task_contract")

__all__ = ["open_database", "start", "transactional_db"]
