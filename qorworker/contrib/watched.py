"""What views need that programs ask again and again, also while the database is down. Web."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.utils.log import log_response

View = TypeVar("View", bound=Callable[..., Any])


def without_transaction(view: View) -> View:
    """Return *view* so that ``ATOMIC_REQUESTS`` begins no transaction for it, which a database that is down cannot."""
    for alias in connections.settings:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def log_unavailable(request: HttpRequest, response: HttpResponse, problem: str) -> None:
    """Log as a warning that *response* is no success. Django would log an error, and mail each one to ``ADMINS``."""
    log_response("%s: %s", request.path, problem, response=response, request=request, level="warning")
