"""How many places each key of a limit has left, counted from the rows. All processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections

from qorworker.definitions.limits import Limits, Rate
from qorworker.models.clock import as_datetime, now_sql
from qorworker.models.sql.parts import TABLE, marks, portions


@dataclass(frozen=True, slots=True)
class Places:
    """How many jobs of a key may start now, how many run, and when the rate lets the next one start."""

    free: int
    running: int
    wait: float | None = None  # seconds; None: its rate is not used up


def places(using: str, limits: Mapping[str, Limits]) -> dict[str, Places]:
    """Return the places of each of these keys, by the rows and by the clock of the database."""
    running = _running(using, [key for key, each in limits.items() if each.max_concurrency is not None])
    rated = {key: each.rate for key, each in limits.items() if each.rate is not None}
    starts = _starts(using, rated) if rated else {}
    result: dict[str, Places] = {}
    for key, each in limits.items():
        room = each.max_concurrency - running.get(key, 0) if each.max_concurrency is not None else 2**31
        wait = None
        if each.rate is not None:
            started, wait = starts[key]
            room = min(room, each.rate.count - started)
        result[key] = Places(max(0, room), running.get(key, 0), wait)
    return result


def _running(using: str, keys: Sequence[str]) -> dict[str, int]:
    if not keys:
        return {}
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT limit_key, COUNT(*) FROM {TABLE}"  # noqa: S608
            f" WHERE status = 'running' AND limit_key > '' AND limit_key IN ({marks(keys)}) GROUP BY limit_key",
            list(keys),
        )
        return dict(cursor.fetchall())


def _starts(using: str, rates: Mapping[str, Rate]) -> dict[str, tuple[int, float | None]]:
    """Return for each key how many jobs started in its period, and, if that is the limit, the seconds until the next
    may.
    """
    connection = connections[using]
    now = now_sql(connection)
    since = f"FROM qorworker_limitstart WHERE limit_key = %s AND started_at > {now_sql(connection, '%s')}"
    last = f"SELECT started_at {since} ORDER BY started_at DESC LIMIT 1 OFFSET %s"
    one = f"SELECT %s AS place, (SELECT COUNT(*) {since}) AS starts, ({last}) AS first, {now} AS now"
    result: dict[str, tuple[int, float | None]] = {}
    for some in portions(connection, list(rates.items()), lambda item: len(one)):
        params: list[Any] = []
        for place, (key, rate) in enumerate(some):
            params += [place, key, -rate.seconds, key, -rate.seconds, rate.count - 1]
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join([one] * len(some)), params)
            rows = cursor.fetchall()
        for place, count, first, at in rows:
            key, rate = some[place]
            wait = None
            if first is not None:
                past = as_datetime(connection, at) - as_datetime(connection, first)
                wait = max(0.0, rate.seconds - past.total_seconds())
            result[key] = count, wait
    return result
