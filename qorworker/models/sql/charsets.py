"""Which characters the tables can store: databases that are not Unicode throughout refuse some. All processes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

Fit = Callable[[str], str]
UNICODE = {"utf8mb4", "utf16", "utf32", "sql_ascii"}
BASIC = {"utf8mb3", "utf8", "ucs2"}  # MariaDB's: up to three bytes for a character
NAMES = {"win1252": "cp1252", "koi8r": "koi8_r", "koi8u": "koi8_u"}
BEYOND = re.compile("[\U00010000-\U0010ffff]")  # what takes four bytes


def fitting(using: str, table: str = "", column: str = "") -> Fit | None:
    """Return a function that replaces by escapes the characters that a column, or one of all columns, cannot store.

    None if all characters can be stored. This queries the database, so callers keep the answer.
    """
    connection = connections[using]
    names = {"latin1": "cp1252", **NAMES} if connection.vendor == "mysql" else NAMES
    fits = [fit for name in _charsets(connection, table, column) if (fit := _fit(names.get(name, name))) is not None]
    if not fits:
        return None

    def fit_all(text: str) -> str:
        for fit in fits:
            text = fit(text)
        return text

    return fit_all


def _charsets(connection: BaseDatabaseWrapper, table: str, column: str) -> list[str]:
    if connection.vendor == "sqlite":
        return []
    if connection.vendor == "postgresql":  # it reports this to every new connection
        connection.ensure_connection()
        raw: Any = connection.connection
        encoding = str(raw.info.parameter_status("server_encoding")).lower()
        return [] if encoding == "utf8" else [encoding]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT character_set_name FROM information_schema.columns WHERE table_schema = DATABASE()"
            " AND table_name LIKE %s AND column_name LIKE %s AND character_set_name IS NOT NULL",
            [table or "qorworker\\_%", column or "%"],
        )
        names = [str(row[0]).lower() for row in cursor.fetchall()]
    # The connection has a character set, too; what it cannot carry does not arrive.
    options: Any = connection.settings_dict["OPTIONS"]
    return [*names, str(options.get("charset", "utf8mb4")).lower()]


def _fit(name: str) -> Fit | None:
    if name in UNICODE:
        return None
    if name in BASIC:
        return lambda text: BEYOND.sub(lambda match: f"\\U{ord(match[0]):08x}", text)
    try:
        codec = codecs.lookup(name).name
    except LookupError:
        codec = "ascii"
    return lambda text: text.encode(codec, "backslashreplace").decode(codec)
