"""What a handler asks people, and the calls from outside for which it waits. Wherever a job runs.

A question is written into its row before the attempt is suspended, in one transaction with the flag in the row of the
job: so nothing that ends a process asks it twice, or lets the job wait for nothing. The next attempt runs the handler
from the top. There the question has an answer, and is no wait any more.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from qorworker.arguments.described import arguments_of, describe, refuse_without_choices
from qorworker.arguments.plain import json_value
from qorworker.conf import settings
from qorworker.exceptions import InvalidArguments, NotAnswered, RehearsalRefused
from qorworker.execution.checkpoints import LostAttempt, SentCheckpoints
from qorworker.execution.loops import Loops
from qorworker.execution.messages import clean_text
from qorworker.models import AuditEntry, DatabaseNow, Job, Origin, Question, QuestionKind, QuestionState
from qorworker.models.callbacks import address_of
from qorworker.models.clock import check_zone
from qorworker.models.locks import begin_again, limited_transaction
from qorworker.models.question import KEY_CHARS, NEVER, PERMISSION_CHARS, TEXT_CHARS
from qorworker.text import titles
from qorworker.text.moments import date_and_clock, local
from qorworker.text.storable import json_of, text_of

if TYPE_CHECKING:
    from qorworker.execution.messages import Work
    from qorworker.text.masking import Mask

NOTHING: Any = object()  # no default
RESERVED = frozenset({"answered_at", "answered_by", "by", "is_default", "origin", "question", "values"})
Expires = dt.timedelta | dt.datetime | None
NUMBERS = re.compile(r"\d+(?:[.,:\s]\d+)*")


@dataclass(frozen=True)
class Answer:
    """The answer to a question. Each field is an attribute, and an item: ``answer.publish``, ``answer["publish"]``."""

    values: Mapping[str, Any]
    answered_by: str = ""  # the name of the user; empty for code, and for a default
    answered_at: dt.datetime | None = None
    is_default: bool = False  # nobody has answered in time

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self.values:
            raise AttributeError(f"The answer has no field {name!r}: it has {', '.join(self.values) or 'none'}.")
        return self.values[name]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


@dataclass(frozen=True)
class Callback:
    """A call from outside for which a job can wait."""

    url: str  # the address to hand out
    _wait: Callable[[], Any] = field(repr=False)

    def wait(self) -> Any:
        """Return the JSON with which the address was called. Until then the attempt is suspended, as by ``ask``.

        Raises ``NotAnswered`` if nobody calls in time and there is no default, or if somebody declines.
        """
        return self._wait()

    async def await_call(self) -> Any:
        """Do what ``wait`` does, for coroutines."""
        return await sync_to_async(self._wait)()


class Questions:
    """The questions of one attempt."""

    def __init__(self, loops: Loops, mask: Mask, attempt: int) -> None:
        if not isinstance(loops.checkpoints, SentCheckpoints):
            raise RuntimeError("A question can only be asked by a job that runs.")
        self.loops, self.mask, self.attempt = loops, mask, attempt
        self.work: Work = loops.checkpoints.work
        self.keys: set[str] = set()  # of this attempt
        self.alike = Counter[str]()  # how many without a key of their own have asked the same in this attempt

    @property
    def rows(self) -> Any:
        return Question.objects.using(self.work.database)

    def ask(
        self, text: Any, annotations: Mapping[str, Any], default: Any, expires: Expires, key: str, permission: str
    ) -> Answer:
        """Return the answer to a question, or suspend the attempt."""
        self._refuse_here("ask()")
        if reserved := sorted(RESERVED & set(annotations)):
            raise ValueError(f"ask(): {', '.join(reserved)} cannot be the name of a field.")
        if not _is_permission(permission):
            raise ValueError("ask(): the permission must be the name of one, such as “shop.publish”.")
        arguments = arguments_of("the answer to a question", annotations)
        described = describe(annotations)
        arguments.fields  # noqa: B018 - raises ``JobTypeError`` for a name that no form can have
        stored_text = self._text(text)
        asked = json_of([stored_text, [(each["name"], each["kind"]) for each in described]])
        own = self._key("ask()", key, asked)
        question = self._found(own, QuestionKind.PERSON)
        if question is None:
            refuse_without_choices(described)
            kept: dict[str, Any] = {"fields": described, "text": stored_text, "permission": permission}
            if default is not NOTHING:
                _refuse_useless("ask()", expires)
                kept |= {"default": arguments.dump(arguments.clean(default)), "has_default": True}
            self._refuse_secrets({"key": key, **kept})
            question = self._store(own, QuestionKind.PERSON, expires, **kept)
        stored, is_default = self._settled(question)
        try:
            values = arguments.load(stored)
        except InvalidArguments as error:
            raise InvalidArguments(
                f"the question “{question.shown_text}”, which was answered before its fields were changed", error.errors
            ) from None
        who = ("", None) if is_default else (question.user_name, question.closed_at)
        return Answer(values, *who, is_default)

    def callback(self, default: Any, expires: Expires, key: str) -> Callback:
        """Return a call for which the job can wait. Its address stays the same in each attempt."""
        self._refuse_here("callback()")
        own = self._key("callback()", key, "")
        question = self._found(own, QuestionKind.CALLBACK)
        if question is None:
            kept: dict[str, Any] = {}
            if default is not NOTHING:
                _refuse_useless("callback()", expires)
                kept |= {"default": _json(default), "has_default": True}
            self._refuse_secrets({"key": key, **kept})
            question = self._store(own, QuestionKind.CALLBACK, expires, nonce=secrets.token_hex(16), **kept)
        return Callback(address_of(question), partial(self._called, question))

    def _called(self, question: Question) -> Any:
        self._refuse_transaction("wait()")
        return self._settled(question)[0]

    # Finding and storing.

    def _refuse_here(self, verb: str) -> None:
        if self.loops.suspended:  # and the handler has caught that
            self.loops.suspend()
        self._refuse_transaction(verb)

    def _key(self, verb: str, key: str, about: str) -> str:
        """Return the key of a question; of one without a key one made of what it is *about*, and of its place among
        those about the same: code that asks another question first must not get the answer to this one.
        """
        if not key:
            if self.loops.current is not None:
                raise ValueError(f"{verb} inside of iterate() needs a key=…, because the loop may go on anywhere.")
            self.alike[about := _without_numbers(about)] += 1
            key = f"#{self.alike[about]}"
            key += f" {hashlib.sha256(about.encode()).hexdigest()[:16]}" if about else ""
        elif not isinstance(key, str) or key.startswith("#") or len(key) > KEY_CHARS or not key.isprintable():
            raise ValueError(f"{verb}: a key is a text of up to {KEY_CHARS} characters that does not begin with “#”.")
        if key in self.keys:
            raise ValueError(f"{verb} was called twice with the key {key!r}: give each question a key of its own.")
        self.keys.add(key)
        return key

    def _refuse_transaction(self, verb: str) -> None:
        if self.loops.in_transaction():
            raise RuntimeError(
                f"{verb} was called inside a transaction, which would be rolled back when the attempt is suspended."
            )

    def _found(self, key: str, kind: str) -> Question | None:
        question: Question | None = self.rows.newest(self.work.id, key)
        if question is not None and question.kind != kind:
            raise ValueError(
                f"The key {key!r} was that of another question before: give each question a key of its own."
            )
        return question if question is None or not question.ended_an_attempt else None

    def _store(self, key: str, kind: str, expires: Expires, **kept: Any) -> Question:
        """Store a question. One for people is asked: in the same transaction the job waits for its answer."""
        end = _end(expires)
        about = {"job_id": self.work.id, "key": key, "kind": kind, "attempt": self.attempt}
        changes: dict[str, Any] = {"waits_for_answer": Coalesce(F("waits_for_answer"), False)}
        if kind == QuestionKind.PERSON:
            changes = {"waits_for_answer": True, "run_after": end or DatabaseNow(NEVER)}

        def store() -> int:
            with self._transaction():
                self._change_job(**changes)
                number = self.rows.next_round(self.work.id, key)
                row = self.rows.create(**about, **kept, round=number, asked_at=DatabaseNow(), expires_at=end)
                return int(row.pk)

        pk = begin_again(store, self.work.database)
        return self.rows.get(pk=pk)  # type: ignore[no-any-return]

    def _text(self, text: Any) -> titles.Title:
        if isinstance(text, Promise) and (message := titles.message_of(text)):
            return message
        line = clean_text(self.mask(text_of(text)), TEXT_CHARS + 1).strip()
        if not line or len(line) > TEXT_CHARS:
            raise ValueError(f"ask(): the question needs a text of 1 to {TEXT_CHARS} characters.")
        return line

    def _refuse_secrets(self, kept: Mapping[str, Any]) -> None:
        if self.mask and self.mask.is_in_json(json_of(dict(kept))):
            raise ValueError("A question is stored as it is, and this one contains a secret argument of the job.")

    # Waiting.

    def _settled(self, question: Question) -> tuple[Any, bool]:
        """Return what was answered, and whether that is the default. Suspends the attempt if nothing is.

        :raises qorworker.exceptions.NotAnswered: if somebody declined, or nobody answered in time.
        """
        if question.state == QuestionState.OPEN:
            begin_again(partial(self._close_or_wait, question), self.work.database)
            question.refresh_from_db(using=self.work.database)
        match question.state:
            case QuestionState.OPEN:
                self.loops.suspend()
            case QuestionState.ANSWERED:
                return question.answer, False
            case QuestionState.EXPIRED if question.has_default:
                return question.default, True
        raise not_answered(question)

    def _close_or_wait(self, question: Question) -> None:
        """Expire a question whose time is over, or else let the job wait for its answer."""
        row = self.rows.filter(pk=question.pk, state=QuestionState.OPEN)
        with self._transaction():
            self._change_job(waits_for_answer=False)  # and lock it: whatever ends a question does that first
            if row.filter(expires_at__lte=DatabaseNow()).close(QuestionState.EXPIRED):
                job = SimpleNamespace(pk=self.work.id, name=self.work.name)
                entries = AuditEntry.objects.using(self.work.database)
                entries.record("expire", job=job, origin=Origin.WORKER, question=question.shown_text[:200])
            elif row.exists():
                self._change_job(waits_for_answer=True, run_after=question.expires_at or DatabaseNow(NEVER))

    def _transaction(self) -> AbstractContextManager[None]:
        """Open a transaction. If this process stands still in it, it keeps the row of the job for a lease at most."""
        return limited_transaction(self.work.database, float(settings.LEASE))

    def _change_job(self, **values: Any) -> None:
        """Change the row of the job, which is locked then. Raises ``LostAttempt`` if another attempt owns it."""
        held = Job.objects.using(self.work.database).held({self.work.id: self.work.token})
        if not held.update(**values):
            raise LostAttempt


def rehearsed_answer(annotations: Mapping[str, Any], default: Any) -> Answer:
    """Return the answer to a question of a rehearsal, which asks nobody: its default."""
    if default is NOTHING:
        raise RehearsalRefused(_("The job asks a question without a default, and a rehearsal asks nobody."))
    arguments = arguments_of("the answer to a question", annotations)
    return Answer(arguments.load(arguments.dump(arguments.clean(default))), is_default=True)


def rehearsed_call(default: Any) -> Callback:
    """Return the call for which a rehearsal would wait: it has no address, and its default is what it returns."""
    if default is NOTHING:
        raise RehearsalRefused(_("The job waits for a call that has no default, and a rehearsal waits for nobody."))
    return Callback("", lambda: _json(default))


def not_answered(question: Question) -> NotAnswered:
    """Return the exception for a question that has no answer."""
    if question.state == QuestionState.DECLINED:
        who = question.user_name or _("The program")
        text = _("%(who)s declined to answer.") % {"who": who}
        text = f"{text} ({question.reason})" if question.reason else text
        return NotAnswered(text, question.key, is_declined=True, reason=question.reason)
    until = date_and_clock(local(question.expires_at)) if question.expires_at is not None else ""
    return NotAnswered(_("Nobody answered until %s.") % until, question.key)


def _without_numbers(text: str) -> str:
    """Return *text* with no regard to counts and times: they may have changed since it was asked."""
    return NUMBERS.sub("0", text)


def _is_permission(name: Any) -> bool:
    return isinstance(name, str) and len(name) <= PERMISSION_CHARS and (not name or "." in name)


def _refuse_useless(verb: str, expires: Expires) -> None:
    if expires is None:
        raise ValueError(f"{verb}: a default counts only if nobody answers in time: give expires=…, too.")


def _json(default: Any) -> Any:
    """Return the default of a callback. Raises ``TypeError`` for what is not JSON."""
    try:
        return json_value(default)
    except ValidationError as error:
        raise TypeError(f"callback(): the default must be JSON: {' '.join(error.messages)}") from None


def _end(expires: Expires) -> Any:
    """Return the time of a question as the database gets it. Raises ``TypeError`` or ``ValueError``."""
    if expires is None:
        return None
    if isinstance(expires, dt.timedelta):
        if expires <= dt.timedelta() or expires.total_seconds() >= NEVER:
            raise ValueError(f"expires must be longer than nothing and shorter than 100 years, not {expires}.")
        return DatabaseNow(expires.total_seconds())
    if not isinstance(expires, dt.datetime):
        raise TypeError(f"expires must be a timedelta or a datetime, not {type(expires).__name__}.")
    check_zone(expires, "expires")
    return expires
