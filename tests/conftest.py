"""Tests marked ``only_on("postgresql")`` are no part of a run on another database: there they would say nothing.

So a skipped test always means that something is missing which ought to be there.
"""

from __future__ import annotations

from django.db import connection


def pytest_configure(config):
    config.addinivalue_line("markers", "only_on(*vendors): about databases of these vendors")


def pytest_collection_modifyitems(config, items):
    elsewhere = [
        item for item in items if any(connection.vendor not in mark.args for mark in item.iter_markers("only_on"))
    ]
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in set(elsewhere)]
