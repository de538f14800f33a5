"""Addresses for probes: whether this process answers, reaches its database, and whether workers run. Web.

``path("health/", include("qorworker.contrib.health"))``. They say nothing about jobs, and need no login.
"""

from __future__ import annotations

from typing import Any

from django.db import Error, router
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from qorworker.contrib.watched import log_unavailable, without_transaction
from qorworker.exceptions import NotMigrated
from qorworker.models import Job, Worker
from qorworker.models.tables import require_tables
from qorworker.queues import backend_of, queues_of_workers

app_name = "qorworker_health"


@without_transaction
@require_safe
@never_cache
def live(request: HttpRequest) -> JsonResponse:
    """Whether this process answers. It asks no database: a restart would not mend that."""
    return _answer(request, {})


@without_transaction
@require_safe
@never_cache
def ready(request: HttpRequest) -> JsonResponse:
    """Whether this process can work: its database answers and has the tables of this code."""
    return _answer(request, {"database": _database_problem()})


@without_transaction
@require_safe
@never_cache
def workers(request: HttpRequest) -> JsonResponse:
    """Whether each queue that needs one has a living worker."""
    if problem := _database_problem():
        return _answer(request, {"database": problem})
    served = {queue for worker in Worker.objects.alive() for queue in worker.queues}
    needed = [name for name in queues_of_workers() if backend_of(name).needs_workers]
    without = sum(name not in served for name in needed)
    return _answer(request, {"workers": f"no worker for {without} of {len(needed)} queues" if without else ""})


def _database_problem() -> str:
    try:
        require_tables(router.db_for_read(Job))
    except NotMigrated:
        return "not migrated"
    except Error:
        return "does not answer"
    return ""


def _answer(request: HttpRequest, problems: dict[str, str]) -> JsonResponse:
    """Return 200 if nothing is wrong, else 503 with what is."""
    found: dict[str, Any] = {name: problem for name, problem in problems.items() if problem}
    response = JsonResponse({"ok": not found, **found}, status=503 if found else 200)
    if found:
        log_unavailable(request, response, ", ".join(f"{name}: {problem}" for name, problem in found.items()))
    return response


urlpatterns = [
    path("live/", live, name="live"),
    path("ready/", ready, name="ready"),
    path("workers/", workers, name="workers"),
]
