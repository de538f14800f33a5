"""Jobs that run one after another. All processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.db import router, transaction
from django.views.decorators.debug import sensitive_variables

from qorworker.definitions.call import Call
from qorworker.definitions.dependencies import Policy, parents_in, policy_problem
from qorworker.models import Job


@dataclass(frozen=True, slots=True)
class Chain:
    """What ``chain`` returns. Each time it is enqueued it makes one more job of each call."""

    calls: Sequence[Call[Any]]
    after_failure: Policy = "cancel"

    @sensitive_variables()
    def enqueue(self, *, by: Any = None) -> list[Job]:
        """Store a job for each call, of which each waits for the one before: all of them or none.

        :param by: the user for whom they are enqueued, as the option ``user`` of ``using``.
        :returns: the jobs, in the order of the calls.
        :raises: what ``Call.enqueue`` raises.
        """
        jobs: list[Job] = []
        using = self.calls[0].job_type.defaults.get("database") or router.db_for_write(Job)
        with transaction.atomic(using=using):
            for call in self.calls:
                job_type = call.job_type if by is None else call.job_type.using(user=by)
                if jobs:
                    options = job_type.defaults
                    parents = [*parents_in(options.get("after")), jobs[-1]]
                    policy = options.get("after_failure") or self.after_failure
                    job_type = job_type.using(after=parents, after_failure=policy)
                jobs.append(job_type.enqueue_cleaned(call.arguments))
        return jobs

    @sensitive_variables()
    async def aenqueue(self, *, by: Any = None) -> list[Job]:
        """Do what ``enqueue`` does, for coroutines."""
        return await sync_to_async(self.enqueue)(by=by)


def chain(*calls: Call[Any], after_failure: Policy = "cancel") -> Chain:
    """Return calls as jobs that run one after another. Nothing is stored before the chain is enqueued.

    :param calls: what ``JobType.bind`` returns, in the order in which they are to run.
    :param after_failure: what becomes of a job if the one before fails, as the option of ``using``.
    :raises TypeError: for what is no call.
    :raises ValueError: without calls, and for an unknown policy.

    Example::

        chain(import_file.bind(file=upload), reindex.bind(), mail.bind(to=boss)).enqueue(by=request.user)
    """
    if not calls:
        raise ValueError("chain() needs at least one call.")
    for place, call in enumerate(calls, 1):
        if not isinstance(call, Call):
            raise TypeError(f"chain(): part {place} must be a call, as bind() returns it, not {call!r}.")
    if problem := policy_problem(after_failure):
        raise ValueError(f"chain(after_failure={after_failure!r}): {problem}.")
    return Chain(calls, after_failure)
