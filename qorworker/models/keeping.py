"""What a job leaves behind in its own row, beside how it ended. All processes that run jobs.

These functions are methods of ``JobQuerySet``. They belong into the transaction in which the token of the attempt was
checked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce

from qorworker.models.attempt import JobFile
from qorworker.models.sql import portions, weight

if TYPE_CHECKING:
    from qorworker.models.job_queries import JobQuerySet


def keep_return_values(self: JobQuerySet, texts: dict[int, str]) -> None:
    """Store return values by job id, as JSON."""
    _keep(self, "return_value", texts)


def keep_rehearsals(self: JobQuerySet, texts: dict[int, str]) -> None:
    """Store what rehearsals have found by job id, as JSON."""
    _keep(self, "rehearsal_report", texts)


def keep_results_columns(self: JobQuerySet, texts: dict[int, str]) -> None:
    """Store the titles of results columns by job id, as JSON."""
    _keep(self, "results_columns", texts)


def keep_checkpoints(self: JobQuerySet, texts: dict[int, str]) -> None:
    """Store checkpoints by job id, as JSON; an empty one is removed."""
    _keep(self, "checkpoint", {pk: text or None for pk, text in texts.items()})


def keep_samples(self: JobQuerySet, texts: dict[int, str]) -> None:
    """Store the samples of running attempts by job id, as JSON."""
    _keep(self, "samples", texts)


def keep_stacks(self: JobQuerySet, texts: dict[int, str]) -> None:
    """Store the stacks of running attempts by job id, as JSON."""
    _keep(self, "last_stack", texts)


def checkpoint_of(self: JobQuerySet, pk: int) -> str | None:
    """Return the checkpoint of a job, as JSON; None if it has none."""
    return self.filter(pk=pk).values_list("checkpoint", flat=True).first()


def count_files(self: JobQuerySet, ids: Collection[int]) -> None:
    """Store in the rows of these jobs how many files they have added, so that a page need not ask for the files."""
    files = JobFile.objects.filter(job=OuterRef("pk")).order_by().values("job").annotate(number=Count("pk"))
    self.filter(pk__in=ids).update(files_count=Coalesce(Subquery(files.values("number")), 0))


def _keep(jobs: JobQuerySet, column: str, texts: Mapping[int, str | None]) -> None:
    values = [jobs.model(pk=pk, **{column: text}) for pk, text in texts.items()]
    for some in portions(transaction.get_connection(jobs.db), values, lambda job: 64 + weight([getattr(job, column)])):
        jobs.bulk_update(some, [column])
