"""Finds missing options of SQLite in settings and file, without a query. Workers, and the checks of Django."""

from __future__ import annotations

import re
from typing import Any

WAL_COMMAND = re.compile(r"journal_mode\s*=\s*['\"]?wal\b", re.IGNORECASE)
VERSIONS = slice(18, 20)  # of the file format, for writing and reading; two is write-ahead logging
UNWRITABLE = ("attempt to write a readonly database", "unable to open database file")
MEMORY = re.compile(r":memory:|mode=memory")


def missing_options(connection: Any) -> list[str]:
    """Return what to add to ``OPTIONS`` of this connection, as settings code. Empty for other databases."""
    if connection.vendor != "sqlite" or MEMORY.search(str(connection.settings_dict["NAME"])):
        return []
    options = connection.settings_dict["OPTIONS"]
    missing = []
    if not WAL_COMMAND.search(str(options.get("init_command", ""))) and not _keeps_wal(connection):
        missing.append('"init_command": "PRAGMA journal_mode=WAL;"')
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        missing.append('"transaction_mode": "IMMEDIATE"')
    return missing


def unwritable(connection: Any, error: BaseException) -> str:
    """Return what a file needs that cannot be written or opened, if *error* came of that; else an empty text."""
    if connection.vendor != "sqlite" or not str(error).startswith(UNWRITABLE):
        return ""
    return (
        f"The SQLite file {connection.settings_dict['NAME']} cannot be written ({error}): its folder has to exist, and"
        " this user needs the right to write to the folder and to all files of the database in it."
    )


def _keeps_wal(connection: Any) -> bool:
    try:
        with open(connection.settings_dict["NAME"], "rb") as file:
            return file.read(VERSIONS.stop)[VERSIONS] == b"\2\2"
    except OSError:
        return False  # it does not exist yet
