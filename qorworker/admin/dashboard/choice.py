"""What a user has chosen to see on the dashboard and the page of failures, and the addresses of lists. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker import permissions
from qorworker.admin import links
from qorworker.conf import settings
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.queries.dashboard import RANGES, Range, Scope

LABELS = {
    "1h": gettext_lazy("1 hour"),
    "24h": gettext_lazy("24 hours"),
    "7d": gettext_lazy("7 days"),
    "30d": gettext_lazy("30 days"),
}
USUAL = "24h"


class Choice:
    """The range, type and queue in the address of *request*, as far as they exist, and whose jobs may be shown.

    ``errors`` has a sentence for each parameter that was left out. With *usual_only* the address says nothing of it.
    """

    def __init__(self, request: HttpRequest, *, usual_only: bool = False) -> None:
        self.request, self.user = request, request.user
        self.given: Mapping[str, str] = {} if usual_only else request.GET
        self.visibility = permissions.Visibility(request.user)
        self.errors: list[str] = []
        self.key = self._known("range", RANGES, USUAL)
        self.job = self._known("job", [job_type.name for job_type in self.types])
        self.queue = self._known("queue", settings.QUEUES)

    def _known(self, name: str, choices: Iterable[str], usual: str = "") -> str:
        value = self.given.get(name, "").strip()
        if not value or value in choices:
            return value or usual
        # Values are not listed: which types there are is not for everybody to know.
        self.errors.append(
            _("%(name)s: there is no “%(value)s” here; it was left out.") % {"name": name, "value": value}
        )
        return usual

    @property
    def range(self) -> Range:
        return RANGES[self.key]

    @cached_property
    def types(self) -> list[JobType[..., Any]]:
        """The job types whose jobs the user may see, by title."""
        seen = [job_type for job_type in registry.all() if permissions.can(self.user, "view", job_type)]
        return sorted(seen, key=lambda job_type: str(job_type.title).casefold())

    @property
    def queues(self) -> list[str]:
        """The names of the queues in the settings."""
        return sorted(settings.QUEUES)

    @cached_property
    def scope(self) -> Scope:
        """Which jobs are shown: never more than the user may see."""
        own = self.visibility.jobs.of_user(self.user) if self.visibility.creator is not None else None
        names: tuple[str, ...] | None = (self.job,) if self.job else None
        if names is None and not permissions.can(self.user, "view"):
            names = tuple(job_type.name for job_type in self.types)
        return Scope(own, names, self.queue)

    @cached_property
    def _all_errors(self) -> bool:
        return permissions.can(self.user, "view_log")

    def may_see_errors(self, name: str) -> bool:
        """Return whether the user may see the errors of the jobs of this type."""
        return self._all_errors or permissions.can(self.user, "view_log", registry.find(name))

    def url(self, **changes: str) -> str:
        """Return the parameters of the same page with *changes*; an empty value removes one."""
        values = {"range": self.key if self.key != USUAL else "", "job": self.job, "queue": self.queue, **changes}
        return "?" + urlencode({name: value for name, value in values.items() if value})

    @property
    def ranges(self) -> list[dict[str, Any]]:
        """The ranges as links."""
        return [
            {"label": label, "url": self.url(range=key if key != USUAL else ""), "is_current": key == self.key}
            for key, label in LABELS.items()
        ]

    def list_url(self, **parameters: str) -> str:
        """Return the address of the list of jobs, narrowed by type and queue of this page and by *parameters*."""
        given = {"job": self.job, "queue": self.queue, **parameters}
        query = urlencode({name: value for name, value in given.items() if value})
        return f"{links.url(self.request, 'qorworker_job_changelist')}{'?' if query else ''}{query}"

    def ended_url(self, start: int, end: int | None = None, **parameters: str) -> str:
        """Return the address of the list of jobs that ended between two times, in seconds since 1970 in UTC."""
        limits = {"from": _moment(start), "to": _moment(end) if end is not None else ""}
        return self.list_url(on="finished", **limits, **parameters)


def _moment(seconds: int) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%MZ}"


def title_of(name: str) -> str:
    """Return the title of a job type, or its name if its code is gone."""
    job_type = registry.find(name)
    return str(job_type.title) if job_type is not None else name
