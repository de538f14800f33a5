"""How many jobs of a type, or of one key of it, may run at once and start in a period. All processes."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.forms import Field
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _

from qorworker.arguments import codec
from qorworker.exceptions import InvalidArguments, JobTypeError

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST = dt.timedelta(days=1)  # the period of a rate
MOST = 10_000  # running jobs, or starts in one period
KEY_CHARS = 127  # of the name and of the key; more in a unique column are not safe on MySQL
PLAIN = re.compile(r"[a-z0-9._-]")  # what every collation tells apart


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` starts in any span of ``seconds``."""

    count: int
    seconds: float

    def __str__(self) -> str:
        unit = next((unit for unit, seconds in UNITS.items() if seconds == self.seconds), f"{self.seconds:g}s")
        return f"{self.count}/{unit}"

    @classmethod
    def of(cls, given: Any) -> Rate:
        """Return the rate that ``"10/m"`` or ``(10, timedelta(minutes=1))`` means.

        :raises ValueError: for any other value.
        """
        if isinstance(given, Rate):
            return given
        if isinstance(given, str) and (match := re.fullmatch(r"(\d{1,6})/([smhd])", given)):
            count, seconds = int(match[1]), float(UNITS[match[2]])
        elif isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], dt.timedelta):
            count, seconds = given[0], given[1].total_seconds()
        else:
            raise ValueError("must be like '10/m' (of s, m, h, d), or (10, timedelta(minutes=1))")
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST:
            raise ValueError(f"must allow from 1 to {MOST} starts; for more, give a shorter period")
        if not 0 < seconds <= LONGEST.total_seconds():
            raise ValueError("must be for a period of at most a day")
        return cls(count, seconds)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the jobs of a type; None means no limit."""

    max_concurrency: int | None = None
    rate: Rate | None = None


NONE = Limits()


def rate_problem(given: Any) -> str:
    """Return what is wrong with a value of ``rate_limit``; empty if it is valid."""
    if given is None:
        return ""
    try:
        Rate.of(given)
    except ValueError as error:
        return str(error)
    return ""


def rule_problem(given: Any) -> str:
    """Return what is wrong with the ``concurrency_key`` of a job type; empty if it is valid."""
    names = given if isinstance(given, (list, tuple)) and given else [given]
    fits = given is None or callable(given) or all(isinstance(name, str) and name for name in names)
    return "" if fits else "must be the name of an argument, a list of names, or a callable"


def key_problem(given: Any) -> str:
    """Return what is wrong with a value of ``using(concurrency_key=)``; empty if it is valid."""
    return "" if given is None or (isinstance(given, str) and given) else "must be a text that is not empty"


# What is stored with each job of a limited type: the type and the key, "" for all others.


def limit_key(job_type: JobType[..., Any], stored: Mapping[str, Any]) -> str:
    """Return the key by which a job with these stored arguments shares its limits; empty if its type has no limit.

    :raises qorworker.exceptions.InvalidArguments: if the callable of the type fails.
    :raises qorworker.exceptions.JobTypeError: if the type names an argument that does not exist.
    :raises qorworker.exceptions.SecretsUnavailable: if a secret cannot be decrypted.
    """
    if not job_type.is_limited:
        return ""
    key = job_type.defaults.get("concurrency_key") or key_of(job_type, stored)
    return prefix_of(job_type.name) + _plain(key, KEY_CHARS)


def key_of(job_type: JobType[..., Any], stored: Mapping[str, Any]) -> str:
    """Return the key of these arguments by the rule of the type; empty without a rule: all its jobs share one key."""
    rule = job_type.options.concurrency_key
    if rule is None:
        return ""
    if callable(rule):
        text = _("The limit key of this job could not be computed: %s")
        return _text(job_type.arguments.ask(rule, stored, text))
    names = [rule] if isinstance(rule, str) else list(rule)
    if unknown := [name for name in names if name not in job_type.arguments.fields]:
        raise JobTypeError(f"concurrency_key of {job_type.name!r} names what is no argument: {', '.join(unknown)}.")
    try:
        values = [_value(job_type.arguments.fields[name], name, stored.get(name)) for name in names]
    except ValidationError as error:
        raise InvalidArguments(job_type.name, {"__all__": error.messages}) from error
    return _text(values[0] if isinstance(rule, str) else values)


def _value(field: Field, name: str, stored: Any) -> Any:
    """Return the same for values that mean the same. Keys are stored in clear text, so a secret becomes a hash."""
    value = codec.identity(field, name, stored)
    if value and codec.is_secret(field):
        return salted_hmac("qorworker.limit", value, algorithm="sha256").hexdigest()
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, cls=DjangoJSONEncoder)


@lru_cache(maxsize=4096)
def prefix_of(name: str) -> str:
    """Return the prefix of the stored keys of all jobs of a type, up to and including the first “/”."""
    return _plain(name, KEY_CHARS) + "/"


def prefix_in(stored: str) -> str:
    """Return the prefix of a stored key, which identifies its job type."""
    return stored[: stored.index("/") + 1]


def shown_key(stored: str) -> str:
    """Return the key as code gave it, for users; empty if all jobs of the type share the limit."""
    return unquote(stored.partition("/")[2])


def _plain(text: str, longest: int) -> str:
    """Return *text* in characters that no collation confuses, or its hash if it is too long."""
    encoded = (char if PLAIN.match(char) else "".join(f"%{byte:02X}" for byte in char.encode()) for char in text)
    if len(plain := "".join(encoded)) <= longest:
        return plain
    return "#" + hashlib.sha256(text.encode()).hexdigest()
