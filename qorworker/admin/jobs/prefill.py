"""The values that a run form starts with: those of an earlier job or of saved arguments, then those in its URL. Web.

Never a secret, never a file. What is left out gets a note. What is filled in stands in the fields, and nowhere else. A
form that changes what is stored keeps its secrets and files behind fields that are left empty.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from django import forms
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker import permissions
from qorworker.admin import access
from qorworker.admin.display import qw_number
from qorworker.admin.parameters import number as number_in_url
from qorworker.arguments import codec, entered
from qorworker.arguments.drift import drift_of
from qorworker.arguments.fields import ListField, SecretField
from qorworker.arguments.shown import display
from qorworker.arguments.values import python_value
from qorworker.definitions.job_type import JobType
from qorworker.exceptions import InvalidArguments, SecretsUnavailable
from qorworker.models import Job, Preset, Schedule
from qorworker.text.cleaning import visible
from qorworker.text.masking import Mask

OWN = frozenset({"from", "preset", "_changelist_filters", "_popup", "_to_field"})
# Fields whose initial value is a Python object, not the text in a URL.
PARSED = (forms.JSONField, forms.BooleanField, forms.DateTimeField, forms.DateField, forms.TimeField)


@dataclass
class Filled:
    """The values that a form starts with, and their source."""

    values: dict[str, Any] = field(default_factory=dict)
    source: Job | None = None
    preset: Preset | None = None
    notes: list[str] = field(default_factory=list)


def filled(request: HttpRequest, job_type: JobType[..., Any], fields: Mapping[str, forms.Field]) -> Filled:
    """Return the values for a form with these fields, their source, and a note for everything that was left out."""
    filled_in = Filled()
    if "from" in request.GET:
        _from_job(filled_in, request, job_type, fields)
    elif "preset" in request.GET:
        _from_preset(filled_in, request, job_type, fields)
    for name in request.GET:
        if name in OWN:
            continue
        if name not in fields:
            filled_in.notes.append(_("The field “%s” does not exist; it was ignored.") % visible(name))
        elif codec.is_private(fields[name]):
            filled_in.notes.append(_("“%s” is never filled in from a link.") % (fields[name].label or name))
        else:
            _from_address(filled_in, name, fields[name], request.GET.getlist(name))
    return filled_in


def _from_address(filled_in: Filled, name: str, field: forms.Field, given: list[str]) -> None:
    raw: Any = given[-1]
    if isinstance(field.widget, (forms.SelectMultiple, forms.CheckboxSelectMultiple)):
        raw = given
    elif isinstance(field, ListField):
        raw = "\n".join(given)
    try:
        cleaned = field.clean(raw if isinstance(field, forms.JSONField) else python_value(field, raw))
    except (ValueError, forms.ValidationError):
        filled_in.notes.append(_("The value for “%s” does not fit; it was ignored.") % (field.label or name))
        return
    if isinstance(field, PARSED):
        filled_in.values[name] = cleaned
    else:
        filled_in.values[name] = cleaned if isinstance(field, forms.MultiValueField) else raw


def from_run(form: forms.BaseForm) -> Filled:
    """Return what was sent with a run *form*, for another form with the same fields; secrets and files stay behind."""
    filled_in = Filled()
    for name, each in form.fields.items():
        if codec.is_private(each):
            continue
        raw = each.widget.value_from_datadict(form.data, form.files, form.add_prefix(name))
        try:
            cleaned = each.clean(raw)
        except forms.ValidationError as error:
            if error.code != "required":
                filled_in.notes.append(_("The value for “%s” does not fit; it was ignored.") % (each.label or name))
            continue
        filled_in.values[name] = cleaned if isinstance(each, (*PARSED, forms.MultiValueField)) else raw
    return filled_in


def _from_job(
    filled_in: Filled, request: HttpRequest, job_type: JobType[..., Any], fields: Mapping[str, forms.Field]
) -> None:
    raw = request.GET["from"]
    number = number_in_url(raw)
    job = access.visible_job(request, number) if number is not None else None
    may_see = job is not None and permissions.can(request.user, "view_arguments", job=job)
    if job is None or job.name != job_type.name or not may_see:
        filled_in.notes.append(_("Job #%s cannot be used as a start; the form shows its defaults.") % visible(raw))
        return
    filled_in.source = job
    filled_in.notes += rows_left_out(job)
    from_stored(filled_in, job_type, fields, stored_by(job))


def stored_by(source: Job | Schedule) -> Mapping[str, Any]:
    """Return the arguments of *source* as the code of today takes them; as they are stored if they cannot be upgraded.

    Then the form shows what does not fit, and people can mend it.
    """
    stored: Mapping[str, Any] = source.arguments
    with suppress(InvalidArguments):
        stored = source.current_arguments
    return stored


def rows_left_out(job: Job) -> list[str]:
    """Return the note that a form starts a run for all rows, if *job* was only for some of them."""
    if (keys := job.row_keys) is None:
        return []
    text = ngettext(
        "Job #%(job)s was for %(number)s row only; this form is for all rows.",
        "Job #%(job)s was for %(number)s rows only; this form is for all rows.",
        len(keys),
    )
    return [text % {"job": job.pk, "number": qw_number(len(keys))}]


def _from_preset(
    filled_in: Filled, request: HttpRequest, job_type: JobType[..., Any], fields: Mapping[str, forms.Field]
) -> None:
    number = number_in_url(request.GET["preset"])
    usable = Preset.objects.usable_by(request.user).for_type(job_type.name)
    preset = usable.filter(pk=number).first() if number is not None else None
    if preset is None:
        filled_in.notes.append(_("These saved arguments do not exist; the form shows its defaults."))
        return
    filled_in.preset = preset
    from_stored(filled_in, job_type, fields, preset.arguments, preset.left_out)


def from_stored(
    filled_in: Filled,
    job_type: JobType[..., Any],
    fields: Mapping[str, forms.Field],
    stored: Mapping[str, Any],
    left_out: Collection[str] = (),
) -> None:
    """Fill in *stored* by the fields of this form, not by a fingerprint: a row may no longer exist or be a choice."""
    drift = job_type.arguments.compare(fields, stored)
    drift = replace(drift, new=tuple(name for name in drift.new if name not in left_out))
    values = job_type.arguments.initial(stored)
    filled_in.values.update({name: value for name, value in values.items() if name not in drift.changed})
    if drift:
        filled_in.notes.append(drift.explain())


def keep_private(form: forms.BaseForm, stored: Mapping[str, Any], person: Any) -> dict[str, Any]:
    """Let what is *stored* stand for secrets and files whose fields of *form* are empty; return what is kept.

    A secret that another person entered is kept only if nothing else is changed: see ``arguments.entered``. The form's
    own code does not get to see it otherwise.
    """
    private = {name: field for name, field in form.fields.items() if codec.is_private(field) and stored.get(name)}
    private = {name: field for name, field in private.items() if stored[name] != codec.ERASED}
    unfit = drift_of(private, stored).changed
    kept = {name: stored[name] for name in private if name not in unfit}
    foreign = {n for n in kept if codec.is_secret(private[n]) and not entered.entered_by(kept[n], person)}
    if form.is_bound:
        for name in entered.of_others(form.fields, stored, _sent(form, stored), person):
            del kept[name]
            private[name].required = private[name].widget.is_required = True
            private[name].error_messages["required"] = entered.enter_again()
    secrets = hide_secrets(form)
    for name in private:
        if name in foreign:
            _advise(
                private[name],
                _("Another person entered the stored value: if you change other arguments, enter it again."),
            )
        elif name in kept:
            _advise(private[name], _advice(name, private[name], kept[name]))
        if name in kept:
            _stand_for(private[name], name, kept[name], secrets)
    return kept


def hide_secrets(form: forms.BaseForm) -> list[str]:
    """Mask the secrets of *form* in its fields and errors; return the list of those entered, which may be added to."""
    for each in filter(codec.is_secret, form.fields.values()):
        each.show_hidden_initial = False  # a hidden field has the value in clear text
        each.prepare_value = lambda value: None  # type: ignore[method-assign]  # whatever the widget would render
    secrets: list[str] = []
    for name, each in form.fields.items() if form.is_bound else ():
        if codec.is_secret(each):
            given = each.widget.value_from_datadict(form.data, form.files, form.add_prefix(name))
            secrets += given if isinstance(given, (list, tuple)) else [given]
    secrets[:] = [str(text) for text in secrets if text]
    form.add_error = partial(_add_masked, form.add_error, secrets)  # type: ignore[method-assign]
    return secrets


def _sent(form: forms.BaseForm, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments as they were sent, each by itself, to be compared with those that are *stored*."""
    sent: dict[str, Any] = {}
    for name, each in form.fields.items():
        given = each.widget.value_from_datadict(form.data, form.files, form.add_prefix(name))
        if codec.is_private(each):
            sent[name] = given or stored.get(name)
            continue
        with suppress(forms.ValidationError):  # a value that does not fit differs from the stored one
            sent[name] = codec.dump(each, each.clean(given))
    return sent


def _advice(name: str, field: forms.Field, stored: Any) -> str:
    """Explain how to keep what is *stored*, which is named if it is no secret; help texts are HTML."""
    if codec.is_secret(field):
        return _("Leave this empty to keep what is stored.")
    return format_html(_("Leave this empty to keep {}."), display({name: field}, {name: stored})[0].text)


def _advise(field: forms.Field, advice: str) -> None:
    field.help_text = " ".join((str(field.help_text), advice)).strip()


def _stand_for(field: forms.Field, name: str, stored: Any, secrets: list[str]) -> None:
    """Use a stored value as if it had been sent, so that the whole form can check it; add a secret to *secrets*."""
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
    """Add an error to the form without the secrets that it may quote."""
    if not isinstance(error, forms.ValidationError):
        error = forms.ValidationError(error)
    messages_of, mask = (
        error.message_dict if hasattr(error, "error_dict") else {"": error.messages},
        Mask(secrets),
    )
    masked = {name: [mask(message) for message in messages] for name, messages in messages_of.items()}
    if masked != messages_of:
        error = forms.ValidationError(masked if hasattr(error, "error_dict") else masked[""])
    add_error(field, error)


def left_empty(form: forms.BaseForm, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of *kept* for which nothing was sent."""
    return {name: value for name, value in kept.items() if not form[name].data}


def to_enter_again(form: forms.BaseForm) -> list[tuple[Any, bool]]:
    """Return the fields of a sent form that were filled in and come back empty, and whether they are files."""
    return [
        (form[name], isinstance(field, forms.FileField))
        for name, field in form.fields.items()
        if codec.is_private(field) and field.widget.value_from_datadict(form.data, form.files, form.add_prefix(name))
    ]
