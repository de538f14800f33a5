"""The search in the cells of results rows, as an expression for ``filter``. Web.

JSON has a text for each cell. To ask for one after the other would parse the whole row each time.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Func
from django.db.models.sql.compiler import SQLCompiler

# The cells of one row as a table with the columns ``value`` and ``error``, and how a database compares a text.
TABLES = {
    "postgresql": "jsonb_to_recordset(%(cells)s) AS cell (value text, error text)",
    "sqlite": (
        "(SELECT json_extract(value, '$.value') AS value, json_extract(value, '$.error') AS error"
        " FROM json_each(%(cells)s)) AS cell"
    ),
    "mysql": (
        "JSON_TABLE(%(cells)s, '$[*]' COLUMNS (value LONGTEXT PATH '$.value', error LONGTEXT PATH '$.error')) AS cell"
    ),
}
LIKE = {
    "postgresql": "UPPER(cell.%s) LIKE UPPER(%%s)",
    "sqlite": r"cell.%s LIKE %%s ESCAPE '\'",
    "mysql": "cell.%s LIKE %%s",
}


class HasText(Func):
    """Whether the value or the error of any cell contains a text; capital letters make no difference.

    :param cells: the column with the cells of a row.
    """

    output_field = BooleanField()
    conditional = True

    def __init__(self, cells: str, text: str) -> None:
        super().__init__(cells)
        self.text = text

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *_: Any, **__: Any) -> tuple[str, Any]:
        """Return the condition and its parameters."""
        cells, parameters = compiler.compile(self.source_expressions[0])
        table = TABLES[connection.vendor] % {"cells": cells}
        like = " OR ".join(LIKE[connection.vendor] % column for column in ("value", "error"))
        pattern = f"%{connection.ops.prep_for_like_query(self.text)}%"
        return f"EXISTS (SELECT 1 FROM {table} WHERE {like})", (*parameters, pattern, pattern)  # noqa: S608
