"""The definition of a job type's arguments, from the handler's signature or from a given form. All processes."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django import forms
from django.contrib.admin.options import FORMFIELD_FOR_DBFIELD_DEFAULTS
from django.db import DatabaseError
from django.db.models import Field, Model
from django.forms.fields import InvalidJSONInput
from django.forms.models import BaseModelForm, modelform_factory

from qorworker.arguments import codec, given_form, signature
from qorworker.arguments.mapping import form_field, key_problem
from qorworker.arguments.plain import check_depth, is_too_deep
from qorworker.arguments.secrets import Secret
from qorworker.arguments.shortcut import Shortcut, shortcut_of
from qorworker.arguments.signature import MISSING, Parameter

TOGETHER = "arguments"  # the parameter that gets all values of a given form together
CSRF = "csrfmiddlewaretoken"


@dataclass
class Definition:
    place: str
    form_class: type[forms.BaseForm]
    fields: dict[str, forms.Field]
    parameters: dict[str, Parameter]
    context_parameter: str | None
    given: bool
    problems: dict[str, str] = field(default_factory=dict)
    is_ready: bool = True  # False: it queries rows that the database does not have yet
    row_keys_parameter: str | None = None
    positional: tuple[str, ...] = ()  # the arguments that may be given by position, in their order

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults in the signature; a form has initial values instead."""
        return {} if self.given else {name: parameter.default for name, parameter in self.parameters.items()}

    @cached_property
    def shortcut(self) -> Shortcut | None:
        """The way of plain values past the form. A given form is always used: it may do anything."""
        return None if self.given else shortcut_of(self.fields, self.defaults)

    @cached_property
    def secret_defaults(self) -> dict[str, str]:
        """The plain texts of the secrets that the code gives as defaults, by argument."""
        names = [name for name, each in self.fields.items() if codec.is_secret(each) and not callable(each.initial)]
        defaults = self.defaults
        values = {name: given_form.initial(self.fields[name]) if self.given else defaults.get(name) for name in names}
        return {name: text for name, value in values.items() if isinstance(text := codec.plain(value), str) and text}

    def deliver(self, cleaned: Mapping[str, Any]) -> dict[str, Any]:
        """Return cleaned values as the handler's keyword arguments.

        From the signature: each value by its name. From a form: a parameter with the name of a field gets the value of
        that field. A parameter named ``arguments`` gets all values: as a dict, or for a ModelForm as an unsaved
        instance.
        """
        if not self.given or TOGETHER in self.fields or TOGETHER not in self.parameters:
            return dict(cleaned)
        whole = self._instance(cleaned) if issubclass(self.form_class, BaseModelForm) else dict(cleaned)
        return {TOGETHER: whole, **{name: value for name, value in cleaned.items() if name in self.parameters}}

    def _instance(self, cleaned: Mapping[str, Any]) -> Model:
        model = self.form_class._meta.model  # type: ignore[attr-defined]
        instance: Model = model()
        for model_field in model._meta.fields:
            if model_field.name in cleaned:
                value = cleaned[model_field.name]
                model_field.save_form_data(instance, value.get_secret_value() if isinstance(value, Secret) else value)
        return instance


def define(job_type: str, function: Callable[..., Any], form: type[Any] | None) -> Definition:
    """Return the definition. This never raises: problems are in ``problems``, so one type cannot hide the others."""

    read = signature.read(function)
    made = _from_form(read, form) if form is not None else _from_signature(job_type, read)
    made.place = signature.place_of(function)
    made.row_keys_parameter = read.row_keys_parameter
    keys = read.row_keys_parameter
    made.positional = (*made.fields, *([keys] if keys is not None else [])) if made.given else read.positional
    for name, each in made.fields.items():
        if problem := codec.secret_problem(each):
            made.problems[name] = problem
    if keys is not None and keys in made.fields:
        made.problems[keys] = "the parameter is for the keys of rows, and a field of the form has the same name"
    if CSRF in made.fields:
        made.problems[CSRF] = "every form of a page has a field of this name already"
    return made


def _from_signature(job_type: str, read: signature.Signature) -> Definition:
    fields: dict[str, forms.Field] = {}
    problems, is_ready = dict(read.problems), True
    for name, parameter in read.parameters.items():
        try:
            fields[name] = form_field(job_type, parameter)
        except Exception as error:
            problems[name] = str(error) or type(error).__name__
            is_ready = is_ready and not isinstance(error, DatabaseError)
    form_class = type("ArgumentsForm", (forms.Form,), dict(fields))
    return Definition("", form_class, fields, read.parameters, read.context_parameter, False, problems, is_ready)


def _from_form(read: signature.Signature, form: type[Any]) -> Definition:
    problems, is_ready = dict(read.problems), True
    form_class = modelform_of(form) if issubclass(form, Model) else form
    try:
        fields = dict(form_class().fields)
        if any(isinstance(each, forms.JSONField) for each in fields.values()):
            form_class = _shallow(form_class)
            fields = dict(form_class().fields)
    except Exception as error:
        fields, problems["form"] = {}, f"{form.__name__} cannot be made without arguments: {error!r}"
        is_ready = not isinstance(error, DatabaseError)
    for name, each in fields.items():
        rows = getattr(each, "queryset", None)
        if rows is not None and (problem := key_problem(rows.model)):
            problems[name] = problem
    for name, parameter in read.parameters.items():
        if name not in fields and name != TOGETHER and parameter.default is MISSING:
            problems[name] = f"{form.__name__} has no such field"
    if TOGETHER not in read.parameters:
        for name in sorted(set(fields) - set(read.parameters)):
            problems[name] = (
                f"the handler has no parameter for this field of {form.__name__}, and none called arguments"
            )
    return Definition("", form_class, fields, read.parameters, read.context_parameter, True, problems, is_ready)


def _shallow(form_class: type[forms.BaseForm]) -> type[forms.BaseForm]:
    """Return the same form with JSON fields that refuse deep nesting, as those made from a signature do."""

    def __init__(self: forms.BaseForm, *args: Any, **options: Any) -> None:
        form_class.__init__(self, *args, **options)
        for each in self.fields.values():
            if isinstance(each, forms.JSONField):
                _refuse_depth(each)

    members = {"__init__": __init__, "__module__": form_class.__module__, "__qualname__": form_class.__qualname__}
    return types.new_class(form_class.__name__, (form_class,), exec_body=lambda space: space.update(members))


def _refuse_depth(json_field: Any) -> None:
    to_python, bound_data, has_changed = json_field.to_python, json_field.bound_data, json_field.has_changed

    def to_python_if_shallow(value: Any) -> Any:
        if isinstance(value, str):
            check_depth(value)
        return to_python(value)

    json_field.to_python = to_python_if_shallow
    json_field.bound_data = lambda data, initial: (
        InvalidJSONInput(data) if is_too_deep(data) else bound_data(data, initial)
    )
    json_field.has_changed = lambda initial, data: is_too_deep(data) or has_changed(initial, data)


def modelform_of(model: type[Model]) -> type[BaseModelForm[Any]]:
    """Return the ModelForm of a model, with the admin's widgets."""

    def formfield(db_field: Field[Any, Any], **options: Any) -> forms.Field | None:
        for model_field in type(db_field).__mro__:
            if model_field in FORMFIELD_FOR_DBFIELD_DEFAULTS:
                options = {**FORMFIELD_FOR_DBFIELD_DEFAULTS[model_field], **options}
                break
        return db_field.formfield(**options)

    return modelform_factory(model, fields="__all__", formfield_callback=formfield)
