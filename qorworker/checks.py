"""System checks: mistakes in settings and job types, told by ``manage.py check`` before anything runs."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.apps import apps
from django.contrib.auth import get_permission_codename
from django.core import checks
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management import get_commands
from django.db import DatabaseError, connections, router

from qorworker import conf, middleware, secrets
from qorworker.arguments import codec
from qorworker.arguments.signature import MISSING
from qorworker.arguments.values import python_value
from qorworker.backends import backend_of
from qorworker.exceptions import InvalidArguments
from qorworker.plan import Plan
from qorworker.registry import JobType, registry


@checks.register
def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """E001: an unknown key or a wrong value in QORWORKER."""
    return [
        checks.Error(problem, hint="Every setting is described in qorworker/conf.py.", id="qorworker.E001")
        for problem in conf.problems()
    ]


@checks.register
def check_names(**kwargs: Any) -> list[checks.CheckMessage]:
    """E002: names that some databases cannot tell apart. (Equal names are refused by ``@job`` itself.)"""
    found: list[checks.CheckMessage] = []
    seen: dict[str, JobType[Any]] = {}
    for job_type in _job_types():
        other = seen.setdefault(_plain(job_type.name), job_type)
        if other is not job_type:
            found.append(
                checks.Error(
                    f"The job types {other.name!r} and {job_type.name!r} differ only in capital letters or accents.",
                    hint=f"Rename {other.place} or {job_type.place} with @job(name=…).",
                    obj=job_type,
                    id="qorworker.E002",
                )
            )
    return found


def _plain(name: str) -> str:
    """A name without what many collations overlook."""
    return "".join(char for char in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(char))


@checks.register
def check_arguments(**kwargs: Any) -> list[checks.CheckMessage]:
    """E003: a parameter that cannot become a form field. E004: a default that its own field refuses or changes."""
    found: list[checks.CheckMessage] = []
    for job_type in _ready_types():
        problems = job_type.arguments.problems()
        for name, problem in problems.items():
            found.append(
                checks.Error(
                    f"Argument {name!r} of {job_type.place}: {problem}.",
                    hint="See the table of types in the documentation, or give a form with @job(form=…).",
                    obj=job_type,
                    id="qorworker.E003",
                )
            )
        if not problems:
            found += _check_defaults(job_type)
    return found


def _check_defaults(job_type: JobType[Any]) -> Iterable[checks.CheckMessage]:
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
        return " ".join(error.messages)
    except DatabaseError:
        return ""  # rows to choose from, before their table was made
    wanted = list(default) if isinstance(default, tuple) else default
    return "" if again == wanted else f"{default!r} becomes {again!r}."


@checks.register
def check_queues(**kwargs: Any) -> list[checks.CheckMessage]:
    """E006: a queue whose backend cannot be made, or a job type for a queue that does not exist or cannot run it."""
    try:
        queues = conf.settings.QUEUES
    except ImproperlyConfigured:
        return []  # E001 says so
    found: list[checks.CheckMessage] = []
    for name in queues:
        try:
            found += backend_of(name).check()
        except ImproperlyConfigured as error:
            found.append(
                checks.Error(
                    str(error),
                    hint="QORWORKER['QUEUES'] is shaped like CACHES: BACKEND is the dotted path of a class.",
                    id="qorworker.E006",
                )
            )
    if any(message.id == "qorworker.E006" for message in found):
        return found
    for job_type in _job_types():
        if job_type.queue_name not in queues:
            found.append(
                checks.Error(
                    f"{job_type.place} belongs to queue {job_type.queue_name!r}, which is not in QORWORKER['QUEUES'].",
                    hint=f"There are: {', '.join(queues)}.",
                    obj=job_type,
                    id="qorworker.E006",
                )
            )
        else:
            found += _lost_options(job_type)
    return found


def _lost_options(job_type: JobType[Any]) -> Iterable[checks.CheckMessage]:
    """E006, W010: options of a job type that mean nothing in its queue."""
    backend = backend_of(job_type.queue_name)
    if job_type.priority and not backend.supports_priority:
        yield checks.Error(
            f"{job_type.place} has a priority, and its queue {job_type.queue_name!r} knows none.",
            hint="Leave the priority at 0, or choose another queue.",
            obj=job_type,
            id="qorworker.E006",
        )
    limits = [name for name in ("timeout", "memory_limit") if getattr(job_type, name) is not None]
    if limits and not backend.supports_limits:
        yield checks.Warning(
            f"The {' and the '.join(limits)} of {job_type.place} mean nothing in its queue {job_type.queue_name!r}.",
            hint=f"{type(backend).__name__} does not keep limits; choose another queue where that matters.",
            obj=job_type,
            id="qorworker.W010",
        )


@checks.register
def check_unique(**kwargs: Any) -> list[checks.CheckMessage]:
    """E015: a rule of uniqueness that names what is no argument."""
    return [
        checks.Error(
            f"The rule of uniqueness of {job_type.place} names {name!r}, which is no argument.",
            hint="Name arguments of the job in Unique(by=…), or give a callable.",
            obj=job_type,
            id="qorworker.E015",
        )
        for job_type in _ready_types()
        for name in getattr(job_type.unique, "names", ())
        if name not in job_type.arguments.definition.fields
    ]


@checks.register
def check_limits(**kwargs: Any) -> list[checks.CheckMessage]:
    """E014: a ``concurrency_key`` that names no argument, or one whose value must not be stored in the clear."""
    found: list[checks.CheckMessage] = []
    for job_type in _ready_types():
        rule, fields = job_type.concurrency_key, job_type.arguments.definition.fields
        names = [] if rule is None or callable(rule) else [rule] if isinstance(rule, str) else rule
        unknown = [name for name in names if name not in fields]
        if bad := unknown or [name for name in names if codec.is_secret(fields[name])]:
            told = "is no argument" if unknown else "is a secret: keys are stored in the clear"
            found.append(
                checks.Error(
                    f"The concurrency_key {bad[0]!r} of {job_type.place} {told}.",
                    hint="Name arguments of the job, or give a callable that makes a text of them.",
                    obj=job_type,
                    id="qorworker.E014",
                )
            )
    return found


@checks.register
def check_middleware(**kwargs: Any) -> list[checks.CheckMessage]:
    """E012: middleware that cannot be imported or called, or that cannot be around what it is given."""
    types = _job_types()
    try:
        places = [("QORWORKER['MIDDLEWARE']", conf.settings.MIDDLEWARE, types)]
    except ImproperlyConfigured:
        return []  # E001 says so
    places += [(f"@job(middleware=…) of {job_type.place}", job_type.middleware, [job_type]) for job_type in types]
    return [
        checks.Error(
            f"{place}: {problem}",
            hint="A middleware is a function or class that is given call_next and returns what takes the context.",
            id="qorworker.E012",
        )
        for place, chosen, around in places
        for each in chosen
        if (problem := middleware.problem(each, around))
    ]


@checks.register
def check_permissions(**kwargs: Any) -> list[checks.CheckMessage]:
    """E007: a permission that nobody can have, because it is not ``app.codename``. W007: one that no model declares."""
    found: list[checks.CheckMessage] = []
    for job_type in _job_types():
        if not isinstance(job_type.permission, str):
            continue
        app_label, dot, codename = job_type.permission.partition(".")
        if not (dot and codename.strip()) or app_label not in {config.label for config in apps.get_app_configs()}:
            text = (
                f"The permission {job_type.permission!r} of {job_type.place} is not “app.codename” of an installed app."
            )
            hint = "For example “shop.change_product”."
            found.append(checks.Error(text, hint=hint, obj=job_type, id="qorworker.E007"))
        elif codename not in _declared_permissions(app_label):
            told = f"No model of {app_label!r} declares the permission {job_type.permission!r} of {job_type.place}."
            hint = "List it in Meta.permissions of a model; unless something else makes it, only superusers have it."
            found.append(checks.Warning(told, hint=hint, obj=job_type, id="qorworker.W007"))
    return found


def _declared_permissions(app_label: str) -> set[str]:
    """The codenames that ``migrate`` makes for the models of an app."""
    metas = [model._meta for model in apps.get_app_config(app_label).get_models()]
    own = {codename for meta in metas for codename, _name in meta.permissions}
    return own | {get_permission_codename(action, meta) for meta in metas for action in meta.default_permissions}


@checks.register
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
        for job_type in _ready_types()
        if (names := [n for n, field in job_type.arguments.definition.fields.items() if codec.is_secret(field)])
    ]


@checks.register
def check_schedules(**kwargs: Any) -> list[checks.CheckMessage]:
    """E009: a schedule declared in code whose arguments do not fit, or whose name another one has."""
    found: list[checks.CheckMessage] = []
    owners: dict[str, JobType[Any]] = {}
    for job_type in _ready_types():
        for plan in job_type.plans:
            other = owners.setdefault(plan.name, job_type)
            problem = f"{other.place} declares one with this name, too" if other is not job_type else ""
            if problem := problem or _plan_problem(job_type, plan):
                told = f"The schedule {plan.name!r} of {job_type.place} cannot be made: {problem}"
                hint = "Give names and arguments with schedule=Plan(…, name=…, arguments={…})."
                found.append(checks.Error(told, hint=hint, obj=job_type, id="qorworker.E009"))
    return found


def _plan_problem(job_type: JobType[Any], plan: Plan) -> str:
    if job_type.arguments.problems():
        return ""  # E003 says so
    try:
        job_type.arguments.clean(plan.arguments)
    except InvalidArguments as error:
        return str(error)
    except DatabaseError:
        pass  # rows to choose from, before their table was made
    return ""


@checks.register
def check_command(**kwargs: Any) -> list[checks.CheckMessage]:
    """W001: another app gives ``runworker`` its own meaning (Channels has one)."""
    owner = get_commands().get("runworker", "qorworker")
    if owner == "qorworker":
        return []
    return [
        checks.Warning(
            f"“manage.py runworker” is the command of {owner!r}, not of qorworker.",
            hint="List “qorworker” before it in INSTALLED_APPS.",
            id="qorworker.W001",
        )
    ]


@checks.register(checks.Tags.database)
def check_sqlite(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """W003: SQLite set up so that writers lock each other out."""
    from qorworker.models import Job

    alias = router.db_for_write(Job)
    connection = connections[alias]
    if alias not in (databases or ()) or connection.vendor != "sqlite":
        return []
    with connection.cursor() as cursor:
        journal = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    if journal == "memory":
        return []
    missing = [] if journal == "wal" else ['"init_command": "PRAGMA journal_mode=WAL;"']
    if str(connection.settings_dict["OPTIONS"].get("transaction_mode", "")).upper() != "IMMEDIATE":
        missing.append('"transaction_mode": "IMMEDIATE"')
    if not missing:
        return []
    return [
        checks.Warning(
            f"The SQLite database {alias!r} makes workers and pages wait for each other.",
            hint=f"Add to its OPTIONS: {', '.join(missing)}",
            id="qorworker.W003",
        )
    ]


@checks.register(deploy=True)
def check_open_types(**kwargs: Any) -> list[checks.CheckMessage]:
    """I001: job types that everybody with ``qorworker.run_job`` may run."""
    names = [job_type.name for job_type in _job_types() if job_type.permission is None]
    if not names:
        return []
    return [
        checks.Info(
            f"Every member of staff with the permission “qorworker.run_job” may run: {', '.join(names)}.",
            hint="Narrow it with @job(permission='app.codename') where that is too many.",
            id="qorworker.I001",
        )
    ]


def _job_types() -> list[JobType[Any]]:
    return registry.all()


def _ready_types() -> list[JobType[Any]]:
    """Without those that read choices from a table that is missing: ``migrate`` runs the checks before it makes it."""
    return [job_type for job_type in _job_types() if job_type.arguments.definition.is_ready]
