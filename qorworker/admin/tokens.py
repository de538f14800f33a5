"""The one-time token of a form: one submit that starts a job makes one job, however often it arrives. Web.

The form carries a random token together with the number of the user's newest job at that time; the job that it starts
keeps the token. Both are looked at under a lock on the user's own row, taken by an UPDATE that changes
nothing: it waits on every database, where SELECT FOR UPDATE does nothing on SQLite, and where a session could be read
by two requests before either has written. The number keeps the look-up short: only the user's jobs since then.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any

from django.contrib.auth import get_user_model
from django.db import router, transaction
from django.db.models import F

from qorworker import permissions
from qorworker.models import Batch, Job, Schedule
from qorworker.queries import site

Started = tuple[Job, bool]
TOKEN = re.compile(r"[0-9]{1,18}\.[A-Za-z0-9_-]{16,64}")


def new_token(user: Any) -> str:
    """Return a token for a page that is shown to *user*; it reveals nothing about the jobs of other users."""
    return token_after(site.newest_id(Job.objects.of_user(user)))


def token_after(number: int) -> str:
    """Return a token for a page that knows the *number* of the newest job of its user."""
    return f"{number}.{secrets.token_urlsafe(16)}"


def start_once(user: Any, token: str, start: Callable[[], Job]) -> Started:
    """Call *start* and return its job and True; or return the job that this token has already started, and False.

    Raises ``TooManyJobs``.
    """
    after = _number_of(token)
    with transaction.atomic(using=router.db_for_write(get_user_model())):
        _wait_for_turn(user)
        with transaction.atomic(using=router.db_for_write(Job)):
            if (first := site.started_with(token, user, after)) is not None:
                return first, False
            permissions.check_number(user)
            job = start()
            if not job.is_existing:
                site.remember_token(job, token)
            return job, True


def repeat_once(user: Any, token: str, row: Job | Schedule | Batch, repeat: Callable[[], Job]) -> Started:
    """Repeat a job, the job of a schedule, or a batch, once per token and row; return the new job, of a batch the first
    one, and whether it is new.

    A request without a token is one of its own, and waits for its turn, too: else many at once would each find that
    one more job is allowed. Raises ``TooManyJobs``.
    """
    own = f"{token}-{row.pk}"
    return start_once(user, own if is_token(own) else new_token(user), repeat)


def is_token(token: str) -> bool:
    """Return whether *token* has the form of a one-time token."""
    return TOKEN.fullmatch(token) is not None


def _number_of(token: str) -> int:
    return int(token.partition(".")[0])


def _wait_for_turn(user: Any) -> None:
    key = get_user_model()._meta.pk.attname
    get_user_model()._base_manager.filter(pk=user.pk).update(**{key: F(key)})
