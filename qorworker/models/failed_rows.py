"""Running a job again for only those rows of its results that have errors. All processes.

The functions without an underscore are a method and a property of ``Job``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.debug import sensitive_variables

from qorworker.arguments.row_keys import RowKeys
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidTransition, NothingToRepeat
from qorworker.models.alters import alters_data
from qorworker.models.attempt import ResultsRow, ResultsRowQuerySet
from qorworker.models.audit import Origin
from qorworker.models.own import write_database

if TYPE_CHECKING:
    from qorworker.models.job import Job


@alters_data
@sensitive_variables()
def rerun_failed_rows(
    self: Job, changes: Mapping[str, Any] | None = None, /, *, by: Any = None, origin: str = Origin.CODE, **more: Any
) -> Job:
    """Queue a new job that repeats only the rows of this one that have an error and a key.

    The handler gets their keys in its parameter of the type ``RowKeys``. The rows are those of the last attempt. All
    else is as for ``rerun``.

    :param changes: arguments that the new job gets instead, by name; needed for those named ``by`` or ``origin``.
    :param by: the user who runs it again, for the audit.
    :param origin: where the request comes from, for the audit.
    :param more: the same as *changes*, as keyword arguments.
    :returns: the new job.
    :raises qorworker.exceptions.NothingToRepeat: if it has not ended, if its handler takes no keys, or if no row has
        an error and a key.
    :raises qorworker.exceptions.UnknownJobType: if its code is gone.
    :raises qorworker.exceptions.InvalidArguments: if the arguments no longer fit, if there are more keys than a job
        can keep, or if a secret must be entered again.

    Example::

        job.rerun_failed_rows(by=request.user)
    """
    parameter = registry.get(self.name).arguments.row_keys_parameter
    if parameter is None:
        raise NothingToRepeat(_("The function of this job takes no keys of rows, so it can only repeat all of them."))
    fresh = type(self).objects.using(write_database(self)).filter(pk=self.pk).first()
    if fresh is None:
        raise InvalidTransition(self.pk, "deleted", "rerun failed rows")
    if not fresh.is_finished:
        raise NothingToRepeat(_("This job has not ended, so rows may still be added."))
    keys = RowKeys(_failed(fresh).keys())
    if not keys:
        raise NothingToRepeat(_no_keys(fresh.results_errors))
    return fresh.rerun({**(changes or {}), **more, parameter: keys}, by=by, origin=origin)


def repeatable_rows(self: Job) -> int:
    """How many rows ``rerun_failed_rows`` would repeat, as far as this copy of the row shows: those with an error and a
    key. It is 0 if the job has not ended, or if its handler takes no keys.
    """
    takes_keys = self.job_type is not None and self.job_type.arguments.row_keys_parameter is not None
    return _failed(self).with_key().count() if takes_keys and self.is_finished and self.results_errors else 0


def _failed(job: Job) -> ResultsRowQuerySet:
    return ResultsRow.objects.using(write_database(job)).of_last_attempt(job).with_error()


def _no_keys(errors: int) -> str:
    if not errors:
        return _("No row of its results has an error.")
    sentence = ngettext(
        "%(number)s row has errors, but it has no key by which it could be repeated.",
        "%(number)s rows have errors, but none of them has a key by which it could be repeated.",
        errors,
    )
    return sentence % {"number": errors}
