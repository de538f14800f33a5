"""How one particular job is claimed, by a backend or a command. All processes that run jobs."""

from __future__ import annotations

from django.db import connections, transaction

from qorworker.definitions.registry import limits_of
from qorworker.models.sql.claims import CLAIMED_COLUMNS, Claim, Claimed, of_versions, ownership
from qorworker.models.sql.limits import take
from qorworker.models.sql.parts import TABLE, WAITS


def claim_one(using: str, job_id: int, claim: Claim, *, early: bool = True) -> Claimed | None:
    """Claim one particular job that waits.

    :param claim: the owner: token, lease and worker.
    :param early: whether to claim it before its time, too.
    :returns: None if it no longer waits, is paused, waits for others, if a limit holds it, or if it is of a newer
        version; it is not changed then.
    """
    connection = connections[using]
    known, versions = of_versions(connection, claim.versions)
    condition = f"WHERE id = %s AND limit_key = ''{known} AND status ="
    with transaction.atomic(using=using), connection.cursor() as cursor:
        if early:
            # A scheduled job must be queued before it can run.
            cursor.execute(f"UPDATE {TABLE} SET status = 'new' {condition} {WAITS}", [job_id, *versions])  # noqa: S608
        cursor.execute(
            f"UPDATE {TABLE} {ownership(connection, claim.process_id)} {condition} 'new'",
            [claim.token, claim.lease, claim.worker_id, job_id, *versions],
        )
        if cursor.rowcount:
            cursor.execute(f"SELECT {CLAIMED_COLUMNS} FROM {TABLE} WHERE id = %s", [job_id])  # noqa: S608
            return Claimed(*cursor.fetchone())
    return _claim_limited(using, job_id, claim, early)


def _claim_limited(using: str, job_id: int, claim: Claim, early: bool) -> Claimed | None:
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT limit_key FROM {TABLE} WHERE id = %s AND limit_key > '' AND status IN ('new', 'scheduled')",  # noqa: S608
            [job_id],
        )
        row = cursor.fetchone()
    return next(iter(take(using, row[0], limits_of(row[0]), [job_id], claim, early=early)), None) if row else None
