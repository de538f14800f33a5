"""How a job that waits gets other arguments: one conditional UPDATE, whoever asks for it. All processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import models, transaction

from qorworker.arguments import files
from qorworker.limits import limit_key
from qorworker.status import WAITING
from qorworker.unique import key_of, rule_of

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.registry import JobType

Stored = Mapping[str, Any]


class RewritingQuerySet(models.QuerySet["Job"]):
    def rewrite(self, job: Job, arguments: dict[str, Any], **changes: Any) -> int:
        """Give *job*, if it is one of these and still waits, other *arguments*; 1 if it got them.

        *job* is as its row was when that was locked: uploads that it has no more are deleted once this is committed.
        """
        waiting = self.filter(pk=job.pk, status__in=sorted(WAITING))
        moved = waiting.update(arguments=arguments, **changes)
        if moved:
            unused = files.unused(job.arguments, arguments)
            known = job.job_type.arguments.definition.fields if job.job_type is not None else {}
            transaction.on_commit(partial(files.discard, unused, known), using=self.db, robust=True)
        return moved


def keys_of(job_type: JobType[Any], job: Job, arguments: Stored) -> tuple[str | None, str]:
    """By what *job* is unique and shares its limits if it has these *arguments*.

    Worked out anew by the rules of its type, but for a key that it was given as it was enqueued. Raises
    ``InvalidArguments`` if a rule fails, and ``SecretsUnavailable``.
    """
    unique, limit = job.unique_key, ""
    if unique is not None and (rule := rule_of(job_type)) is not None:
        unique = _anew(unique, partial(key_of, job_type, rule), job.arguments, arguments)
    if job_type.is_limited:
        limit = _anew(job.limit_key, partial(limit_key, job_type), job.arguments, arguments)
    return unique, limit


def _anew(key: str, work_out: Callable[[Stored], str], before: Stored, after: Stored) -> str:
    try:
        is_given = bool(key) and work_out(before) != key
    except Exception:  # what is stored may be anything, and not fit the rule any more
        is_given = False
    return key if is_given else work_out(after)
