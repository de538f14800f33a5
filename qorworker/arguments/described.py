"""Fields as JSON, so that another process can make the same form: the fields of a question. All processes.

A question is asked where the annotations are, in the code of a handler, and answered where they are not. What a field
is made of is stored with the question: its type by a name, its choices, and the options of its ``Arg``.
"""

from __future__ import annotations

import datetime as dt
import decimal
import inspect
import typing
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from django import forms
from django.utils.functional import lazy

from qorworker.arguments import codec, fields
from qorworker.arguments.arg import Arg
from qorworker.arguments.arguments import Arguments
from qorworker.arguments.mapping import form_field
from qorworker.arguments.plain import encode
from qorworker.arguments.signature import MISSING, Parameter
from qorworker.arguments.spec import Spec, spec_of
from qorworker.arguments.values import python_value
from qorworker.exceptions import JobTypeError
from qorworker.text import titles

KINDS: dict[str, Any] = {
    "text": str,
    "integer": int,
    "float": float,
    "bool": bool,
    "decimal": decimal.Decimal,
    "datetime": dt.datetime,
    "date": dt.date,
    "time": dt.time,
    "duration": dt.timedelta,
    "uuid": uuid.UUID,
    "object": dict,
    "list": list,
    "json": Any,
}
_NAMES: dict[Any, str] = {kind: name for name, kind in KINDS.items()}
_UNKEPT = ("widget", "validators")  # options of ``Arg`` that are code
_LIMITS = ("min_value", "max_value")
_shown = lazy(titles.shown, str)

Described = dict[str, Any]


def describe(annotations: Mapping[str, Any]) -> list[Described]:
    """Return fields as JSON, from annotations by name.

    :raises qorworker.exceptions.JobTypeError: naming the field, if one cannot be made or stored.
    """
    described = []
    for name, annotation in annotations.items():
        try:
            described.append({"name": name, **_described(name, annotation)})
        except JobTypeError as error:
            raise JobTypeError(f"{name}: {error}") from None
    return described


def refuse_without_choices(described: Sequence[Described]) -> None:
    """Raise ``JobTypeError``, naming the field, if one is to be chosen from nothing."""
    for each in described:
        if each.get("choices") == []:
            raise JobTypeError(f"{each['name']}: it has no choices, so nobody could answer")


def _described(name: str, annotation: Any) -> Described:
    spec = spec_of("", name, annotation, MISSING, "")
    field = form_field("", Parameter(name, annotation, MISSING))
    _refuse(field, spec)
    texts = {"label": titles.title_of(spec.label), "help": titles.title_of(spec.help)}
    common = {"nullable": spec.nullable, **{key: text for key, text in texts.items() if text}}
    if isinstance(field, (fields.ChoiceField, fields.MultipleChoiceField)):
        many = isinstance(field, fields.MultipleChoiceField)
        choices = [[encode(value), titles.title_of(label)] for value, label in field.members()]
        lengths = {key: spec.limits[key] for key in ("min_length", "max_length") if many and key in spec.limits}
        return {**common, "kind": "choices" if many else "choice", "choices": choices, "limits": lengths}
    limits = {key: encode(value) for key, value in spec.limits.items()}
    if isinstance(field, fields.ListField):
        item = (typing.get_args(spec.kind) or (str,))[0]
        return {**common, "kind": "lines", "item": _described(name, item), "limits": limits}
    if spec.kind not in _NAMES:
        raise JobTypeError(f"a question cannot keep the type {spec.kind}; use one without parameters")
    return {**common, "kind": _NAMES[spec.kind], "limits": limits}


def _refuse(field: forms.Field, spec: Spec) -> None:
    if codec.is_secret(field):
        raise JobTypeError("a question takes no secrets, because answers are stored and shown as they are")
    if isinstance(field, forms.FileField):
        raise JobTypeError("a question takes no files")
    if isinstance(field, forms.ModelChoiceField):
        raise JobTypeError("a question takes no rows of a model; offer their keys with Arg(choices=…)")
    if unkept := [name for name in _UNKEPT if name in spec.limits]:
        raise JobTypeError(f"a question cannot keep {' and '.join(f'{name}=…' for name in unkept)}, which is code")


def arguments_of(about: str, annotations: Mapping[str, Any]) -> Arguments:
    """Return the arguments that have these annotations. A text may be left empty, unless it has a shortest length.

    :param about: what the values are for, in errors.
    """

    def question(**values: Any) -> None:
        """Stands for a handler that takes these arguments."""

    parameters = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=_default(name, annotation)
        )
        for name, annotation in annotations.items()
    ]
    question.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return Arguments(about, question)


def _default(name: str, annotation: Any) -> Any:
    spec = spec_of("", name, annotation, MISSING, "")
    if spec.nullable:
        return None
    is_free = spec.kind is str and not {"min_length", "choices"} & set(spec.limits)
    return "" if is_free else MISSING


def annotations_of(described: Sequence[Described]) -> dict[str, Any]:
    """Return annotations by name from which the fields are made that ``describe`` was given."""
    return {each["name"]: _annotation(each) for each in described}


def _annotation(described: Described) -> Any:
    options: dict[str, Any] = dict(described["limits"])
    options |= {key: _shown(described[key]) for key in ("label", "help") if key in described}
    kind: Any
    if described["kind"] in ("choice", "choices"):
        kind = _choice_kind(described["choices"], options)
    elif described["kind"] == "lines":
        kind = list[_annotation({**described["item"], "label": "", "help": ""})]  # type: ignore[misc]
        options |= {key: options[key] for key in _LIMITS if key in options}
    else:
        kind = KINDS[described["kind"]]
        options |= {key: _value(kind, options[key]) for key in _LIMITS if key in options}
    if described["kind"] == "choices":
        kind = list[kind]
    if described["nullable"] and kind is not Any:
        kind = kind | None
    return Annotated[kind, Arg(**options)]


def _choice_kind(choices: Sequence[Any], options: dict[str, Any]) -> Any:
    """Return the type of the values among which one chooses; their labels become an option if they are of one type."""
    kinds = {type(value) for value, _label in choices}
    if len(kinds) == 1 and (kind := kinds.pop()) in (str, int, float):
        options["choices"] = [(value, _shown(label)) for value, label in choices]
        return kind
    return Literal[tuple(value for value, _label in choices)]


def _value(kind: Any, stored: Any) -> Any:
    """Return a limit as the type has it."""
    field = form_field("", Parameter("limit", kind, MISSING))
    return field.clean(python_value(field, stored))
