"""System checks: mistakes in settings and job types, told by ``manage.py check`` before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management import get_commands
from django.db import DatabaseError, connections, router
from django.utils.module_loading import import_string

from qorworker import conf, secrets
from qorworker.arguments import codec
from qorworker.arguments.signature import MISSING
from qorworker.arguments.values import python_value
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
        other = seen.setdefault(job_type.name.casefold(), job_type)
        if other is not job_type:
            found.append(
                checks.Error(
                    f"The job types {other.name!r} and {job_type.name!r} differ only in capital letters.",
                    hint=f"Rename {other.place} or {job_type.place} with @job(name=…).",
                    obj=job_type,
                    id="qorworker.E002",
                )
            )
    return found


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
    """E006: a queue whose backend cannot be imported, or a job type for a queue that does not exist."""
    try:
        queues = conf.settings.QUEUES
    except ImproperlyConfigured:
        return []  # E001 says so
    found: list[checks.CheckMessage] = []
    for name, queue in queues.items():
        try:
            import_string(queue["BACKEND"])
        except ImportError as error:
            found.append(
                checks.Error(
                    f"The backend of queue {name!r} cannot be imported: {error}",
                    hint="QORWORKER['QUEUES'] is shaped like CACHES: BACKEND is the dotted path of a class.",
                    id="qorworker.E006",
                )
            )
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
    return found


@checks.register
def check_permissions(**kwargs: Any) -> list[checks.CheckMessage]:
    """E007: a permission that nobody can have, because it is not ``app.codename``."""
    return [
        checks.Error(
            f"The permission {job_type.permission!r} of {job_type.place} is not “app.codename” of an installed app.",
            hint="For example “shop.change_product”.",
            obj=job_type,
            id="qorworker.E007",
        )
        for job_type in _job_types()
        if isinstance(job_type.permission, str) and not _is_permission(job_type.permission)
    ]


def _is_permission(text: str) -> bool:
    app_label, dot, codename = text.partition(".")
    return bool(dot and codename.strip()) and app_label in {config.label for config in apps.get_app_configs()}


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
