"""How arguments of stored jobs change: while a job waits, and when it has ended. All processes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction

from qorworker.arguments import codec, files
from qorworker.definitions.limits import limit_key
from qorworker.definitions.unique import key_of, rule_of
from qorworker.models.alters import queryset_verb
from qorworker.models.approving import ask_again, note_right
from qorworker.status import FINISHED, WAITING

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType
    from qorworker.models.job import Job
    from qorworker.models.job_queries import JobQuerySet

Stored = Mapping[str, Any]
AT_ONCE = 50  # jobs whose secrets one statement erases


def rewrite(self: JobQuerySet, job: Job, arguments: dict[str, Any], *, by: Any = None, **changes: Any) -> int:
    """Give *job* other *arguments* if it is one of these and still waits. Its checkpoint goes with the old ones.

    A job that has asked anything keeps its arguments: people have answered what it asked about those. What was
    approved with the old ones must be approved anew.

    :param job: as its row was when it was locked: uploads that it no longer has are deleted after the commit.
    :param arguments: as the table stores them.
    :param by: the user who changes them; None for code.
    :param changes: values of other columns.
    :returns: 1 if it got them, else 0.
    """
    is_other = arguments != job.arguments
    if is_other:
        renewed = copy.copy(job)
        renewed.arguments = arguments
        note_right(renewed, by)
    waiting = self.filter(pk=job.pk, status__in=sorted(WAITING), waits_for_answer=None)
    if is_other:
        changes["checkpoint"] = None  # its places say nothing about other items
    moved = waiting.update(arguments=arguments, **changes)
    if moved and is_other:
        ask_again(self.unfiltered(), renewed, by)
    if moved:
        unused = files.unused(job.arguments, arguments)
        transaction.on_commit(partial(files.discard, unused, job.argument_fields), using=self.db, robust=True)
    return moved


@queryset_verb
def erase_secrets(self: JobQuerySet) -> None:
    """Erase the secrets of those of these jobs that have ended: nothing can use them any more.

    This belongs into the transaction in which they end.
    """
    ended, changed = self.filter(status__in=sorted(FINISHED)), []
    for job in ended.only("name", "arguments"):
        if (cleared := codec.without_secrets(job.argument_fields, job.arguments)) != job.arguments:
            job.arguments = cleared
            changed.append(job)
    ended.bulk_update(changed, ["arguments"], batch_size=AT_ONCE)


def keys_of(
    job_type: JobType[..., Any], job: Job, arguments: Stored, *, of_other_code: bool = False
) -> tuple[str | None, str]:
    """Return the unique key and the limit key that *job* has if its arguments become *arguments*.

    They are made anew by the rules of the job type, except for a key that was chosen when the job was enqueued.

    :param of_other_code: whether other rules may have made the keys that it has: then nothing tells which were chosen.

    :raises qorworker.exceptions.InvalidArguments: if a rule fails.
    :raises qorworker.exceptions.SecretsUnavailable: if a secret cannot be decrypted.
    """
    unique, limit = job.unique_key, ""
    if unique is not None and (rule := rule_of(job_type)) is not None:
        before = "" if of_other_code else unique
        unique = _anew(before, partial(key_of, job_type, rule), job.arguments, arguments)
    if job_type.is_limited:
        before = "" if of_other_code else job.limit_key
        limit = _anew(before, partial(limit_key, job_type), job.arguments, arguments)
    return unique, limit


def _anew(key: str, work_out: Callable[[Stored], str], before: Stored, after: Stored) -> str:
    try:
        is_given = bool(key) and work_out(before) != key
    except Exception:  # what is stored may be anything, and not fit the rule any more
        is_given = False
    return key if is_given else work_out(after)
