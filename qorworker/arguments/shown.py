"""Stored arguments as users see them: masked, as text, without a query. Web, commands."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.forms.utils import pretty_name
from django.template.defaultfilters import filesizeformat
from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.arguments import codec
from qorworker.arguments.values import python_value
from qorworker.text.cleaning import visible, visible_lines
from qorworker.text.masking import MASK
from qorworker.text.moments import clock, date_and_clock, local

NOTHING = "\u2013"
LINKED = 100  # rows of a selection that one address of a list names


@dataclass(frozen=True)
class Shown:
    """One argument for a page.

    If it is a row, ``model`` and ``pk`` name it. The page decides whether the user may follow a link to it.
    """

    name: str
    label: str
    text: str
    kind: str  # text, number, bool, date, choice, model, selection, list, file, json, secret, unknown
    model: str = ""
    pk: Any = None
    url: str = ""
    query: str | None = None  # of a selection: that of the list with its rows


def display(form_fields: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> list[Shown]:
    names = [*(name for name in form_fields if name in stored), *(name for name in stored if name not in form_fields)]
    return [_visible(_shown(name, form_fields.get(name), stored[name])) for name in names]


def _visible(one: Shown) -> Shown:
    return replace(one, label=visible(one.label), text=visible_lines(one.text))


def summary(form_fields: Mapping[str, forms.Field], stored: Mapping[str, Any], limit: int, labels: bool) -> str:
    parts: list[str] = []
    # Each item of a list shows a character at least, or the comma behind it.
    shortened = {name: value[: limit * 2] if isinstance(value, list) else value for name, value in stored.items()}
    for one in display(form_fields, shortened):
        if one.text not in ("", NOTHING):
            parts.append(f"{one.label if labels else one.name}: {' '.join(one.text[: limit * 2].split())}")
        if sum(map(len, parts)) > limit:
            break
    line = ", ".join(parts)
    return line if len(line) <= limit else line[: max(0, limit - 1)] + "…"


def masked(form_fields: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return *stored* as JSON that users may see: secrets as dots, files without their place in the storage."""
    return {name: _masked_argument(form_fields.get(name), value) for name, value in stored.items()}


def _masked_argument(field: forms.Field | None, value: Any) -> Any:
    if _is_secret(field, value):
        return _mask(value)
    # JSON that a user typed may look like a tagged value: nothing in it is hidden.
    return value if isinstance(field, forms.JSONField) else _masked(value)


def _is_secret(field: forms.Field | None, value: Any) -> bool:
    if isinstance(field, forms.JSONField) and not codec.is_secret(field):
        return codec.is_encrypted(value)
    return (field is not None and codec.is_secret(field)) or _tagged(value, codec.SECRET)


def _masked(value: Any) -> Any:
    if _tagged(value, codec.SECRET):
        return _mask(value)
    if _tagged(value, codec.FILE):
        return {key: value.get(key) for key in ("name", "size", "content_type")}
    if _tagged(value, codec.SELECTION):
        return _masked_selection(value)
    if _tagged(value, codec.MODEL):
        return {"model": value[codec.MODEL], "pk": value.get("pk"), "label": value.get("label", "")}
    if isinstance(value, Mapping):
        return {key: _masked(item) for key, item in value.items()}
    return [_masked(item) for item in value] if isinstance(value, list) else value


def _masked_selection(value: Mapping[str, Any]) -> dict[str, Any]:
    listed = value.get("list")
    query = listed.get("query") if isinstance(listed, Mapping) else None
    return {"model": value[codec.SELECTION], **({"pks": value["pks"]} if "pks" in value else {"query": query})}


def _mask(value: Any) -> str | None:
    is_set = value == codec.ERASED or (value[codec.SECRET] if _tagged(value, codec.SECRET) else value)
    return MASK if is_set else None


def initial(form_fields: Mapping[str, forms.Field], stored: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for name, field in form_fields.items():
        if name not in stored or codec.is_private(field) or codec.is_encrypted(stored[name]):
            continue
        try:
            values[name] = _initial(field, codec.readable(field, stored[name]))
        except ValidationError:
            continue
    return values


def _initial(field: forms.Field, value: Any) -> Any:
    if value is None or isinstance(field, (forms.JSONField, forms.ModelChoiceField)):
        return value
    if isinstance(field, (forms.MultiValueField, forms.ChoiceField, forms.MultipleChoiceField)):
        return value
    return field.to_python(python_value(field, value))


def _shown(name: str, field: forms.Field | None, value: Any) -> Shown:
    label = str(field.label or pretty_name(name)) if field is not None else pretty_name(name)
    if _is_secret(field, value):
        text = _("%(mask)s (erased when the job ended)") % {"mask": MASK} if value == codec.ERASED else _mask(value)
        return Shown(name, label, text or NOTHING, "secret")
    if value is None:
        return Shown(name, label, NOTHING, "unknown" if field is None else "text")
    if isinstance(field, forms.JSONField):
        return Shown(name, label, json.dumps(value, ensure_ascii=False, indent=2), "json")
    if _tagged(value, codec.MODEL):
        return Shown(name, label, _row_text(value), "model", str(value[codec.MODEL]), value.get("pk"))
    if _tagged(value, codec.FILE):
        return Shown(name, label, f"{value.get('name', '')} ({filesizeformat(value.get('size', 0))})", "file")
    if _tagged(value, codec.SELECTION):
        return Shown(
            name,
            label,
            _selection_text(field, value),
            "selection",
            str(value[codec.SELECTION]),
            query=_selection_query(value),
        )
    if isinstance(value, list):
        return Shown(name, label, ", ".join(_one(field, item)[0] for item in value) or NOTHING, "list")
    return Shown(name, label, *_one(field, value))


def _tagged(value: Any, tag: str) -> bool:
    return isinstance(value, Mapping) and tag in value


def _one(field: forms.Field | None, value: Any) -> tuple[str, str]:
    """Return text and kind of a value that is not an object with a tag."""
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
        for choice, text in pairs:
            if str(choice) == str(value):
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
            return date_and_clock(moment)
        return f"{date_and_clock(local(moment))} {timezone.get_current_timezone_name()}"
    if isinstance(moment, dt.time):
        return clock(moment)
    return str(moment) if isinstance(moment, (str, dt.timedelta)) else str(formats.localize(moment))


def _shown_selection(name: str, label: str, field: forms.Field | None, value: Mapping[str, Any]) -> Shown:
    model, query = str(value[codec.SELECTION]), _selection_query(value)
    return Shown(name, label, _selection_text(field, value), "selection", model, query=query)


def _selection_text(field: forms.Field | None, value: Mapping[str, Any]) -> str:
    model = getattr(field, "model", None)
    if isinstance(pks := value.get("pks"), list):
        name = ngettext("row", "rows", len(pks))
        if model is not None:
            name = model._meta.verbose_name if len(pks) == 1 else model._meta.verbose_name_plural
        return f"{formats.number_format(len(pks), force_grouping=True)} {name}"
    name = model._meta.verbose_name_plural if model is not None else value[codec.SELECTION]
    if query := _selection_query(value):
        return _("The %(rows)s that match “%(query)s” when the job starts") % {"rows": name, "query": query}
    return _("All %(rows)s that there are when the job starts") % {"rows": name}


def _selection_query(value: Mapping[str, Any]) -> str | None:
    if isinstance(pks := value.get("pks"), list):
        return f"pk__in={','.join(map(str, pks))}" if len(pks) <= LINKED else None
    listed = value.get("list")
    return str(listed.get("query", "")) if isinstance(listed, Mapping) else ""


def _row_text(value: Mapping[str, Any]) -> str:
    return f"{value.get('label', '')} (#{value.get('pk', '')})"
