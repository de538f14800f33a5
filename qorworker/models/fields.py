"""The columns for which Django has no field. All processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.fields.json import KeyTransform

from qorworker.models.refusals import fit_of

if TYPE_CHECKING:
    CharField = models.CharField[str, str]
else:
    CharField = models.CharField


class ArgumentsField(models.JSONField):
    """JSON that is always read as an object, whatever the column holds, so that one row cannot break a list.

    A worker reads the text itself, and refuses anything else.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        loaded = super().from_db_value(value, expression, connection)
        return loaded if isinstance(loaded, dict) or isinstance(expression, KeyTransform) else {}

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


class RemarkField(CharField):
    """A line of text by users or programs. Characters that the database cannot store become escapes; no text is
    refused.
    """

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if isinstance(value, str) and not value.isascii():
            fit = fit_of(connection.alias, self.model._meta.db_table, self.column)
            value = fit(value)[: self.max_length] if fit else value
        return super().get_db_prep_save(value, connection)

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs
