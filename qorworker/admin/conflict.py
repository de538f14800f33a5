"""What people are told when there may be no second job like one that is there. Web."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.models import Job
from qorworker.models.unique import conflict_of
from qorworker.unique import PERIOD, REPLACE, UNFINISHED, WAITING, rule_of


def told(user: Any, job: Job | None, message: str = "") -> SafeString:
    """Which job is in the way, with a link to it for who may see it; *message* says it without one."""
    if job is None:
        return format_html("{}", message)
    if not permissions.can(user, "view", job=job):
        return format_html("{}", _("Another job like this one is there already. No second one was started."))
    url = reverse("admin:qorworker_job_change", args=(job.pk,))
    return format_html("{}", conflict_of(job, format_html, format_html('<a href="{}">#{}</a>', url, job.pk)))


def told_instead(user: Any, job: Job) -> SafeString:
    """What became of a job that was asked for, where *job* was there already."""
    rule = rule_of(job.job_type) if job.job_type is not None else None
    if rule is not None and rule.on_conflict == REPLACE:
        done = _("It has the new arguments now; no second one was started.")
    else:
        done = _("No second one was started.")
    shown = told(user, job)
    return format_html("{} {}", shown, done) if permissions.can(user, "view", job=job) else shown


def rule_in_words(job: Job) -> str:
    """For which others this job leaves no room; empty if for any."""
    told: dict[str, str] = {
        WAITING: _("no second one like it waits"),
        UNFINISHED: _("no second one like it waits or runs"),
        PERIOD: _("no second one like it for a time"),
    }
    return told.get(job.unique_among, "") if job.unique_key else ""
