"""The limits of a field in words beside its own help: browsers show them only when they are exceeded. Web."""

from __future__ import annotations

from typing import Any

from django import forms
from django.template.defaultfilters import filesizeformat
from django.utils import formats
from django.utils.html import escape
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _

from qorworker.arguments.fields import ListField, UploadField
from qorworker.conf import settings

ENDS = (".", "!", "?", "…", "。", ">")  # of a sentence, or of what is marked up
NUMBERS = (forms.IntegerField, forms.FloatField, forms.DecimalField)


def tell_limits(form: forms.BaseForm) -> None:
    """Add the limits of the fields of *form* to their help; the form is one person's own copy."""
    for field in form.fields.values():
        limits, text = escape(_limits(field)), str(field.help_text).strip()
        if limits and limits not in text:
            between = "" if not text else " " if text.endswith(ENDS) else " · "
            # The help is printed as it is, as everywhere in the admin: it comes from code.
            field.help_text = mark_safe(f"{text}{between}{limits}")  # noqa: S308


def _limits(field: forms.Field) -> str:
    if isinstance(field, ListField):
        return _("One on each line.")
    if isinstance(field, UploadField):
        return _("At most %s.") % filesizeformat(settings.UPLOAD_BYTES)
    return _range(field.min_value, field.max_value) if isinstance(field, NUMBERS) else ""


def _range(least: Any, most: Any) -> str:
    least, most = (None if value is None else _number(value) for value in (least, most))
    if least is not None and most is not None:
        return str(_("From %(least)s to %(most)s.") % {"least": least, "most": most})
    if least is not None:
        return str(_("At least %s.") % least)
    return str(_("At most %s.") % most) if most is not None else ""


def _number(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer()  # fields of floats make floats of their limits
    return str(formats.localize(int(value) if whole else value, use_l10n=True))
