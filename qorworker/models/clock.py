"""The clock of the database, by which all leases, due times and ends are measured. All processes."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.conf import settings
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone


def _stored_offset(connection: BaseDatabaseWrapper) -> float:
    """Return by how many seconds datetimes, as this connection stores them, are ahead of UTC: 0 in nearly every
    project.
    """
    zone = connection.timezone if settings.USE_TZ else timezone.get_default_timezone()
    if zone is dt.UTC:
        return 0.0
    offset = dt.datetime.now(zone or dt.UTC).utcoffset()
    return offset.total_seconds() if offset else 0.0


def now_sql(connection: BaseDatabaseWrapper, plus: str = "") -> str:
    """Return SQL for the current time, in the form in which Django stores datetimes in this database.

    In SQLite they are compared as texts, so it has six digits as well. Django leaves them out if all are 0.

    MariaDB's own NOW() would follow the zone of the server, which Django never sets, so this names UTC.

    :param plus: SQL, a number or a placeholder, for seconds to add.
    """
    vendor = connection.vendor
    if vendor == "postgresql":
        return "STATEMENT_TIMESTAMP()" + (f" + make_interval(secs => {plus})" if plus else "")
    offset = _stored_offset(connection)
    seconds = " + ".join(part for part in (plus, str(offset) if offset else "") if part)
    if vendor == "mysql":
        return "UTC_TIMESTAMP(6)" + (f" + INTERVAL ROUND(({seconds}) * 1000000) MICROSECOND" if seconds else "")
    if vendor == "sqlite":
        later = f", PRINTF('%%+.3f seconds', {seconds})" if seconds else ""
        return f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f000', 'NOW'{later})"
    raise NotImplementedError(f"qorworker does not know the clock of {vendor} databases.")


class DatabaseNow(models.Func):
    """The current time of the database, plus ``seconds``, as an expression for queries."""

    output_field = models.DateTimeField()

    def __init__(self, seconds: float = 0) -> None:
        super().__init__()
        self.seconds = float(seconds)

    def as_sql(
        self, compiler: Any, connection: BaseDatabaseWrapper, *args: Any, **context: Any
    ) -> tuple[str, tuple[()]]:
        return now_sql(connection, repr(self.seconds) if self.seconds else ""), ()


def database_now(using: str) -> dt.datetime:
    """Return the current time of the database *using*."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {now_sql(connection)}", [])
        return as_datetime(connection, cursor.fetchone()[0])


def database_timestamp(using: str) -> float:
    """Return the current time of the database *using* in seconds since 1970."""
    return aware(database_now(using)).timestamp()


def as_datetime(connection: BaseDatabaseWrapper, value: Any) -> dt.datetime:
    """Return a time from the database's driver as a model field would return it."""
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value)
    if settings.USE_TZ and timezone.is_naive(value):
        value = value.replace(tzinfo=connection.timezone or dt.UTC)
    return value  # type: ignore[no-any-return]


def stored(moment: dt.datetime) -> dt.datetime:
    """Return an aware time as model fields take it in this project."""
    return moment if settings.USE_TZ else timezone.make_naive(moment, timezone.get_default_timezone())


def check_zone(moment: dt.datetime, what: str) -> None:
    """Raise ``ValueError`` if *moment* has a zone where the project has none, or the other way round."""
    if timezone.is_aware(moment) is not settings.USE_TZ:
        needed = "with a zone, because USE_TZ is on" if settings.USE_TZ else "without a zone"
        raise ValueError(f"{what} needs a time {needed}.")


def aware(value: dt.datetime) -> dt.datetime:
    """Return a time from a model field in UTC."""
    if timezone.is_naive(value):
        value = timezone.make_aware(value, timezone.get_default_timezone())
    return value.astimezone(dt.UTC)
