"""The list of batches, the page of one, and what is new on it. Web."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.template.loader import render_to_string
from django.utils.crypto import salted_hmac
from django.utils.html import escape
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from qorworker.admin import access, links, navigation, rendering
from qorworker.admin.batches.story import BatchStory, visible_batch, visible_batches
from qorworker.admin.batches.verbs import buttons
from qorworker.admin.live import News, answer, unchanged
from qorworker.admin.media import BATCH_MEDIA
from qorworker.admin.parameters import number
from qorworker.models import Batch
from qorworker.status import UNFINISHED

PER_PAGE = 25
PARTS = ("header", "actions", "failures", "jobs", "flow")


def batches(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Show ``batch/``, the newest first."""
    pages = Paginator(visible_batches(request.user).order_by("-pk"), PER_PAGE)
    page = pages.get_page(request.GET.get("p"))
    stories = [BatchStory(request, batch) for batch in page]
    return rendering.page(
        request, "batch/list.html", Batch._meta, title=_("Batches"), media=BATCH_MEDIA, stories=stories, page=page
    )


def detail(model_admin: Any, request: HttpRequest, object_id: str) -> HttpResponseBase:
    """Show ``batch/<id>/change/``, or 404 if the user may not see the batch."""
    pk = number(object_id)
    batch = visible_batch(request, pk) if pk is not None else None
    if batch is None:
        return access.not_found(request)
    story = BatchStory(request, batch)
    return rendering.page(
        request,
        "batch/detail.html",
        Batch._meta,
        title=str(batch),
        media=BATCH_MEDIA,
        live_url=links.url(request, "qorworker_batch_live", batch.pk) if story.is_live else "",
        **_context(story),
    )


def live(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Return the page as it is now, for the page that shows it."""
    batch = visible_batch(request, pk)
    if batch is None:
        return JsonResponse({}, status=404)
    story = BatchStory(request, batch)
    version = _version(story)
    return unchanged(request, version) or answer(_news(story), version)


def _version(story: BatchStory) -> str:
    """Return a digest of everything by which the answer could differ, keyed so that guesses cannot be checked."""
    batch = story.batch
    callbacks = [(name, job.status) for name, job in story.callbacks]
    newest = [(job.pk, job.status) for job in story.first_jobs]
    about = (batch.pk, batch.ended_at, sorted(story.counts.items()), callbacks, newest, story.user.pk, get_language())
    return f'"{salted_hmac("qorworker.live", repr(about), algorithm="sha256").hexdigest()[:32]}"'


def _news(story: BatchStory) -> News:
    context = _context(story)
    parts: dict[str, str] = {
        name: render_to_string(f"admin/qorworker/batch/{name}.html", context, request=story.request) for name in PARTS
    }
    announcement: str = escape(
        _("%(ended)d of %(total)d jobs have ended") % {"ended": story.ended, "total": story.total}
    )
    parts |= {"announcement": announcement, **navigation.parts(story.request)}
    return News(parts=parts, final=not story.is_live)


def _context(story: BatchStory) -> dict[str, Any]:
    may_retry = not story.lacking("retry")
    return {
        "batch": story.batch,
        "story": story,
        "buttons": buttons(story.request, story),
        "may_retry": may_retry,
        "picture": story.flow,
        "runs": bool(UNFINISHED & story.counts.keys()),
    }
