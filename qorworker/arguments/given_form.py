"""What is special about a form that a project gives with ``@job(form=…)``: it is used as a whole. All processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files import File
from django.utils.translation import gettext as _

from qorworker.arguments import codec

Errors = dict[str, list[str]]


def clean(form_class: type[Any], values: Mapping[str, Any]) -> tuple[dict[str, Any], Errors]:
    """Clean *values* with the whole form, its ``clean`` included, as if they had been typed in.

    :returns: the cleaned data, and the errors by field.
    """
    data: dict[str, Any] = {}
    form = form_class(data=data)
    for name, field in form.fields.items():
        data[form.add_prefix(name)] = values.get(name)
        field.widget = _AsGiven()
    errors = {name: [str(message) for message in messages] for name, messages in form.errors.items()}
    return dict(form.cleaned_data), errors


def initial(field: forms.Field) -> Any:
    """Return the value of an argument that was left out: the initial value of its field."""
    value = field.initial() if callable(field.initial) else field.initial
    is_checkbox = isinstance(field, forms.BooleanField) and not isinstance(field, forms.NullBooleanField)
    return False if value is None and is_checkbox else value


def unreadable(fields: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> Errors:
    """Return the errors of the stored values that the form's own fields do not take.

    A form may turn values into something else. This is found before the job is stored, not when it runs.
    """
    errors: Errors = {}
    for name, field in fields.items():
        if isinstance(stored[name], File) or codec.is_secret(field):
            continue
        try:
            codec.load(field, name, stored[name])
        except ValidationError as error:
            text = _("The form changed the value to one that its own field refuses: %(error)s")
            errors[name] = [text % {"error": message} for message in error.messages]
    return errors


class _AsGiven(forms.Widget):
    """Hands a Python value to its field; ``Widget`` itself reads the value under the field's name."""
