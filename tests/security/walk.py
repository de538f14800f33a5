"""Every URL of the admin's pages that are ours, from the resolver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.urls import URLPattern, reverse

PART = re.compile(r"<(?:\w+:)?(\w+)>")


def routes() -> list[str]:
    """The route of each URL below ``/admin/qorworker/``: ``job/<int:pk>/live/``. Then those that no ModelAdmin has."""
    found = [
        f"{model_admin.opts.model_name}/{route}"
        for model_admin in admin.site._registry.values()
        if type(model_admin).__module__.startswith("qorworker.")
        for route in _routes(model_admin.get_urls())
    ]
    return ["", *found]  # the first is Django's page of the whole app


def _routes(patterns: list[Any], before: str = "") -> Iterator[str]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield route
        else:
            yield from _routes(pattern.url_patterns, route)


def path(route: str, **parts: Any) -> str:
    """The URL of a route with its parts filled in."""
    parts = {"token": "0" * 32, "number": 1, **parts}
    return reverse("admin:index") + "qorworker/" + PART.sub(lambda found: str(parts[found[1]]), route)


def paths(job: Any, **more: Any) -> list[str]:
    """Every URL, about this job where it is about one."""
    parts = {"pk": job.pk, "object_id": job.pk, "name": job.name, "field": "shop", **more}
    return [path(route, **parts) for route in routes()]
