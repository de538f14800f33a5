"""Checks of what the project gives to workers: transactions, connections, the clock. They need no worker. Command."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction

from qorworker.database import sqlite
from qorworker.database.call_guard import answer_limit
from qorworker.database.connection import Database
from qorworker.database.session_limits import is_pooled
from qorworker.management.selftest.trial import Trial
from qorworker.management.selftest.verdicts import Check, State, Verdict
from qorworker.models import database_now
from qorworker.models.clock import aware
from qorworker.system.processes import monotonic
from qorworker.text.documentation import see

FREE = 10  # connections to the server that should be free
SKEW = 1.0, 60.0  # seconds between two clocks: noted, and too much
SECOND, RATE = 1.0, 0.1  # seconds between two looks at a clock, and how many it may gain or lose meanwhile
MARGIN = 3.0  # seconds after its limit in which a lost call has to be given up


def rows_of(trial: Trial, sql: str) -> list[tuple[Any, ...]]:
    """Return what the database answers on a connection with the options of the project."""
    with connections[trial.using].cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def setting_of(trial: Trial, name: str) -> str:
    """Return a setting of the server, or of this session; an empty text if the server does not have it."""
    if connections[trial.using].vendor == "postgresql":
        return str(rows_of(trial, f"SELECT current_setting('{name}', true)")[0][0] or "")
    rows = rows_of(trial, f"SHOW VARIABLES LIKE '{name}'")
    return str(rows[0][1]) if rows else ""


# Transactions.


def isolation(trial: Trial) -> Verdict:
    connection = connections[trial.using]
    if not connection.settings_dict["AUTOCOMMIT"]:
        return Verdict("AUTOCOMMIT is off, so what a worker writes is not committed.", State.FAILED)
    if connection.vendor == "sqlite":
        return Verdict("SQLite lets one transaction write at a time.")
    names = {"postgresql": ["transaction_isolation"]}.get(connection.vendor, ["transaction_isolation", "tx_isolation"])
    with transaction.atomic(using=trial.using):  # psycopg chooses the level when a transaction begins
        level = next(filter(None, (setting_of(trial, name) for name in names)), "").replace("-", " ").upper()
    if level == "READ COMMITTED":
        return Verdict("Transactions run at READ COMMITTED.", figures={"level": level})
    text = f"Transactions run at {level}: more of them are refused and have to be repeated."
    return Verdict(text, State.WARNING, ISOLATION.remedy, {"level": level})


ISOLATION = Check("isolation", isolation, "Leave isolation level and AUTOCOMMIT at what Django sets by default.")


def durability(trial: Trial) -> Verdict:
    """Whether a commit that the database has acknowledged survives its crash."""
    vendor = connections[trial.using].vendor
    if vendor == "sqlite":
        level = int(rows_of(trial, "PRAGMA synchronous")[0][0])
        lax = "synchronous: off" if level == 0 else ""
    elif vendor == "postgresql":
        off = [name for name in ("fsync", "synchronous_commit") if setting_of(trial, name) == "off"]
        lax = f"{' and '.join(off)}: off" if off else ""
    else:
        value = setting_of(trial, "innodb_flush_log_at_trx_commit")
        lax = "" if value == "1" else f"innodb_flush_log_at_trx_commit: {value}"
    if not lax:
        return Verdict("What is committed survives a crash of the database.")
    return Verdict(
        f"A crash of the database may lose jobs that were accepted ({lax}).", State.WARNING, DURABILITY.remedy
    )


DURABILITY = Check("durability", durability, "Leave the setting at its default, unless lost jobs do no harm.")


# Connections.


def pool(trial: Trial) -> Verdict:
    connection = connections[trial.using]
    if connection.vendor == "sqlite":
        if missing := sqlite.missing_options(connection):
            text = "Workers and pages wait for each other's writes."
            return Verdict(text, State.WARNING, f"Add to the OPTIONS of the database: {', '.join(missing)}.")
        return Verdict("Readers and writers do not wait for each other.")
    if connection.vendor == "postgresql" and is_pooled(connection):
        text = "A pooler stands between workers and server: they poll, because notifications do not pass it."
        return Verdict(text, State.WARNING, "If jobs have to start at once, give workers an alias without the pooler.")
    most, used = COUNTED[connection.vendor](trial)
    figures = {"free": most - used, "most": most}
    if most - used < FREE:
        text = f"Of {most} connections to the server only {most - used} are free."
        return Verdict(text, State.WARNING, POOL.remedy, figures)
    return Verdict(f"Of {most} connections to the server {most - used} are free.", figures=figures)


def _counted_postgresql(trial: Trial) -> tuple[int, int]:
    most = int(setting_of(trial, "max_connections")) - int(setting_of(trial, "superuser_reserved_connections"))
    return most, int(rows_of(trial, "SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL")[0][0])


def _counted_mysql(trial: Trial) -> tuple[int, int]:
    used = rows_of(trial, "SHOW GLOBAL STATUS LIKE 'Threads_connected'")[0][1]
    return int(setting_of(trial, "max_connections")), int(used)


COUNTED: dict[str, Callable[[Trial], tuple[int, int]]] = {"postgresql": _counted_postgresql, "mysql": _counted_mysql}

POOL = Check(
    "connections",
    pool,
    "A worker needs two, and one for each of its processes whose job uses the database. Allow more on the server.",
)


# The clock.


def clock(trial: Trial) -> Verdict:
    skew, accuracy = _skew(trial)
    before, begun = aware(database_now(trial.using)), monotonic()
    time.sleep(SECOND)
    passed = (aware(database_now(trial.using)) - before).total_seconds()
    drift = abs(passed - (monotonic() - begun))
    figures = {"skew": round(skew, 3), "drift": round(drift, 3)}
    if drift > RATE + 2 * accuracy:
        text = f"While {SECOND:g} s passed here, {passed:.2f} s passed by the clock of the database."
        return Verdict(text, State.FAILED, figures=figures)
    text = f"The clocks of this machine and of the database differ by {abs(skew):.3f} seconds."
    if abs(skew) <= SKEW[0] + accuracy:
        return Verdict(text, figures=figures)
    return Verdict(text, State.FAILED if abs(skew) > SKEW[1] else State.WARNING, CLOCK.remedy, figures)


def _skew(trial: Trial) -> tuple[float, float]:
    """Return by how many seconds the database is ahead of this machine, and how accurate that is: of five looks the
    quickest one counts.
    """
    looks = []
    for _ in range(5):
        before = time.time()
        there = aware(database_now(trial.using)).timestamp()
        took = time.time() - before
        looks.append((took / 2, there - before - took / 2))
    accuracy, skew = min(looks)
    return skew, accuracy


CLOCK = Check("clock", clock, "Have the clocks of all machines set by NTP. Leases and due times follow the database's.")


# A connection that is lost without a word.


def silence(trial: Trial) -> Verdict:
    database = Database(trial.using)
    if database.connection.vendor == "sqlite":
        return Verdict("SQLite has no connection that could fall silent.", State.SKIPPED)
    with database.limited(), database.call_guard.watching():
        if database.call(monotonic(), lambda: database_now(trial.using)) is None:
            return Verdict("The database did not answer at once.", State.FAILED)
        with silenced(database):
            begun = monotonic()
            answer = database.call(begun, lambda: database_now(trial.using))
        noticed = monotonic() - begun
        if answer is not None or noticed > answer_limit() + MARGIN:
            return Verdict(f"The silence was not noticed for {noticed:.1f} seconds.", State.FAILED)
        begun = monotonic()
        trial.wait_for(
            lambda: database.call(monotonic(), lambda: database_now(trial.using)), 10, "No new connection was made"
        )
        again = monotonic() - begun
    text = f"A connection that fell silent was given up after {noticed:.1f} seconds, and replaced in {again:.1f}."
    return Verdict(text, figures={"noticed": round(noticed, 3), "replaced": round(again, 3)})


@contextmanager
def silenced(database: Database) -> Iterator[None]:
    """Let nothing that is sent on this connection arrive anywhere, and no answer come."""
    descriptor = database.connection.connection.fileno()
    ours, nobody = socket.socketpair()
    with socket.socket(fileno=os.dup(descriptor)), ours, nobody:  # the server sees the end of the connection afterwards
        os.dup2(ours.fileno(), descriptor, inheritable=False)
        database.call_guard.add(database.connection)
        yield


SILENCE = Check(
    "silence",
    silence,
    f"OPTIONS of the database may lift the limits. {see('howto/databases.md#connections-that-are-lost-silently')}",
)

CHECKS = (ISOLATION, DURABILITY, POOL, CLOCK, SILENCE)
