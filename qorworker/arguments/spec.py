"""The annotation of one argument, taken apart, before the argument has a field. Pure."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Annotated, Any, Literal

from django import forms
from django.forms.utils import pretty_name

from qorworker.arguments import fields
from qorworker.arguments.arg import Arg
from qorworker.arguments.constraints import constraints
from qorworker.arguments.signature import MISSING


@dataclass
class Spec:
    """The facts about one argument while its field is made. ``limits`` empties as its options are used."""

    job_type: str
    name: str
    kind: Any  # the annotation without Annotated and None
    nullable: bool
    default: Any
    label: Any
    help: Any
    limits: dict[str, Any] = field(default_factory=dict)

    @property
    def has_default(self) -> bool:
        return self.default is not MISSING

    def make(self, field_class: Callable[..., forms.Field], *, empty: bool = False, **options: Any) -> forms.Field:
        """Return the field.

        :param empty: whether an empty input is a value of this type, and not a missing one.
        """
        required = not self.nullable and not (empty and self.has_default)
        extra = list(self.limits.pop("validators", ())) + options.pop("validators", [])
        if "widget" in self.limits:
            options["widget"] = self.limits.pop("widget")
        options = {"required": required, "validators": extra, **options}
        made = field_class(label=self.label, help_text=self.help, **options)
        if self.has_default and not isinstance(made, fields.SecretField):
            made.initial = self.default
        made.nullable = self.nullable  # type: ignore[attr-defined]
        return made

    def take(self, *names: str) -> dict[str, Any]:
        """Return the options among *names* that were given, which are thereby used."""
        return {name: self.limits.pop(name) for name in names if name in self.limits}


def spec_of(job_type: str, name: str, annotation: Any, default: Any, help_text: str) -> Spec:
    kind, metadata = unwrap(annotation)
    kind, nullable = without_none(kind)
    kind, more = unwrap(kind)
    metadata = (*more, *metadata)
    args = [item for item in metadata if isinstance(item, Arg)]
    limits: dict[str, Any] = constraints(metadata)
    label, said = pretty_name(name), help_text
    for arg in args:
        limits |= arg.limits()
        label, said = arg.label or label, arg.help or said
    return Spec(job_type, name, kind, nullable or kind in (Any, object), default, label, said, limits)


def unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return an annotation without ``Annotated``, ``NewType`` and ``type`` aliases, and the metadata that it had."""
    metadata: tuple[Any, ...] = ()
    while True:
        if typing.get_origin(annotation) is Annotated:
            annotation, metadata = annotation.__origin__, (*annotation.__metadata__, *metadata)
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation, metadata


def without_none(annotation: Any) -> tuple[Any, bool]:
    """Return ``X`` and True for ``X | None``. A union of more types stays as it is."""
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        others = [kind for kind in typing.get_args(annotation) if kind is not NoneType]
        return (others[0], True) if len(others) == 1 else (annotation, False)
    if typing.get_origin(annotation) is Literal and None in typing.get_args(annotation):
        return Literal[tuple(value for value in typing.get_args(annotation) if value is not None)], True
    return annotation, False
