"""Stored arguments as the beginning of others: for another job, or for the same one, changed. All processes.

These functions are methods of ``Arguments``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from qorworker.arguments import codec, files
from qorworker.arguments.errors import Errors
from qorworker.exceptions import InvalidArguments

if TYPE_CHECKING:
    from qorworker.arguments.arguments import Arguments


def reuse(self: Arguments, stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of *stored* with *changes*, for ``clean``.

    :raises qorworker.exceptions.InvalidArguments: if *changes* lack a secret, which is never copied, or if an
        argument no longer exists.
    """
    values: dict[str, Any] = dict(changes)
    errors: Errors = {}
    for name, value in stored.items():
        if name in changes:
            continue
        field = self.fields.get(name)
        if name == self.row_keys_parameter:
            values[name] = value
            continue
        try:
            if field is None:
                raise ValidationError(_("This argument no longer exists."))
            values[name] = codec.reuse(field, value)
        except ValidationError as error:
            errors[name] = error.messages
    if errors:
        raise InvalidArguments(self.job_type, errors)
    return values


def change(
    self: Arguments, stored: Mapping[str, Any], changes: Mapping[str, Any], *, person: Any = None
) -> dict[str, Any]:
    """Return *stored* with *changes*, cleaned, as JSON again.

    Secrets and files that are not changed stay as they are. Stored values that are no longer arguments are dropped.

    :param stored: the arguments as the table stores them.
    :param changes: the new values, by name, as code passes them.
    :param person: the user who entered new secrets; None if they come from code.
    :raises qorworker.exceptions.InvalidArguments: if they do not fit.
    :raises qorworker.exceptions.SecretsUnavailable: if a secret cannot be decrypted.
    """
    names = {*self.fields, self.row_keys_parameter}
    unchanged = {name: value for name, value in stored.items() if name in names and name not in changes}
    private = {
        name: value
        for name, value in unchanged.items()
        if name in self.fields and codec.is_private(self.fields[name]) and value is not None
    }
    values: dict[str, Any] = {}
    errors: Errors = {}
    for name, value in private.items():
        try:
            values[name] = codec.load(self.fields[name], name, value)
        except ValidationError as error:
            errors[name] = error.messages
    try:
        if errors:
            raise InvalidArguments(self.job_type, errors)
        rest = {name: value for name, value in unchanged.items() if name not in private}
        return self.dump(self.clean({**values, **self.reuse(rest, changes)}), private, person=person)
    finally:
        files.close_all(values)
