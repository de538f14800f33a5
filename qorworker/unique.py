"""What makes two jobs alike, how long that counts, and what becomes of the second: ``@job(unique=…)``. Anywhere."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.serializers.json import DjangoJSONEncoder
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _

from qorworker.exceptions import JobTypeError

if TYPE_CHECKING:
    from qorworker.registry import JobType

WAITING, UNFINISHED, PERIOD = "waiting", "unfinished", "period"
RETURN, REPLACE, RAISE = "return", "replace", "raise"
ALL = "arguments"
LONGEST_KEY = 200


@dataclass(frozen=True)
class Unique:
    """No second job like another: ``@job(unique=Unique(by=["shop"], among="waiting"))``, or ``unique=True``.

    *by* says which jobs of a type are alike: those with the same ``"arguments"``, with the same values of the arguments
    in a list of names (an empty list: all), or those for which a callable returns the same JSON value; it gets the
    arguments as a dict, as the handler does. *among* whom: ``"unfinished"`` jobs, which wait or run, or only
    ``"waiting"`` ones; or, with *period*, those that were enqueued within that time, whatever has become of them.
    *on_conflict*: ``"return"`` the job that is there, ``"replace"`` its arguments while it waits, or ``"raise"``
    ``AlreadyEnqueued``, which ``"replace"`` does too if it has started.

    :raises qorworker.exceptions.JobTypeError: if one of them cannot be.
    """

    by: str | Iterable[str] | Callable[[dict[str, Any]], Any] = ALL
    among: str = ""
    period: dt.timedelta | None = None
    on_conflict: str = RETURN

    def __post_init__(self) -> None:
        if isinstance(self.by, str) and self.by != ALL:
            object.__setattr__(self, "by", (self.by,))
        elif not callable(self.by) and not isinstance(self.by, str):
            names = self.by if isinstance(self.by, (list, tuple, set, frozenset)) else (None,)
            object.__setattr__(self, "by", tuple(names))
        if problem := self._problem():
            raise JobTypeError(f"Unique: {problem}.")
        if not self.period and not self.among:
            object.__setattr__(self, "among", UNFINISHED)

    def _problem(self) -> str:
        if not callable(self.by) and not all(isinstance(name, str) and name for name in self.by):
            return f"by must be {ALL!r}, a list of names of arguments, or a callable"
        if self.among not in ("", WAITING, UNFINISHED):
            return f"among={self.among!r} must be {WAITING!r} or {UNFINISHED!r}"
        if self.period is not None and not isinstance(self.period, dt.timedelta):
            return f"period={self.period!r} must be a timedelta"
        if self.period is not None and self.period <= dt.timedelta():
            return f"period={self.period!r} must be above 0"
        if self.period is not None and self.among:
            return "give among or period, not both"
        if self.on_conflict not in (RETURN, REPLACE, RAISE):
            return f"on_conflict={self.on_conflict!r} must be {RETURN!r}, {REPLACE!r} or {RAISE!r}"
        return ""

    @property
    def scope(self) -> str:
        """As it is stored with each job: ``"waiting"``, ``"unfinished"`` or ``"period"``."""
        return PERIOD if self.period else self.among

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments that are named by the rule, to be checked."""
        return self.by if isinstance(self.by, tuple) else ()


def problem_of(given: Any) -> str:
    """What is wrong with what ``unique=`` was given; empty if nothing is."""
    return "" if given is None or isinstance(given, (bool, Unique)) else "must be True, False or a Unique"


def key_problem(key: Any) -> str:
    """What is wrong with what ``unique_key=`` was given; empty if nothing is."""
    fits = key is None or (isinstance(key, str) and 0 < len(key) <= LONGEST_KEY)
    return "" if fits else f"must be a text of 1 to {LONGEST_KEY} characters"


def rule_of(job_type: JobType[Any]) -> Unique | None:
    """The rule for the jobs that *job_type* enqueues next; None if they may be as many and alike as they like."""
    defaults = job_type.defaults
    given = defaults.unique if defaults.unique is not None else job_type.options.unique
    if given is True or (not given and defaults.unique_key is not None and defaults.unique is None):
        return Unique()
    return given if isinstance(given, Unique) else None


def key_of(job_type: JobType[Any], rule: Unique, stored: Mapping[str, Any]) -> str:
    """The same text for jobs that are alike, and for no others; it tells nothing of what they were given.

    An HMAC under ``SECRET_KEY`` of the type's name, and the explicit key, the chosen arguments, or what the callable
    returned. Raises ``InvalidArguments`` if the callable fails, and ``SecretsUnavailable``.
    """
    explicit = job_type.defaults.unique_key
    if explicit is not None:
        alike: Any = ["key", explicit]
    elif callable(rule.by):
        told = _("What makes this job unique could not be worked out: %s")
        alike = ["callable", job_type.arguments.ask(rule.by, stored, told)]
    else:
        alike = ["arguments", _chosen(job_type, rule, stored)]
    text = json.dumps([job_type.name, *alike], sort_keys=True, cls=DjangoJSONEncoder)
    return salted_hmac("qorworker.unique", text, algorithm="sha256").hexdigest()


def _chosen(job_type: JobType[Any], rule: Unique, stored: Mapping[str, Any]) -> dict[str, Any]:
    every = job_type.arguments.identity(stored)
    if rule.by == ALL:
        return every
    if unknown := [name for name in rule.names if name not in job_type.arguments.fields]:
        raise JobTypeError(f"unique of {job_type.name!r} names what is no argument: {', '.join(unknown)}.")
    return {name: every.get(name) for name in rule.names}
