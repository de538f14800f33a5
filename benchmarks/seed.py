"""``python -m benchmarks seed``: as many jobs as a project has after years, in minutes: made by the database itself.

A hundred job types, fifty people, a year; most jobs are done, some failed, some wait, a few run. Each that ended has an
attempt and ten lines of log, every hundredth a table of results; the newest failed one has a long log, for its page.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from django.contrib.auth import get_user_model
from django.db import connection, models

TYPES, PEOPLE, LINES, ROWS, LONG_LOG = 100, 50, 10, 20, 2_000
CHUNK = 100_000  # jobs in one statement
NAME = "pages.type"


def main(jobs: int) -> None:
    import django
    from django.core.management import call_command

    from benchmarks.measure import fresh_database

    django.setup()
    fresh_database()
    call_command("migrate", verbosity=0)
    begun = time.monotonic()
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=OFF")
    seed(jobs)
    print(f"{jobs:,} jobs in {time.monotonic() - begun:.0f} s on {connection.vendor}", file=sys.stderr)


def seed(jobs: int) -> None:
    from qorworker.actions.summarising import summarise
    from qorworker.models import Attempt, AuditEntry, Job, LogLine, ResultsRow, Worker

    user = get_user_model()
    user.objects.bulk_create(user(username=f"person{number}", is_staff=True) for number in range(1, PEOPLE + 1))
    user.objects.create_superuser("root", password="root")
    Worker.objects.start(name="web-1:7", host="web-1", process_id=7, version="1", slots=2, queues=["default"])
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE numbers (n INTEGER PRIMARY KEY){' ENGINE=MEMORY' if is_mysql() else ''}")
        cursor.execute("INSERT INTO numbers VALUES (1)")
        while (there := count(cursor)) < CHUNK:
            cursor.execute(f"INSERT INTO numbers SELECT n + {there} FROM numbers WHERE n + {there} <= {CHUNK}")
        for start in range(0, jobs, CHUNK):
            size = min(CHUNK, jobs - start)
            rows = f"(SELECT n + {start} AS n FROM numbers WHERE n <= {size}) AS j"
            ended = "n % 100 > 1"
            lines = f"{rows}, (SELECT n AS line FROM numbers WHERE n <= {LINES}) AS l WHERE {ended}"
            cells = f"{rows}, (SELECT n AS line FROM numbers WHERE n <= {ROWS}) AS l WHERE n % 100 = 7"
            fill(cursor, Job, rows, of_job(jobs))
            fill(cursor, Attempt, f"{rows} WHERE {ended}", of_attempt(jobs))
            fill(cursor, LogLine, lines, of_line(jobs))
            fill(cursor, ResultsRow, cells, of_results())
            fill(cursor, AuditEntry, f"{rows} WHERE n % 3 = 0", of_entry(jobs))
            print(f"{start + size:,} jobs", file=sys.stderr)
        long_story(cursor, jobs)
        cursor.execute("DROP TABLE numbers")
        summarise(connection.alias)
        settle(cursor)


def count(cursor) -> int:
    cursor.execute("SELECT COUNT(*) FROM numbers")
    return cursor.fetchone()[0]


def fill(cursor, model: type[models.Model], source: str, given: Mapping[str, str]) -> None:
    """One row for each of *source*: *given* as SQL, the other columns empty or with their default."""
    columns, values = [], []
    for field in model._meta.concrete_fields:
        if field.column not in given and (field.null or field.primary_key):
            continue
        columns.append(connection.ops.quote_name(field.column))
        values.append(given.get(field.column) or literal(field))
    cursor.execute(
        f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {source}"
    )


def literal(field) -> str:
    value = field.get_default()
    if isinstance(value, bool):
        return {True: "TRUE", False: "FALSE"}[value]
    if isinstance(value, (dict, list)):
        return as_json("'{}'" if isinstance(value, dict) else "'[]'")
    return str(value) if isinstance(value, int) else f"'{value or ''}'"


# What stands in the rows, as SQL about ``n``, the number of the job.


def of_job(jobs: int) -> dict[str, str]:
    status = f"""CASE WHEN n > {jobs - 20} THEN 'running'
        WHEN n % 100 = 0 THEN 'new' WHEN n % 100 = 1 THEN 'scheduled'
        WHEN n % 100 IN (2, 3, 4, 5) THEN 'exception' WHEN n % 200 = 6 THEN 'killed' WHEN n % 200 = 106 THEN 'cancelled'
        ELSE 'done' END"""
    has_started = f"n > {jobs - 20} OR n % 100 > 1"
    ended = f"n <= {jobs - 20} AND n % 100 > 1"
    return {
        "id": "n",
        "name": joined(f"'{NAME}'", f"n % {TYPES}"),
        "status": status,
        "arguments": as_json(joined("""'{"shop": "Berlin", "mode": "add", "number": '""", "n", "'}'")),
        "run_after": f"CASE WHEN n % 100 = 1 THEN {moment('86400 + n % 9000')} ELSE {moment(ago(jobs))} END",
        "enqueued_at": moment(ago(jobs)),
        "started_at": f"CASE WHEN {has_started} THEN {moment(ago(jobs) + ' + 1')} END",
        "last_attempted_at": f"CASE WHEN {has_started} THEN {moment(ago(jobs) + ' + 1')} END",
        "finished_at": f"CASE WHEN {ended} THEN {moment(ago(jobs) + ' + 1 + n % 600')} END",
        "attempt": f"CASE WHEN {has_started} THEN 1 ELSE 0 END",
        "attempt_token": f"CASE WHEN n > {jobs - 20} THEN 'token' END",
        "lease_expires_at": f"CASE WHEN n > {jobs - 20} THEN {moment('86400')} END",
        "progress": f"CASE WHEN {has_started} THEN 100 END",
        "error": f"CASE WHEN n <= {jobs - 20} AND n % 100 IN (2, 3, 4, 5) THEN "
        + joined("'ValueError: row '", "n % 9", "' has no price'")
        + " ELSE '' END",
        "log_lines": f"CASE WHEN n % 100 > 1 THEN {LINES} ELSE 0 END",
        "log_bytes": f"CASE WHEN n % 100 > 1 THEN {LINES * 60} ELSE 0 END",
        "results_rows": f"CASE WHEN n % 100 = 7 THEN {ROWS} ELSE 0 END",
        "created_by_id": f"CASE WHEN n % 3 = 0 THEN n % {PEOPLE} + 1 END",
    }


def of_attempt(jobs: int) -> dict[str, str]:
    return {
        "job_id": "n",
        "number": "1",
        "worker_name": "'web-1:7'",
        "started_at": moment(ago(jobs) + " + 1"),
        "finished_at": moment(ago(jobs) + " + 1 + n % 600"),
        "outcome": "CASE WHEN n % 100 IN (2, 3, 4, 5) THEN 'failed' ELSE 'done' END",
        "exception_class": "CASE WHEN n % 100 IN (2, 3, 4, 5) THEN 'builtins.ValueError' ELSE '' END",
        "counted": "TRUE",
    }


def of_line(jobs: int) -> dict[str, str]:
    return {
        "job_id": "n",
        "number": "line",
        "attempt": "1",
        "at": moment(ago(jobs) + " + 1 + line"),
        "level": "CASE WHEN line = 7 THEN 30 ELSE 20 END",
        "text": joined("'product TEA-'", "n", "' imported, number '", "line", "' of ten in this file'"),
    }


def of_results() -> dict[str, str]:
    cells = joined("""'[{"value": "TEA-'""", "line", """'", "error": ""}, {"value": '""", "n", """', "error": ""}]'""")
    return {"job_id": "n", "number": "line", "attempt": "1", "cells": as_json(cells)}


def of_entry(jobs: int) -> dict[str, str]:
    return {
        "at": moment(ago(jobs)),
        "action": "'enqueue'",
        "job_id": "n",
        "job_name": joined(f"'{NAME}'", f"n % {TYPES}"),
        "user_id": joined(f"n % {PEOPLE} + 1"),
        "user_name": joined("'person'", f"n % {PEOPLE} + 1"),
        "origin": "'admin'",
    }


def long_story(cursor, jobs: int) -> None:
    """The job whose page is measured: the newest that failed, with a long log and many results."""
    from qorworker.models import Job, LogLine, ResultsRow

    number = Job.objects.failed().newest_first().values_list("pk", flat=True)[0]
    lines = f"(SELECT {number} AS n, n AS line FROM numbers WHERE n > {LINES} AND n <= {LONG_LOG}) AS l"
    fill(cursor, LogLine, lines, of_line(jobs))
    fill(cursor, ResultsRow, f"(SELECT {number} AS n, n AS line FROM numbers WHERE n <= 500) AS l", of_results())
    Job.objects.filter(pk=number).update(log_lines=LONG_LOG, results_rows=500)


def settle(cursor) -> None:
    """Statistics, and the next number, as in a database in service."""
    if connection.vendor == "postgresql":
        cursor.execute("SELECT setval(pg_get_serial_sequence('qorworker_job', 'id'), MAX(id)) FROM qorworker_job")
        cursor.execute("VACUUM ANALYZE")
    else:
        cursor.execute("ANALYZE TABLE qorworker_job" if is_mysql() else "ANALYZE")


# The dialects.


def is_mysql() -> bool:
    return connection.vendor == "mysql"


def ago(jobs: int) -> str:
    """Seconds from now to when job *n* was made, of a year."""
    return f"(n - {jobs}) * {365 * 86400 / jobs:.3f}"


def moment(seconds: str) -> str:
    if connection.vendor == "postgresql":
        return f"now() + make_interval(secs => {seconds})"
    if is_mysql():
        return f"UTC_TIMESTAMP(6) + INTERVAL {seconds} SECOND"
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', ({seconds}) || ' seconds')"


def joined(*parts: str) -> str:
    if is_mysql():
        return f"CONCAT({', '.join(parts)})"
    return " || ".join(part if part.startswith("'") else f"CAST({part} AS TEXT)" for part in parts)


def as_json(text: str) -> str:
    return f"({text})::jsonb" if connection.vendor == "postgresql" else text
