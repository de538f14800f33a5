"""The sentences that tell users that a matching job exists and another one is not allowed. Web."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import links
from qorworker.definitions.unique import PERIOD, REPLACE, UNFINISHED, WAITING, rule_of
from qorworker.models import Job
from qorworker.models.unique import conflict_of


def sentence(request: HttpRequest, job: Job | None, message: str = "") -> SafeString:
    """Name the job that is in the way, with a link if the user may see it; return *message* if there is no such job."""
    if job is None:
        return format_html("{}", message)
    if not permissions.can(request.user, "view", job=job):
        return format_html("{} {}", _("A matching job already exists."), _("No new job was started."))
    url = links.url_if_there(request, "qorworker_job_change", job.pk)
    shown = format_html('<a href="{}">#{}</a>' if url else "#{1}", url, job.pk)
    return format_html("{}", conflict_of(job, format_html, shown))


def existing_sentence(request: HttpRequest, job: Job) -> SafeString:
    """Say what was done in place of starting a job, because *job* existed already."""
    rule = rule_of(job.job_type) if job.job_type is not None else None
    if rule is not None and rule.on_conflict == REPLACE:
        done = _("It now has the new arguments; no new job was started.")
    else:
        done = _("No new job was started.")
    if not permissions.can(request.user, "view", job=job):
        return format_html("{} {}", _("A matching job already exists."), done)
    return format_html("{} {}", sentence(request, job), done)


def rule_in_words(job: Job) -> str:
    """Say which other jobs this one excludes; return an empty text if it excludes none."""
    sentences: dict[str, str] = {
        WAITING: _("only one may wait"),
        UNFINISHED: _("only one may wait or run"),
        PERIOD: _("only one within a certain time"),
    }
    return sentences.get(job.unique_among, "") if job.unique_key else ""
