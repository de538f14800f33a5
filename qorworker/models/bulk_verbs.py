"""The verbs of jobs for all rows of a query. All processes.

These functions are methods of ``JobQuerySet``. Each skips the jobs that it does not fit, and writes the same audit
entries and sends the same signals as it does for one job. They commit some hundreds of jobs at a time: if one is
interrupted, what it has committed stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qorworker.models import bulk
from qorworker.models.alters import queryset_verb
from qorworker.models.audit import Origin

if TYPE_CHECKING:
    from qorworker.models.job_queries import JobQuerySet


@queryset_verb
def retry(self: JobQuerySet, *, by: Any = None, origin: str = Origin.CODE) -> int:
    """Queue those that failed or were aborted for one more attempt, as ``Job.retry`` does.

    :param by: the user who retries them, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the number of jobs that were queued.

    Example::

        Job.objects.failed().for_type(import_products).retry(by=request.user)
    """
    return bulk.for_all(bulk.retry, self.ended_badly(), by=by, origin=origin)


@queryset_verb
def cancel(self: JobQuerySet, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> int:
    """Withdraw those that have not started, as ``Job.cancel`` does.

    :param by: the user who cancels them, for the audit.
    :param reason: the reason, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the number of jobs that were cancelled.
    """
    return bulk.for_all(bulk.cancel, self.waiting(), by=by, reason=reason, origin=origin)


@queryset_verb
def run_now(self: JobQuerySet, *, by: Any = None, origin: str = Origin.CODE) -> int:
    """Queue those that are scheduled without waiting for their time, as ``Job.run_now`` does.

    :param by: the user who asks for it, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the number of jobs that were queued.
    """
    return bulk.for_all(bulk.run_now, self.scheduled(), by=by, origin=origin)


@queryset_verb
def abort(self: JobQuerySet, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> int:
    """Request the end of those that run, as ``Job.abort`` does. Queues whose backend cannot abort are skipped.

    :param by: the user who aborts them, for the audit.
    :param reason: the reason, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the number of jobs whose abort was requested now.
    """
    return bulk.for_all(bulk.abort, self.running(), by=by, reason=reason, origin=origin)


@queryset_verb
def pause(self: JobQuerySet, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> int:
    """Pause those that wait or run, as ``Job.pause`` does. Running ones whose backend cannot pause are skipped.

    :param by: the user who pauses them, for pages and the audit.
    :param reason: the reason, for pages and the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the number of jobs that are paused now, or whose pause was requested now.
    """
    return bulk.for_all(bulk.pause, self.can_be_paused(), by=by, reason=reason, origin=origin)


@queryset_verb
def resume(self: JobQuerySet, *, by: Any = None, origin: str = Origin.CODE) -> int:
    """Let those that are paused go on, as ``Job.resume`` does.

    :param by: the user who resumes them, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the number of jobs that were resumed.
    """
    return bulk.for_all(bulk.resume, self.can_be_resumed(), by=by, origin=origin)


@queryset_verb
def rerun(self: JobQuerySet, *, by: Any = None, origin: str = Origin.CODE) -> int:
    """Queue a new job like each of these, as ``Job.rerun`` does.

    Jobs whose code is gone or whose arguments no longer fit are skipped, as are unique jobs that have a match.

    :param by: the user who runs them again, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the number of new jobs.
    """
    return bulk.for_all(bulk.rerun, self, by=by, origin=origin)


@queryset_verb
def delete(self: JobQuerySet, *, by: Any = None, origin: str = Origin.CODE) -> tuple[int, dict[str, int]]:
    """Delete these jobs, whatever their status, with their logs, results, files and uploads.

    Each gets an audit entry.

    To spare jobs that wait or run: ``jobs.finished().delete()``.

    :param by: the user who deletes them, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: what Django's ``delete`` returns: the number of deleted rows, and that of each model.
    :raises TypeError: for a slice, or for distinct rows.
    """
    if self.query.is_sliced or self.query.distinct_fields:
        raise TypeError("Cannot delete a slice of jobs, or distinct ones.")
    return bulk.delete_all(self, by=by, origin=origin)
