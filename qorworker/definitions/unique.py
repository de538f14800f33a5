"""What makes two jobs match, for how long, and what happens to the second: ``@job(unique=…)``. All processes."""

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
    from qorworker.definitions.job_type import JobType

WAITING, UNFINISHED, PERIOD = "waiting", "unfinished", "period"
RETURN, REPLACE, RAISE = "return", "replace", "raise"
ALL = "arguments"
LONGEST_KEY = 200


@dataclass(frozen=True)
class Unique:
    """Allow no second job that matches another: ``@job(unique=Unique(by=["shop"], among="waiting"))``, or
    ``unique=True``.

    :param by: which jobs of a type match: those with the same ``"arguments"``, with the same values of the arguments in
        a list of names (an empty list: all jobs), or those for which a callable returns the same JSON value. The
        callable gets the arguments as a dict, as the handler does.
    :param among: ``"unfinished"`` jobs, which wait or run, or only ``"waiting"`` ones.
    :param period: match jobs that were enqueued within this time instead, whatever their status.
    :param on_conflict: ``"return"`` the existing job, ``"replace"`` its arguments while it waits, or ``"raise"``
        ``AlreadyEnqueued``. If the existing job has started, ``"replace"`` raises it, too.
    :raises qorworker.exceptions.JobTypeError: for a wrong value.
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
        """What is stored with each job: ``"waiting"``, ``"unfinished"`` or ``"period"``."""
        return PERIOD if self.period else self.among

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments that the rule names; a system check looks for them."""
        return self.by if isinstance(self.by, tuple) else ()


def problem_of(given: Any) -> str:
    """Return what is wrong with a value of ``unique``; empty if it is valid."""
    return "" if given is None or isinstance(given, (bool, Unique)) else "must be True, False or a Unique"


def key_problem(key: Any) -> str:
    """Return what is wrong with a value of ``unique_key``; empty if it is valid."""
    fits = key is None or (isinstance(key, str) and 0 < len(key) <= LONGEST_KEY)
    return "" if fits else f"must be a text of 1 to {LONGEST_KEY} characters"


def rule_of(job_type: JobType[..., Any]) -> Unique | None:
    """Return the rule for the jobs that *job_type* enqueues next; None if they need not be unique."""
    chosen, key = (job_type.defaults.get(name) for name in ("unique", "unique_key"))
    given = job_type.options.unique if chosen is None else chosen
    if given is True or (not given and key is not None and chosen is None):
        return Unique()
    return given if isinstance(given, Unique) else None


def key_of(job_type: JobType[..., Any], rule: Unique, stored: Mapping[str, Any]) -> str:
    """Return a text that is the same for jobs that match, and only for those. It reveals nothing about their arguments.

    It is an HMAC with ``SECRET_KEY`` of the type's name and of the explicit key, the chosen arguments, or the return
    value of the callable.

    :raises qorworker.exceptions.InvalidArguments: if the callable fails.
    :raises qorworker.exceptions.SecretsUnavailable: if a secret cannot be decrypted.
    """
    explicit = job_type.defaults.get("unique_key")
    if explicit is not None:
        alike: Any = ["key", explicit]
    elif callable(rule.by):
        text = _("The unique key of this job could not be computed: %s")
        alike = ["callable", job_type.arguments.ask(rule.by, stored, text)]
    else:
        alike = ["arguments", _chosen(job_type, rule, stored)]
    text = json.dumps([job_type.name, *alike], sort_keys=True, cls=DjangoJSONEncoder)
    return salted_hmac("qorworker.definitions.unique", text, algorithm="sha256").hexdigest()


def _chosen(job_type: JobType[..., Any], rule: Unique, stored: Mapping[str, Any]) -> dict[str, Any]:
    every = job_type.arguments.identity(stored)
    if rule.by == ALL:
        return every
    if unknown := [name for name in rule.names if name not in job_type.arguments.fields]:
        raise JobTypeError(f"unique of {job_type.name!r} names what is no argument: {', '.join(unknown)}.")
    return {name: every.get(name) for name in rule.names}
