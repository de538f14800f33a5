"""Who may decide about what waits for users, so that they get a mail. Processes that run jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from django.contrib.auth import get_backends, get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Q

from qorworker import permissions
from qorworker.models import Approval, Message, Question

MOST = 100  # users who get a mail
ASKED = 1_000  # users of whom it is asked whether they may decide, where no backend can search for those who may
PORTION = 100  # users that are read at a time
GIVING = ("has_perm", "get_all_permissions", "get_user_permissions", "get_group_permissions")  # of a backend


def addresses_of_deciders(message: Message) -> list[str]:
    """Return the addresses of active users who may decide about what *message* reports; none if it was decided."""
    kind, number = message.source.split()[:2]
    rule = (_of_approval if kind == "approval" else _of_question)(message, int(number))
    if rule is None:
        return []
    may_decide, permission = rule
    return list(islice(_addresses(user for user in _candidates(permission) if may_decide(user)), MOST))


Rule = tuple[Callable[[Any], bool], str]  # who may decide, and a permission that they need; empty: no certain one


def _of_approval(message: Message, number: int) -> Rule | None:
    rows = Approval.objects.using(message._state.db).open()
    approval = rows.select_related("job", "schedule").filter(pk=number).first()
    if approval is None:
        return None
    job, schedule = approval.job, approval.schedule
    if job is not None:
        return lambda user: permissions.can(user, "approve", job=job), approval.permission
    if schedule is not None:
        return lambda user: permissions.may_approve_schedule(user, schedule), approval.permission
    return None


def _of_question(message: Message, number: int) -> Rule | None:
    question = Question.objects.using(message._state.db).open().select_related("job").filter(pk=number).first()
    if question is None:
        return None
    job = question.job
    needed = question.permission or permissions.required_permission(job.job_type, "answer")
    return lambda user: permissions.may_answer(user, job, question), needed


def _candidates(permission: str) -> Iterator[Any]:
    """Yield active users with an address: first those to whom a backend gives *permission*, as its search finds them.

    Others follow only if a backend may give it without being able to search, or if no permission is named.
    """
    users, backends = _users_with_address(), get_backends()
    found = Q(pk__in=[])
    if permission:
        for backend in backends:
            if hasattr(backend, "with_perm"):
                found |= Q(pk__in=backend.with_perm(permission).values("pk"))
        yield from users.filter(found).iterator(PORTION)
    if not permission or not all(map(_finds_all, backends)):
        yield from users.exclude(found)[:ASKED].iterator(PORTION)


def _finds_all(backend: Any) -> bool:
    """Return whether the search of *backend* finds everybody to whom it gives a permission: it comes from one class."""
    classes = type(backend).__mro__

    def place(method: str) -> int:
        return next((at for at, each in enumerate(classes) if method in vars(each)), len(classes))

    return all(place("with_perm") <= place(method) for method in GIVING)


def _users_with_address() -> Any:
    """Return the active users who may have an address, staff before others."""
    model: Any = get_user_model()
    users = model._default_manager.filter(is_active=True)
    field = model.get_email_field_name()
    if _has_column(model, field):
        users = users.exclude(**{field: ""})
    return users.order_by(*(["-is_staff"] if _has_column(model, "is_staff") else []), "pk")


def _has_column(model: Any, name: str) -> bool:
    try:
        return bool(model._meta.get_field(name).concrete)
    except FieldDoesNotExist:
        return False


def _addresses(users: Iterator[Any]) -> Iterator[str]:
    """Yield the addresses of *users*, each once."""
    known = set[str]()
    for user in users:
        address = str(getattr(user, user.get_email_field_name(), "") or "")
        if address and address not in known:
            known.add(address)
            yield address
