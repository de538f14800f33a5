"""A database that worker processes see too, and the workers; see ``tests/fixtures.py``."""

from tests.fixtures import (
    ledger,
    open_database,
    proxy,
    shared_worker,
    start,
    transactional_db,
    transitions,
    tree,
    worker,
)

__all__ = [
    "ledger",
    "open_database",
    "proxy",
    "shared_worker",
    "start",
    "transactional_db",
    "transitions",
    "tree",
    "worker",
]
