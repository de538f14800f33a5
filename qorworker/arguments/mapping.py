"""The table of types that an argument may have: from annotation to form field. Pure."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import typing
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

from django import forms
from django.contrib.admin import widgets
from django.core import validators
from django.core.files import File
from django.db.models import CompositePrimaryKey, Model, QuerySet
from django.utils import timezone
from django.utils.functional import lazy
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from qorworker.arguments import fields
from qorworker.arguments.plain import is_json_shape
from qorworker.arguments.secrets import Secret
from qorworker.arguments.selection import Selection
from qorworker.arguments.selection_field import SelectionField
from qorworker.arguments.signature import MISSING, Parameter
from qorworker.arguments.spec import Spec, spec_of, unwrap, without_none
from qorworker.arguments.widgets import ModelSelect, ModelSelectMultiple
from qorworker.exceptions import JobTypeError

zone_name = lazy(timezone.get_current_timezone_name, str)
ITEM_LIMITS = ("min_value", "max_value", "max_digits", "decimal_places", "regex")


def form_field(job_type: str, parameter: Parameter) -> forms.Field:
    """Return the field of one parameter.

    :raises qorworker.exceptions.JobTypeError: if its type has no field.
    """
    if parameter.annotation is MISSING:
        raise JobTypeError("it needs an annotation, such as “: str”")
    return _build(spec_of(job_type, parameter.name, parameter.annotation, parameter.default, parameter.help))


def _build(spec: Spec) -> forms.Field:
    builder = _builder(spec.kind)
    if builder is None:
        raise JobTypeError(f"no form field exists for {described(spec.kind)}")
    if "choices" in spec.limits and builder not in (_model, _models, _queryset):
        builder = _list if builder is _list else _choices
    made = builder(spec)
    if spec.limits:
        raise JobTypeError(
            f"Arg({', '.join(f'{name}=…' for name in spec.limits)}) has no meaning for {described(spec.kind)}"
        )
    return made


def described(kind: Any) -> str:
    return getattr(kind, "__qualname__", "") if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


def _builder(kind: Any) -> Callable[[Spec], forms.Field] | None:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind in (Any, object):
        return _json
    if Selection in (kind, origin):
        return _selection
    if origin is Literal:
        return _literal
    if origin is list and inner:
        item, nullable = without_none(unwrap(inner[0])[0])
        if nullable:
            return _json if is_json_shape(kind) else None
        if isinstance(item, type) and issubclass(item, Model):
            return _models
        return _json if is_json_shape(kind) and item not in (str, int, float) else _list
    if isinstance(kind, type) and origin is None:
        return next((builder for base, builder in _BUILDERS if issubclass(kind, base)), None)
    if origin is Secret:
        return _secret
    return _json if origin in (dict, list) and is_json_shape(kind) else None


def _text(spec: Spec) -> forms.Field:
    options = spec.take("min_length", "max_length")
    if spec.take("multiline"):
        options["widget"] = fields.MultilineInput
    if pattern := spec.take("regex"):
        options["validators"] = [validators.RegexValidator(rf"\A(?:{pattern['regex']})\Z")]
    return spec.make(fields.TextField, empty=True, empty_value=None if spec.nullable else "", **options)


def _secret(spec: Spec) -> forms.Field:
    if typing.get_args(spec.kind) not in ((str,), ()):
        raise JobTypeError("a secret is always a text: Secret[str]")
    options = spec.take("min_length", "max_length")
    return spec.make(fields.SecretField, empty=True, empty_value=None if spec.nullable else "", **options)


def _integer(spec: Spec) -> forms.Field:
    options: dict[str, Any] = {name: int(value) for name, value in spec.take("min_value", "max_value").items()}
    return spec.make(forms.IntegerField, **{"widget": widgets.AdminIntegerFieldWidget, **options})


def _float(spec: Spec) -> forms.Field:
    options: dict[str, Any] = {name: float(value) for name, value in spec.take("min_value", "max_value").items()}
    return spec.make(forms.FloatField, **options)


def _decimal(spec: Spec) -> forms.Field:
    options = spec.take("max_digits", "decimal_places")
    options |= {name: decimal.Decimal(str(value)) for name, value in spec.take("min_value", "max_value").items()}
    return spec.make(forms.DecimalField, **options)


def _bool(spec: Spec) -> forms.Field:
    if spec.nullable:
        return spec.make(forms.NullBooleanField)
    return spec.make(forms.BooleanField, required=False)


def _moment(field_class: Callable[..., forms.Field], **options: Any) -> Callable[[Spec], forms.Field]:
    def build(spec: Spec) -> forms.Field:
        limits = spec.take("min_value", "max_value")
        checks: list[Any] = [validators.MinValueValidator(limits["min_value"])] if "min_value" in limits else []
        checks += [validators.MaxValueValidator(limits["max_value"])] if "max_value" in limits else []
        return spec.make(field_class, validators=checks, **options)

    return build


def _datetime(spec: Spec) -> forms.Field:
    zone = format_lazy(_("Time zone: {zone}"), zone=zone_name())
    spec.help = format_lazy("{help} {zone}", help=spec.help, zone=zone) if spec.help else zone
    return _moment(fields.DateTimeField)(spec)


def _duration(spec: Spec) -> forms.Field:
    spec.help = spec.help or _("Days and hours:minutes:seconds, for example “1 06:30:00”.")
    return _moment(forms.DurationField, widget=widgets.AdminTextInputWidget)(spec)


def _literal(spec: Spec) -> forms.Field:
    values = typing.get_args(spec.kind)
    if any(isinstance(value, bytes) for value in values):
        raise JobTypeError("bytes have no place in a form")
    return _of_members(spec, fields.members_of(values))


def _enum(spec: Spec) -> forms.Field:
    return _of_members(spec, fields.members_of(spec.kind))


def _choices(spec: Spec) -> forms.Field:
    choices = spec.limits.pop("choices")
    item = _build(replace(spec, limits=dict(spec.limits), nullable=False))
    if isinstance(item, fields.SecretField):
        raise JobTypeError("a secret cannot be one of choices: the page would show them")
    spec.take("min_length", "max_length", "regex", *ITEM_LIMITS, "multiline", "validators")

    def members() -> list[fields.Member]:
        given: Iterable[Any] = choices() if callable(choices) else choices
        return [(item.clean(value), label) for value, label in fields.members_of(given)]

    return _chooser(spec, members)


def _of_members(spec: Spec, members: list[fields.Member]) -> forms.Field:
    keys = [fields.choice_key(value) for value, _label in members]
    if len(set(keys)) < len(keys):
        raise JobTypeError(f"two values of {described(spec.kind)} look the same as text")
    for value, _label in members:
        plain = value.value if isinstance(value, enum.Enum) else value
        if not isinstance(plain, (str, int, float)):
            raise JobTypeError(f"the value of {value!r} is neither a text nor a number")
    return _chooser(spec, lambda: members)


def _chooser(spec: Spec, members: Callable[[], list[fields.Member]]) -> forms.Field:
    options: dict[str, Any] = {"members": members}
    if any(fields.choice_key(value) == "" for value, _label in members()):
        options["required"] = False
    return spec.make(fields.ChoiceField, **options)


def _list(spec: Spec) -> forms.Field:
    inner = typing.get_args(spec.kind)
    annotation = inner[0] if inner else str
    item_spec = spec_of(spec.job_type, spec.name, annotation, MISSING, "")
    item_spec.limits |= spec.take(*ITEM_LIMITS, "choices")
    item = _build(item_spec)
    lengths = spec.take("min_length", "max_length")
    checks: list[Any] = [validators.MinLengthValidator(lengths["min_length"])] if "min_length" in lengths else []
    checks += [validators.MaxLengthValidator(lengths["max_length"])] if "max_length" in lengths else []
    if isinstance(item, fields.ChoiceField):
        return spec.make(fields.MultipleChoiceField, empty=True, members=item.members, validators=checks)
    if not isinstance(item, _ONE_LINE):
        raise JobTypeError(f"no form field exists for a list of {described(annotation)}")
    spec.take("multiline")
    spec.help = spec.help or _("One on each line.")
    return spec.make(fields.ListField, empty=True, item=item, validators=checks)


def _rows(spec: Spec, model: type[Model] | None) -> dict[str, Any]:
    """Return the rows to choose from, as options of the field: those in ``Arg(choices=…)``, else all of the model."""
    limit = spec.limits.pop("choices", None)
    fresh = limit if callable(limit) else None
    rows = fresh() if fresh is not None else limit
    if rows is None and model is not None:
        rows = model._default_manager.all()
    if not isinstance(rows, QuerySet) or (model is not None and not issubclass(rows.model, model)):
        raise JobTypeError("Arg(choices=…) must be a QuerySet of the model, or a callable that returns one")
    if problem := key_problem(rows.model):
        raise JobTypeError(problem)
    return {"queryset": rows, "fresh": fresh}


def key_problem(model: type[Model]) -> str:
    """Return why rows of *model* cannot be arguments; empty if they can."""
    if not isinstance(model._meta.pk, CompositePrimaryKey):
        return ""
    return f"{model.__name__} has a composite primary key, which form fields cannot choose; take its parts instead"


def _model(spec: Spec) -> forms.Field:
    widget = ModelSelect(spec.kind, spec.job_type, spec.name)
    return spec.make(fields.ModelField, widget=widget, **_rows(spec, spec.kind))


def _models(spec: Spec) -> forms.Field:
    return _several(spec, _rows(spec, without_none(unwrap(typing.get_args(spec.kind)[0])[0])[0]))


def _queryset(spec: Spec) -> forms.Field:
    if "choices" not in spec.limits:  # Django forgets the model of QuerySet[Shop]
        raise JobTypeError("a QuerySet does not tell its model: add Arg(choices=Shop.objects.all), or use list[Shop]")
    return _several(spec, _rows(spec, None), as_queryset=True)


def _several(spec: Spec, rows: dict[str, Any], **options: Any) -> forms.Field:
    widget = ModelSelectMultiple(rows["queryset"].model, spec.job_type, spec.name)
    return spec.make(fields.ModelListField, empty=True, widget=widget, **rows, **options)


def _selection(spec: Spec) -> forms.Field:
    model = next(iter(typing.get_args(spec.kind)), None)
    if not (isinstance(model, type) and issubclass(model, Model)) or model._meta.abstract:
        raise JobTypeError("a selection needs its model: Selection[Product]")
    if problem := key_problem(model):
        raise JobTypeError(problem)
    return spec.make(SelectionField, model=model)


def _upload(spec: Spec) -> forms.Field:
    return spec.make(fields.UploadField, widget=forms.FileInput)


def _json(spec: Spec) -> forms.Field:
    return spec.make(fields.JSONField, shape=spec.kind)


# Subclasses before their bases: a bool is an int, a datetime is a date, TextChoices are texts.
_BUILDERS: tuple[tuple[type, Callable[[Spec], forms.Field]], ...] = (
    (enum.Enum, _enum),
    (bool, _bool),
    (Secret, _secret),
    (str, _text),
    (int, _integer),
    (float, _float),
    (decimal.Decimal, _decimal),
    (dt.datetime, _datetime),
    (dt.date, _moment(forms.DateField, widget=widgets.AdminDateWidget)),
    (dt.time, _moment(forms.TimeField, widget=widgets.AdminTimeWidget)),
    (dt.timedelta, _duration),
    (uuid.UUID, _moment(forms.UUIDField, widget=widgets.AdminUUIDInputWidget)),
    (Model, _model),
    (QuerySet, _queryset),
    (File, _upload),
    (dict, _json),
    (list, _json),
)
_ONE_LINE = (
    fields.TextField,
    forms.IntegerField,
    forms.DateField,
    forms.TimeField,
    forms.DurationField,
    forms.UUIDField,
)
