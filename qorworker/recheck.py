"""Whether somebody who asked for a job in the admin still may, asked again as it starts. Child process.

What people may do is checked when they do it. A job that waits until next month starts when they may have left.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.conf import settings
from qorworker.exceptions import NoLongerAllowed
from qorworker.models import AuditEntry
from qorworker.registry import JobType

# What people do to have a job run -> the right that this needs.
ASKED_FOR = {
    "enqueue": "run", "update": "run", "run now": "reschedule", "reschedule": "reschedule", "retry": "retry",
}  # fmt: skip


def is_due(created_by: Any, has_waited: bool) -> bool:
    """Whether a job's rights are to be checked: decided in the worker's parent, where it costs nothing."""
    if created_by is None:
        return False
    policy = settings.RECHECK_PERMISSIONS
    return policy == "always" or (policy == "scheduled" and has_waited)


def check(job_id: int, created_by: str, job_type: JobType[Any], using: str) -> None:
    """Raise ``NoLongerAllowed`` unless somebody who asked for the job in the admin may still do so.

    That is who started it, or who retried or moved it since; after a change, who changed it last or came later. What
    code has asked for in the name of somebody is not checked: nobody's rights were asked then.
    """
    asked = AuditEntry.objects.using(using).who_asked(job_id, ASKED_FOR) or [("enqueue", created_by)]
    actions = [action for action, _user_id in asked]
    if "update" in actions:  # who asked for it before did not ask for these arguments
        asked = asked[: actions.index("update") + 1]
    people = {user_id for _action, user_id in asked}
    if "" in people:
        return
    known = {str(user.pk): user for user in get_user_model()._default_manager.filter(pk__in=people)}
    if any(
        user_id in known and permissions.can(known[user_id], ASKED_FOR[action], job_type) for action, user_id in asked
    ):
        return
    raise NoLongerAllowed(_text(known.get(created_by)))


def _text(user: Any) -> str:
    what = _("It was not started. Somebody who may run it can retry it.")
    if user is None:
        return " ".join((_("Who asked for it has no account any more."), what))
    if not user.is_active:
        told = _("The account of %(user)s, who asked for it, is no longer active.")
    else:
        told = _("%(user)s, who asked for it, may no longer run this job.")
    return " ".join((told % {"user": user.get_username()}, what))
