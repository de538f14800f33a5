"""INSERTs with fixed SQL through Django's cursor: no queue on a Django connection can be much faster."""

from __future__ import annotations

import json

from django.db import connection, transaction
from django.utils import timezone

COLUMNS = "(name, queue, priority, state, arguments, run_after, created_at)"


def insert_one(number: int) -> None:
    now = timezone.now()
    row = ["again", "default", json.dumps({"number": number}), now, now]
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO benchjobs_bare {COLUMNS} VALUES (%s, %s, 0, 0, %s, %s, %s) RETURNING id", row)
        cursor.fetchone()


def insert_many(size: int) -> None:
    now = timezone.now()
    documents = [json.dumps({"number": number}) for number in range(size)]
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            source = "SELECT 'again', 'default', 0, 0, value, %s, %s FROM unnest(%s::jsonb[]) AS value"
            cursor.execute(f"INSERT INTO benchjobs_bare {COLUMNS} {source}", [now, now, documents])
        else:
            sql = f"INSERT INTO benchjobs_bare {COLUMNS} VALUES ('again', 'default', 0, 0, %s, %s, %s)"
            cursor.executemany(sql, [(document, now, now) for document in documents])
