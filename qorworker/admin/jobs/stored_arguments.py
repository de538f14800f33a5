"""The stored arguments on a job's page: as text, as JSON, and whether they still fit the form. Web."""

from __future__ import annotations

from dataclasses import replace

from django.http import HttpRequest
from django.utils.functional import cached_property

from qorworker.admin import links
from qorworker.admin.jobs import as_json
from qorworker.admin.texts import BROKEN
from qorworker.arguments import shown
from qorworker.arguments.shown import Shown
from qorworker.models import Job


class StoredArguments:
    """The arguments and ``meta`` of *job*; both are empty unless the user *may_view* them."""

    def __init__(self, request: HttpRequest, job: Job, may_view: bool) -> None:
        self.request, self.job, self.may_view = request, job, may_view

    @cached_property
    def shown(self) -> list[Shown]:
        """Return the arguments, each with a link to the row that it names."""
        if not self.may_view:
            return []
        arguments = self.job.job_type.arguments if self.job.job_type is not None else None
        values = arguments.display(self.job.arguments) if arguments else shown.display({}, self.job.arguments)
        return [replace(one, url=self._url(one)) if one.model else one for one in values]

    def _url(self, shown: Shown) -> str:
        return self._list_url(shown) if shown.kind == "selection" else self._row_url(shown)

    def _list_url(self, shown: Shown) -> str:
        """Return the address of the list with the rows of a selection; empty if the user or the site has no access."""
        app_label, _dot, model = shown.model.partition(".")
        if shown.query is None or not self._may_view(app_label, model):
            return ""
        address = links.url_if_there(self.request, f"{app_label}_{model}_changelist")
        return f"{address}?{shown.query}" if address else ""

    def _row_url(self, shown: Shown) -> str:
        """Return the address of the row that an argument names; empty if the user or the site has no access to it."""
        app_label, _dot, model = shown.model.partition(".")
        if not self._may_view(app_label, model):
            return ""
        return links.url_if_there(self.request, f"{app_label}_{model}_change", shown.pk)

    def _may_view(self, app_label: str, model: str) -> bool:
        return any(self.request.user.has_perm(f"{app_label}.{verb}_{model}") for verb in ("view", "change"))

    @property
    def json(self) -> str:
        """Return the arguments as JSON for people, with secrets as dots; empty if the user may not see them."""
        return as_json.text(as_json.masked(self.job)) if self.may_view else ""

    @property
    def meta(self) -> str:
        """Return what the project keeps with the job, as JSON; empty if there is nothing."""
        return as_json.text(self.job.meta) if self.job.meta and self.may_view else ""

    @cached_property
    def drift(self) -> str:
        """Explain why the arguments do not fit the form of today; empty if they fit."""
        job_type = self.job.job_type
        if job_type is None or not self.may_view or not self.job.fingerprint:
            return ""
        if job_type.arguments.problems():
            return str(BROKEN)
        drift = job_type.arguments.drift(self.job)
        return drift.explain() if drift else ""
