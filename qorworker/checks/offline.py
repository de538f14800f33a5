"""Keeps system checks from querying any database. ``manage.py check``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, NoReturn

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections

from qorworker.checks.pages import with_pages

Check = Callable[..., list[checks.CheckMessage]]


class Offline(OperationalError):
    """A query was attempted where none is allowed."""


@contextmanager
def offline() -> Iterator[None]:
    """Make every query of this thread raise ``Offline``, on each database of the project.

    ``Offline`` is an ``OperationalError``: code that copes with a database which does not answer copes with it, too.
    """
    with ExitStack() as stack:
        for alias in connections:
            try:
                connection: Any = connections[alias]
            except ImproperlyConfigured:  # its driver is missing, so nothing can query it anyway
                continue
            if "ensure_connection" not in vars(connection):  # otherwise it is offline already
                # Django calls this before each query, whether the connection is open or not.
                connection.ensure_connection = _refuse
                stack.callback(delattr, connection, "ensure_connection")
        yield


def register(**options: Any) -> Callable[[Check], Check]:
    """Register a check as ``django.core.checks.register`` does, and run it offline.

    Its hints lead to the documentation.
    """

    def decorate(check: Check) -> Check:
        @wraps(check)
        def check_offline(**kwargs: Any) -> list[checks.CheckMessage]:
            with offline():
                return with_pages(check(**kwargs))

        checks.register(check_offline, **options)
        return check_offline

    return decorate


def _refuse() -> NoReturn:
    raise Offline("System checks do not query databases: they must not depend on rows.")
