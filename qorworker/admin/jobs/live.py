"""The changes on a job's page since the browser last asked. It makes two queries of its own if nothing changed. Web."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.crypto import salted_hmac
from django.utils.html import escape
from django.utils.translation import get_language

from qorworker.admin import access, navigation
from qorworker.admin.display import label_of, qw_number
from qorworker.admin.jobs.story import ASKED, Story
from qorworker.admin.live import News, answer, unchanged
from qorworker.admin.parameters import number
from qorworker.queries import job_details
from qorworker.status import JobStatus

PARTS = (
    "error",
    "contents",
    "actions",
    "rehearsal",
    "files",
    "results",
    "flow",
    "attempts",
    "history",
)  # beside the header, which is sent with every change
APPEARING = ("files", "results", "stack", "vitals")  # parts that a running job may not have yet


def live(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Return the news at ``job/<id>/live/?state=…&after=…&results=…&files=…``, with choices among lines and rows."""
    job = access.visible_job(request, pk)
    if job is None:
        return JsonResponse({}, status=404)
    story = Story(request, job)
    version = _version(story)
    return unchanged(request, version) or answer(_news(story), version)


def _version(story: Story) -> str:
    """Return a digest of everything by which the answer could differ, and of nothing that this user may not see.

    It is keyed, so guesses of the values cannot be checked against it.
    """
    job, request = story.job, story.request
    factor = story.estimate.factor if job.status == JobStatus.RUNNING else None
    about = (
        job.pk, story.state, story.waiting_as_shown, factor, story.stamps, job.progress, job.progress_text,
        job.run_after, job.abort_requested_at, job.pause_requested_at, story.may_view_log,
        request.user.pk, get_language(), sorted(request.GET.items()),
    )  # fmt: skip
    of_log = (job.log_lines, job.log_dropped, job.results_rows, job.results_errors, job.files_count, job.error)
    text = repr((about, of_log if story.may_view_log else ()))
    return f'"{salted_hmac("qorworker.live", text, algorithm="sha256").hexdigest()[:32]}"'


def _news(story: Story) -> News:
    job, sees_log = story.job, story.may_view_log
    after = number(story.request.GET.get("after", "")) or 0
    lines = job_details.log_after(job, story.log.filter, after) if sees_log else []
    has_new_state = story.request.GET.get("state") != story.state
    # Lines may have come since the job was read: they are not to be sent again.
    last = max(job.log_lines, lines[-1].number if lines else 0)
    parts = {"header": story.part("header"), "announcement": escape(_announcement(story))}
    if job.log_dropped and sees_log:
        parts["dropped"] = story.part("dropped")
    if lines:
        parts["log-count"] = escape(qw_number(last))
    if has_new_state:
        parts |= {name: story.part(name) for name in PARTS} | navigation.parts(story.request)
        if "".join(story.request.GET.get("state", "").partition(ASKED)[1:]) != story.question_state:
            parts["questions"] = story.part("questions")
    elif sees_log:
        counts = {"files": job.files_count, "results": job.results_rows}
        new = [name for name, count in counts.items() if number(story.request.GET.get(name, "")) != count]
        parts |= {name: story.part(name) for name in new}
    changed = [name for name, stamp in story.stamps.items() if story.request.GET.get(name, "") != stamp]
    parts |= {name: story.part(name) for name in changed}
    if any(name in parts and story.request.GET.get(name, "") in ("", "0") for name in APPEARING):
        parts["contents"] = story.part("contents")
    return News(
        parts=parts,
        append={"lines": story.log.html_of(lines)} if lines else {},
        state=story.shown(last),
        final=job.is_finished,
    )


def _announcement(story: Story) -> str:
    """Return the state for screen readers, with progress in steps of ten."""
    label = label_of(story.job)
    if story.job.status == JobStatus.RUNNING and story.job.progress is not None:
        return f"{label}, {story.job.progress // 10 * 10} %"
    return label
