"""The choices that a run form can start from: its defaults, the user's own last runs, saved arguments. Web."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from qorworker import permissions
from qorworker.admin.jobs.prefill import Filled
from qorworker.arguments import codec
from qorworker.definitions.job_type import JobType
from qorworker.models import Job, Preset
from qorworker.queries import run_form

RUNS = 5


@dataclass(frozen=True)
class Start:
    """One entry of the menu, either of a job or of saved arguments."""

    query: str
    summary: str
    is_current: bool
    job: Job | None = None
    preset: Preset | None = None
    may_delete: bool = False


def starts(
    request: HttpRequest, job_type: JobType[..., Any], filled: Filled, fields: Mapping[str, forms.Field]
) -> list[Start]:
    """Return every choice but the defaults; none for a type without arguments.

    :param fields: the fields of the form, whose rows are limited to those that the user may see.
    """
    if not job_type.arguments.fields:
        return []
    return [*_runs(request.user, job_type, filled), *_presets(request.user, job_type, filled, fields)]


def _runs(user: Any, job_type: JobType[..., Any], filled: Filled) -> Iterator[Start]:
    """Return the last runs of the user that differ in their arguments."""
    if not permissions.can(user, "rerun", job_type):
        return
    seen: set[str] = set()
    for job in run_form.runs_of_user(user, job_type.name):
        key = _key(job_type, job.arguments)
        if key in seen:
            continue
        seen.add(key)
        summary = job_type.arguments.summary(job.arguments)
        yield Start(f"?from={job.pk}", summary, filled.source is not None and filled.source.pk == job.pk, job=job)
        if len(seen) == RUNS:
            return


def _key(job_type: JobType[..., Any], stored: dict[str, Any]) -> str:
    """Return the part of the arguments that fills the form, as a text that is equal for runs that fill it equally."""
    fields = job_type.arguments.fields
    kept = {name: value for name, value in stored.items() if name in fields and not codec.is_private(fields[name])}
    return json.dumps(kept, sort_keys=True, default=str)


def _presets(
    user: Any, job_type: JobType[..., Any], filled: Filled, fields: Mapping[str, forms.Field]
) -> Iterator[Start]:
    presets = list(Preset.objects.usable_by(user).for_type(job_type.name))
    visible = _visible_rows(fields, [preset.arguments for preset in presets])
    for preset in presets:
        named = {
            name: value
            for name, value in preset.arguments.items()
            if name not in visible or _keys(value) <= visible[name]
        }
        yield Start(
            f"?preset={preset.pk}",
            job_type.arguments.summary(named),
            filled.preset is not None and filled.preset.pk == preset.pk,
            preset=preset,
            may_delete=may_delete(user, preset),
        )


def _visible_rows(fields: Mapping[str, forms.Field], many: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return the keys of the rows in these arguments that the user may see, for each argument that is a row."""
    return {
        name: _known_to(field, set().union(*(_keys(arguments.get(name)) for arguments in many)))
        for name, field in fields.items()
        if isinstance(field, forms.ModelChoiceField) and field.queryset is not None
    }


def _known_to(field: forms.ModelChoiceField[Any], keys: set[str]) -> set[str]:
    if not keys or field.queryset is None:
        return set()
    column = field.to_field_name or "pk"
    try:
        return set(map(str, field.queryset.filter(**{f"{column}__in": keys}).values_list(column, flat=True)))
    except (TypeError, ValueError, ValidationError):  # the key has become one of another type
        return set()


def _keys(stored: Any) -> set[str]:
    """Return the keys of the rows that an argument names."""
    rows = stored if isinstance(stored, list) else [stored]
    return {str(row["pk"]) for row in rows if isinstance(row, Mapping) and "pk" in row}


def may_delete(user: Any, preset: Preset) -> bool:
    """Return whether *user* may delete it: their own, and as a superuser also shared ones, as owners may have left."""
    return preset.belongs_to(user) or (preset.is_shared and user.is_superuser)
