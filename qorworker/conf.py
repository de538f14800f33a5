"""Every setting of qorworker: name, type, default and one reason. Read lazily from ``settings.QORWORKER``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

KIB, MIB = 1024, 1024 * 1024


def _number(minimum: float) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and minimum <= value < float("inf")
        return "" if fits else f"must be a number of at least {minimum}"

    return check


def _whole(minimum: int, maximum: int | None = None) -> Callable[[Any], str]:
    most = "" if maximum is None else f" and at most {maximum}"

    def check(value: Any) -> str:
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= minimum
        fits = fits and (maximum is None or value <= maximum)
        return "" if fits else f"must be a whole number of at least {minimum}{most}"

    return check


def _text(value: Any) -> str:
    return "" if isinstance(value, str) and value else "must be a non-empty text"


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be True or False"


def _queues(value: Any) -> str:
    if not isinstance(value, Mapping) or not value:
        return "must be a dict with at least one queue"
    for name, queue in value.items():
        if not isinstance(name, str) or not name or len(name) > 100 or not name.isprintable():
            return f"has a queue name that is not a printable text of 1 to 100 characters: {name!r}"
        if not isinstance(queue, Mapping) or not isinstance(queue.get("BACKEND"), str):
            return f"needs a dict with a BACKEND for queue {name!r}"
        if unknown := set(queue) - {"BACKEND", "OPTIONS", "WEIGHT"}:
            return f"has unknown keys for queue {name!r}: {', '.join(sorted(map(str, unknown)))}"
        if not isinstance(queue.get("OPTIONS", {}), Mapping):
            return f"needs a dict as OPTIONS of queue {name!r}"
        if problem := _number(0.001)(queue.get("WEIGHT", 1)):
            return f"has for queue {name!r} a WEIGHT that {problem}"
    return ""


def _paths(value: Any) -> str:
    fits = isinstance(value, (list, tuple)) and all(isinstance(path, str) and "." in path for path in value)
    return "" if fits else "must be a list of dotted paths"


def _keys(value: Any) -> str:
    fits = isinstance(value, (list, tuple)) and all(isinstance(key, str) and key for key in value)
    return "" if fits else "must be a list of texts, newest first"


def _one_of(*known: str) -> Callable[[Any], str]:
    return lambda value: "" if value in known else f"must be one of {', '.join(map(repr, known))}"


def _keep_for(value: Any) -> str:
    from qorworker.retention import problem  # which reads the settings

    return problem(value)


def _cron(value: Any) -> str:
    from qorworker.cron import Cron  # which reads the settings
    from qorworker.exceptions import InvalidSchedule

    if value is None:
        return ""
    if not isinstance(value, str):
        return "must be a cron expression or None"
    try:
        Cron(value)
    except InvalidSchedule as error:
        return f"must be a cron expression or None ({error})"
    return ""


@dataclass(frozen=True)
class Setting:
    default: Any
    check: Callable[[Any], str]
    reason: str


SETTINGS: dict[str, Setting] = {
    "QUEUES": Setting(
        {"default": {"BACKEND": "qorworker.backends.local.LocalBackend", "OPTIONS": {}}},
        _queues,
        "The queues there are and where their jobs run; shaped like CACHES.",
    ),
    "MIDDLEWARE": Setting(
        [],
        _paths,
        "Dotted paths of what is put around every run of a job, the outermost first; as Django's.",
    ),
    "IMMEDIATE_WINDOW": Setting(
        120, _number(0), "Seconds: a time chosen in the admin that is nearer than this starts at once; 0 turns it off."
    ),
    "LEASE": Setting(15, _number(3), "Seconds that a running job belongs to its worker without a sign of life."),
    "OBSERVATION": Setting(
        5, _number(1), "Seconds that another worker must see an expired lease unchanged before it takes the job over."
    ),
    "ABORT_GRACE": Setting(10, _number(0), "Seconds between asking a job's processes to end and killing them."),
    "POLL_INTERVAL": Setting(1.0, _number(0.01), "Longest pause, in seconds, between two looks for waiting jobs."),
    "ARGUMENTS_BYTES": Setting(256 * KIB, _whole(KIB), "Largest size of one job's stored arguments."),
    "UPLOAD_BYTES": Setting(100 * MIB, _whole(1), "Largest size of one uploaded argument."),
    "UPLOAD_STORAGE": Setting("default", _text, "Alias in STORAGES that keeps uploaded arguments."),
    "LOG_LINE_CHARS": Setting(8 * KIB, _whole(80, 16 * KIB), "Characters of one log line; the rest is cut."),
    "LOG_LINES": Setting(100_000, _whole(1), "Log lines kept for one job; further lines are counted and dropped."),
    "LOG_BYTES": Setting(10 * MIB, _whole(KIB), "Log size kept for one job; further lines are counted and dropped."),
    "RESULTS_ROWS": Setting(1_000_000, _whole(1), "Results rows kept for one job; further rows are dropped."),
    "RESULTS_ROW_BYTES": Setting(32 * KIB, _whole(KIB, 128 * KIB), "Size of one results row; longer cells are cut."),
    "CHILD_JOBS": Setting(10_000, _whole(1), "Attempts after which a child process is replaced by a fresh one."),
    "CHILD_MEMORY": Setting(512 * MIB, _whole(MIB), "Resident bytes above which an idle child process is replaced."),
    "KEEP_FOR": Setting(
        {
            "done": dt.timedelta(30),
            "cancelled": dt.timedelta(30),
            "exception": dt.timedelta(90),
            "killed": dt.timedelta(90),
        },
        _keep_for,
        "For each final status the time after which a job is deleted, or `'forever'`, which it is for a status"
        " that is left out.",
    ),
    "PRUNE_AT": Setting(
        "30 3 * * *",
        _cron,
        "Cron expression: when the app deletes by itself what is over by `KEEP_FOR`; None: never.",
    ),
    "SHOW_UNAVAILABLE": Setting(
        False, _flag, "Whether the catalogue names the jobs that a person may neither run nor see."
    ),
    "OWN_JOBS_ONLY": Setting(
        False, _flag, "Whether people see only jobs that they started themselves, unless they have `view_all_jobs`."
    ),
    "RECHECK_PERMISSIONS": Setting(
        "scheduled",
        _one_of("scheduled", "always", "never"),
        "When the rights of who asked for a job in the admin are checked once more as it starts: if it had to wait for"
        " its time, `'always'`, or `'never'`.",
    ),
    "JOBS_PER_USER": Setting(
        0, _whole(0), "Jobs that one person may have waiting or running when starting more in the admin; 0: no limit."
    ),
    "LIST_JOBS": Setting(
        100_000, _whole(1000), "Jobs in which the list of the admin looks at once; older ones are one click away."
    ),
    "SECRET_KEYS": Setting(
        [], _keys, "Keys for secret arguments, newest first; empty: derived from SECRET_KEY and SECRET_KEY_FALLBACKS."
    ),
}


class Settings:
    """``settings.LEASE`` and so on: the project's value, else the default."""

    def __init__(self) -> None:
        self._sound: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in SETTINGS:
            raise AttributeError(f"QORWORKER has no setting {name!r}.")
        value = configured().get(name, SETTINGS[name].default)
        if self._sound.get(name, self) is not value:  # read for every job, so what was found sound is not checked again
            if problem := SETTINGS[name].check(value):
                raise ImproperlyConfigured(_sentence(name, value, problem))
            self._sound[name] = value
        return value


def configured() -> Mapping[str, Any]:
    """What the project wrote into its ``QORWORKER`` setting."""
    value = getattr(django_settings, "QORWORKER", {})
    if type(value) is not dict and not isinstance(value, Mapping):
        raise ImproperlyConfigured(f"QORWORKER must be a dict, not {type(value).__name__}.")
    return value


def _sentence(name: str, value: Any, problem: str) -> str:
    shown = "what it is" if name == "SECRET_KEYS" else repr(value)
    return f"QORWORKER[{name!r}] {problem}, not {shown}."


def problems() -> list[str]:
    """One sentence for each setting that is unknown or has a value that cannot work."""
    try:
        values = configured()
    except ImproperlyConfigured as error:
        return [str(error)]
    found = [
        f"QORWORKER has an unknown key {name!r}. Known are: {', '.join(SETTINGS)}."
        for name in values
        if name not in SETTINGS
    ]
    for name, setting in SETTINGS.items():
        if name in values and (problem := setting.check(values[name])):
            found.append(_sentence(name, values[name], problem))
    return found


settings = Settings()
