"""The sentences of a page that has no schedule to show: each case has another cause. Web."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker import permissions
from qorworker.definitions.registry import registry
from qorworker.models.schedule import Schedule


def no_schedule(user: Any) -> str:
    """Explain in a sentence why *user* sees no schedule at all."""
    if not permissions.sees_all(user):
        return _("You have no schedules. Those that other people made, or the code declares, are not shown to you.")
    if number := _undeclared(user):
        return ngettext(
            "The code declares %(number)d schedule. It appears here as soon as a worker has started.",
            "The code declares %(number)d schedules. They appear here as soon as a worker has started.",
            number,
        ) % {"number": number}
    if not permissions.can(user, "view"):
        return _("There are no schedules of jobs that you may see.")
    return _("No job runs on a schedule yet.")


def _undeclared(user: Any) -> int:
    """Return how many schedules the code declares, of jobs that *user* may see, that are not yet in the table."""
    may_see_all = permissions.can(user, "view")
    names = {
        plan.name
        for job_type in registry.all()
        if may_see_all or permissions.can(user, "view", job_type)
        for plan in job_type.plans
    }
    stored = set(Schedule.objects.declared().values_list("name", flat=True)) if names else set()
    return len(names - stored)
