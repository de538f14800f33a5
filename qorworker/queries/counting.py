"""Counts that never read more rows than a page needs, several of them in one statement. Web, commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import QuerySet

CAP = 10_000  # no count and no list goes further


def capped_count(rows: QuerySet[Any]) -> int:
    """Return the number of *rows*, up to ``CAP + 1``."""
    return rows.order_by()[: CAP + 1].count()


def count_each(counted: Mapping[str, QuerySet[Any]]) -> dict[str, int]:
    """Return the number of rows of each query, up to ``CAP + 1``, by one statement."""
    using = next(iter(counted.values())).db
    parts, values = _each(counted, using)
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", values)
        return dict(zip(counted, cursor.fetchone(), strict=True))


def count_groups(
    rows: QuerySet[Any, Any], by: Sequence[str], counted: Mapping[str, QuerySet[Any]]
) -> tuple[dict[tuple[Any, ...], int], dict[str, int]]:
    """Return what ``count_each`` returns, and the number of rows for each value of *by*, by one statement.

    :param rows: the rows to group, ordered: they are cut off after ``CAP + 1``.
    """
    using, names = rows.db, [connections[rows.db].ops.quote_name(name) for name in by]
    inner, values = sql_of(rows.values(*by)[: CAP + 1], using)
    parts, more = _each(counted, using)
    none = ", ".join(["NULL"] * len(by))
    one_by_one = " UNION ALL ".join(f"SELECT {place}, {none}, {part}" for place, part in enumerate(parts, 1))
    columns = ", ".join(names)
    grouped = f"SELECT 0, {columns}, COUNT(*) FROM ({inner}) q GROUP BY {columns}" if inner else ""  # noqa: S608
    rows_read = rows_of("{}", [(grouped, values), (one_by_one, more)], using)
    groups = {tuple(row[1:-1]): row[-1] for row in rows_read if not row[0]}
    keys = list(counted)
    return groups, {keys[row[0] - 1]: row[-1] for row in rows_read if row[0]}


def _each(counted: Mapping[str, QuerySet[Any]], using: str) -> tuple[list[str], list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    for rows in counted.values():
        sql, some = sql_of(rows.order_by().values("pk")[: CAP + 1], using)
        parts.append(f"(SELECT COUNT(*) FROM ({sql}) q)" if sql else "0")  # noqa: S608
        values += some
    return parts, values


def rows_of(statement: str, parts: Iterable[tuple[str, list[Any]]], using: str) -> list[Any]:
    """Return the rows of *statement* with the union of *parts* in the place of ``{}``; none if all parts are empty."""
    statements = [(sql, values) for sql, values in parts if sql]
    if not statements:
        return []  # a database refuses an empty statement
    with connections[using].cursor() as cursor:
        union = " UNION ALL ".join(sql for sql, _values in statements)
        cursor.execute(statement.format(union), [value for _sql, values in statements for value in values])
        return list(cursor.fetchall())


def sql_of(rows: QuerySet[Any, Any], using: str) -> tuple[str, list[Any]]:
    """Return the statement of a query and its parameters; an empty statement if the query cannot match a row."""
    try:
        sql, values = rows.query.get_compiler(using).as_sql()
    except EmptyResultSet:
        return "", []
    return sql, list(values)
