"""Checks of the arguments of job types: their fields, defaults, secrets and uploads. ``manage.py check``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.core import checks
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.files.storage import InvalidStorageError
from django.db import DatabaseError

from qorworker.arguments import codec, files, secrets
from qorworker.arguments.signature import MISSING
from qorworker.arguments.values import python_value
from qorworker.checks.offline import register
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.text.masking import Mask


@register()
def check_arguments(**kwargs: Any) -> list[checks.CheckMessage]:
    """E003: a parameter that cannot become a form field. E004: a default that its field refuses or changes."""
    messages: list[checks.CheckMessage] = []
    for job_type in registry.ready():
        problems = job_type.arguments.problems()
        for name, problem in problems.items():
            messages.append(
                checks.Error(
                    f"Argument {name!r} of {job_type.place}: {problem}.",
                    hint=job_type.arguments.hint,
                    obj=job_type,
                    id="qorworker.E003",
                )
            )
        if not problems:
            messages += _check_defaults(job_type)
    return messages


def _check_defaults(job_type: JobType[..., Any]) -> Iterable[checks.CheckMessage]:
    for name, default in job_type.arguments.definition.defaults.items():
        problem = "" if default is MISSING else _default_problem(job_type.arguments.fields[name], name, default)
        if problem:
            yield checks.Error(
                f"The default of argument {name!r} of {job_type.place} does not survive its own form: {problem}",
                hint="Use a default of the annotated type; annotate with “| None” if None is meant.",
                obj=job_type,
                id="qorworker.E004",
            )


def _default_problem(field: forms.Field, name: str, default: Any) -> str:
    try:
        cleaned = field.clean(python_value(field, default))
        if codec.is_secret(field) or isinstance(field, (forms.FileField, forms.ModelChoiceField)):
            return ""
        again = codec.load(field, name, codec.dump(field, cleaned))
    except ValidationError as error:
        mask = Mask(codec.given_secrets({name: field}, {name: default}))  # a validator may quote what it refuses
        return " ".join(map(mask, error.messages))
    except DatabaseError:
        return ""  # rows to choose from, before their table was made
    expected = list(default) if isinstance(default, tuple) else default
    return "" if again == expected else f"{default!r} becomes {again!r}."


@register()
def check_secrets(**kwargs: Any) -> list[checks.CheckMessage]:
    """E008: secret arguments that cannot be encrypted."""
    if secrets.available():
        return []
    return [
        checks.Error(
            f"{job_type.place} has a secret argument ({', '.join(names)}), but nothing can encrypt it.",
            hint="Install the extra: pip install qorworker[secrets]",
            obj=job_type,
            id="qorworker.E008",
        )
        for job_type in registry.ready()
        if (names := [n for n, field in job_type.arguments.definition.fields.items() if codec.is_secret(field)])
    ]


@register()
def check_uploads(**kwargs: Any) -> list[checks.CheckMessage]:
    """E016: uploads without a folder. W016: with one that depends on where a process was started."""
    names = [
        job_type.place
        for job_type in registry.ready()
        if any(isinstance(field, forms.FileField) for field in job_type.arguments.definition.fields.values())
    ]
    try:
        location = files.relative_location() if names else None
    except (ImproperlyConfigured, InvalidStorageError):
        return []  # E001 says so, or Django does
    if location is None:
        return []
    hint = "Set MEDIA_ROOT to an absolute path, or QORWORKER['UPLOAD_STORAGE'] to a storage that has one."
    if not location:
        text = f"MEDIA_ROOT is empty, so uploads have no folder. {names[0]} takes one."
        return [checks.Error(text, hint=hint, id="qorworker.E016")]
    text = f"MEDIA_ROOT is {location!r}: site and workers must start in the same folder to find uploads."
    return [checks.Warning(text, hint=hint, id="qorworker.W016")]
