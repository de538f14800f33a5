"""What a rehearsal has seen on one connection: rows, statements, samples, jobs, hooks. Child process."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

MOST_SAMPLES, MOST_OF_A_KIND = 5, 3
COLUMNS = {"INSERT": "created", "REPLACE": "created", "MERGE": "changed", "UPDATE": "changed", "DELETE": "deleted"}


@dataclass(slots=True)
class Sample:
    """One object before and after, by the names of its fields."""

    kind: str  # created, changed or deleted
    pk: Any
    before: dict[str, str]
    after: dict[str, str]


@dataclass(slots=True)
class Changes:
    """What was seen, and would be committed."""

    rows: Counter[tuple[str, str]] = field(default_factory=Counter)  # by table, and created, changed or deleted
    statements: Counter[tuple[str, str]] = field(default_factory=Counter)  # by table and kind
    samples: dict[str, list[Sample]] = field(default_factory=dict)  # by the label of the model
    jobs: Counter[str] = field(default_factory=Counter)  # that were enqueued, by type
    hooks: int = 0  # that a commit would call

    def copy(self) -> Changes:
        """Return a copy, for when a savepoint is rolled back."""
        samples = {label: list(some) for label, some in self.samples.items()}
        return Changes(self.rows.copy(), self.statements.copy(), samples, self.jobs.copy(), self.hooks)

    def add(self, kind: str, table: str, rows: int) -> None:
        """Count a statement."""
        self.statements[table, kind] += 1
        if kind in COLUMNS:
            self.rows[table, COLUMNS[kind]] += rows

    def wants(self, label: str, kind: str) -> bool:
        """Whether another sample of this kind is of use."""
        some = self.samples.get(label, ())
        return len(some) < MOST_SAMPLES and sum(sample.kind == kind for sample in some) < MOST_OF_A_KIND

    def sample_of(self, label: str, pk: Any) -> Sample | None:
        """Return the sample of an object; None if it is none."""
        return next((sample for sample in self.samples.get(label, ()) if sample.pk == pk), None)

    def keep(self, label: str, sample: Sample) -> None:
        """Keep a sample."""
        self.samples.setdefault(label, []).append(sample)
