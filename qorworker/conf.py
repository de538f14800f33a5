"""Every setting of qorworker: name, rule, default and one reason. Read lazily from ``settings.QORWORKER``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import Settings as DjangoSettings
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from qorworker import validation
from qorworker.exceptions import InvalidSchedule
from qorworker.messages import rules
from qorworker.schedules.cron import Cron
from qorworker.text.suggestion import did_you_mean

KIB, MIB = 1024, 1024 * 1024


def _text(value: Any) -> str:
    return "" if isinstance(value, str) and value else "must be a non-empty text"


def _queues(value: Any) -> str:
    if not isinstance(value, Mapping) or not value:
        return "must be a dict with at least one queue"
    for name, queue in value.items():
        if not isinstance(name, str) or not name or len(name) > 100 or not name.isprintable():
            return f"has a queue name that is not a printable text of 1 to 100 characters: {name!r}"
        if not isinstance(queue, Mapping) or not isinstance(queue.get("BACKEND"), str):
            return f"needs a dict with a BACKEND for queue {name!r}"
        if unknown := set(queue) - {"BACKEND", "OPTIONS", "WEIGHT", "AGEING"}:
            return f"has unknown keys for queue {name!r}: {', '.join(sorted(map(str, unknown)))}"
        if not isinstance(queue.get("OPTIONS", {}), Mapping):
            return f"needs a dict as OPTIONS of queue {name!r}"
        if problem := validation.number(0.001)(queue.get("WEIGHT", 1)):
            return f"has for queue {name!r} a WEIGHT that {problem}"
        if problem := validation.number(0)(queue.get("AGEING", 0)):
            return f"has for queue {name!r} an AGEING that {problem}"
    return ""


def _paths(value: Any) -> str:
    fits = isinstance(value, (list, tuple)) and all(isinstance(path, str) and "." in path for path in value)
    return "" if fits else "must be a list of dotted paths"


def _keys(value: Any) -> str:
    fits = isinstance(value, (list, tuple)) and all(isinstance(key, str) and key for key in value)
    return "" if fits else "must be a list of texts, newest first"


def _cron(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return "must be a cron expression or None"
    try:
        Cron(value)
    except InvalidSchedule as error:
        return f"must be a cron expression or None ({error})"
    return ""


def _base_url(value: Any) -> str:
    parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
    is_address = parts.scheme in ("http", "https") and parts.netloc and not (parts.query or parts.fragment)
    if value == "" or is_address:
        return ""
    return "must be an address such as “https://shop.example”, or empty"


@dataclass(frozen=True)
class Setting:
    default: Any
    check: Callable[[Any], str]
    reason: str


SETTINGS: dict[str, Setting] = {
    "QUEUES": Setting(
        {"default": {"BACKEND": "qorworker.backends.local.LocalBackend", "OPTIONS": {}}},
        _queues,
        "The queues, and the backend of each; shaped like CACHES.",
    ),
    "MIDDLEWARE": Setting(
        [],
        _paths,
        "Dotted paths of middleware around every run of a job, the outermost first; as Django's.",
    ),
    "IMMEDIATE_WINDOW": Setting(
        120,
        validation.number(0),
        "Seconds: a job for a nearer time, chosen in the admin, starts at once; 0 turns this off.",
    ),
    "LEASE": Setting(15, validation.number(3), "Seconds that a running job belongs to its worker without a renewal."),
    "OBSERVATION": Setting(
        5,
        validation.number(1),
        "Seconds that another worker must see an expired lease unchanged before it takes the job over.",
    ),
    "ABORT_GRACE": Setting(
        10, validation.number(0), "Seconds between requesting the end of a job's processes and killing them."
    ),
    "POLL_INTERVAL": Setting(
        1.0, validation.number(0.01), "Longest pause, in seconds, between two polls for waiting jobs."
    ),
    "ARGUMENTS_BYTES": Setting(256 * KIB, validation.whole(KIB), "Largest size of one job's stored arguments."),
    "UPLOAD_BYTES": Setting(100 * MIB, validation.whole(1), "Largest size of one uploaded argument."),
    "UPLOAD_STORAGE": Setting(
        "default", _text, "Alias in STORAGES that keeps uploaded arguments, and files that jobs add."
    ),
    "FILE_BYTES": Setting(1024 * MIB, validation.whole(1), "Largest size of one file that a job adds."),
    "FILES": Setting(1_000, validation.whole(0), "Files that one attempt of a job may add."),
    "LOG_LINE_CHARS": Setting(8 * KIB, validation.whole(80, 16 * KIB), "Characters of one log line; the rest is cut."),
    "LOG_LINES": Setting(
        100_000, validation.whole(1), "Log lines kept for one job; further lines are counted and dropped."
    ),
    "LOG_BYTES": Setting(
        10 * MIB, validation.whole(KIB), "Log size kept for one job; further lines are counted and dropped."
    ),
    "RESULTS_ROWS": Setting(1_000_000, validation.whole(1), "Results rows kept for one job; further rows are dropped."),
    "RESULTS_ROW_BYTES": Setting(
        32 * KIB, validation.whole(KIB, 128 * KIB), "Size of one results row; longer cells are cut."
    ),
    "CHILD_JOBS": Setting(
        10_000, validation.whole(1), "Attempts after which a child process is replaced by a fresh one."
    ),
    "CHILD_MEMORY": Setting(
        512 * MIB, validation.whole(MIB), "Resident bytes above which an idle child process is replaced."
    ),
    "KEEP_FOR": Setting(
        {
            "done": dt.timedelta(30),
            "cancelled": dt.timedelta(30),
            "exception": dt.timedelta(90),
            "killed": dt.timedelta(90),
        },
        validation.retention,
        "For each final status the time after which a job is deleted, or `'forever'`, which is the default of a"
        " status that is left out.",
    ),
    "PRUNE_AT": Setting(
        "30 3 * * *",
        _cron,
        "Cron expression: when the app deletes jobs that `KEEP_FOR` no longer keeps; None: never.",
    ),
    "SUMMARY_DAYS": Setting(
        90,
        validation.whole(1, 3650),
        "Days for which the sums behind the dashboard are kept; it shows up to 30.",
    ),
    "SHOW_UNAVAILABLE": Setting(
        False, validation.flag, "Whether *Run a job* names the jobs that a user may neither run nor see."
    ),
    "OWN_JOBS_ONLY": Setting(
        False,
        validation.flag,
        "Whether users see only jobs that they started themselves, unless they have `view_all_jobs`.",
    ),
    "RECHECK_PERMISSIONS": Setting(
        "scheduled",
        validation.one_of("scheduled", "always", "never"),
        "When the rights of the user who requested a job in the admin are checked again as it starts: if it had to"
        " wait for its time, `'always'`, or `'never'`.",
    ),
    "JOBS_PER_USER": Setting(
        0,
        validation.whole(0),
        "Jobs that a user may have waiting or running when they start another in the admin; 0: no limit.",
    ),
    "LIST_JOBS": Setting(
        100_000,
        validation.whole(1000),
        "Jobs that the list of the admin covers at once; older ones are one click away.",
    ),
    "APPROVAL_EXPIRES": Setting(
        7 * 86_400,
        validation.number(0),
        "Seconds after which a job that nobody has approved or declined is cancelled, by default a week; 0: never.",
    ),
    "APPROVE_OWN": Setting(
        False, validation.flag, "Whether users with the permission may approve what they have asked for themselves."
    ),
    "BASE_URL": Setting(
        "",
        _base_url,
        "Address of the site, such as `https://shop.example`: it begins the addresses of callbacks, and those in"
        " messages.",
    ),
    "MESSAGES": Setting(
        [], rules.problem, "Rules for messages about jobs: which events are reported by mail or to a webhook."
    ),
    "PRIVATE_WEBHOOKS": Setting(
        False,
        validation.flag,
        "Whether rules for messages that users make in the admin may post to addresses that are not public.",
    ),
    "SECRET_KEYS": Setting(
        [], _keys, "Keys for secret arguments, newest first; empty: derived from SECRET_KEY and SECRET_KEY_FALLBACKS."
    ),
}


UNSHOWN = {"SECRET_KEYS", "QUEUES", "MESSAGES"}  # keys, the OPTIONS of backends and webhooks may be secrets


class Settings:
    """Settings as attributes, such as ``settings.LEASE``: the value of the project, else the default."""

    def __init__(self) -> None:
        self._sound: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in SETTINGS:
            raise AttributeError(f"QORWORKER has no setting {name!r}.")
        value = configured().get(name, SETTINGS[name].default)
        if self._sound.get(name, self) is not value:  # read for every job, so a valid value is not checked again
            if problem := SETTINGS[name].check(value):
                raise ImproperlyConfigured(_sentence(name, value, problem))
            self._sound[name] = value
        return value


def configured() -> Mapping[str, Any]:
    """Return the ``QORWORKER`` setting of the project."""
    source: Any = django_settings._wrapped  # type: ignore[misc] # its stubs leave this attribute out
    if type(source) is DjangoSettings:
        # This is read for every job. Without such a setting, Django would raise and catch an error each time.
        value = vars(source).get("QORWORKER", {})
    else:  # not loaded yet, or changed by a test
        value = getattr(django_settings, "QORWORKER", {})
    if type(value) is not dict and not isinstance(value, Mapping):
        raise ImproperlyConfigured(f"QORWORKER must be a dict, not {type(value).__name__}.")
    return value


def _sentence(name: str, value: Any, problem: str) -> str:
    shown = "what it is" if name in UNSHOWN else repr(value)
    return f"QORWORKER[{name!r}] {problem}, not {shown}."


def problems() -> list[str]:
    """Return a sentence for each setting that is unknown or has an invalid value."""
    try:
        values = configured()
    except ImproperlyConfigured as error:
        return [str(error)]
    sentences = [
        f"QORWORKER has an unknown key {name!r}.{did_you_mean(name, SETTINGS)} Known are: {', '.join(SETTINGS)}."
        for name in values
        if name not in SETTINGS
    ]
    for name, setting in SETTINGS.items():
        if name in values and (problem := setting.check(values[name])):
            sentences.append(_sentence(name, values[name], problem))
    return sentences


settings = Settings()
