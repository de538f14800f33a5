"""The verb that gives a waiting job other arguments or another time. All processes.

The new values are made before the row is locked, and count if the row is still the same by then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.views.decorators.debug import sensitive_variables

from qorworker.arguments import entered, files
from qorworker.definitions.registry import registry
from qorworker.definitions.versions import check_known
from qorworker.exceptions import ChangedMeanwhile
from qorworker.models.alters import alters_data
from qorworker.models.audit import Origin
from qorworker.models.clock import check_zone
from qorworker.models.job_verbs import VerbResult, changing, row_of, rows_of
from qorworker.models.own import write_database
from qorworker.models.rewriting import keys_of
from qorworker.models.unique import passed_on
from qorworker.queues import backend_of
from qorworker.status import WAITING, JobStatus

if TYPE_CHECKING:
    from qorworker.models.job import Job

UPGRADE = "upgrade"  # as the audit calls it
UPGRADED = ("arguments", "version", "status", "checkpoint", "waits_for_answer")  # what decides about an upgrade
ROUNDS = 10  # after so many lost races ``update`` gives up


@alters_data
@sensitive_variables()
def update(
    self: Job,
    changes: Mapping[str, Any] | None = None,
    /,
    *,
    run_after: dt.datetime | None = None,
    by: Any = None,
    origin: str = Origin.CODE,
    **more: Any,
) -> None:
    """Change arguments of a job that has not started, and its time.

    Arguments that are not named keep their values, secrets and uploads included. Stored arguments that the job type
    no longer has are dropped.

    :param changes: the new values by name; needed for arguments named ``run_after``, ``by`` or ``origin``.
    :param run_after: the new time, with a zone if ``USE_TZ`` is on; None keeps the old one.
    :param by: the user who changes it, for the audit.
    :param origin: where the request comes from, for the audit.
    :param more: the same as *changes*, as keyword arguments.
    :raises qorworker.exceptions.InvalidTransition: if it has started or ended.
    :raises qorworker.exceptions.InvalidArguments: if the arguments do not fit, or if *by* keeps a secret that another
        person or code has entered, or if newer code has stored it.
    :raises qorworker.exceptions.AlreadyEnqueued: if it is unique and another job like the changed one exists.
    :raises qorworker.exceptions.UnknownJobType: if its code is gone.
    :raises qorworker.exceptions.ChangedMeanwhile: if others changed it first, again and again.

    Example::

        job.update(mode="replace", by=request.user)
        job.update({"by": "Ben"})
    """
    job_type, person = registry.get(self.name), by if origin == Origin.ADMIN else None
    for rounds_left in reversed(range(ROUNDS)):
        if (row := row_of(self).first()) is not None:
            self.arguments, self.version, self.run_after = row.arguments, row.version, row.run_after
            self.unique_key, self.limit_key = row.unique_key, row.limit_key
        dumped = job_type.arguments.change(self.current_arguments, {**(changes or {}), **more}, person=person)
        try:
            self.update_dumped(dumped, run_after=run_after, by=by, origin=origin)
            return
        except ChangedMeanwhile:
            if not rounds_left:
                raise


@alters_data
@sensitive_variables()
def update_dumped(
    self: Job,
    dumped: dict[str, Any],
    *,
    run_after: dt.datetime | None = None,
    by: Any = None,
    origin: str = Origin.CODE,
    token: str = "",
    action: str = "update",
) -> bool:
    """Replace all arguments by *dumped*, which was made of those that this copy of the job has.

    :param dumped: the arguments as the table stores them.
    :param token: the one-time token of the form that asks for it.
    :param action: how the audit calls it.
    :returns: False, and changes nothing, if the form with this token has changed the job already.
    :raises qorworker.exceptions.ChangedMeanwhile: if the row has other arguments or another time by now.
    :raises qorworker.exceptions.InvalidArguments: if a secret must be entered again, or if newer code stored the job.
    """
    job_type, before, result = registry.get(self.name), self.arguments, VerbResult()
    details: dict[str, Any] = {"arguments": sorted({*files.unused(before, dumped), *files.unused(dumped, before)})}
    try:
        entered.check(self.name, job_type.arguments.fields, before, dumped, by)
        changes: dict[str, Any] = {"fingerprint": job_type.arguments.fingerprint, "version": job_type.version}
        unique_key, changes["limit_key"] = keys_of(job_type, self, dumped, of_other_code=action == UPGRADE)
        if run_after is not None:
            check_zone(run_after, "Job.update()")
            backend_of(self.queue_name).check_supported(priority=0, run_after=run_after)
            details |= {"before": self.run_after.isoformat(), "after": run_after.isoformat()}
            changes |= {"status": JobStatus.SCHEDULED, "run_after": run_after}
        with changing(self, action, by, origin, **details) as result:
            _rewrite(self, result, dumped, unique_key, {**changes, "by": by}, token)
    finally:
        if not result.moved:
            files.discard(files.unused(dumped, before), job_type.arguments.fields)
    return bool(result.moved)


@alters_data
@sensitive_variables()
def upgrade(self: Job, *, origin: str = Origin.CODE) -> bool:
    """Store the arguments of a waiting job as the code of today takes them. What it has reached so far stays.

    A job that goes on behind a checkpoint, or has asked a question, is left as it is: it is upgraded as it starts.

    :param origin: where the request comes from, for the audit.
    :returns: whether its arguments were upgraded.
    :raises: what ``update`` raises.
    """
    job_type = registry.get(self.name)
    self.refresh_from_db(fields=[*UPGRADED, "unique_key", "limit_key", "run_after"])
    if self.version >= job_type.version or self.has_checkpoint or self.has_questions or self.status not in WAITING:
        return False
    dumped = job_type.arguments.change(self.current_arguments, {})
    return self.update_dumped(dumped, origin=origin, action=UPGRADE)


def was_changed_with(self: Job, token: str) -> bool:
    """Return whether the form with this one-time *token* has changed the job; False for an empty token."""
    return bool(token) and (self.form_tokens or {}).get("changed") == token


def _rewrite(
    job: Job, result: VerbResult, dumped: dict[str, Any], unique_key: str | None, changes: dict[str, Any], token: str
) -> None:
    row = row_of(job).select_for_update().first()
    if row is None or row.was_changed_with(token):
        result.repeated = row is not None
        return
    if row.status in WAITING:
        check_known(registry.get(job.name), row.version)
        _check_unchanged(job, row)
    if token:
        changes["form_tokens"] = {**(row.form_tokens or {}), "changed": token}
    if unique_key != row.unique_key and row.status in WAITING:
        changes |= {"unique_key": unique_key, "unique_place": passed_on()}
        if (holder := rows_of(job).beside(row, str(unique_key))) is not None:
            result.conflict = holder
            return
    try:
        with transaction.atomic(using=write_database(job)):
            result.moved = rows_of(job).rewrite(row, dumped, **changes)
            if row.has_questions and row.status in WAITING:
                why = f"Job {row.pk} has asked a question: its arguments cannot be changed any more."
                result.message = f"{why} Nothing was changed."
    except IntegrityError:  # another job like it was enqueued at this very moment
        result.conflict = rows_of(job).beside(row, str(unique_key))
        if result.conflict is None:  # and it has ended since, or this transaction cannot see it
            raise ChangedMeanwhile(f"Another job like job {job.pk} was there. Nothing was changed.") from None
    if result.moved and "run_after" in changes:
        row_of(job).promote_due()


def _check_unchanged(job: Job, row: Job) -> None:
    """Raise ``ChangedMeanwhile`` if *row* is no longer what *job* was read as."""
    differences = {
        "other arguments": row.arguments != job.arguments,
        "another time": row.run_after != job.run_after,
    }
    if what := " and ".join(name for name, differs in differences.items() if differs):
        raise ChangedMeanwhile(f"Job {job.pk} has been given {what} meanwhile. Nothing was changed.")
