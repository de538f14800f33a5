"""The verbs that users request of a queue and of a job type: to pause, and to resume. Web."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext_lazy

from qorworker import permissions
from qorworker.actions import pausing
from qorworker.admin import access
from qorworker.admin.queues import page
from qorworker.admin.queues.forms import HoldForm
from qorworker.admin.verbs import TOO_LATE, NothingNew, Reply, Unclear, Verb, VerbView, reason_in
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.exceptions import QorWorkerError
from qorworker.models import Origin, Pause, PauseKind
from qorworker.models.clock import stored


@dataclass(frozen=True)
class Pausable:
    """A queue or a job type; ``job_type`` is None for a queue, and for a type that is paused but has left the code."""

    kind: str
    name: str
    job_type: JobType[..., Any] | None

    def __str__(self) -> str:
        return str(self.job_type.title) if self.job_type is not None else self.name

    @property
    def action(self) -> str:
        """Return the action of ``permissions.can`` that a user needs to pause or resume it."""
        return "pause_queue" if self.kind == PauseKind.QUEUE else "pause"


def _pause(request: HttpRequest, row: Pausable, form: HoldForm) -> None:
    if not form.is_valid():
        raise Unclear(form)
    until, reason = form.cleaned_data["until"], reason_in(form.cleaned_data["reason"])
    options: dict[str, Any] = {"by": request.user, "reason": reason, "origin": Origin.ADMIN}
    try:
        options["until"] = until and stored(until)
        row.job_type.pause(**options) if row.job_type is not None else pausing.pause_queue(row.name, **options)
    except QorWorkerError as error:
        form.add_error(None, str(error))
        raise Unclear(form) from error


def _resume(request: HttpRequest, row: Pausable, form: HoldForm) -> None:
    if not pausing.resume(row.kind, row.name, by=request.user, origin=Origin.ADMIN):
        raise NothingNew(TOO_LATE)


VERBS = (
    Verb(
        name="pause",
        needs=("pause",),
        perform=_pause,
        success=gettext_lazy("“%(name)s” is paused. Running jobs continue."),
    ),
    Verb(name="resume", needs=("pause",), perform=_resume, success=gettext_lazy("“%(name)s” was resumed.")),
)


class QueueVerbView(VerbView):
    """One verb for one queue or job type, which the form names as ``qw-what``."""

    shows_row = False

    def answer(self, **named: Any) -> HttpResponseBase:
        """Carry out the verb, or refuse it to users who may not see the page of the queues."""
        if self.request.method == "POST" and not self.model_admin.has_view_permission(self.request):
            return access.deny(self.model_admin, self.request, "view")
        return super().answer(**named)

    def find(self) -> Pausable | None:
        """Return the queue or job type; None for a type that does not exist or that the user may not see."""
        kind, _colon, name = self.request.POST.get("qw-what", "").partition(":")
        if kind == PauseKind.QUEUE:
            return Pausable(kind, name, None)
        job_type = access.visible_type(self.request, name) if kind == PauseKind.JOB_TYPE else None
        if job_type is None and not (kind == PauseKind.JOB_TYPE and self._is_left(name)):
            return None
        return Pausable(kind, name, job_type)

    def _is_left(self, name: str) -> bool:
        """Return whether *name* is a paused type that has left the code, and whose jobs the user may see."""
        may_know = registry.find(name) is None and permissions.can(self.request.user, "view")
        return may_know and name in Pause.objects.paused().names

    def about(self, row: Pausable) -> dict[str, Any]:
        return {"job_type": row.job_type}

    def lacking(self, row: Pausable) -> str:
        """Return the missing right: a queue needs another one than a job type."""
        return "" if permissions.can(self.request.user, row.action, row.job_type) else row.action

    def form(self, row: Pausable) -> HoldForm:
        return HoldForm(self.request.user, self.request.POST)

    def show(self, row: Pausable, form: HoldForm) -> HttpResponseBase:
        return page.show(self.request, form, status=422)

    def reply(self, row: Pausable, result: None) -> Reply:
        return Reply(row, str(self.verb.success) % {"name": row})
