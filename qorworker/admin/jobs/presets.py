"""The pages that save the arguments of a run form under a name, and delete what was saved. Web.

Saving takes two pages, so that Enter in the field of the name cannot run the job. Between them the arguments are in the
page, signed; a secret or a file is never among them.
"""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import IntegrityError, router, transaction
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import access, links, rendering
from qorworker.admin.forms import PresetForm
from qorworker.admin.jobs.run_form import RunPage, runnable
from qorworker.admin.jobs.start_choices import may_delete
from qorworker.admin.media import RUN_MEDIA
from qorworker.arguments import codec
from qorworker.conf import settings
from qorworker.definitions.job_type import JobType
from qorworker.models import Job, Preset
from qorworker.models.refusals import text_problem

SALT = "qorworker.preset"
LIFETIME = 24 * 3600  # seconds that the page with the name may stay open


def save(model_admin: Any, request: HttpRequest, name: str) -> HttpResponseBase:
    """Ask under which name to save the arguments, and save them."""
    job_type = runnable(model_admin, request, name, ["POST"])
    if isinstance(job_type, HttpResponseBase):
        return job_type
    if "qw-arguments" not in request.POST:
        page = RunPage(model_admin, request, job_type)
        kept = _collect(page)
        return _refuse(page) if kept is None else _ask(model_admin, request, job_type, kept)
    try:
        kept = signing.loads(request.POST["qw-arguments"], salt=_salt(request, job_type), max_age=LIFETIME)
    except signing.BadSignature:
        messages.error(request, _("The page was open for too long. Nothing was saved."))
        return HttpResponseRedirect(links.url(request, "qorworker_job_run", job_type.name))
    form = _form(request, job_type, request.POST)
    named = str(form.cleaned_data.get("name", "")) if form.is_valid() else ""
    if problem := text_problem(router.db_for_write(Preset), Preset._meta.db_table, "name", named):
        form.add_error("name", problem)
    if not form.is_valid():
        return _ask(model_admin, request, job_type, kept, form)
    preset = _store(request, job_type, kept, form.cleaned_data)
    if preset is None:  # another page of the same person was faster
        return _ask(model_admin, request, job_type, kept, _form(request, job_type, request.POST))
    messages.success(request, _("The arguments are saved as “%s”.") % preset)
    return HttpResponseRedirect(links.url(request, "qorworker_job_run", job_type.name) + f"?preset={preset.pk}")


def delete(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Ask whether to delete saved arguments, and delete them."""
    preset = Preset.objects.usable_by(request.user).filter(pk=pk).first() if pk < 2**63 else None
    job_type = access.visible_type(request, preset.job_name) if preset is not None else None
    if preset is None or job_type is None or not permissions.can(request.user, "run", job_type):
        return access.not_found(request)
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    if not may_delete(request.user, preset):
        reason = _("Only the person who saved them can delete them.")
        return access.deny(model_admin, request, "delete saved arguments", job_type=job_type, reason=reason)
    if request.method != "POST":
        return rendering.page(
            request,
            "job/run/delete.html",
            Job._meta,
            title=_("Delete the saved arguments “%s”?") % preset,
            media=RUN_MEDIA,
            job_type=job_type,
            preset=preset,
            summary=job_type.arguments.display(preset.arguments),
        )
    preset.delete()
    access.record(request, "delete saved arguments", "ok", job_name=job_type.name, name=preset.name)
    messages.success(request, _("The saved arguments “%s” are deleted.") % preset)
    return HttpResponseRedirect(links.url(request, "qorworker_job_run", job_type.name))


def _collect(page: RunPage) -> dict[str, Any] | None:
    """Return what can be saved of the form, without empty fields; None if something in it is wrong."""
    form = page.arguments
    stored: dict[str, Any] = {}
    for wrong in [name for name, errors in form.errors.as_data().items() if _is_no_reason(form, name, errors)]:
        del form.errors[wrong]
    for name, field in form.fields.items():
        if name in form.cleaned_data and not codec.is_private(field):
            try:
                stored[name] = codec.dump(field, form.cleaned_data[name])
            except ValidationError as error:
                form.add_error(name, error)
    if not form.errors and len(json.dumps(stored)) > settings.ARGUMENTS_BYTES:
        form.add_error(None, _("The arguments are too large to be saved."))
    if form.errors:
        return None
    return {"arguments": stored, "left_out": [name for name in form.fields if name not in stored]}


def _is_no_reason(form: Any, name: str, errors: list[ValidationError]) -> bool:
    """Return whether the error of a field matters only for a run: the field is empty, or is never saved anyway."""
    if name not in form.fields:
        return True  # of the form as a whole, which may look at what is left out
    return codec.is_private(form.fields[name]) or all(error.code == "required" for error in errors)


def _refuse(page: RunPage) -> HttpResponseBase:
    for form in (page.when, page.queue, page.confirm):
        if form is not None:
            form.errors.clear()
    page.was_saving = True
    return page.again()


def _form(request: HttpRequest, job_type: JobType[..., Any], data: Any = None) -> PresetForm:
    own = Preset.objects.of_user(request.user).for_type(job_type.name)
    may_share = permissions.can(request.user, "share", job_type)
    return PresetForm(data, taken={name.casefold() for name in own.values_list("name", flat=True)}, may_share=may_share)


def _ask(
    model_admin: Any, request: HttpRequest, job_type: JobType[..., Any], kept: dict[str, Any], form: Any = None
) -> HttpResponseBase:
    """Return the page that shows what is saved and asks for the name."""
    fields = job_type.arguments.fields
    return rendering.page(
        request,
        "job/run/save.html",
        Job._meta,
        title=_("Save arguments of “%s”") % job_type.title,
        media=RUN_MEDIA,
        job_type=job_type,
        form=form or _form(request, job_type),
        signed=signing.dumps(kept, salt=_salt(request, job_type), compress=True),
        summary=job_type.arguments.display(kept["arguments"]),
        left_out=[fields[name].label or name for name in kept["left_out"] if name in fields],
    )


def _salt(request: HttpRequest, job_type: JobType[..., Any]) -> str:
    """Return a salt of the person and the type, so that the data of one page fits no other."""
    return f"{SALT}:{request.user.pk}:{job_type.name}"


def _store(
    request: HttpRequest, job_type: JobType[..., Any], kept: dict[str, Any], chosen: dict[str, Any]
) -> Preset | None:
    own = Preset.objects.of_user(request.user).for_type(job_type.name)
    preset = own.named(chosen["name"]).first() if chosen.get("replace") else None
    preset = preset or Preset(job_name=job_type.name, owner_id=request.user.pk, name=chosen["name"])
    preset.arguments, preset.left_out = kept["arguments"], kept["left_out"]
    preset.is_shared = chosen.get("is_shared", False)
    try:
        with transaction.atomic(using=router.db_for_write(Preset)):
            preset.save()
    except IntegrityError:
        return None
    access.record(request, "save arguments", "ok", job_name=job_type.name, name=preset.name, shared=preset.is_shared)
    return preset
