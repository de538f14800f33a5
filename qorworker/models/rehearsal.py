"""What a rehearsal has found, and its run for real. All processes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import transaction
from django.db.models import Model
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from qorworker.exceptions import NotRehearsed
from qorworker.models.alters import alters_data
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.job_verbs import enqueue_again, row_of
from qorworker.models.own import write_database

if TYPE_CHECKING:
    from qorworker.models.job import Job


@dataclass(frozen=True)
class Sample:
    """One object as it was before, and would be after. Values are texts, by the names of the fields."""

    kind: str  # "created", "changed" or "deleted"
    pk: str
    before: dict[str, str]
    after: dict[str, str]


@dataclass(frozen=True)
class TableChanges:
    """The rows of one table that would be created, changed and deleted."""

    database: str
    table: str
    model: str  # its label, such as "shop.Product"; empty if no model has that table
    created: int
    changed: int
    deleted: int
    samples: list[Sample]  # of objects that were saved or deleted by themselves; not those of bulk operations

    @cached_property
    def model_class(self) -> type[Model] | None:
        """The model; None if this process does not have it."""
        try:
            return apps.get_model(self.model) if self.model else None
        except LookupError:
            return None


@dataclass(frozen=True)
class Rehearsal:
    """What would have happened. Texts are cut, and there are at most five samples of a table and twenty mails."""

    models: list[TableChanges] = field(default_factory=list)
    statements: list[dict[str, Any]] = field(default_factory=list)  # database, kind, table, number
    mails: list[dict[str, Any]] = field(default_factory=list)  # subject, from, to, cc, bcc, body, attachments
    mails_count: int = 0
    jobs: dict[str, int] = field(default_factory=dict)  # that would have been enqueued, by the name of the type
    hooks: int = 0  # of ``transaction.on_commit``, which were not called
    refusals: list[str] = field(default_factory=list)  # why it could not be rehearsed to its end

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many rows would be created, changed and deleted, by the label of the model, or the name of the table."""
        counts: dict[str, dict[str, int]] = {}
        for each in self.models:
            known = counts.setdefault(each.model or each.table, {"created": 0, "changed": 0, "deleted": 0})
            for kind in known:
                known[kind] += getattr(each, kind)
        return counts

    @property
    def samples(self) -> dict[str, list[Sample]]:
        """The samples by the label of the model."""
        return {each.model: each.samples for each in self.models if each.samples}

    @property
    def is_empty(self) -> bool:
        """Whether nothing would have happened that a rehearsal sees."""
        return not (self.models or self.mails_count or self.jobs or self.hooks or self.statements)


def report_of(self: Job) -> Rehearsal | None:
    """What the rehearsal has found; None if it is none, or has not come to its end."""
    if self.rehearsal_report is None:
        return None
    try:
        stored = json.loads(self.rehearsal_report)
        tables = [
            TableChanges(**{**each, "samples": [Sample(**sample) for sample in each["samples"]]})
            for each in stored.pop("models")
        ]
        return Rehearsal(models=tables, **stored)
    except (ValueError, TypeError, KeyError, RecursionError):  # its process was manipulated
        return None


@alters_data
@sensitive_variables()
def run_for_real(self: Job, *, by: Any = None, origin: str = Origin.CODE) -> Job:
    """Queue a new job with the arguments of this rehearsal, for real. It needs approval as any other.

    :param by: the user who runs it, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the new job.
    :raises qorworker.exceptions.NotRehearsed: if this is no rehearsal, or one that has not succeeded.
    :raises qorworker.exceptions.UnknownJobType: if its code is gone.
    :raises qorworker.exceptions.InvalidArguments: if the arguments no longer fit, or a secret must be entered again.

    Example::

        job.run_for_real(by=request.user)
    """
    using = write_database(self)
    fresh = row_of(self).first()
    if fresh is None or not fresh.can_run_for_real:
        raise NotRehearsed(_("Only a rehearsal that has succeeded can be run for real. Nothing was changed."))
    with transaction.atomic(using=using):
        new = enqueue_again(fresh, {}, by=by, origin=origin, dry_run=False)
        AuditEntry.objects.using(using).record("run for real", job=fresh, user=by, origin=origin, job_made=new.pk)
    return new
