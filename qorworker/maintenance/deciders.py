"""Who may decide about what waits for users, so that they get a mail. Processes that run jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q

from qorworker import permissions
from qorworker.models import Approval, Message, Question

MOST = 100  # users who get a mail
ASKED = 1_000  # users of whom it is asked whether they may decide
BACKEND = "django.contrib.auth.backends.ModelBackend"


def addresses_of_deciders(message: Message) -> list[str]:
    """Return the addresses of active users who may decide about what *message* reports; none if it was decided."""
    kind, number = message.source.split()[:2]
    may_decide, permission = (_of_approval if kind == "approval" else _of_question)(message, int(number))
    found = dict.fromkeys(_address(user) for user in _candidates(permission) if may_decide(user))
    return [address for address in found if address][:MOST]


Rule = tuple[Callable[[Any], bool], str]  # who may decide, and a permission that they need; empty: no certain one
NOBODY: Rule = (lambda user: False, "")


def _of_approval(message: Message, number: int) -> Rule:
    rows = Approval.objects.using(message._state.db).open()
    approval = rows.select_related("job", "schedule").filter(pk=number).first()
    if approval is None:
        return NOBODY
    job, schedule = approval.job, approval.schedule
    if job is not None:
        return lambda user: permissions.can(user, "approve", job=job), approval.permission
    if schedule is not None:
        return lambda user: permissions.may_approve_schedule(user, schedule), approval.permission
    return NOBODY


def _of_question(message: Message, number: int) -> Rule:
    question = Question.objects.using(message._state.db).open().select_related("job").filter(pk=number).first()
    if question is None:
        return NOBODY
    job = question.job
    needed = question.permission or permissions.required_permission(job.job_type, "answer")
    return lambda user: permissions.may_answer(user, job, question), needed


def _candidates(permission: str) -> Iterable[Any]:
    """Return active users who have a permission by Django's own rows, or all of them if none is named."""
    users: Any = get_user_model()._default_manager
    if permission and hasattr(users, "with_perm"):
        found = users.with_perm(permission, backend=BACKEND)
    else:
        found = users.filter(Q(is_active=True))
    return found.order_by("pk")[:ASKED]  # type: ignore[no-any-return]


def _address(user: Any) -> str:
    return str(getattr(user, user.get_email_field_name(), "") or "")
