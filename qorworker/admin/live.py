"""What has changed on a job's page since the browser last asked. Two queries of ours when nothing has. Web."""

from __future__ import annotations

import hashlib
from typing import Any

from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseNotModified, JsonResponse
from django.utils.translation import get_language

from qorworker.admin import access
from qorworker.admin.asked import number
from qorworker.admin.detail import PARTS, Story
from qorworker.models import job_page
from qorworker.status import JobStatus
from qorworker.templatetags.qorworker_admin import label_of


def live(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    job = access.visible_job(request, pk)
    if job is None:
        return JsonResponse({}, status=404)
    story = Story(request, job)
    version = _version(story)
    if request.headers.get("If-None-Match") == version:
        return HttpResponseNotModified(headers={"ETag": version})
    response = JsonResponse(_changes(story, number(request.GET.get("after", "")) or 0))
    response["ETag"] = version
    return response


def _version(story: Story) -> str:
    """Of everything that the answer could differ by."""
    job, request = story.job, story.request
    is_long = job.status == JobStatus.RUNNING and story.estimate.is_long
    about = (
        job.pk, story.state, story.waiting_as_shown, is_long, job.progress, job.progress_text, job.log_lines,
        job.log_dropped, job.results_rows, job.results_errors, job.run_after, job.abort_requested_at, job.error,
        story.may_view_log, request.user.pk, get_language(), sorted(request.GET.items()),
    )  # fmt: skip
    return f'"{hashlib.sha256(repr(about).encode()).hexdigest()[:32]}"'


def _changes(story: Story, after: int) -> dict[str, Any]:
    job = story.job
    lines = job_page.log_after(job, story.log.filter, after) if story.may_view_log else []
    has_new_state = story.request.GET.get("state") != story.state
    parts = {"header": story.part("header")}
    if job.log_dropped and story.may_view_log:
        parts["dropped"] = story.part("dropped")
    if has_new_state:
        parts |= {name: story.part(name) for name in PARTS}
    elif number(story.request.GET.get("results", "")) != job.results_rows:
        parts["results"] = story.part("results")
    return {
        "state": story.state,
        "final": job.is_finished,
        "running": job.status == "running",
        "results": job.results_rows,
        "parts": parts,
        "lines": story.log.html_of(lines),
        "count": len(lines),
        # Lines may have come since the job was read: they are not to be sent again.
        "last": max(job.log_lines, lines[-1].number if lines else 0),
        "dropped": job.log_dropped,
        "told": _told(story),
    }


def _told(story: Story) -> str:
    """For screen readers: the state, and progress in steps of ten."""
    label = label_of(story.job)
    if story.job.status == JobStatus.RUNNING and story.job.progress is not None:
        return f"{label}, {story.job.progress // 10 * 10} %"
    return label
