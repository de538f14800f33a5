"""A database that other processes see too; see ``tests/fixtures.py``."""

import pytest

from tests.fixtures import open_database, proxy, start, transactional_db

pytest.register_assert_rewrite("qorworker.testing.contract", "qorworker.testing.task_contract")

__all__ = ["open_database", "proxy", "start", "transactional_db"]
