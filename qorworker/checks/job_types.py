"""Checks of the names, rules, permissions and middleware of job types. ``manage.py check``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.contrib.auth import get_permission_codename
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from qorworker import conf
from qorworker.arguments import codec
from qorworker.checks.names import plain
from qorworker.checks.offline import register
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.execution import middleware
from qorworker.execution.commands import CommandType


@register()
def check_names(**kwargs: Any) -> list[checks.CheckMessage]:
    """E002: names that some databases cannot tell apart. (Equal names are refused by ``@job`` itself.)"""
    messages: list[checks.CheckMessage] = []
    seen: dict[str, JobType[..., Any]] = {}
    for job_type in registry.all():
        other = seen.setdefault(plain(job_type.name), job_type)
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
        of_project = conf.settings.MIDDLEWARE
    except ImproperlyConfigured:
        return []  # E001 says so
    others = [job_type for job_type in types if not job_type.concurrency]
    messages = [
        _wrong_middleware("QORWORKER['MIDDLEWARE']", problem)
        for each in of_project
        if (problem := middleware.problem(each, others))
    ]
    for job_type in types:
        place = f"@job(middleware=…) of {job_type.place}"
        problems = [(place, middleware.problem(each, [job_type])) for each in job_type.middleware]
        messages += [_wrong_middleware(place, problem) for place, problem in problems if problem]
    return messages or _unfit_for_coroutines(of_project, types)


def _unfit_for_coroutines(of_project: Any, types: Iterable[JobType[..., Any]]) -> list[checks.CheckMessage]:
    """Return an error for each type that only cannot have the middleware of the project: all others can run."""
    return [
        _wrong_middleware("QORWORKER['MIDDLEWARE']", problem, job_type)
        for job_type in types
        if job_type.concurrency
        for each in of_project
        if (problem := middleware.problem(each, [job_type]))
    ]


def _wrong_middleware(place: str, problem: str, job_type: JobType[..., Any] | None = None) -> checks.CheckMessage:
    return checks.Error(
        f"{place}: {problem}",
        hint="A middleware is a callable that takes call_next and returns a callable that takes the context.",
        obj=job_type,
        id="qorworker.E012",
    )


@register()
def check_permissions(**kwargs: Any) -> list[checks.CheckMessage]:
    """E007: a permission that is not ``app.codename`` of an app. W007: a permission that no model declares."""
    messages: list[checks.CheckMessage] = []
    for job_type in registry.all():
        for option in ("permission", "approval"):
            name = getattr(job_type.options, option)
            if isinstance(name, str) and (message := _problem_of_permission(option, name, job_type)) is not None:
                messages.append(message)
    return messages


def _problem_of_permission(option: str, name: str, job_type: JobType[..., Any]) -> checks.CheckMessage | None:
    app_label, dot, codename = name.partition(".")
    if not (dot and codename.strip()) or app_label not in {config.label for config in apps.get_app_configs()}:
        text = f"The {option} {name!r} of {job_type.place} is not “app.codename” of an installed app."
        return checks.Error(text, hint="For example “shop.change_product”.", obj=job_type, id="qorworker.E007")
    if codename not in _declared_permissions(app_label):
        text = f"No model of {app_label!r} declares the permission {name!r} of {job_type.place}."
        if option == "approval":
            text = f"No model of {app_label!r} declares the permission {name!r}, the approval of {job_type.place}."
        hint = "List it in Meta.permissions of a model; unless something else creates it, only superusers have it."
        return checks.Warning(text, hint=hint, obj=job_type, id="qorworker.W007")
    return None


def _declared_permissions(app_label: str) -> set[str]:
    """Return the codenames that ``migrate`` creates for the models of an app."""
    metas = [model._meta for model in apps.get_app_config(app_label).get_models()]
    own = {codename for meta in metas for codename, _name in meta.permissions}
    return own | {get_permission_codename(action, meta) for meta in metas for action in meta.default_permissions}


@register()
def check_commands(**kwargs: Any) -> list[checks.CheckMessage]:
    """W017: a job type whose command cannot be loaded. A warning: the command alone stops no other command, either."""
    return [
        checks.Warning(
            f"The command of {job_type.place}: {problem}.",
            hint="Until that is mended its jobs are refused.",
            obj=job_type,
            id="qorworker.W017",
        )
        for job_type in registry.all()
        if isinstance(job_type, CommandType) and (problem := job_type.arguments.load_problem)
    ]


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
