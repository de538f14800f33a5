"""Sees all mail that code sends through Django, by whatever backend and function. Wherever a job runs.

A backend of a project may pass mail on to another one. Only the outermost counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import partial
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

Watcher = Callable[[list[EmailMessage]], None]

watcher: ContextVar[Watcher | None] = ContextVar("qorworker_mail_watcher", default=None)  # is told before mail is sent
_is_sending: ContextVar[bool] = ContextVar("qorworker_is_sending_mail", default=False)
_catchers: list[Watcher] = []  # of this process: the last one gets all mail, and nothing is sent


def watch() -> None:
    """Show all mail of this process to the ``watcher`` of its context from now on."""
    if BaseEmailBackend.__getattribute__ is not _attribute:
        BaseEmailBackend.__getattribute__ = _attribute  # type: ignore[method-assign, assignment]


def catch(catcher: Watcher) -> Callable[[], None]:
    """Give all mail of this process to *catcher* instead of sending it. Return a function that ends this."""
    watch()
    send = EmailMessage.send
    EmailMessage.send = _caught  # type: ignore[method-assign, assignment]  # for backends with another base class
    _catchers.append(catcher)

    def release() -> None:
        EmailMessage.send = send  # type: ignore[method-assign]
        _catchers.remove(catcher)

    return release


def _attribute(backend: BaseEmailBackend, name: str) -> Any:
    value = object.__getattribute__(backend, name)
    if name == "send_messages":
        return partial(_send, value)
    # A connection that is kept open for several mails opens nothing, either.
    return _do_nothing if _catchers and name in ("open", "close") else value


def _send(send: Callable[[list[EmailMessage]], int | None], email_messages: Iterable[EmailMessage]) -> int | None:
    messages = list(email_messages)
    if (told := watcher.get()) is not None and not _is_sending.get():
        told(messages)
    if _catchers:
        _catchers[-1](messages)
        return len(messages)
    token = _is_sending.set(True)
    try:
        return send(messages)
    finally:
        _is_sending.reset(token)


def _caught(message: EmailMessage, *args: Any, **options: Any) -> int:
    return _send(lambda messages: len(messages), [message]) or 0 if message.recipients() else 0


def _do_nothing(*args: Any, **options: Any) -> None:
    return None
