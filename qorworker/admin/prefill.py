"""What a run form starts with: values of an earlier job or of saved arguments, then those in its URL. Web.

Never a secret, never a file. What is left out is told; what is filled in stands in the fields, and nowhere else. A form
that changes what is stored keeps its secrets and files behind fields that are left empty.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import access
from qorworker.admin.asked import number as number_in_url
from qorworker.arguments import codec
from qorworker.arguments.drift import drift_of
from qorworker.arguments.fields import ListField, SecretField
from qorworker.arguments.values import python_value
from qorworker.exceptions import SecretsUnavailable
from qorworker.models import Job, Preset
from qorworker.records import mask
from qorworker.registry import JobType

OWN = frozenset({"from", "preset", "_changelist_filters", "_popup", "_to_field"})
# Fields whose value does not stand in the form as it stands in a URL.
PARSED = (forms.JSONField, forms.BooleanField, forms.DateTimeField, forms.DateField, forms.TimeField)


@dataclass
class Filled:
    values: dict[str, Any] = field(default_factory=dict)
    source: Job | None = None
    preset: Preset | None = None
    notes: list[str] = field(default_factory=list)


def filled(request: HttpRequest, job_type: JobType[Any], fields: Mapping[str, forms.Field]) -> Filled:
    """Values for the form with these fields, where they come from, and a note for everything that was left out."""
    found = Filled()
    if "from" in request.GET:
        _from_job(found, request, job_type, fields)
    elif "preset" in request.GET:
        _from_preset(found, request, job_type, fields)
    for name in request.GET:
        if name in OWN:
            continue
        if name not in fields:
            found.notes.append(_("There is no field “%s”; it was ignored.") % name)
        elif codec.is_private(fields[name]):
            found.notes.append(_("“%s” is never filled in from a link.") % (fields[name].label or name))
        else:
            _from_address(found, name, fields[name], request.GET.getlist(name))
    return found


def _from_address(found: Filled, name: str, field: forms.Field, given: list[str]) -> None:
    raw: Any = given[-1]
    if isinstance(field.widget, (forms.SelectMultiple, forms.CheckboxSelectMultiple)):
        raw = given
    elif isinstance(field, ListField):
        raw = "\n".join(given)
    try:
        cleaned = field.clean(raw if isinstance(field, forms.JSONField) else python_value(field, raw))
    except (ValueError, forms.ValidationError):
        found.notes.append(_("The value for “%s” does not fit; it was ignored.") % (field.label or name))
        return
    if isinstance(field, PARSED):
        found.values[name] = cleaned
    else:
        found.values[name] = cleaned if isinstance(field, forms.MultiValueField) else raw


def _from_job(found: Filled, request: HttpRequest, job_type: JobType[Any], fields: Mapping[str, forms.Field]) -> None:
    raw = request.GET["from"]
    number = number_in_url(raw)
    job = access.visible_job(request, number) if number is not None else None
    may_see = job is not None and permissions.can(request.user, "view_arguments", job=job)
    if job is None or job.name != job_type.name or not may_see:
        found.notes.append(_("Job #%s cannot be used as a start; the form shows its defaults.") % raw)
        return
    found.source = job
    from_stored(found, job_type, fields, job.arguments)


def _from_preset(
    found: Filled, request: HttpRequest, job_type: JobType[Any], fields: Mapping[str, forms.Field]
) -> None:
    number = number_in_url(request.GET["preset"])
    usable = Preset.objects.usable_by(request.user).for_type(job_type.name)
    preset = usable.filter(pk=number).first() if number is not None else None
    if preset is None:
        found.notes.append(_("There are no such saved arguments; the form shows its defaults."))
        return
    found.preset = preset
    from_stored(found, job_type, fields, preset.arguments, preset.left_out)


def from_stored(
    found: Filled,
    job_type: JobType[Any],
    fields: Mapping[str, forms.Field],
    stored: Mapping[str, Any],
    left_out: Collection[str] = (),
) -> None:
    """By the fields of this form, not by a fingerprint: a row may be gone, or be none that the user may choose."""
    drift = job_type.arguments.compare(fields, stored)
    drift = replace(drift, new=tuple(name for name in drift.new if name not in left_out))
    values = job_type.arguments.initial(stored)
    found.values.update({name: value for name, value in values.items() if name not in drift.changed})
    if drift:
        found.notes.append(drift.explain())


def keep_private(form: forms.BaseForm, stored: Mapping[str, Any], *, is_own: bool = True) -> dict[str, Any]:
    """Have the fields of *form* for secrets and files stand for what is *stored* while they are empty; what of it.

    What is not somebody's own keeps no secret: they could have it sent to a place of their choice.
    """
    private = {name: field for name, field in form.fields.items() if codec.is_private(field) and stored.get(name)}
    unfit = drift_of(private, stored).changed
    kept = {name: stored[name] for name in private if name not in unfit}
    for name, secret in private.items():
        if not is_own and codec.is_secret(secret):
            kept.pop(name, None)
            secret.required = secret.widget.is_required = True
            _advise(secret, _("What is stored is kept only for who started the job: enter it again."))
    secrets: list[str] = []
    for name, value in kept.items():
        _advise(private[name], _("Leave this empty to keep what is stored."))
        _stand_for(private[name], name, value, secrets)
    form.add_error = partial(_add_masked, form.add_error, secrets)  # type: ignore[method-assign]
    return kept


def _advise(field: forms.Field, advice: str) -> None:
    field.help_text = " ".join((str(field.help_text), advice)).strip()


def _stand_for(field: forms.Field, name: str, stored: Any, secrets: list[str]) -> None:
    """A stored value as if it had been sent: the form as a whole may look at it. *secrets* is told if it is one."""
    is_required, clean = field.required, field.clean
    field.required = field.widget.is_required = False

    def given_or_kept(given: Any, *initial: Any) -> Any:
        if given:
            field.required = is_required  # blanks are no secret
            return clean(given, *initial)
        try:
            value = codec.load(field, name, stored)
        except SecretsUnavailable as error:
            raise forms.ValidationError(str(error)) from None
        if codec.is_secret(field) and codec.plain(value):
            secrets.append(str(codec.plain(value)))
        return value if isinstance(field, (SecretField, forms.FileField)) else codec.plain(value)

    field.clean = given_or_kept  # type: ignore[assignment,method-assign]


def _add_masked(add_error: Callable[..., None], secrets: list[str], field: str | None, error: Any) -> None:
    """An error of the form without the stored secrets that it may quote."""
    if not isinstance(error, forms.ValidationError):
        error = forms.ValidationError(error)
    told = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
    masked = {name: [mask(message, secrets) for message in messages] for name, messages in told.items()}
    if masked != told:
        error = forms.ValidationError(masked if hasattr(error, "error_dict") else masked[""])
    add_error(field, error)


def left_empty(form: forms.BaseForm, kept: Mapping[str, Any]) -> dict[str, Any]:
    """What of *kept* stays: nothing was sent for it."""
    return {name: value for name, value in kept.items() if not form[name].data}


def to_enter_again(form: forms.BaseForm) -> list[tuple[Any, bool]]:
    """Fields of a sent form that were filled in and come back empty, and whether they are files."""
    return [
        (form[name], isinstance(field, forms.FileField))
        for name, field in form.fields.items()
        if codec.is_private(field) and field.widget.value_from_datadict(form.data, form.files, form.add_prefix(name))
    ]
