"""Checks of the names, rules, permissions and middleware of job types. ``manage.py check``."""

from __future__ import annotations

import unicodedata
from typing import Any

from django.apps import apps
from django.contrib.auth import get_permission_codename
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from qorworker import conf
from qorworker.arguments import codec
from qorworker.checks.offline import register
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.execution import middleware


@register()
def check_names(**kwargs: Any) -> list[checks.CheckMessage]:
    """E002: names that some databases cannot tell apart. (Equal names are refused by ``@job`` itself.)"""
    messages: list[checks.CheckMessage] = []
    seen: dict[str, JobType[Any]] = {}
    for job_type in registry.all():
        other = seen.setdefault(_plain(job_type.name), job_type)
        if other is not job_type:
            messages.append(
                checks.Error(
                    f"The job types {other.name!r} and {job_type.name!r} differ only in capital letters or accents.",
                    hint=f"Rename {other.place} or {job_type.place} with @job(name=…).",
                    obj=job_type,
                    id="qorworker.E002",
                )
            )
    return messages


def _plain(name: str) -> str:
    """Return *name* without the differences that many collations ignore: case and accents."""
    return "".join(char for char in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(char))


@register()
def check_unique(**kwargs: Any) -> list[checks.CheckMessage]:
    """E015: a rule of uniqueness that names something other than an argument."""
    return [
        checks.Error(
            f"The rule of uniqueness of {job_type.place} names {name!r}, which is not an argument.",
            hint="Name arguments of the job in Unique(by=…), or give a callable.",
            obj=job_type,
            id="qorworker.E015",
        )
        for job_type in registry.ready()
        for name in getattr(job_type.unique, "names", ())
        if name not in job_type.arguments.definition.fields
    ]


@register()
def check_limits(**kwargs: Any) -> list[checks.CheckMessage]:
    """E014: a ``concurrency_key`` that names no argument, or one whose value must not be stored in the clear."""
    messages: list[checks.CheckMessage] = []
    for job_type in registry.ready():
        rule, fields = job_type.concurrency_key, job_type.arguments.definition.fields
        names = [] if rule is None or callable(rule) else [rule] if isinstance(rule, str) else rule
        unknown = [name for name in names if name not in fields]
        if bad := unknown or [name for name in names if codec.is_secret(fields[name])]:
            problem = "is not an argument" if unknown else "is a secret: keys are stored in the clear"
            messages.append(
                checks.Error(
                    f"The concurrency_key {bad[0]!r} of {job_type.place} {problem}.",
                    hint="Name arguments of the job, or give a callable that makes a text of them.",
                    obj=job_type,
                    id="qorworker.E014",
                )
            )
    return messages


@register()
def check_middleware(**kwargs: Any) -> list[checks.CheckMessage]:
    """E012: middleware that cannot be imported, called, or put around the handlers."""
    types = registry.all()
    try:
        places = [("QORWORKER['MIDDLEWARE']", conf.settings.MIDDLEWARE, types)]
    except ImproperlyConfigured:
        return []  # E001 says so
    places += [(f"@job(middleware=…) of {job_type.place}", job_type.middleware, [job_type]) for job_type in types]
    return [
        checks.Error(
            f"{place}: {problem}",
            hint="A middleware is a callable that takes call_next and returns a callable that takes the context.",
            id="qorworker.E012",
        )
        for place, chosen, around in places
        for each in chosen
        if (problem := middleware.problem(each, around))
    ]


@register()
def check_permissions(**kwargs: Any) -> list[checks.CheckMessage]:
    """E007: a permission that is not ``app.codename`` of an app. W007: a permission that no model declares."""
    messages: list[checks.CheckMessage] = []
    for job_type in registry.all():
        if not isinstance(job_type.permission, str):
            continue
        app_label, dot, codename = job_type.permission.partition(".")
        if not (dot and codename.strip()) or app_label not in {config.label for config in apps.get_app_configs()}:
            text = (
                f"The permission {job_type.permission!r} of {job_type.place} is not “app.codename” of an installed app."
            )
            hint = "For example “shop.change_product”."
            messages.append(checks.Error(text, hint=hint, obj=job_type, id="qorworker.E007"))
        elif codename not in _declared_permissions(app_label):
            text = f"No model of {app_label!r} declares the permission {job_type.permission!r} of {job_type.place}."
            hint = "List it in Meta.permissions of a model; unless something else creates it, only superusers have it."
            messages.append(checks.Warning(text, hint=hint, obj=job_type, id="qorworker.W007"))
    return messages


def _declared_permissions(app_label: str) -> set[str]:
    """Return the codenames that ``migrate`` creates for the models of an app."""
    metas = [model._meta for model in apps.get_app_config(app_label).get_models()]
    own = {codename for meta in metas for codename, _name in meta.permissions}
    return own | {get_permission_codename(action, meta) for meta in metas for action in meta.default_permissions}


@register(deploy=True)
def check_open_types(**kwargs: Any) -> list[checks.CheckMessage]:
    """I001: job types that every user with ``qorworker.run_job`` may run."""
    names = [job_type.name for job_type in registry.all() if job_type.permission is None]
    if not names:
        return []
    return [
        checks.Info(
            f"Every member of staff with the permission “qorworker.run_job” may run: {', '.join(names)}.",
            hint="Narrow it with @job(permission='app.codename') where that is too many.",
            id="qorworker.I001",
        )
    ]
