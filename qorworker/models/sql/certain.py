"""How one certain job is claimed: by who was told of it, or asked for it. All processes that run jobs."""

from __future__ import annotations

from django.db import connections, transaction

from qorworker.models.sql.claims import CLAIMED_COLUMNS, Claim, Claimed, ownership
from qorworker.models.sql.limits import take
from qorworker.models.sql.parts import TABLE


def claim_one(using: str, job_id: int, wanted: Claim, *, early: bool = True) -> Claimed | None:
    """Take one certain job that waits; with *early* also before its time.

    None if it no longer waits, or if a limit holds it: then it stays as it is.
    """
    connection = connections[using]
    mine = "WHERE id = %s AND limit_key = '' AND status ="
    with transaction.atomic(using=using), connection.cursor() as cursor:
        if early:
            # A scheduled job is queued first: there is no other way to "running".
            cursor.execute(f"UPDATE {TABLE} SET status = 'new' {mine} 'scheduled'", [job_id])  # noqa: S608
        cursor.execute(
            f"UPDATE {TABLE} {ownership(connection, wanted.process_id)} {mine} 'new'",
            [wanted.token, wanted.lease, wanted.worker_id, job_id],
        )
        if cursor.rowcount:
            cursor.execute(f"SELECT {CLAIMED_COLUMNS} FROM {TABLE} WHERE id = %s", [job_id])  # noqa: S608
            return Claimed(*cursor.fetchone())
    return _claim_limited(using, job_id, wanted, early)


def _claim_limited(using: str, job_id: int, wanted: Claim, early: bool) -> Claimed | None:
    from qorworker.models.limits import limits_of

    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT limit_key FROM {TABLE} WHERE id = %s AND limit_key > '' AND status IN ('new', 'scheduled')",  # noqa: S608
            [job_id],
        )
        row = cursor.fetchone()
    return next(iter(take(using, row[0], limits_of(row[0]), [job_id], wanted, early=early)), None) if row else None
