"""Texts compared as they are, also where the collation of a column takes different ones for the same. All processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Count, Func, Max, TextField

if TYPE_CHECKING:
    from qorworker.models.job_queries import JobQuerySet


class Exact(Func):
    """A text of which each character counts: MariaDB's usual collations take “Mail” for “mail” and for “mail ”."""

    arity = 1
    function = ""
    template = "%(expressions)s"
    output_field = TextField()

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="BINARY %(expressions)s", **context)


def with_error(self: JobQuerySet, error: str) -> JobQuerySet:
    """Return those with exactly this error."""
    return self.alias(exact_error=Exact("error")).filter(exact_error=error)


def errors(self: JobQuerySet, most: int) -> dict[str, int]:
    """Return the *most* frequent errors, each with the number of jobs that have it."""
    groups = self.order_by().annotate(exact_error=Exact("error")).values("exact_error")
    found = groups.annotate(text=Max("error"), number=Count("pk")).order_by("-number", "text")
    return dict(found.values_list("text", "number")[:most])
