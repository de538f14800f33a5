"""What a run form starts with: values from its URL, or those of an earlier job. Never a secret, never a file. Web."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import access
from qorworker.arguments import codec
from qorworker.models import Job
from qorworker.registry import JobType

OWN = frozenset({"from", "_changelist_filters", "_popup", "_to_field"})


@dataclass
class Filled:
    values: dict[str, Any]
    source: Job | None
    notes: list[str]


def filled(request: HttpRequest, job_type: JobType[Any], fields: Mapping[str, forms.Field]) -> Filled:
    """Values for the form with these fields, the job they come from, and a note for everything that was left out."""
    found = Filled({}, None, [])
    if "from" in request.GET:
        _from_job(found, request, job_type)
    for name in request.GET:
        if name in OWN:
            continue
        if name not in fields:
            found.notes.append(_("There is no field “%s”; it was ignored.") % name)
        elif is_private(fields[name]):
            found.notes.append(_("“%s” is never filled in from a link.") % (fields[name].label or name))
        else:
            found.values[name] = _one_value(fields[name], name, request, found)
    found.values = {name: value for name, value in found.values.items() if value is not None}
    return found


def is_private(field: forms.Field) -> bool:
    """Whether the value of a field must not come from a link: secrets and files."""
    return isinstance(field, forms.FileField) or codec.is_secret(field)


def _one_value(field: forms.Field, name: str, request: HttpRequest, found: Filled) -> Any:
    is_many = isinstance(field.widget, (forms.SelectMultiple, forms.CheckboxSelectMultiple))
    raw: Any = request.GET.getlist(name) if is_many else request.GET[name]
    if isinstance(field, (forms.BooleanField, forms.NullBooleanField)):
        return raw.lower() in ("1", "true", "on", "yes")
    try:
        if isinstance(field.widget, forms.SplitDateTimeWidget):
            return _moment(raw)
        field.clean(raw)
    except (ValueError, forms.ValidationError):
        found.notes.append(_("The value for “%s” does not fit; it was ignored.") % (field.label or name))
        return None
    return raw


def _moment(raw: str) -> Any:
    moment = parse_datetime(raw)
    if moment is None:
        raise ValueError(raw)
    return moment


def _from_job(found: Filled, request: HttpRequest, job_type: JobType[Any]) -> None:
    raw = request.GET["from"]
    job = access.visible_job(request, int(raw)) if raw.isascii() and raw.isdigit() and len(raw) < 19 else None
    may_see = job is not None and permissions.can(request.user, "view_arguments", job=job)
    if job is None or job.name != job_type.name or not may_see:
        found.notes.append(_("Job #%s cannot be used as a start; the form shows its defaults.") % raw)
        return
    found.source = job
    found.values.update(job_type.arguments.initial(job.arguments))
    if drift := job_type.arguments.drift(job):
        found.notes.append(drift.explain())
