"""One run form that makes a batch: a job for each part of the chosen rows. Web.

How the rows are divided comes from the code of an action. The form carries it signed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core import signing
from django.db import router

from qorworker.actions import batching
from qorworker.arguments.selection_field import SelectionField
from qorworker.definitions.call import Call
from qorworker.definitions.job_type import JobType
from qorworker.exceptions import JobTypeError
from qorworker.models import Batch, Job, Origin

SALT = "qorworker.chunks"


@dataclass(frozen=True)
class Chunks:
    """How the rows of a form are divided.

    :param argument: the parameter that takes them.
    :param size: the most rows of one job.
    """

    argument: str
    size: int

    def signed(self, job_type: JobType[..., Any]) -> str:
        """Return it as the form of *job_type* carries it."""
        return signing.dumps([job_type.name, self.argument, self.size], salt=SALT)

    def prepare(self, form: forms.BaseForm) -> None:
        """Let the field of *form* take a whole list, however long, and only the rows that it has now."""
        field = form.fields.get(self.argument)
        if isinstance(field, SelectionField):
            field.most, field.keeps_filters = None, False

    def start(self, job_type: JobType[..., Any], cleaned: Mapping[str, Any], user: Any) -> Job:
        """Store a batch with a job for each part, and return the first of these jobs.

        :param cleaned: the arguments that the form has cleaned.
        """
        using = router.db_for_write(Job)
        calls = self._calls(job_type, cleaned)
        batch = batching.enqueue(Batch.objects.using(using), str(job_type.title), calls, by=user, origin=Origin.ADMIN)
        return Job.objects.using(using).filter(batch=batch).order_by("pk")[:1].get()

    def _calls(self, job_type: JobType[..., Any], cleaned: Mapping[str, Any]) -> Iterator[Call[Any]]:
        for piece in cleaned[self.argument].pieces(self.size):
            yield Call(job_type, {**cleaned, self.argument: piece})


def of_form(text: str, job_type: JobType[..., Any]) -> Chunks | None:
    """Return what a form carries as *text*; None if it is empty, or was not signed for *job_type*."""
    try:
        name, argument, size = signing.loads(text, salt=SALT)
    except (signing.BadSignature, TypeError, ValueError):
        return None
    return Chunks(argument, size) if name == job_type.name and argument in job_type.arguments.fields else None


def check(job_type: JobType[..., Any], argument: str, size: Any) -> None:
    """Raise ``JobTypeError`` if the jobs of a type cannot share what one form has, or *size* is no number of rows."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise JobTypeError(f"run_on_selection(): chunk must be a number of rows of at least 1, not {size!r}.")
    for name, field in job_type.arguments.fields.items():
        if isinstance(field, forms.FileField):
            raise JobTypeError(
                f"run_on_selection(): job type {job_type.name!r} takes a file, {name!r}, which the jobs of several "
                "chunks cannot share. Leave chunk out."
            )
