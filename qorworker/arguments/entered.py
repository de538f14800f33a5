"""Which user entered a stored secret, and when it may stay in its place. All processes.

A secret belongs to the user who entered it. Another user who kept it and changed the address beside it would have it
sent to a place of their choice. So a secret stays only if the user who saves has entered it, or if nothing else
changes. Code is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from qorworker.arguments import codec
from qorworker.exceptions import InvalidArguments

FormFields = Mapping[str, forms.Field]
Stored = Mapping[str, Any]


def key_of(person: Any) -> str:
    """Return what is stored beside the secrets that *person*, a user or None for code, enters."""
    return "" if person is None else str(person.pk)


def entered_by(stored: Any, person: Any) -> bool:
    """Return whether *person* entered this stored secret."""
    return bool(stored.get(codec.ENTERED_BY) == str(person.pk))


def of_others(form_fields: FormFields, before: Stored, after: Stored, person: Any) -> list[str]:
    """Return the names of the secrets that *after* keeps from *before*, but that *person* must enter again.

    Empty if the user has entered them, if no other argument differs, or if *person* is None: code is trusted.
    """
    if person is None:
        return []
    kept = [name for name, field in form_fields.items() if codec.is_secret(field) and _is_kept(before, after, name)]
    foreign = [name for name in kept if not entered_by(before[name], person)]
    if not foreign or all(
        _is_same(field, name, before, after) for name, field in form_fields.items() if name not in foreign
    ):
        return []
    return foreign


def check(job_type: str, form_fields: FormFields, before: Stored, after: Stored, person: Any) -> None:
    """Raise ``InvalidArguments`` if *person* may not store *after* in the place of *before*."""
    if names := of_others(form_fields, before, after, person):
        raise InvalidArguments(job_type, {name: [enter_again()] for name in names})


def enter_again() -> str:
    return _("Enter this again: another person entered the stored value, and other arguments are changed.")


def _is_kept(before: Stored, after: Stored, name: str) -> bool:
    stored = before.get(name)
    return isinstance(stored, Mapping) and bool(stored.get(codec.SECRET)) and after.get(name) == stored


def _is_same(field: forms.Field, name: str, before: Stored, after: Stored) -> bool:
    if name not in before or name not in after:
        return False
    first, second = before[name], after[name]
    if first == second or codec.is_secret(field):
        return bool(first == second)
    try:
        return bool(codec.identity(field, name, first) == codec.identity(field, name, second))
    except (ValidationError, ArithmeticError):  # stored values may be anything
        return False
