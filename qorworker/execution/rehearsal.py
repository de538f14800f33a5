"""Runs a handler so that nothing in a database changes, and no mail is sent, and reports what would. Child process.

It takes over the process, for good: what a thread of the job does later must not get through, either.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from django.apps import apps
from django.core.mail import EmailMessage
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.models import Model, signals
from django.utils.translation import gettext as _

from qorworker.exceptions import RehearsalRefused
from qorworker.execution import mail
from qorworker.execution.budgets import uncounted
from qorworker.execution.changes import Sample
from qorworker.execution.messages import REHEARSAL_CHARS, clean_text
from qorworker.execution.pretence import ON_COMMIT, Pretence
from qorworker.signals import jobs_stored
from qorworker.text.masking import MASK, Mask
from qorworker.text.storable import text_of

MOST_MAILS, MOST_FIELDS, MOST_TABLES, MOST_ADDRESSES = 20, 20, 100, 20
MOST_REFUSALS = 20
VALUE_CHARS, BODY_CHARS = 200, 2000
OWN = "qorworker"  # the label of this app, and with "_" the beginning of its tables
SECRET = re.compile(r"password|passwd|secret|token|api_?key|private_?key", re.IGNORECASE)


class Rehearsal:
    """The rehearsal that runs in this process."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.pretences: dict[str, Pretence] = {}  # by the alias of the database
        self.mails: list[dict[str, Any]] = []
        self.mails_count = 0
        self.refusals: list[str] = []
        self.is_over = False
        self._release: Callable[[], None] = lambda: None

    # Its beginning and its end.

    def begin(self) -> None:
        """Take over all connections, from now on, and all mail. Those that are open are opened anew."""
        for connection in connections.all(initialized_only=True):
            connection.close()
        self._release = mail.catch(self._catch)
        connection_created.connect(self._take_over)
        BaseDatabaseWrapper.on_commit = _on_commit_when_connected  # type: ignore[method-assign, assignment]
        signals.pre_save.connect(self._before_save)
        signals.post_save.connect(self._after_save)
        signals.pre_delete.connect(self._before_delete)
        jobs_stored.connect(self._note_jobs)
        for connection in connections.all(initialized_only=True):
            if connection.connection is not None:  # of SQLite in memory
                self._take_over(connection=connection)

    def end(self) -> None:
        """Roll back everything. From now on nothing is carried out any more."""
        self.is_over = True
        for pretence in self.pretences.values():
            pretence.end()

    def let_go(self) -> None:
        """Give the process back. For tests: a child exits instead."""
        self._release()
        connection_created.disconnect(self._take_over)
        BaseDatabaseWrapper.on_commit = ON_COMMIT  # type: ignore[method-assign]
        signals.pre_save.disconnect(self._before_save)
        signals.post_save.disconnect(self._after_save)
        signals.pre_delete.disconnect(self._before_delete)
        jobs_stored.disconnect(self._note_jobs)
        for pretence in self.pretences.values():
            pretence.let_go()

    def _take_over(self, *, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
        alias = connection.alias
        try:
            if self.is_over:
                raise self.refuse(_("The job used the database after it had ended."))
            if alias in self.pretences:
                text = _("The job opened a second connection to the database “%s”, such as in a thread.") % alias
                raise self.refuse(text + " " + _("A rehearsal has one transaction for each database."))
            pretence = Pretence(connection, self)
            pretence.begin()
        except BaseException:
            raw, connection.connection = connection.connection, None
            raw.close()
            raise
        self.pretences[alias] = pretence

    def check(self) -> None:
        """Raise ``RehearsalRefused`` if anything was refused."""
        if self.refusals:
            raise RehearsalRefused(self.refusals[0])

    # Refusals. Each ends the rehearsal as failed, even if the job suppresses its exception.

    def refuse(self, text: str) -> RehearsalRefused:
        """Note what was refused, and return the exception to raise."""
        if len(self.refusals) < MOST_REFUSALS:
            self.refusals.append(self.mask(text))
        return RehearsalRefused(self.mask(text))

    def refuse_statement(self, beginning: str, alias: str) -> RehearsalRefused:
        """Do so for a statement."""
        text = _(
            "The statement “%(sql)s …” on the database “%(alias)s” cannot be rehearsed: no rollback takes it back."
        )
        return self.refuse(text % {"sql": beginning, "alias": alias})

    def refuse_table(self, table: str, alias: str) -> RehearsalRefused:
        """Do so for a table without transactions."""
        text = _("The table “%(table)s” of the database “%(alias)s” has no transactions, so it cannot be rehearsed.")
        return self.refuse(text % {"table": table, "alias": alias})

    # Mail.

    def _catch(self, messages: Iterable[EmailMessage]) -> None:
        for message in messages:
            self.mails_count += 1
            if len(self.mails) < MOST_MAILS:
                self.mails.append(self._mail(message))

    def _mail(self, message: EmailMessage) -> dict[str, Any]:
        addresses = {
            name: [self._text(each) for each in list(getattr(message, name, None) or [])[:MOST_ADDRESSES]]
            for name in ("to", "cc", "bcc")
        }
        return {
            "subject": self._text(message.subject),
            "from": self._text(message.from_email),
            **addresses,
            "recipients": len(message.recipients()),
            "body": self._text(message.body, BODY_CHARS),
            "attachments": [self._text(_attachment_name(each)) for each in message.attachments[:MOST_ADDRESSES]],
        }

    # Samples.

    def _before_save(self, *, sender: type[Model], instance: Model, using: str, **kwargs: Any) -> None:
        if (pretence := self._sampling(sender, using)) is None or instance.pk is None or instance._state.adding:
            return
        changes, label = pretence.changes, sender._meta.label
        if changes.sample_of(label, instance.pk) is None and changes.wants(label, "changed"):
            before = self._values(sender, instance.pk, pretence)
            vars(instance)["_qorworker_before"] = before

    def _after_save(self, *, sender: type[Model], instance: Model, created: bool, using: str, **kwargs: Any) -> None:
        before = vars(instance).pop("_qorworker_before", None)
        if (pretence := self._sampling(sender, using)) is None:
            return
        changes, label = pretence.changes, sender._meta.label
        known = changes.sample_of(label, instance.pk)
        if known is not None and known.kind != "deleted":
            known.after = self._values(sender, instance.pk, pretence)
        elif created and changes.wants(label, "created"):
            after = self._values(sender, instance.pk, pretence)
            changes.keep(label, Sample("created", instance.pk, {}, after))
        elif before is not None:
            changes.keep(label, Sample("changed", instance.pk, before, self._values(sender, instance.pk, pretence)))

    def _before_delete(self, *, sender: type[Model], instance: Model, using: str, **kwargs: Any) -> None:
        if (pretence := self._sampling(sender, using)) is None:
            return
        changes, label = pretence.changes, sender._meta.label
        if changes.sample_of(label, instance.pk) is None and changes.wants(label, "deleted"):
            before = self._values(sender, instance.pk, pretence)
            changes.keep(label, Sample("deleted", instance.pk, before, {}))

    def _sampling(self, sender: type[Model], using: str) -> Pretence | None:
        return None if sender._meta.app_label == OWN else self.pretences.get(using)

    def _values(self, model: type[Model], pk: Any, pretence: Pretence) -> dict[str, str]:
        """Return the fields of a row as texts, as the transaction sees them; empty if it is not there."""
        names = [field.attname for field in model._meta.concrete_fields[:MOST_FIELDS]]
        pretence.is_own = True
        try:
            with uncounted():
                row = model._base_manager.using(pretence.connection.alias).filter(pk=pk).values(*names).first() or {}
        finally:
            pretence.is_own = False
        return {name: self._value(name, value) for name, value in row.items()}

    def _value(self, name: str, value: Any) -> str:
        if SECRET.search(name) and value not in (None, ""):
            return MASK
        if isinstance(value, (bytes, memoryview)):
            return _("%s bytes") % len(value)
        return self._text(value)

    def _text(self, value: Any, limit: int = VALUE_CHARS) -> str:
        return clean_text(self.mask(text_of(value)), limit)

    # Jobs, and the report.

    def _note_jobs(self, *, using: str, names: Iterable[str], **kwargs: Any) -> None:
        if (pretence := self.pretences.get(using)) is not None:
            pretence.changes.jobs.update(names)

    def report(self) -> str:
        """Return what would have happened, as JSON. Samples are left out if it would be too large."""
        models = self._models()
        report = {
            "models": models,
            "statements": self._statements(),
            "mails": self.mails,
            "mails_count": self.mails_count,
            "jobs": dict(sum((each.changes.jobs for each in self.pretences.values()), Counter[str]())),
            "hooks": sum(each.changes.hooks for each in self.pretences.values()),
            "refusals": self.refusals,
        }
        for samples in (self.mails, *(model["samples"] for model in reversed(models))):
            if len(text := self._json(report)) <= REHEARSAL_CHARS:
                return text
            del samples[1:]
        return self._json(report)

    def _json(self, report: dict[str, Any]) -> str:
        return json.dumps(report, cls=DjangoJSONEncoder, ensure_ascii=True, separators=(",", ":"))

    def _models(self) -> list[dict[str, Any]]:
        """Return the rows of each table by what would become of them, with the samples of its model."""
        labels = {model._meta.db_table: model._meta.label for model in apps.get_models(include_auto_created=True)}
        shown = []
        for alias, pretence in self.pretences.items():
            changes = pretence.changes
            tables = {table for table, _kind in changes.rows if not table.startswith(f"{OWN}_")}
            for table in sorted(tables)[:MOST_TABLES]:
                label = labels.get(table, "")
                shown.append({
                    "database": alias, "table": table[:VALUE_CHARS], "model": label,
                    **{kind: changes.rows[table, kind] for kind in ("created", "changed", "deleted")},
                    "samples": [self._sample(sample) for sample in changes.samples.get(label, ())],
                })  # fmt: skip
        return shown

    def _sample(self, sample: Sample) -> dict[str, Any]:
        before, after = sample.before, sample.after
        if sample.kind == "changed":  # only what differs
            names = [name for name in after if after[name] != before.get(name)]
            before, after = {name: before.get(name, "") for name in names}, {name: after[name] for name in names}
        return {"kind": sample.kind, "pk": self._text(sample.pk), "before": before, "after": after}

    def _statements(self) -> list[dict[str, Any]]:
        counted = [
            {"database": alias, "kind": kind, "table": table[:VALUE_CHARS], "number": number}
            for alias, pretence in self.pretences.items()
            for (table, kind), number in sorted(pretence.changes.statements.items())
            if not table.startswith(f"{OWN}_")
        ]
        return counted[:MOST_TABLES]


def _on_commit_when_connected(connection: BaseDatabaseWrapper, *args: Any, **options: Any) -> None:
    """Connect first: outside of a transaction a hook would be called at once."""
    connection.ensure_connection()
    connection.on_commit(*args, **options)  # now that of its pretence


def _attachment_name(attachment: Any) -> Any:
    if isinstance(attachment, tuple):
        return attachment[0] or ""
    return getattr(attachment, "get_filename", lambda: "")() or ""
