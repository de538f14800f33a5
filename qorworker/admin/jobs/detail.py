"""The views that show the page of one job. Web."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext_lazy

from qorworker.admin import access, links, rendering
from qorworker.admin.forms import RescheduleForm
from qorworker.admin.jobs.questions import Asked
from qorworker.admin.jobs.story import Story
from qorworker.admin.media import DETAIL_MEDIA, FORM_MEDIA
from qorworker.admin.parameters import number
from qorworker.models import Job

TEXTS = {  # of its script
    "units": [gettext_lazy("%d d"), gettext_lazy("%d h"), gettext_lazy("%d min"), gettext_lazy("%d s")],
    "copied": gettext_lazy("Copied"),
    "follow": gettext_lazy("Follow the log"),
    "wrap": gettext_lazy("Wrap the lines of the log"),
    "nextError": gettext_lazy("Next error in the log"),
    "newLines": gettext_lazy("New lines: {} ↓"),
    "earlierLines": gettext_lazy("Show earlier lines"),
}


def detail(model_admin: Any, request: HttpRequest, object_id: str) -> HttpResponseBase:
    """Show ``job/<id>/change/``, or 404 if the user may not see the job."""
    pk = number(object_id)
    job = access.visible_job(request, pk) if pk is not None else None
    return access.not_found(request) if job is None else show(request, job)


def show(
    request: HttpRequest,
    job: Job,
    form: RescheduleForm | None = None,
    status: int = 200,
    asked: Asked | None = None,
) -> HttpResponseBase:
    """Return the page of *job*. *form* has the errors of another time that was refused, *asked* those of an answer."""
    story = Story(request, job, form, asked)
    media = FORM_MEDIA + DETAIL_MEDIA + story.form_media if story.has_forms else DETAIL_MEDIA
    return rendering.page(
        request,
        "job/detail.html",
        Job._meta,
        title=str(job),
        media=media,
        job=job,
        story=story,
        live_url=_live_url(story) if story.is_live else "",
        texts=TEXTS,
        status=status,
    )


def _live_url(story: Story) -> str:
    """Return the address at which the page asks for news, with its own parameters and those of what it shows."""
    query = story.request.GET.copy()
    for name, value in story.shown(story.log.last_number if story.may_view_log else 0).items():
        query[name] = str(value)
    return f"{links.url(story.request, 'qorworker_job_live', story.job.pk)}?{query.urlencode()}"
