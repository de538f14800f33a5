"""What has changed between a job's stored arguments and today's form. Web, commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from qorworker.arguments import codec


@dataclass(frozen=True)
class Drift:
    """Names of the fields that are new, that are gone, and whose stored value no longer fits."""

    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.changed)

    def explain(self) -> str:
        """Return sentences for users; empty if nothing has changed."""
        sentences = [_("The field “%s” is new.") % name for name in self.new]
        sentences += [_("The field “%s” no longer exists.") % name for name in self.gone]
        sentences += [_("The value of “%s” no longer fits.") % name for name in self.changed]
        return " ".join(sentences)


def drift_of(form_fields: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> Drift:
    return Drift(
        new=tuple(name for name in form_fields if name not in stored),
        gone=tuple(name for name in stored if name not in form_fields),
        changed=tuple(
            name for name, field in form_fields.items() if name in stored and not _fits(field, name, stored[name])
        ),
    )


def _fits(field: forms.Field, name: str, stored: Any) -> bool:
    if codec.is_secret(field):
        return stored is None or (isinstance(stored, Mapping) and codec.SECRET in stored)
    if isinstance(field, forms.FileField):
        return stored is None or (isinstance(stored, Mapping) and codec.FILE in stored)
    try:
        codec.load(field, name, stored)
    except ValidationError:
        return False
    return True
