"""The verbs for many jobs at once: count first, ask, then do each and say honestly what was left alone. Web."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.admin import access, once
from qorworker.admin.media import MEDIA
from qorworker.admin.verb_view import perform_once
from qorworker.admin.verbs import VERBS, Verb
from qorworker.exceptions import QorWorkerError
from qorworker.models import Job

AT_ONCE = 500  # jobs in one request
Action = Callable[[Any, HttpRequest, Any], HttpResponseBase | None]


def _action(verb: Verb) -> Action:
    def act(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponseBase | None:
        return _handle(model_admin, request, queryset, verb)

    act.__name__ = verb.name.replace("-", "_")
    act.short_description = verb.bulk  # type: ignore[attr-defined]
    return act


ACTIONS: list[Action] = [_action(verb) for verb in VERBS.values()]


def _handle(model_admin: Any, request: HttpRequest, queryset: Any, verb: Verb) -> HttpResponseBase | None:
    jobs = list(queryset[: AT_ONCE + 1])
    if len(jobs) > AT_ONCE:
        text = _("At most %d jobs can be handled at once. Narrow the list or select fewer. Nothing was changed.")
        messages.warning(request, text % AT_ONCE)
        return None
    fitting, denied = _sorted_out(request, jobs, verb)
    if "confirmed" not in request.POST:
        return _confirm(model_admin, request, verb, jobs, fitting)
    for job in denied:
        access.record(request, verb.action, access.DENIED, job=job)
    _tell(request, verb, len(jobs), _perform(request, fitting, verb))
    return None


def _sorted_out(request: HttpRequest, jobs: list[Job], verb: Verb) -> tuple[list[Job], list[Job]]:
    """Those jobs for which the verb makes sense and is allowed; and those for which only the right is missing."""
    sensible = [job for job in jobs if verb.offered(job)]
    denied = [job for job in sensible if not verb.allowed(request.user, job)]
    refused = {job.pk for job in denied}
    return [job for job in sensible if job.pk not in refused], denied


def _confirm(
    model_admin: Any, request: HttpRequest, verb: Verb, jobs: list[Job], fitting: list[Job]
) -> HttpResponseBase:
    left = Counter(str(job.get_status_display()) for job in jobs if job not in fitting)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": verb.bulk,
        "opts": Job._meta,
        "media": MEDIA,
        "verb": verb,
        "jobs": jobs,
        "fitting": fitting,
        "left": sorted(left.items()),
        "left_count": len(jobs) - len(fitting),
        "questions": sorted({str(job.job_type.confirm) for job in fitting if job.job_type and job.job_type.confirm})
        if verb.name in ("retry", "run-again")
        else [],
        "checkbox": ACTION_CHECKBOX_NAME,
        "action": verb.name.replace("-", "_"),
        "token": once.new_token(),
    }
    return TemplateResponse(request, "admin/qorworker/job/bulk.html", context)


def _perform(request: HttpRequest, jobs: list[Job], verb: Verb) -> int:
    """How many it worked for; a job that moved meanwhile is left alone."""
    done = 0
    for job in jobs:
        try:
            _new, is_first = perform_once(verb, job, request)
        except QorWorkerError:
            continue
        done += is_first
    return done


def _tell(request: HttpRequest, verb: Verb, asked: int, done: int) -> None:
    left = asked - done
    told = (verb.plural % done) + "."
    if left:
        told += (
            " "
            + ngettext(
                "%d was left alone: its status or your rights do not allow it.",
                "%d were left alone: their status or your rights do not allow it.",
                left,
            )
            % left
        )
    if not done:
        told = _("Nothing was changed: the status of the jobs or your rights do not allow it.")
    messages.add_message(request, messages.SUCCESS if done and not left else messages.WARNING, told)
