"""Checks again, as a job starts, that a user who requested it still may. Child process.

Permissions are checked when people act. But a job may wait for a month, and by then they may have left.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.definitions.job_type import JobType
from qorworker.exceptions import NoLongerAllowed
from qorworker.models import AuditEntry

# Action that requests a run -> the right that it needs.
REQUESTS = {
    "enqueue": "run", "update": "run", "replace arguments": "run", "run now": "reschedule", "reschedule": "reschedule",
    "retry": "retry",
}  # fmt: skip
GAVE_ARGUMENTS = ("update", "replace arguments")


def is_due(policy: str, has_waited: bool) -> bool:
    """Whether to check the rights of a job. The worker's parent decides this, where it costs nothing.

    Jobs that code started are checked, too: a user may have changed their arguments since.
    """
    return policy == "always" or (policy == "scheduled" and has_waited)


def check(job_id: int, created_by: str, job_type: JobType[..., Any], using: str) -> None:
    """Raise ``NoLongerAllowed`` unless a user who requested the job in the admin may still do so.

    These are the users who started, retried or moved it; after a change of its arguments, the last user who changed
    them and those who acted later. Requests by code are not checked, even in the name of a user, because no rights
    were checked then. *created_by* stands for the start if that is not on record: the owner of its schedule, or empty
    for code.
    """
    if created_by:  # SQLite and MySQL return a UUID without its hyphens
        created_by = str(get_user_model()._meta.pk.to_python(created_by))
    requests = AuditEntry.objects.using(using).requesters(job_id, REQUESTS)
    actions = [action for action, _user_id in requests]
    if "enqueue" not in actions:
        requests, actions = [*requests, ("enqueue", created_by)], [*actions, "enqueue"]
    # A request from before the arguments were given is no request for these arguments.
    newest = next((index for index, action in enumerate(actions) if action in GAVE_ARGUMENTS), len(requests))
    requests = requests[: newest + 1]
    user_ids = {user_id for _action, user_id in requests}
    if "" in user_ids:
        return
    users = {str(user.pk): user for user in get_user_model()._default_manager.filter(pk__in=user_ids)}
    if any(
        user_id in users and permissions.can(users[user_id], REQUESTS[action], job_type) for action, user_id in requests
    ):
        return
    _action, first = requests[-1]
    raise NoLongerAllowed(_text(users.get(first)))


def _text(user: Any) -> str:
    remedy = _("It was not started. A user who is allowed to run it can retry it.")
    if user is None:
        return " ".join((_("The user who requested it no longer has an account."), remedy))
    if not user.is_active:
        reason = _("The account of %(user)s, who requested it, is no longer active.")
    else:
        reason = _("%(user)s, who requested it, may no longer run this job.")
    return " ".join((reason % {"user": user.get_username()}, remedy))
