"""The verbs that users request of a worker. The request is written into its row: no signal is sent. Web."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from qorworker.admin.verbs import Reply, Verb, VerbView, reason_in
from qorworker.models import Origin, Worker


def _resume(request: HttpRequest, worker: Worker, form: None) -> None:
    worker.resume(by=request.user, origin=Origin.ADMIN)


def _calls(method: str) -> Callable[[HttpRequest, Worker, None], None]:
    def perform(request: HttpRequest, worker: Worker, form: None) -> None:
        reason = reason_in(request.POST.get("reason", ""))
        getattr(worker, method)(by=request.user, origin=Origin.ADMIN, reason=reason)

    return perform


VERBS = (
    Verb(
        name="pause",
        needs=("manage_worker",),
        perform=_calls("pause"),
        success=gettext_lazy("“%(worker)s” stops taking jobs within a few seconds. Running jobs continue."),
        takes_reason=True,
    ),
    Verb(
        name="resume",
        needs=("manage_worker",),
        perform=_resume,
        success=gettext_lazy("“%(worker)s” takes jobs again within a few seconds."),
    ),
    Verb(
        name="drain",
        needs=("manage_worker",),
        perform=_calls("drain"),
        success=gettext_lazy("“%(worker)s” takes no more jobs and ends as soon as its running jobs have ended."),
        takes_reason=True,
    ),
)


class WorkerVerbView(VerbView):
    """One verb for one worker."""

    shows_row = False

    def find(self, *, pk: int) -> Worker | None:
        worker = Worker.objects.filter(pk=pk).first() if pk < 2**63 else None
        is_visible = worker is not None and self.model_admin.has_view_permission(self.request, worker)
        return worker if is_visible else None

    def reply(self, row: Worker, result: None) -> Reply:
        return Reply(row, str(self.verb.success) % {"worker": row.name})
