"""The columns that Django has no field for. All processes."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.fields.json import KeyTransform


class ArgumentsField(models.JSONField):
    """JSON that is read as an object whatever somebody has put into the table: one row must not break a list.

    A worker reads the text itself, and refuses what is none.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        found = super().from_db_value(value, expression, connection)
        return found if isinstance(found, dict) or isinstance(expression, KeyTransform) else {}

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs
