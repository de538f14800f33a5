"""What a job type's arguments are, read once from the handler's signature or from a given form. All processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib.admin.options import FORMFIELD_FOR_DBFIELD_DEFAULTS
from django.db import DatabaseError
from django.db.models import Field, Model
from django.forms.models import BaseModelForm, modelform_factory

from qorworker.arguments import signature
from qorworker.arguments.mapping import form_field
from qorworker.arguments.signature import MISSING, Parameter
from qorworker.secrets import Secret

TOGETHER = "arguments"  # the parameter that gets all values of a given form at once
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
    is_ready: bool = True  # False: it asks for rows that the database cannot give yet

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults in the signature; a form has initial values instead."""
        return {} if self.given else {name: parameter.default for name, parameter in self.parameters.items()}

    def deliver(self, cleaned: Mapping[str, Any]) -> dict[str, Any]:
        """Cleaned values as the handler's keyword arguments.

        From the signature: each value by its name. From a form: a parameter that is called like a field gets that
        field's value, and one called ``arguments`` gets all together, as a dict, or for a ModelForm as an instance
        that was not saved.
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
    """The definition. It never raises: what is wrong stands in ``problems``, so that no type can hide the others."""
    from qorworker.options import place_of

    read = signature.read(function)
    made = _from_form(read, form) if form is not None else _from_signature(job_type, read)
    made.place = place_of(function)
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
    except Exception as error:
        fields, problems["form"] = {}, f"{form.__name__} cannot be made without arguments: {error!r}"
        is_ready = not isinstance(error, DatabaseError)
    for name, parameter in read.parameters.items():
        if name not in fields and name != TOGETHER and parameter.default is MISSING:
            problems[name] = f"{form.__name__} has no such field"
    if TOGETHER not in read.parameters:
        for name in sorted(set(fields) - set(read.parameters)):
            problems[name] = (
                f"the handler has no parameter for this field of {form.__name__}, and none called arguments"
            )
    return Definition("", form_class, fields, read.parameters, read.context_parameter, True, problems, is_ready)


def modelform_of(model: type[Model]) -> type[BaseModelForm[Any]]:
    """The ModelForm of a model, with the admin's widgets."""

    def formfield(db_field: Field[Any, Any], **options: Any) -> forms.Field | None:
        for model_field in type(db_field).__mro__:
            if model_field in FORMFIELD_FOR_DBFIELD_DEFAULTS:
                options = {**FORMFIELD_FOR_DBFIELD_DEFAULTS[model_field], **options}
                break
        return db_field.formfield(**options)

    return modelform_factory(model, fields="__all__", formfield_callback=formfield)
