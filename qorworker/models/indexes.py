"""The kind of index that the tables of jobs need. Migrations only."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q


class PartialIndex(models.Index):
    """An index over the rows that fit ``only``; over all rows where the database has no partial indexes.

    Its first column is the one that ``only`` is about, so that the full index serves the same queries.
    """

    def __init__(self, *, only: Q, **options: Any) -> None:
        self.only = only
        super().__init__(**options)

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path, expressions, options = super().deconstruct()
        return path, expressions, {**options, "only": self.only}

    def _get_condition_sql(self, model: Any, schema_editor: Any) -> str | None:
        if not schema_editor.connection.features.supports_partial_indexes:
            return None
        return models.Index(fields=["id"], name=self.name, condition=self.only)._get_condition_sql(  # type: ignore[attr-defined, no-any-return]
            model, schema_editor
        )
