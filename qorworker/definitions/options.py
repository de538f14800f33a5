"""The options of ``@job``: names, defaults, and the rule for each value. Pure."""

from __future__ import annotations

import datetime as dt
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from django import forms
from django.apps import apps
from django.conf import settings as django_settings
from django.core.exceptions import AppRegistryNotReady, ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model
from django.utils import timezone
from django.utils.functional import Promise

from qorworker import validation
from qorworker.arguments.plain import parse_json
from qorworker.arguments.signature import place_of
from qorworker.definitions import approval, backoff, budgets, dependencies, limits, sharing, unique, versions
from qorworker.definitions.backoff import Backoff
from qorworker.definitions.dependencies import Policy
from qorworker.definitions.limits import Rate
from qorworker.definitions.unique import Unique
from qorworker.exceptions import JobTypeError
from qorworker.schedules.plan import problem_of
from qorworker.text.suggestion import did_you_mean

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType
    from qorworker.models.job import Job
    from qorworker.schedules.plan import Plan
    from qorworker.schedules.timetable import Rule

RetentionLimit = dt.timedelta | Literal["forever"]
PRIORITIES = (-100, 100)
ATTEMPTS = (1, 100)
# What other queues call the options of ``@job`` and of ``using``.
SYNONYMS = {
    "retries": "max_attempts", "max_retries": "max_attempts", "attempts": "max_attempts", "queue": "queue_name",
    "time_limit": "timeout", "soft_time_limit": "timeout", "cron": "schedule", "crontab": "schedule",
    "verbose_name": "title", "retry_backoff": "backoff", "retention": "keep_for", "result_ttl": "keep_for",
    "countdown": "run_after", "eta": "run_after", "delay": "run_after", "scheduled_at": "run_after",
    "schedule_at": "run_after", "created_by": "user", "by": "user", "depends_on": "after", "dependencies": "after",
}  # fmt: skip
# What other packages call the methods of a job type.
VERBS = {
    "delay": "enqueue", "delay_on_commit": "enqueue", "apply_async": "enqueue", "send": "enqueue", "defer": "enqueue",
    "adelay": "aenqueue", "defer_async": "aenqueue", "configure": "using", "set": "using", "send_with_options": "using",
    "s": "bind", "si": "bind", "signature": "bind", "call": "function", "call_local": "function",
}  # fmt: skip


class JobOptions(TypedDict, total=False):
    """The options of ``@job`` with their types, except for ``form``. ``job`` describes each of them.

    The names that ``job`` accepts are those that stand here and in ``FormJobOptions``.
    """

    name: str
    title: str | Promise
    group: str | Promise
    queue_name: str
    priority: int
    max_attempts: int
    backoff: Literal["exponential", "linear", "constant"] | Backoff
    timeout: float | dt.timedelta | None
    memory_limit: int | None
    max_queries: int | None
    max_mails: int | None
    max_log_lines: int | None
    max_rows: int | None
    permission: str | Callable[[Any, JobType[..., Any], str], bool] | None
    approval: str | Callable[[Any, JobType[..., Any], dict[str, Any]], str | None] | None
    dry_run: bool
    schedulable: bool
    schedule: Rule | Plan | Sequence[Rule | Plan] | None
    isolation: Literal["warm", "process"]
    concurrency: int | None
    max_concurrency: int | None
    rate_limit: str | tuple[int, dt.timedelta] | Rate | None
    concurrency_key: str | Sequence[str] | Callable[[dict[str, Any]], Any] | None
    unique: bool | Unique | None
    atomic: bool | Literal["chunk"]
    confirm: str | Promise
    on_row_errors: Literal["exception", "done"]
    middleware: Sequence[str | Callable[..., Any]]
    keep_for: RetentionLimit | Mapping[str, RetentionLimit] | None
    version: int
    upgrade: Callable[[dict[str, Any], int], Mapping[str, Any]] | None


class FormJobOptions(JobOptions):
    """The options of a job type whose form the project gives. Its fields are unknown to type checkers."""

    form: type[forms.BaseForm | Model]


class EnqueueOptions(TypedDict, total=False):
    """The options of ``JobType.using`` with their types. ``using`` describes each of them, and accepts no others."""

    run_after: dt.datetime | dt.timedelta | None
    after: Job | int | Iterable[Job | int] | None
    after_failure: Policy | None
    priority: int | None
    queue_name: str | None
    max_attempts: int | None
    concurrency_key: str | None
    unique: bool | Unique | None
    unique_key: str | None
    user: Any
    origin: str
    rerun_of: Any
    schedule: Any
    database: str | None
    meta: Mapping[str, Any] | None
    dry_run: bool | None


@dataclass(frozen=True)
class Options:
    """The values that a job type has for its options. ``job`` describes each of them."""

    name: str
    title: str | Promise
    group: str | Promise = ""
    form: type[Any] | None = None
    queue_name: str = "default"
    priority: int = 0
    max_attempts: int = 1
    backoff: Any = "exponential"
    timeout: float | None = None
    memory_limit: int | None = None
    max_queries: int | None = None
    max_mails: int | None = None
    max_log_lines: int | None = None
    max_rows: int | None = None
    permission: Any = None
    approval: Any = None
    dry_run: bool = False
    schedulable: bool = True
    schedule: Any = None
    isolation: str = "warm"
    concurrency: int | None = None
    max_concurrency: int | None = None
    rate_limit: Any = None
    concurrency_key: Any = None
    unique: Any = None
    atomic: bool | Literal["chunk"] = False
    confirm: str | Promise = ""
    on_row_errors: str = "exception"
    middleware: Any = ()
    keep_for: Any = None
    version: int = versions.FIRST
    upgrade: Any = None

    @classmethod
    def chosen_for(cls, function: Callable[..., Any], chosen: Mapping[str, Any]) -> Options:
        """Merge *chosen* into the defaults.

        :raises qorworker.exceptions.JobTypeError: if an option is unknown or has a wrong value; it names the place.
        """
        where = place_of(function)
        if isinstance(function, str):
            raise JobTypeError(f"@job({function!r}): options have names; write @job(name={function!r}).")
        if not inspect.isfunction(function):
            raise JobTypeError(f"@job at {where} needs a plain function, not {type(function).__name__}.")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise JobTypeError(f"@job at {where} is a generator: calling it would run nothing of it.")
        if unknown := set(chosen) - NAMES:
            hint = "".join(did_you_mean(name, NAMES, SYNONYMS) for name in sorted(unknown))
            raise JobTypeError(
                f"@job at {where} has no option {', '.join(sorted(unknown))}.{hint}"
                f" There are: {', '.join(sorted(NAMES))}."
            )
        for name, value in chosen.items():
            if problem := _RULES[name](value):
                raise JobTypeError(f"@job({name}={value!r}) at {where}: {problem.removesuffix('.')}.")
        if chosen.get("concurrency_key") and not (chosen.get("max_concurrency") or chosen.get("rate_limit")):
            raise JobTypeError(f"@job(concurrency_key=…) at {where} needs a max_concurrency or a rate_limit.")
        if chosen.get("atomic") and inspect.iscoroutinefunction(function):
            raise JobTypeError(
                f"@job(atomic={chosen['atomic']!r}) at {where} needs a plain function: a transaction belongs to a"
                " thread, and what a coroutine asks of the database runs in another one."
            )
        if chosen.get("concurrency") is not None and (problem := sharing.problem_of(function, chosen)):
            raise JobTypeError(f"@job(concurrency={chosen['concurrency']}) at {where} {problem}.")
        if chosen.get("upgrade") is not None and chosen.get("version", versions.FIRST) == versions.FIRST:
            raise JobTypeError(f"@job(upgrade=…) at {where} needs a version above 1, to which it upgrades.")
        if "name" not in chosen and not function.__name__.isidentifier():
            raise JobTypeError(f"@job at {where} has no name of its own: give it one with @job(name=…).")
        values: dict[str, Any] = {"name": default_name(function), "title": default_title(function), **chosen}
        if isinstance(timeout := values.get("timeout"), dt.timedelta):
            values["timeout"] = timeout.total_seconds()
        if (rate := values.get("rate_limit")) is not None:
            values["rate_limit"] = Rate.of(rate)
        if not callable(strategy := values.get("backoff", "exponential")):
            values["backoff"] = backoff.STRATEGIES[strategy]
        return cls(**values)


NAMES = frozenset((*FormJobOptions.__required_keys__, *FormJobOptions.__optional_keys__))
ENQUEUE_NAMES = EnqueueOptions.__optional_keys__


def default_name(function: Callable[..., Any]) -> str:
    return f"{_app_label(function.__module__)}.{function.__name__}"


def default_title(function: Callable[..., Any]) -> str:
    return function.__name__.strip("_").replace("_", " ").capitalize()


def _app_label(module: str) -> str:
    try:
        config = apps.get_containing_app_config(module)
    except AppRegistryNotReady:
        config = None
    if config is not None:
        return config.label
    *packages, last = module.strip("_").split(".")
    return packages[-1] if last == "jobs" and packages else last


def same_definition(registered: JobType[..., Any], new: JobType[..., Any]) -> bool:
    """Return whether both stem from one definition: its module was imported anew, or its ``def`` was executed again."""
    # A decorator below @job gives all its functions the same code: the function inside is the one that counts.
    if inspect.unwrap(registered.function).__code__ is inspect.unwrap(new.function).__code__:
        return True
    if (registered.__module__, registered.function.__qualname__) != (new.__module__, new.function.__qualname__):
        return False
    return registered.import_of is not new.import_of or new.import_of is None


def import_of(function: Callable[..., Any]) -> Any:
    """Return a value that stands for one import of the function's module; a reload makes a new one.

    None in an interactive shell.
    """
    return getattr(sys.modules.get(function.__module__), "__spec__", None)


def check_defaults(name: str, defaults: Mapping[str, Any]) -> None:
    """Raise for what ``using`` cannot take: an unknown option, or a wrong value."""
    for option in defaults:
        if option not in ENQUEUE_NAMES:
            hint = did_you_mean(option, ENQUEUE_NAMES, SYNONYMS)
            known = ", ".join(sorted(ENQUEUE_NAMES))
            raise TypeError(f"{name}.using() has no option {option!r}.{hint} There are: {known}.")
    for option in ("priority", "max_attempts", "queue_name"):
        if defaults.get(option) is not None and (problem := _RULES[option](defaults[option])):
            raise ValueError(f"{name}.using({option}={defaults[option]!r}): {problem}.")
    if problem := limits.key_problem(defaults.get("concurrency_key")):
        raise ValueError(f"{name}.using(concurrency_key={defaults['concurrency_key']!r}): {problem}.")
    for option, problem_of_it in (("unique", unique.problem_of), ("unique_key", unique.key_problem)):
        if problem := problem_of_it(defaults.get(option)):
            raise ValueError(f"{name}.using({option}={defaults[option]!r}): {problem}.")
    if problem := dependencies.policy_problem(defaults.get("after_failure")):
        raise ValueError(f"{name}.using(after_failure={defaults['after_failure']!r}): {problem}.")
    if problem := _meta(defaults.get("meta")):
        raise ValueError(f"{name}.using(meta={defaults['meta']!r}): {problem}.")
    if defaults.get("dry_run") is not None and (problem := validation.flag(defaults["dry_run"])):
        raise ValueError(f"{name}.using(dry_run={defaults['dry_run']!r}): {problem}.")
    if defaults.get("dry_run") and defaults.get("schedule") is not None:
        raise ValueError(f"{name}.using(dry_run=True): the jobs of a schedule are no rehearsals.")
    when = defaults.get("run_after")
    if when is None or isinstance(when, dt.timedelta):
        return
    if not isinstance(when, dt.datetime):
        raise ValueError(f"{name}.using(run_after={when!r}): must be a datetime or a timedelta.")
    if timezone.is_aware(when) is not django_settings.USE_TZ:
        needed = "needs a time zone, because USE_TZ is on" if django_settings.USE_TZ else "must not have a time zone"
        raise ValueError(f"{name}.using(run_after={when!r}): {needed}.")


def _text(value: Any) -> str:
    return "" if isinstance(value, (str, Promise)) else "must be a text"


def _name(value: Any) -> str:
    fits = isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable() and "/" not in value
    return "" if fits and value == value.strip() else "must be a printable text of 1 to 200 characters without “/”"


def _queue(value: Any) -> str:
    return "" if isinstance(value, str) and 0 < len(value) <= 100 else "must be a text of 1 to 100 characters"


def _meta(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, Mapping):
        return "must be a dict"
    try:
        parse_json(json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False))
    except ValidationError as error:
        return f"must be JSON that can be stored: {' '.join(error.messages)}"
    except (TypeError, ValueError, RecursionError) as error:
        return f"must be JSON: {error}"
    return ""


def _backoff(value: Any) -> str:
    fits = callable(value) or (isinstance(value, str) and value in backoff.STRATEGIES)
    return "" if fits else f"must be a callable or one of {', '.join(map(repr, backoff.STRATEGIES))}"


def _permission(value: Any) -> str:
    fits = value is None or callable(value) or isinstance(value, str)
    return "" if fits and not inspect.iscoroutinefunction(value) else "must be “app.codename” or a plain callable"


def _form(value: Any) -> str:
    fits = value is None or (isinstance(value, type) and issubclass(value, (forms.BaseForm, Model)))
    return "" if fits else "must be a Form, ModelForm or model class"


def _middleware(value: Any) -> str:
    fits = isinstance(value, (list, tuple)) and all(callable(each) or isinstance(each, str) for each in value)
    return "" if fits else "must be a list of callables or of their dotted paths"


def _keep_for(value: Any) -> str:
    if value is None or validation.is_retention_limit(value):
        return ""
    fits = isinstance(value, Mapping)
    return validation.retention(value) if fits else "must be a timedelta above 0, 'forever', or a dict by final status"


_RULES: dict[str, Callable[[Any], str]] = {
    "name": _name,
    "title": _text,
    "group": _text,
    "form": _form,
    "queue_name": _queue,
    "priority": validation.whole(*PRIORITIES),
    "max_attempts": validation.whole(*ATTEMPTS),
    "backoff": _backoff,
    "timeout": validation.seconds,
    "memory_limit": validation.size,
    **dict.fromkeys(budgets.NAMES, budgets.problem_of),
    "permission": _permission,
    "approval": approval.problem_of,
    "dry_run": validation.flag,
    "schedulable": validation.flag,
    "schedule": problem_of,
    "isolation": validation.one_of("warm", "process"),
    "concurrency": sharing.number_problem,
    "max_concurrency": lambda value: "" if value is None else validation.whole(1, limits.MOST)(value),
    "rate_limit": limits.rate_problem,
    "concurrency_key": limits.rule_problem,
    "unique": unique.problem_of,
    "atomic": lambda value: "" if value == "chunk" else validation.flag(value) and 'must be True, False or "chunk"',
    "confirm": _text,
    "on_row_errors": validation.one_of("exception", "done"),
    "middleware": _middleware,
    "keep_for": _keep_for,
    "version": validation.whole(versions.FIRST, versions.LAST),
    "upgrade": versions.upgrade_problem,
}
