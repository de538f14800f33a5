"""The kinds of index that the tables of jobs need. All processes."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q


class PartialIndex(models.Index):
    """An index of the rows that match ``only``, or of all rows where the database has no partial indexes.

    It begins with the columns in ``only``: so the full index serves the same queries, and SQLite prefers the partial
    one. On PostgreSQL these columns are left out. It drops a condition that the index implies, and could then not use
    the columns behind it to find its place.

    Without *with_status* a full index has no status. That does for a column that is mostly null, and spares all other
    rows an entry that changes with their status.
    """

    def __init__(self, *, only: Q, with_status: bool = True, **options: Any) -> None:
        self.only, self.with_status = only, with_status
        super().__init__(**options)

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path, expressions, options = super().deconstruct()
        if not self.with_status:
            options["with_status"] = False
        return path, expressions, {**options, "only": self.only}

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **options: Any) -> Any:
        connection = schema_editor.connection
        first = [] if connection.vendor == "postgresql" else self._conditions()
        condition = self.only if connection.features.supports_partial_indexes else None
        if condition is None and not self.with_status:
            first = [name for name in first if name != "status"]
        index = models.Index(name=self.name, fields=[*first, *self.fields], condition=condition)
        return index.create_sql(model, schema_editor, using, **options)

    def _conditions(self) -> list[str]:
        """Return the fields in ``only`` that the index does not have anyway."""
        named = [str(child[0]).partition("__")[0] for child in self.only.children if isinstance(child, tuple)]
        return [name for name in named if name not in self.fields]


class PartialUniqueConstraint(models.UniqueConstraint):
    """A unique index of the rows that match ``only``, or of all rows where the database has no partial indexes.

    The other rows must then differ by a null. The index is partial to be small, not to leave out rows that clash.
    """

    def __init__(self, *, only: Q, **options: Any) -> None:
        self.only = only
        super().__init__(**options)

    def deconstruct(self) -> Any:
        path, expressions, options = super().deconstruct()
        return path, expressions, {**options, "only": self.only}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PartialUniqueConstraint) and self.deconstruct() == other.deconstruct()

    __hash__ = None  # type: ignore[assignment]

    def constraint_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._for(schema_editor).constraint_sql(model, schema_editor)

    def create_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._for(schema_editor).create_sql(model, schema_editor)

    def remove_sql(self, model: Any, schema_editor: Any) -> Any:
        return self._for(schema_editor).remove_sql(model, schema_editor)

    def _for(self, schema_editor: Any) -> models.UniqueConstraint:
        condition = self.only if schema_editor.connection.features.supports_partial_indexes else None
        return models.UniqueConstraint(name=self.name, fields=self.fields, condition=condition)
