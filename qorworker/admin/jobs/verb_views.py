"""The view behind the buttons of a job. Web."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect

from qorworker import permissions
from qorworker.admin import access, links
from qorworker.admin.forms import RescheduleForm
from qorworker.admin.jobs import detail
from qorworker.admin.jobs.verb_texts import earlier_request, question_of, refusal, success_of, warning_of
from qorworker.admin.jobs.verbs import RESCHEDULE
from qorworker.admin.verbs import NothingNew, Reply, VerbView
from qorworker.exceptions import InvalidTransition, QorWorkerError
from qorworker.models import Job
from qorworker.queries import job_details


class JobVerbView(VerbView):
    """One verb for one job."""

    def find(self, *, pk: int) -> Job | None:
        return access.visible_job(self.request, pk)

    def about(self, row: Job) -> dict[str, Any]:
        return {"job": row}

    def deny(self, row: Job, action: str) -> HttpResponseBase:
        reason = permissions.why_not_approve(self.request.user, row) if action == "approve" else ""
        return access.deny(self.model_admin, self.request, action, job=row, reason=reason)

    def question(self, row: Job) -> str:
        return question_of(self.verb, row)

    def warning(self, row: Job) -> str:
        return warning_of(self.verb, row)

    def form(self, row: Job) -> RescheduleForm | None:
        return RescheduleForm(self.request.POST, is_paused=row.is_paused) if self.verb is RESCHEDULE else None

    def show(self, row: Job, form: RescheduleForm) -> HttpResponseBase:
        return detail.show(self.request, row, form if row.can_reschedule else None, status=422)

    def perform(self, row: Job) -> Any:
        """Perform the verb on *row*. Raises ``NothingNew`` if an abort was requested before."""
        if self.verb.name == "abort" and row.is_aborting:
            raise NothingNew(earlier_request(job_details.last_abort(row), row), level=messages.INFO)
        return super().perform(row)

    def reply(self, row: Job, result: Job | str | None) -> Reply:
        """Return the message for *result*, or that about an abort which another user requested at the same moment."""
        if isinstance(result, str):
            return Reply(row, result)
        first = job_details.last_abort(row) if self.verb.name == "abort" else None
        if first is not None and first.user_id != str(self.request.user.pk):  # both users did it at the same moment
            return Reply(row, earlier_request(first, row), messages.INFO)
        return Reply(result or row, success_of(self.verb, row, result))

    def refusal(self, row: Job, error: QorWorkerError) -> Reply:
        """Return the message for *error*, which leads to the list if the job has been deleted."""
        return Reply(None if is_deleted(error) else row, refusal(error, row), messages.WARNING)


def is_deleted(error: QorWorkerError) -> bool:
    """Return whether a verb came too late because the job has been deleted."""
    return isinstance(error, InvalidTransition) and error.status == "deleted"


def back(request: HttpRequest, job: Job) -> HttpResponseRedirect:
    """Redirect to the page of *job*."""
    return HttpResponseRedirect(links.url(request, "qorworker_job_change", job.pk))


def gone(request: HttpRequest) -> HttpResponseRedirect:
    """Redirect to the list, for a job that has been deleted."""
    return HttpResponseRedirect(links.url(request, "qorworker_job_changelist"))
