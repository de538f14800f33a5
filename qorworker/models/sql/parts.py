"""What the statements have in common, and how they are sent. All processes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from django.db import DataError
from django.db.backends.base.base import BaseDatabaseWrapper

TABLE = "qorworker_job"
# The status, and the rest, of a job that waits for its time, or for another attempt.
WAITS = (
    "'scheduled' AND pause_requested_at IS NULL AND waits_for_jobs = FALSE AND waits_for_answer IS NOT TRUE"
    " AND waits_for_approval = FALSE"
)
BATCH = 500  # rows in one statement: SQLite takes 32,766 parameters, and more rows make nothing faster
SMALL = 256 * 1024  # bytes in one statement that every database takes
LARGE = 16 * 1024 * 1024  # and at most, where the database has no limit of its own
HEAD = 16 * 1024  # bytes of a statement beside its values

Item = TypeVar("Item")


class Written(NamedTuple):
    """A job whose attempt was updated or ended."""

    id: int
    status: str
    has_dependents: object  # true if other jobs wait for it, or have waited: also if they came after its claim


def marks(items: Collection[Any]) -> str:
    """Return a placeholder for each of *items*."""
    return ", ".join(["%s"] * len(items))


def portions(
    connection: BaseDatabaseWrapper, items: Sequence[Item], weigh: Callable[[Item], int]
) -> Iterator[list[Item]]:
    """Yield *items* in portions that fit into one statement each, by number and by bytes.

    :raises django.db.DataError: for an item that is too large by itself.
    """
    for start in range(0, len(items), BATCH):
        some = list(items[start : start + BATCH])
        weights = [weigh(item) for item in some]
        if sum(weights) <= SMALL:
            yield some
        else:
            yield from _by_weight(some, weights, most_bytes(connection))


def _by_weight(items: Sequence[Item], weights: Sequence[int], most: int) -> Iterator[list[Item]]:
    portion: list[Item] = []
    total = 0
    for item, weight in zip(items, weights, strict=True):
        if weight > most:
            raise DataError(f"A row of {weight} bytes is larger than the database takes, which is {most}.")
        if total + weight > most:
            yield portion
            portion, total = [], 0
        portion.append(item)
        total += weight
    yield portion


def weight(values: Collection[Any]) -> int:
    """Return how many bytes these values take in a statement at most. MariaDB's client doubles quotes and slashes."""
    total = 32 * len(values)
    for value in values:
        if isinstance(value, str):
            total += (2 if value.isascii() else 4) * len(value)
    return total


_packets: WeakKeyDictionary[Any, int] = WeakKeyDictionary()  # raw connection -> bytes


def most_bytes(connection: BaseDatabaseWrapper) -> int:
    """Return how many bytes of values one statement may have. MariaDB is queried once for each connection."""
    if connection.vendor != "mysql":
        return LARGE
    connection.ensure_connection()
    raw: Any = connection.connection
    if raw not in _packets:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            _packets[raw] = int(cursor.fetchone()[0])
    return min(LARGE, _packets[raw] - HEAD)


@lru_cache(maxsize=512)
def numbered(sql: str) -> str:
    """Return a statement with the placeholders that PostgreSQL itself knows: ``$1``, ``$2`` and so on."""
    first, *others = sql.split("%s")
    return "".join([first, *(f"${number}{text}" for number, text in enumerate(others, 1))]).replace("%%", "%")


@lru_cache(maxsize=512)
def marked(sql: str) -> str:
    """Return a statement with the placeholders that SQLite itself knows."""
    return sql.replace("%s", "?").replace("%%", "%")


def fetch(connection: BaseDatabaseWrapper, sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
    """Run a statement that is sent again and again, and return its rows.

    Django's cursors work on its text each time: that for SQLite looks for placeholders, that for PostgreSQL puts the
    values into it, so no two texts are the same. PostgreSQL takes longer to plan it than to run it, so it is prepared
    if the connection allows that.
    """
    # As Django does before it makes a cursor.
    connection.validate_thread_sharing()
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    raw: Any = connection.connection
    cursor: Any
    if connection.queries_logged:  # only Django's own cursors do that
        cursor = connection.cursor()
    elif connection.vendor == "sqlite":
        cursor, sql = raw.cursor(), marked(sql)
        cursor = connection.make_cursor(cursor)
    elif getattr(raw, "prepare_threshold", None) is not None:
        # A usual cursor of psycopg parses a statement of more than 4,096 characters anew each time, which takes longer
        # than sending it.
        from psycopg import RawCursor  # noqa: PLC0415

        cursor, sql = RawCursor(raw), numbered(sql)
        cursor = connection.make_cursor(cursor)
    else:
        cursor = connection.cursor()
    with cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())
