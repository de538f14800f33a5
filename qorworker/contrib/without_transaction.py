"""Keeps a view out of the transactions that ``ATOMIC_REQUESTS`` begins before each view. Web."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.db import connections, transaction

View = TypeVar("View", bound=Callable[..., Any])


def without_transaction(view: View) -> View:
    """Return *view* so that Django begins no transaction for it, in any database: one that is down would not let it."""
    for alias in connections.settings:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view
