"""What a rehearsal has found, as the page of its job shows it. Web."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model
from django.utils.functional import cached_property
from django.utils.text import capfirst

from qorworker.definitions.registry import registry
from qorworker.models import Job
from qorworker.models.rehearsal import Rehearsal, Sample, TableChanges


@dataclass(frozen=True)
class Field:
    """One field of a sample, before and after."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class ShownSample:
    """One object that would be created, changed or deleted."""

    sample: Sample
    fields: list[Field]


@dataclass(frozen=True)
class Table:
    """The changes of one table, under the name that people know."""

    changes: TableChanges
    name: str
    samples: list[ShownSample]


class ShownRehearsal:
    """The report of a rehearsal, with the names that people know."""

    def __init__(self, job: Job, report: Rehearsal) -> None:
        self.job, self.report = job, report

    @cached_property
    def tables(self) -> list[Table]:
        """Return what would become of the rows of each table."""
        return [Table(each, _name(each), list(_samples(each))) for each in self.report.models]

    @cached_property
    def has_databases(self) -> bool:
        """Return whether it would change several databases, which then have to be told apart."""
        return len({each.database for each in self.report.models}) > 1

    @cached_property
    def jobs(self) -> list[tuple[int, str]]:
        """Return how many jobs it would enqueue, with the title of their type."""
        types = {name: registry.find(name) for name in self.report.jobs}
        return [(self.report.jobs[name], str(found.title) if found else name) for name, found in types.items()]

    @property
    def mails_left_out(self) -> int:
        """Return how many mails are counted but not kept."""
        return self.report.mails_count - len(self.report.mails)

    @property
    def needs_secrets(self) -> bool:
        """Return whether it has to be run for real with the form, because a secret must be entered again."""
        job_type = self.job.job_type
        return job_type is not None and self.job.can_run_for_real and job_type.arguments.has_secrets(self.job.arguments)


def _name(changes: TableChanges) -> str:
    model = changes.model_class
    return str(capfirst(model._meta.verbose_name_plural)) if model is not None else changes.table


def _samples(changes: TableChanges) -> Iterable[ShownSample]:
    for sample in changes.samples:
        names = sample.after or sample.before
        shown = [
            Field(_label(changes.model_class, name), sample.before.get(name, ""), sample.after.get(name, ""))
            for name in names
        ]
        yield ShownSample(sample, shown)


def _label(model: type[Model] | None, name: str) -> str:
    if model is None:
        return name
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        field = next((each for each in model._meta.concrete_fields if each.attname == name), None)  # type: ignore[assignment]
    return str(capfirst(getattr(field, "verbose_name", name)))
