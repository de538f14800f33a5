"""The rules of messages: which events are reported to whom, and what is wrong with a rule. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from qorworker import validation
from qorworker.text.suggestion import did_you_mean

# The first of these that holds names the message, if a rule has several that do.
ENDS: dict[str, str] = {
    "worker_lost": "an attempt ended because its worker was gone",
    "row_errors": "the job has ended, and rows of its results have errors",
    "failed": "the job has failed, and is not tried again",
    "attempt_failed": "an attempt has failed, and the job is tried again",
    "aborted": "the job was aborted",
    "cancelled": "the job was cancelled before it started",
    "done": "the job is done",
}
# What is looked for from time to time, because nobody writes a row as it begins.
WATCHED: dict[str, str] = {
    "longer_than_usual": "a job has been running for several times the usual duration of its type",
    "queue_older_than": "a job of a queue has been due for so long without having started",
    "schedule_missed": "a time of a schedule made no job",
    "worker_gone": "a worker gives no sign of life any more, and has not reported its end",
    "approval_wanted": "a job, or a schedule, waits for approval",
    "question_asked": "a job asks people a question",
}
EVENTS = ENDS | WATCHED
WITHOUT_TYPE = ("queue_older_than", "worker_gone")  # these are about no job type
DECIDED = ("approval_wanted", "question_asked")  # somebody has to decide
USUAL_TIMES = 3.0
DIGESTS = ("hourly", "daily")
FORMATS = ("json", "slack")
KEYS = (
    "name", "on", "jobs", "groups", "queues", "mail", "users", "webhook", "deciders", "quiet", "older_than", "times",
    "remind", "digest",
)  # fmt: skip
# What only some events need.
NEEDED_FOR = {
    "older_than": ("queue_older_than",),
    "times": ("longer_than_usual",),
    "remind": DECIDED,
    "deciders": DECIDED,
}
WEBHOOK_KEYS = ("url", "secret", "format", "private_addresses")
NAME_CHARS = 100
MAIL, WEBHOOK, NOTE = "mail", "webhook", "note"  # the channels; rules have no notes


@dataclass(frozen=True)
class Webhook:
    """Where a rule posts its messages."""

    url: str = field(repr=False)  # may be a secret itself
    secret: str = field(default="", repr=False)
    format: str = "json"
    private_addresses: bool = False

    @property
    def host(self) -> str:
        """The host to which it posts, which may be shown."""
        return str(urlsplit(self.url).hostname or "")


@dataclass(frozen=True)
class Rule:
    """Which events of which jobs are reported, and to whom. Empty lists of jobs, groups and queues stand for all."""

    name: str
    on: frozenset[str]
    jobs: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()
    mail: tuple[str, ...] = ()
    users: tuple[str, ...] = ()  # by the names with which they sign in
    webhook: Webhook | None = None
    deciders: bool = False  # a mail for each user who may decide, too
    quiet: float = 0.0  # seconds
    older_than: float = 0.0  # seconds
    times: float = USUAL_TIMES  # the usual duration
    remind: float = 0.0  # seconds after which something undecided is reported once more; 0: it is not

    digest: str = ""  # one of ``DIGESTS``: sums instead of single messages
    since: dt.datetime | None = None  # what happened before is not reported; None: it is

    def channels(self, event: str) -> list[str]:
        """The ways on which it reports *event*."""
        has_mail = bool(self.mail) or (self.deciders and event in DECIDED)
        return [*([MAIL] if has_mail else []), *([WEBHOOK] if self.webhook is not None else [])]

    def covers(self, job_name: str, group: str, *queue_names: str) -> bool:
        """Return whether it is about jobs of this type and one of these queues."""
        return all(
            not chosen or not chosen.isdisjoint(values)
            for chosen, values in ((self.jobs, [job_name]), (self.groups, [group]), (self.queues, queue_names))
        )

    def event_among(self, events: frozenset[str]) -> str:
        """Return the one of *events* that it reports; empty if it reports none of them."""
        return next((event for event in EVENTS if event in events and event in self.on), "")


def rules_of(value: Sequence[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Return the rules of a valid setting."""
    return tuple(_rule(each) for each in value)


def _rule(given: Mapping[str, Any]) -> Rule:
    webhook = given.get("webhook")
    return Rule(
        name=given["name"],
        on=frozenset(given["on"]),
        jobs=frozenset(given.get("jobs", ())),
        groups=frozenset(given.get("groups", ())),
        queues=frozenset(given.get("queues", ())),
        mail=tuple(given.get("mail", ())),
        users=tuple(given.get("users", ())),
        webhook=Webhook(**webhook) if webhook is not None else None,
        deciders=given.get("deciders", False),
        quiet=_seconds(given.get("quiet", 0)),
        older_than=_seconds(given.get("older_than", 0)),
        times=float(given.get("times", USUAL_TIMES)),
        remind=_seconds(given.get("remind", 0)),
        digest=given.get("digest", ""),
    )


def _seconds(value: Any) -> float:
    return value.total_seconds() if isinstance(value, dt.timedelta) else float(value)


# What is wrong with the setting. No sentence quotes an address or a secret.


def problem(value: Any) -> str:
    """Return what is wrong with the setting; empty if it is valid."""
    if not isinstance(value, (list, tuple)):
        return "must be a list of rules"
    names: set[str] = set()
    for number, rule in enumerate(value, 1):
        if not isinstance(rule, Mapping):
            return f"must have a dict as rule {number}"
        if found := _name_problem(rule.get("name"), names):
            return f"has as rule {number} one {found}"
        names.add(rule["name"])
        if found := _rule_problem(rule):
            return f"has a rule {rule['name']!r} {found}"
    return ""


def _name_problem(name: Any, names: set[str]) -> str:
    if not isinstance(name, str) or not name or len(name) > NAME_CHARS or not name.isprintable():
        return f"whose 'name' is not a printable text of 1 to {NAME_CHARS} characters"
    return f"that is called {name!r} like another one" if name in names else ""


def _rule_problem(rule: Mapping[str, Any]) -> str:
    if found := _unknown(rule, KEYS):
        return found
    for key, check in CHECKS.items():
        if key in rule and (found := check(rule[key])):
            return f"whose {key!r} {found}"
    if "on" not in rule:
        return "without 'on', a list of events"
    if found := _unfit(rule):
        return found
    return _unheard(rule)


def _unfit(rule: Mapping[str, Any]) -> str:
    """Return which keys do not fit the events of a rule."""
    events = rule["on"]
    for key, needed in NEEDED_FOR.items():
        if key in rule and not set(needed) & set(events):
            return f"with {key!r}, which says nothing without the event {' or '.join(map(repr, needed))} in 'on'"
    unsummed = next((key for key in ("quiet", "deciders") if "digest" in rule and rule.get(key)), "")
    if unsummed:
        return f"with {unsummed!r} and 'digest', which do not go together"
    if "queue_older_than" in events and "older_than" not in rule:
        return "with the event 'queue_older_than' and without 'older_than', the seconds after which it is reported"
    untyped = next((each for each in WITHOUT_TYPE if each in events), "")
    limited = next((key for key in ("jobs", "groups") if key in rule), "")
    if untyped and limited:
        return f"with {limited!r} and the event {untyped!r}, which is about no job type; give that a rule of its own"
    return ""


def _unheard(rule: Mapping[str, Any]) -> str:
    """Return why nobody gets some of its messages."""
    if any(rule.get(key) for key in ("mail", "users", "webhook")):
        return ""
    rest = [each for each in rule["on"] if each not in DECIDED]
    if rule.get("deciders") and not rest:
        return ""
    about = f" about {rest[0]!r}" if rule.get("deciders") else ""
    return f"without 'mail', 'users' or 'webhook', so nobody gets its messages{about}"


def _unknown(given: Mapping[Any, Any], known: Sequence[str]) -> str:
    for key in given:
        if key not in known:
            return f"with an unknown key {key!r}.{did_you_mean(str(key), known)} Known are: {', '.join(known)}"
    return ""


def _texts(value: Any) -> str:
    fits = isinstance(value, (list, tuple)) and value and all(isinstance(each, str) and each for each in value)
    return "" if fits else "must be a list of texts with at least one"


def _events(value: Any) -> str:
    if found := _texts(value):
        return found
    for each in value:
        if each not in EVENTS:
            return f"has an unknown event {each!r}.{did_you_mean(each, EVENTS)} Known are: {', '.join(EVENTS)}"
    return ""


def _addresses(value: Any) -> str:
    if found := _texts(value):
        return found
    return "" if all(map(is_address, value)) else "must have addresses like 'ops@example.com' only"


def is_address(value: str) -> bool:
    """Return whether *value* is an address of mail."""
    try:
        validate_email(value)
    except ValidationError:
        return False
    return True


def _duration(value: Any, least: float = 0) -> str:
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else value
    return f"must be seconds of at least {least}, or a timedelta" if validation.number(least)(seconds) else ""


def _times(value: Any) -> str:
    return "must be a number of at least 1.1" if validation.number(1.1)(value) else ""


def _webhook(value: Any) -> str:
    if not isinstance(value, Mapping):
        return "must be a dict"
    if found := _unknown(value, WEBHOOK_KEYS):
        return f"is one {found}"
    if not is_url(value.get("url")):
        return "must have as 'url' an address like 'https://example.com/hook', without a user or a fragment"
    chosen = value.get("format", "json")
    if found := validation.one_of(*FORMATS)(chosen):
        return f"has a 'format' that {found}"
    secret = value.get("secret", "")
    if not isinstance(secret, str) or (chosen == "json" and not secret):
        return "must have a text as 'secret', which signs the messages"
    if found := validation.flag(value.get("private_addresses", False)):
        return f"has 'private_addresses' that {found}"
    return ""


def is_url(value: Any) -> bool:
    """Return whether *value* is an address that a webhook may have."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises for a wrong one
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment


CHECKS: dict[str, Callable[[Any], str]] = {
    "on": _events,
    "jobs": _texts,
    "groups": _texts,
    "queues": _texts,
    "mail": _addresses,
    "users": _texts,
    "webhook": _webhook,
    "deciders": validation.flag,
    "quiet": _duration,
    "older_than": partial(_duration, least=1),
    "times": _times,
    "remind": partial(_duration, least=60),
    "digest": validation.one_of(*DIGESTS),
}
