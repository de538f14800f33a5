"""A skipped test always means that something is missing which ought to be there.

So tests marked ``only_on("postgresql")`` are no part of a run on another database: there they would say nothing. The
same holds for tests marked ``once`` and for those that use no database: they run with SQLite only.
"""

from __future__ import annotations

import math
import signal

import pytest
from asgiref.sync import SyncToAsync
from django.db import connection, connections
from django.test import TransactionTestCase
from hypothesis import settings

from tests import support

pytest_plugins = ["qorworker.testing.plugin"]  # found by itself where qorworker is installed


def pytest_configure(config):
    # A shell ignores SIGINT for what it starts in the background, and each worker under test would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("unhurried", deadline=None)  # a busy machine takes long, and that is no error
    settings.load_profile("unhurried")
    config.addinivalue_line("markers", "only_on(*vendors): about databases of these vendors")
    # Instead of a flush, which truncates all tables and makes all permissions anew: on a server that takes a second.
    TransactionTestCase._fixture_teardown = delete_rows


def pytest_collection_modifyitems(config, items):
    elsewhere = [item for item in items if not belongs_here(item)]
    # What waits for processes comes first, so that no core is left alone with it at the end.
    waiting = {item.path for item in items if item.get_closest_marker("process")}
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in set(elsewhere)]
    items.sort(key=lambda item: item.path not in waiting)


def delete_rows(case):
    for alias in case._databases_names(include_mirrors=False):
        support.delete_rows(alias)


def belongs_here(item):
    if any(connection.vendor not in mark.args for mark in item.iter_markers("only_on")):
        return False
    return connection.vendor == "sqlite" or (uses_database(item) and not item.get_closest_marker("once"))


def uses_database(item):
    marked = any(item.get_closest_marker(mark) for mark in ("django_db", "process"))
    fixtures = {"db", "transactional_db", "live_server", "django_db_setup", "admin_client"}
    return marked or not fixtures.isdisjoint(item.fixturenames)


@pytest.fixture(autouse=True)
def every_range_is_looked_at(monkeypatch):
    """However slow the machine is, no claim on MariaDB leaves out priorities that it has just found empty."""
    from qorworker.models.sql import claims_mysql

    monkeypatch.setattr(claims_mysql, "SLOW_ANSWER", math.inf)


@pytest.fixture(autouse=True)
def no_session_of_coroutines_stays():
    """What the thread of the asynchronous ORM has opened is closed: no database can be dropped before."""
    yield
    thread = SyncToAsync.single_thread_executor
    if thread._threads:  # else there is none yet
        thread.submit(connections.close_all).result()
