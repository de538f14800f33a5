"""Counts that never look at more rows than people want to know of, several of them in one statement. Web."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import QuerySet

CAP = 10_000  # above this a number is not counted on, and a list not paged further


def capped_count(rows: QuerySet[Any]) -> int:
    """How many, up to ``CAP + 1``."""
    return rows.order_by()[: CAP + 1].count()


def count_each(counted: Mapping[str, QuerySet[Any]]) -> dict[str, int]:
    """How many of each, up to ``CAP + 1``, in one statement."""
    using = next(iter(counted.values())).db
    parts, values = _each(counted, using)
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", values)
        return dict(zip(counted, cursor.fetchone(), strict=True))


def count_groups(
    rows: QuerySet[Any, Any], by: Sequence[str], counted: Mapping[str, QuerySet[Any]]
) -> tuple[dict[tuple[Any, ...], int], dict[str, int]]:
    """``count_each``, and in the same statement how many there are for each value of *by*.

    *rows* are cut off after ``CAP + 1``, so they bring their order.
    """
    using, names = rows.db, [connections[rows.db].ops.quote_name(name) for name in by]
    inner, values = sql_of(rows.values(*by)[: CAP + 1], using)
    parts, more = _each(counted, using)
    none = ", ".join(["NULL"] * len(by))
    one_by_one = [f"SELECT {place}, {none}, {part}" for place, part in enumerate(parts, 1)]
    columns = ", ".join(names)
    grouped = [f"SELECT 0, {columns}, COUNT(*) FROM ({inner}) q GROUP BY {columns}"] if inner else []  # noqa: S608
    with connections[using].cursor() as cursor:
        cursor.execute(" UNION ALL ".join([*grouped, *one_by_one]), [*values, *more])
        found = cursor.fetchall()
    groups = {tuple(row[1:-1]): row[-1] for row in found if not row[0]}
    keys = list(counted)
    return groups, {keys[row[0] - 1]: row[-1] for row in found if row[0]}


def _each(counted: Mapping[str, QuerySet[Any]], using: str) -> tuple[list[str], list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    for rows in counted.values():
        sql, some = sql_of(rows.order_by().values("pk")[: CAP + 1], using)
        parts.append(f"(SELECT COUNT(*) FROM ({sql}) q)" if sql else "0")  # noqa: S608
        values += some
    return parts, values


def sql_of(rows: QuerySet[Any, Any], using: str) -> tuple[str, list[Any]]:
    """The statement of a query and its parameters; an empty one for a query that can find nothing."""
    try:
        sql, values = rows.query.get_compiler(using).as_sql()
    except EmptyResultSet:
        return "", []
    return sql, list(values)
