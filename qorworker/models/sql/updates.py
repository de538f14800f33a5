"""How rows are changed by the hundred, each to values of its own: schedules and their slots. All processes."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.db import connections, models

from qorworker.models.sql.inserts import types_of
from qorworker.models.sql.parts import portions, weight


def update_each(
    using: str, model: type[models.Model], columns: Sequence[str], rows: Sequence[Sequence[Any]], also: str = ""
) -> None:
    """Change rows by their ids. No other transaction may change them meanwhile: the caller has locked or inserted them.

    :param rows: for each of them its id, then its values for *columns*.
    :param also: an assignment for all of them, as SQL.
    """
    connection = connections[using]
    adapt: Any = connection.ops.adapt_datetimefield_value

    def plain(value: dt.datetime) -> str:
        return str(adapt(value))

    for some in portions(connection, rows, weight):
        params: list[Any] = [json.dumps(some, default=plain, ensure_ascii=False)]
        if connection.vendor == "postgresql":
            params.append([row[0] for row in some])
        with connection.cursor() as cursor:
            cursor.execute(_text(using, model, tuple(columns), also), params)


@lru_cache
def _text(using: str, model: type[models.Model], columns: tuple[str, ...], also: str) -> str:
    """Return a statement whose first parameter has all rows as JSON.

    PostgreSQL gets the ids a second time so that rows are looked up by them, whatever the statistics say.
    """
    vendor, table, kinds = connections[using].vendor, model._meta.db_table, types_of(using, model)
    names = ("id", *columns)
    target = "old." if vendor == "mysql" else ""
    changes = ", ".join([*(f"{target}{name} = new.{name}" for name in columns), *filter(None, [also])])
    if vendor == "mysql":
        typed = ", ".join(f"{name} {_typed(kinds[name])} PATH '$[{place}]'" for place, name in enumerate(names))
        source = f"JSON_TABLE(%s, '$[*]' COLUMNS ({typed})) AS new"
        return f"UPDATE {source} STRAIGHT_JOIN {table} AS old ON old.id = new.id SET {changes}"  # noqa: S608
    if vendor == "postgresql":
        values = ", ".join(f"(value ->> {place})::{kinds[name]} AS {name}" for place, name in enumerate(names))
        source = "jsonb_array_elements(%s::jsonb) AS value) AS new WHERE old.id = new.id AND old.id = ANY(%s)"
    else:
        values = ", ".join(f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(names))
        source = "json_each(%s)) AS new WHERE old.id = new.id"
    return f"UPDATE {table} AS old SET {changes} FROM (SELECT {values} FROM {source}"  # noqa: S608


def _typed(kind: str) -> str:
    """Return a type of a column as JSON_TABLE takes it."""
    is_text = kind.startswith(("varchar", "longtext", "text"))
    return f"{kind.removesuffix(' AUTO_INCREMENT')}{' CHARACTER SET utf8mb4' if is_text else ''}"
