"""Jobs as JSON, for the job's page and for the list: the model's own field names, and only what the user may see. Web.

``JobsAsJson(request, jobs).rows`` are the dicts of these jobs. Each right is checked once for each type, and one query
finds which of the originals and schedules that they name are visible. Times are ISO 8601 with their offset, secrets are
dots. Load ``created_by`` with the jobs (``job_list.for_list``).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils import timezone
from django.utils.functional import cached_property

from qorworker import permissions
from qorworker.admin import access, links
from qorworker.admin.jobs import files
from qorworker.arguments import shown
from qorworker.models import Approval, Job, Question
from qorworker.queries import job_details
from qorworker.queries.reasons import Reason
from qorworker.text.cleaning import visible_lines
from qorworker.text.storable import without_halves


class JobsAsJson:
    """The *jobs* as dicts for scripts, with only what the user of *request* may see."""

    def __init__(self, request: HttpRequest, jobs: Sequence[Job]) -> None:
        self.request, self.jobs = request, jobs
        self.visibility = permissions.Visibility(request.user)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Return the dict of each job, in the order of the jobs."""
        return [self.row(job) for job in self.jobs]

    @cached_property
    def _originals(self) -> set[int]:
        return self.visibility.job_numbers(job.rerun_of_id for job in self.jobs)

    @cached_property
    def _schedules(self) -> set[int]:
        return self.visibility.schedule_numbers(job.schedule_id for job in self.jobs)

    def row(self, job: Job) -> dict[str, Any]:
        """Return *job* as a dict.

        Without the right to see the arguments ``arguments`` and ``meta`` are None; without the right to see the log
        ``error`` is, and so are the counts of log lines and results rows.
        """
        may_view_log = self.visibility.can("view_log", job)
        return {
            "id": job.pk,
            "name": job.name,
            "title": job.title,
            "status": job.status,
            "progress": job.progress,
            "progress_text": job.progress_text,
            "queue_name": job.queue_name,
            "priority": job.priority,
            "attempt": job.attempt,
            "max_attempts": job.max_attempts,
            "enqueued_at": iso(job.enqueued_at),
            "run_after": iso(job.run_after),
            "started_at": iso(job.started_at),
            "finished_at": iso(job.finished_at),
            "abort_requested_at": iso(job.abort_requested_at),
            "pause_requested_at": iso(job.pause_requested_at),
            "created_by": job.created_by.get_username() if job.created_by is not None else None,
            "rerun_of": job.rerun_of_id if job.rerun_of_id in self._originals else None,
            "schedule": job.schedule_id if job.schedule_id in self._schedules else None,
            "url": self.request.build_absolute_uri(links.url(self.request, "qorworker_job_change", job.pk)),
            "arguments": masked(job) if self.visibility.can("view_arguments", job) else None,
            "is_dry_run": job.is_dry_run,
            "meta": job.meta if self.visibility.can("view_arguments", job) else None,
            "error": job.error if may_view_log else None,
            "log_lines": job.log_lines if may_view_log else None,
            "results_count": job.results_count if may_view_log else None,
            "results_errors": job.results_errors if may_view_log else None,
        }


def masked(job: Job) -> dict[str, Any]:
    """Return the arguments as they are stored, with secrets as dots and files by name and size."""
    fields = job.job_type.arguments.definition.fields if job.job_type is not None else {}
    return shown.masked(fields, job.arguments)


def text(value: Any) -> str:
    """Return *value* as JSON for people to read and copy. Escapes of ``visible_lines`` mean the same in JSON."""
    return visible_lines(_json(value))


def response(value: dict[str, Any]) -> HttpResponse:
    """Answer with *value* as indented JSON; any value that a job has stored can be sent."""
    return HttpResponse(_json(value), content_type="application/json")


def line(value: Any) -> str:
    """Return *value* as JSON in one line."""
    return _json(value, indent=None)


def _json(value: Any, indent: int | None = 2) -> str:
    return without_halves(json.dumps(value, ensure_ascii=False, indent=indent, cls=DjangoJSONEncoder))


def iso(moment: dt.datetime | None) -> str | None:
    """Return *moment* as ISO 8601 with the offset of the current time zone, also if it is naive; None for None."""
    if moment is None:
        return None
    local = timezone.localtime(moment) if timezone.is_aware(moment) else timezone.make_aware(moment)
    return local.isoformat()


def _reason(reason: Reason) -> dict[str, Any]:
    """Return the reason why a job has not started, as a dict."""
    return {
        "kind": reason.kind,
        "text": str(reason),
        "since": iso(reason.since),
        "until": iso(reason.until),
        "jobs": reason.jobs,
        "parents": reason.parents,
        "place": reason.place,
        "starts_in": reason.starts_in.total_seconds() if reason.starts_in is not None else None,
    }


def _question(question: Question) -> dict[str, Any]:
    """Return what was asked and answered, as a dict."""
    return {
        "key": question.key,
        "kind": question.kind,
        "text": question.shown_text,
        "state": question.state,
        "asked_at": iso(question.asked_at),
        "expires_at": iso(question.expires_at),
        "closed_at": iso(question.closed_at),
        "answer": question.answer,
        "answered_by": question.user_name,
        "origin": question.origin,
        "reason": question.reason,
    }


def _approval(approval: Approval) -> dict[str, Any]:
    """Return who asked for an approval, and who decided, as a dict."""
    return {
        "permission": approval.permission,
        "state": approval.state,
        "asked_at": iso(approval.asked_at),
        "asked_by": approval.asked_by_name,
        "expires_at": iso(approval.expires_at),
        "closed_at": iso(approval.closed_at),
        "decided_by": approval.decided_by_name,
        "origin": approval.origin,
        "reason": approval.reason,
    }


def _rehearsal(job: Job) -> dict[str, Any] | None:
    """Return what a rehearsal has found, as a dict."""
    report = job.rehearsal
    return dataclasses.asdict(report) if report is not None else None


def _stack(job: Job) -> dict[str, Any] | None:
    """Return the stack that was asked for last, as a dict; None if there is none."""
    stack = job.stack
    if stack is None:
        return None
    return {"text": stack.text, "source": stack.source, "taken_at": iso(stack.taken_at)}


def job_json(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Return the job as JSON, at ``job/<id>/job.json``."""
    job = access.visible_job(request, pk)
    if job is None:
        return JsonResponse({"error": "not found"}, status=404)
    jobs = JobsAsJson(request, [job])
    may_view_log = jobs.visibility.can("view_log", job)
    data = {
        **jobs.row(job),
        "return_value": job.result if may_view_log else None,
        "rehearsal": _rehearsal(job) if may_view_log else None,
        "results_columns": job.results_titles if may_view_log else None,
        "files": files.as_dicts(request, job) if may_view_log else None,
        "vitals": [sample._asdict() for sample in job.vitals],
        "stack": _stack(job) if may_view_log else None,
        "questions": [_question(one) for one in job_details.questions(job)] if may_view_log else None,
        "approvals": [_approval(one) for one in job_details.approvals(job)],
        "waiting": [_reason(reason) for reason in job.why_waiting(jobs.visibility.jobs_unless_all)],
    }
    return response(data)
