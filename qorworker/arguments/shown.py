"""Stored arguments for people: masked, as text, without asking a database. Web, commands."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.forms.utils import pretty_name
from django.template.defaultfilters import filesizeformat
from django.urls import NoReverseMatch, reverse
from django.utils import formats, timezone
from django.utils.translation import gettext as _

from qorworker.arguments import codec
from qorworker.arguments.values import python_value
from qorworker.secrets import MASK

NOTHING = "\u2013"


@dataclass(frozen=True)
class Shown:
    """One argument for a page. ``url`` leads to a row in the admin; whether the viewer may go there is the page's
    question, and ``model`` says about which model."""

    name: str
    label: str
    text: str
    kind: str  # text, number, bool, date, choice, model, list, file, json, secret, unknown
    url: str = ""
    model: str = ""


def display(known: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> list[Shown]:
    names = [*(name for name in known if name in stored), *(name for name in stored if name not in known)]
    return [_shown(name, known.get(name), stored[name]) for name in names]


def summary(known: Mapping[str, forms.Field], stored: Mapping[str, Any], limit: int) -> str:
    parts: list[str] = []
    for one in display(known, stored):
        if one.text not in ("", NOTHING):
            parts.append(f"{one.name}: {' '.join(one.text[: limit * 2].split())}")
        if sum(map(len, parts)) > limit:
            break
    line = ", ".join(parts)
    return line if len(line) <= limit else line[: max(0, limit - 1)] + "…"


def masked(known: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> dict[str, Any]:
    """*stored* as JSON that people may see: secrets as dots, files without the place where they are kept."""
    return {
        name: _mask(value) if (field := known.get(name)) is not None and codec.is_secret(field) else _masked(value)
        for name, value in stored.items()
    }


def _masked(value: Any) -> Any:
    if _tagged(value, codec.SECRET):
        return _mask(value)
    if _tagged(value, codec.FILE):
        return {key: value.get(key) for key in ("name", "size", "content_type")}
    if _tagged(value, codec.MODEL):
        return {"model": value[codec.MODEL], "pk": value.get("pk"), "label": value.get("label", "")}
    if isinstance(value, Mapping):
        return {key: _masked(item) for key, item in value.items()}
    return [_masked(item) for item in value] if isinstance(value, list) else value


def _mask(value: Any) -> str | None:
    is_set = value[codec.SECRET] if _tagged(value, codec.SECRET) else value
    return MASK if is_set else None


def initial(known: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, field in known.items():
        if name not in stored or codec.is_secret(field) or isinstance(field, forms.FileField):
            continue
        try:
            found[name] = _initial(field, codec.readable(field, stored[name]))
        except ValidationError:
            continue
    return found


def _initial(field: forms.Field, value: Any) -> Any:
    if value is None or isinstance(field, (forms.JSONField, forms.ModelChoiceField)):
        return value
    if isinstance(field, (forms.MultiValueField, forms.ChoiceField, forms.MultipleChoiceField)):
        return value
    return field.to_python(python_value(field, value))


def _shown(name: str, field: forms.Field | None, value: Any) -> Shown:
    label = str(field.label or pretty_name(name)) if field is not None else pretty_name(name)
    if (field is not None and codec.is_secret(field)) or _tagged(value, codec.SECRET):
        is_set = value[codec.SECRET] if _tagged(value, codec.SECRET) else value
        return Shown(name, label, MASK if is_set else NOTHING, "secret")
    if value is None:
        return Shown(name, label, NOTHING, "unknown" if field is None else "text")
    if isinstance(field, forms.JSONField):
        return Shown(name, label, json.dumps(value, ensure_ascii=False, indent=2), "json")
    if _tagged(value, codec.MODEL):
        return Shown(name, label, _row_text(value), "model", _row_url(value), str(value[codec.MODEL]))
    if _tagged(value, codec.FILE):
        return Shown(name, label, f"{value.get('name', '')} ({filesizeformat(value.get('size', 0))})", "file")
    if isinstance(value, list):
        return Shown(name, label, ", ".join(_one(field, item)[0] for item in value) or NOTHING, "list")
    return Shown(name, label, *_one(field, value))


def _tagged(value: Any, tag: str) -> bool:
    return isinstance(value, Mapping) and tag in value


def _one(field: forms.Field | None, value: Any) -> tuple[str, str]:
    """Text and kind of a value that is not an object with a tag."""
    if _tagged(value, codec.MODEL):
        return _row_text(value), "model"
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False), "json"
    if isinstance(value, bool):
        return (_("Yes") if value else _("No")), "bool"
    if isinstance(field, forms.ChoiceField) and not isinstance(field, forms.ModelChoiceField):
        return _label(field, value), "choice"
    if isinstance(value, str) and (moment := _moment(field, value)) is not None:
        return moment, "date"
    if isinstance(field, (forms.IntegerField, forms.FloatField, forms.DecimalField)):
        return _number(field, value), "number"
    return str(value), "number" if isinstance(value, (int, float)) else "text"


def _number(field: forms.Field, value: Any) -> str:
    try:
        return str(formats.localize(field.to_python(value)))
    except ValidationError:
        return str(value)


def _label(field: forms.ChoiceField, value: Any) -> str:
    for key, label in cast(Iterable[tuple[Any, Any]], field.choices):
        pairs = label if isinstance(label, (list, tuple)) else ((key, label),)  # a group of choices, or one
        for known, text in pairs:
            if str(known) == str(value):
                return str(text)
    return str(value)


def _moment(field: forms.Field | None, value: str) -> str | None:
    kinds = (forms.DateTimeField, forms.SplitDateTimeField, forms.DateField, forms.TimeField, forms.DurationField)
    if not isinstance(field, kinds):
        return None
    try:
        moment = (
            field.to_python(python_value(field, value)) if not isinstance(field, forms.SplitDateTimeField) else value
        )
    except ValidationError:
        return None
    if isinstance(moment, dt.datetime):
        if timezone.is_naive(moment):
            return str(formats.localize(moment))
        return f"{formats.localize(timezone.localtime(moment))} {timezone.get_current_timezone_name()}"
    return str(moment) if isinstance(moment, (str, dt.timedelta)) else str(formats.localize(moment))


def _row_text(value: Mapping[str, Any]) -> str:
    return f"{value.get('label', '')} (#{value.get('pk', '')})"


def _row_url(value: Mapping[str, Any]) -> str:
    app_label, _dot, model = str(value[codec.MODEL]).partition(".")
    try:
        return reverse(f"admin:{app_label}_{model}_change", args=(value.get("pk"),))
    except NoReverseMatch:
        return ""
