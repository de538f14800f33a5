"""Jobs as JSON, for the job's page and for the list: the model's own field names, and only what the user may see. Web.

``JobsAsJson(request).row(job)`` gives the dict of one job; make one ``JobsAsJson`` for all jobs of an answer: it asks
each right once for each type. Times are ISO 8601 with their offset, secrets are dots. Load ``created_by`` with the jobs
(``lists.for_list``), then no query is made here.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, JsonResponse
from django.urls import reverse
from django.utils import timezone

from qorworker import permissions
from qorworker.admin import access
from qorworker.arguments import shown
from qorworker.models import Job
from qorworker.models.reasons import Reason


class JobsAsJson:
    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.answers = permissions.Answers(request.user)

    def row(self, job: Job) -> dict[str, Any]:
        """One job. ``arguments`` is null for who may not see them, ``error`` for who may not see the log."""
        may_view_log = self.answers.can("view_log", job)
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
            "created_by": job.created_by.get_username() if job.created_by is not None else None,
            "rerun_of": job.rerun_of_id,
            "schedule": job.schedule_id,
            "url": self.request.build_absolute_uri(reverse("admin:qorworker_job_change", args=(job.pk,))),
            "arguments": masked(job) if self.answers.can("view_arguments", job) else None,
            "error": job.error if may_view_log else None,
            "log_lines": job.log_lines,
            "results_count": job.results_count,
            "results_errors": job.results_errors,
        }


def masked(job: Job) -> dict[str, Any]:
    """The arguments as they are stored; secrets as dots, files by name and size."""
    known = job.job_type.arguments.definition.fields if job.job_type is not None else {}
    return shown.masked(known, job.arguments)


def text(value: Any) -> str:
    """JSON for people to read and copy."""
    return json.dumps(value, ensure_ascii=False, indent=2, cls=DjangoJSONEncoder)


def iso(moment: dt.datetime | None) -> str | None:
    """With the offset of the current time zone, also where the project stores times without one."""
    if moment is None:
        return None
    local = timezone.localtime(moment) if timezone.is_aware(moment) else timezone.make_aware(moment)
    return local.isoformat()


def _reason(reason: Reason) -> dict[str, Any]:
    """Why a job has not started."""
    return {
        "kind": reason.kind,
        "text": str(reason),
        "since": iso(reason.since),
        "until": iso(reason.until),
        "jobs": reason.jobs,
        "place": reason.place,
        "starts_in": reason.starts_in.total_seconds() if reason.starts_in is not None else None,
    }


def job_json(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """``job/<id>/job.json``"""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    job = access.visible_job(request, pk)
    if job is None:
        return JsonResponse({"error": "not found"}, status=404)
    jobs = JobsAsJson(request)
    told = {
        **jobs.row(job),
        "return_value": job.result if jobs.answers.can("view_log", job) else None,
        "waiting": [_reason(reason) for reason in job.why_waiting()],
    }
    return JsonResponse(told, json_dumps_params={"ensure_ascii": False, "indent": 2})
