"""Running a job again for the rows of its results that have errors: its button, and what it says before. Web."""

from __future__ import annotations

from functools import partial

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.admin.display import qw_number
from qorworker.admin.verbs import NothingNew, make_once
from qorworker.conf import settings
from qorworker.exceptions import InvalidArguments
from qorworker.models import Job, Origin

NAME = "run-failed-rows"


def rerun(request: HttpRequest, job: Job, form: None) -> Job:
    """Queue a new job for these rows, as the verb does. Raises ``NothingNew`` if their keys are too many for a job."""
    try:
        return make_once(request, job, partial(job.rerun_failed_rows, by=request.user, origin=Origin.ADMIN))
    except InvalidArguments as error:
        parameter = job.job_type.arguments.row_keys_parameter if job.job_type is not None else None
        if parameter not in error.errors:
            raise
        text = _("These are too many rows for one job: with their keys its arguments would take more than %s bytes.")
        raise NothingNew(text % qw_number(settings.ARGUMENTS_BYTES)) from error


def label(job: Job) -> str:
    """Return the text of the button, with the number of rows."""
    number = job.repeatable_rows
    text = ngettext("Run again for %s row with errors", "Run again for the %s rows with errors", number)
    return text % qw_number(number)


def without_key(job: Job) -> int:
    """Return how many rows with errors have no key; 0 if the job has not ended, or its handler takes no keys."""
    takes_keys = job.job_type is not None and job.job_type.arguments.row_keys_parameter is not None
    return job.results_errors - job.repeatable_rows if takes_keys and job.is_finished else 0


def left_out(job: Job) -> list[str]:
    """Return sentences about rows that came to no good end and are not repeated."""
    sentences = []
    if not job.is_done_with_row_errors:
        sentences.append(_("It did not finish: the rows that it had not reached are left out."))
    if number := without_key(job):
        text = ngettext(
            "%s row with errors has no key and is left out.",
            "%s rows with errors have no key and are left out.",
            number,
        )
        sentences.append(text % qw_number(number))
    return sentences
