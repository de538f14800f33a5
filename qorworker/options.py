"""The options of ``@job``: names, defaults and what each may be. Pure; read where the code is imported."""

from __future__ import annotations

import datetime as dt
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from django import forms
from django.apps import apps
from django.conf import settings as django_settings
from django.core.exceptions import AppRegistryNotReady
from django.db.models import Model
from django.utils import timezone
from django.utils.functional import Promise

from qorworker import limits, retention, retry, unique
from qorworker.exceptions import JobTypeError
from qorworker.plan import problem_of

if TYPE_CHECKING:
    from qorworker.registry import JobType

PRIORITIES = (-100, 100)
ATTEMPTS = (1, 100)


@dataclass(frozen=True)
class Options:
    name: str  # the key in the table; default: "<app label>.<function>"
    title: Any  # what people see; default: from the function's name
    group: Any = ""  # heading in the catalogue
    form: type[Any] | None = None  # a Form, ModelForm or model instead of the signature
    queue_name: str = "default"
    priority: int = 0  # -100 to 100, higher runs first
    max_attempts: int = 1  # more than 1 declares the job re-runnable
    backoff: Any = "exponential"  # or "linear", "constant", or a callable: attempt -> seconds or timedelta
    timeout: float | None = None  # seconds or timedelta; None: no limit
    memory_limit: int | None = None  # bytes; None: no limit
    permission: Any = None  # "app.codename", or a callable: (user, job_type, action) -> bool
    schedulable: bool = True  # whether people may choose a time
    schedule: Any = None  # a Cron, Every, At or Plan, or a list of them: when it runs by itself
    isolation: str = "warm"  # or "process": every attempt gets a process of its own
    max_concurrency: int | None = None  # jobs that run at once, over all workers; None: no limit
    rate_limit: Any = None  # starts in a period, over all workers: "10/m" or (10, timedelta(minutes=1))
    concurrency_key: Any = None  # both count for each value of: an argument's name, several, or a callable: dict -> key
    unique: Any = None  # True or a Unique: no second job like another
    atomic: bool = False  # the attempt's writes and its end commit together
    confirm: Any = ""  # a question that people answer before it starts
    on_row_errors: str = "exception"  # or "done": how a job with results errors ends
    middleware: Any = ()  # around each run, inside that of the project: factories or their paths, the outermost first
    keep_for: Any = None  # after the end: a timedelta, "forever", or a dict by final status; None: the setting KEEP_FOR

    @classmethod
    def chosen_for(cls, function: Callable[..., Any], chosen: Mapping[str, Any]) -> Options:
        """Defaults and *chosen* together. Raises ``JobTypeError`` that names place and option."""
        where = place_of(function)
        if not inspect.isfunction(function):
            raise JobTypeError(f"@job at {where} needs a plain function, not {type(function).__name__}.")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise JobTypeError(f"@job at {where} is a generator: calling it would run nothing of it.")
        if unknown := set(chosen) - NAMES:
            raise JobTypeError(
                f"@job at {where} has no option {', '.join(sorted(unknown))}. There are: {', '.join(sorted(NAMES))}."
            )
        for name, value in chosen.items():
            if problem := _RULES[name](value):
                raise JobTypeError(f"@job({name}={value!r}) at {where}: {problem}.")
        if chosen.get("concurrency_key") and not (chosen.get("max_concurrency") or chosen.get("rate_limit")):
            raise JobTypeError(f"@job(concurrency_key=…) at {where} needs a max_concurrency or a rate_limit.")
        made = {"name": default_name(function), "title": default_title(function), **chosen}
        if isinstance(made.get("timeout"), dt.timedelta):
            made["timeout"] = made["timeout"].total_seconds()
        if made.get("rate_limit") is not None:
            made["rate_limit"] = limits.Rate.of(made["rate_limit"])
        if not callable(strategy := made.get("backoff", "exponential")):
            made["backoff"] = retry.STRATEGIES[strategy]
        return cls(**made)


NAMES = frozenset(option.name for option in fields(Options))


def place_of(function: Callable[..., Any]) -> str:
    """``module.function (file:line)``, for people."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    name = f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name


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


def same_definition(known: JobType[Any], new: JobType[Any]) -> bool:
    """Whether *new* is *known* over again: its module was imported anew, or the same ``def`` was executed again."""
    # A decorator below @job gives all its functions the same code: the function inside is the one that counts.
    if inspect.unwrap(known.function).__code__ is inspect.unwrap(new.function).__code__:
        return True
    if (known.__module__, known.function.__qualname__) != (new.__module__, new.function.__qualname__):
        return False
    return known.import_of is not new.import_of or new.import_of is None


def import_of(function: Callable[..., Any]) -> Any:
    """What stands for one import of the function's module: a reload makes a new one. None in an interactive shell."""
    return getattr(sys.modules.get(function.__module__), "__spec__", None)


def check_defaults(name: str, defaults: Mapping[str, Any]) -> None:
    """Raise for values that ``using`` cannot take."""
    for option in ("priority", "max_attempts", "queue_name"):
        if defaults.get(option) is not None and (problem := _RULES[option](defaults[option])):
            raise ValueError(f"{name}.using({option}={defaults[option]!r}): {problem}.")
    if problem := limits.key_problem(defaults.get("concurrency_key")):
        raise ValueError(f"{name}.using(concurrency_key={defaults['concurrency_key']!r}): {problem}.")
    for option, problem_of_it in (("unique", unique.problem_of), ("unique_key", unique.key_problem)):
        if problem := problem_of_it(defaults.get(option)):
            raise ValueError(f"{name}.using({option}={defaults[option]!r}): {problem}.")
    when = defaults.get("run_after")
    if when is None or isinstance(when, dt.timedelta):
        return
    if not isinstance(when, dt.datetime):
        raise ValueError(f"{name}.using(run_after={when!r}): must be a datetime or a timedelta.")
    if timezone.is_aware(when) is not django_settings.USE_TZ:
        needed = "needs a time zone, because USE_TZ is on" if django_settings.USE_TZ else "must not have a time zone"
        raise ValueError(f"{name}.using(run_after={when!r}): {needed}.")


def _whole(low: int, high: float) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        span = f"from {low} to {high}" if high != math.inf else f"of at least {low}"
        return "" if fits else f"must be a whole number {span}"

    return check


def _text(value: Any) -> str:
    return "" if isinstance(value, (str, Promise)) else "must be a text"


def _name(value: Any) -> str:
    fits = isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable() and "/" not in value
    return "" if fits and value == value.strip() else "must be a printable text of 1 to 200 characters without “/”"


def _queue(value: Any) -> str:
    return "" if isinstance(value, str) and 0 < len(value) <= 100 else "must be a text of 1 to 100 characters"


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be True or False"


def _one_of(*known: str) -> Callable[[Any], str]:
    return lambda value: "" if value in known else f"must be one of {', '.join(map(repr, known))}"


def _seconds(value: Any) -> str:
    value = value.total_seconds() if isinstance(value, dt.timedelta) else value
    number = value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
    return "" if number and (value is None or 0 < value < math.inf) else "must be seconds above 0, a timedelta, or None"


def _bytes(value: Any) -> str:
    return "" if value is None or not _whole(1, math.inf)(value) else "must be a number of bytes above 0, or None"


def _backoff(value: Any) -> str:
    fits = callable(value) or (isinstance(value, str) and value in retry.STRATEGIES)
    return "" if fits else f"must be a callable or one of {', '.join(map(repr, retry.STRATEGIES))}"


def _permission(value: Any) -> str:
    return "" if value is None or callable(value) or isinstance(value, str) else "must be “app.codename” or a callable"


def _form(value: Any) -> str:
    fits = value is None or (isinstance(value, type) and issubclass(value, (forms.BaseForm, Model)))
    return "" if fits else "must be a Form, ModelForm or model class"


def _middleware(value: Any) -> str:
    fits = isinstance(value, (list, tuple)) and all(callable(each) or isinstance(each, str) for each in value)
    return "" if fits else "must be a list of callables or of their dotted paths"


def _keep_for(value: Any) -> str:
    if value is None or retention.is_limit(value):
        return ""
    fits = isinstance(value, Mapping)
    return retention.problem(value) if fits else "must be a timedelta above 0, 'forever', or a dict by final status"


_RULES: dict[str, Callable[[Any], str]] = {
    "name": _name,
    "title": _text,
    "group": _text,
    "form": _form,
    "queue_name": _queue,
    "priority": _whole(*PRIORITIES),
    "max_attempts": _whole(*ATTEMPTS),
    "backoff": _backoff,
    "timeout": _seconds,
    "memory_limit": _bytes,
    "permission": _permission,
    "schedulable": _flag,
    "schedule": problem_of,
    "isolation": _one_of("warm", "process"),
    "max_concurrency": lambda value: "" if value is None else _whole(1, limits.MOST)(value),
    "rate_limit": limits.rate_problem,
    "concurrency_key": limits.rule_problem,
    "unique": unique.problem_of,
    "atomic": _flag,
    "confirm": _text,
    "on_row_errors": _one_of("exception", "done"),
    "middleware": _middleware,
    "keep_for": _keep_for,
}
