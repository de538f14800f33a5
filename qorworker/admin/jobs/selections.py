"""The action that opens the run form of a job with chosen rows of a list. Web."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IS_FACETS_VAR, IS_POPUP_VAR, TO_FIELD_VAR
from django.contrib.admin.views.main import ALL_VAR, ORDER_VAR, PAGE_VAR
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker.admin import access, links
from qorworker.admin.jobs import prefill
from qorworker.admin.jobs.chunks import Chunks, check
from qorworker.admin.jobs.run_form import RunPage, runnable
from qorworker.arguments.selection import check_database, keys_of
from qorworker.arguments.selection_field import FREEZE, Choice, SelectionField
from qorworker.definitions.job_type import JobType
from qorworker.exceptions import JobTypeError
from qorworker.models import Job

NO_FILTERS = (ALL_VAR, ORDER_VAR, PAGE_VAR, IS_FACETS_VAR, IS_POPUP_VAR, TO_FIELD_VAR)  # of what an address has
Action = Callable[[Any, HttpRequest, QuerySet[Any]], HttpResponseBase | None]


def run_on_selection(
    job_type: JobType[..., Any], *, argument: str, chunk: int | None = None, description: Any = None
) -> Action:
    """Return an action for a ``ModelAdmin`` that opens the run form of a job with the chosen rows.

    ::

        class ProductAdmin(admin.ModelAdmin):
            actions = [run_on_selection(relabel, argument="products")]

    If all rows of the list were selected, users choose in the form whether the job gets those that match now, or
    those that match when it starts. A user who may not run the job is refused.

    :param job_type: what ``@job`` returned.
    :param argument: the parameter that takes the rows: a ``Selection`` of the model of the list.
    :param chunk: the most rows of one job. The form then makes a batch: a job for each chunk of the rows of now, as
        many as there are.
    :param description: the text in the menu of actions; *Run “<title>”…* if it is None.
    :raises qorworker.exceptions.JobTypeError: if the job has no such parameter, it takes no selection, or its jobs
        cannot be divided into chunks.
    """
    field = job_type.arguments.fields.get(argument)
    if not isinstance(field, SelectionField):
        raise JobTypeError(
            f"run_on_selection(): the argument {argument!r} of job type {job_type.name!r} is no Selection of a model."
        )

    chunks = None
    if chunk is not None:
        check(job_type, argument, chunk)
        chunks = Chunks(argument, chunk)

    def run_with_rows(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase | None:
        return _opened(model_admin, request, queryset, job_type, argument, field, chunks)

    # Of its own: one list may have an action with chunks, and one without.
    size = f"_by_{chunk}" if chunk is not None else ""
    run_with_rows.__name__ = f"run_{job_type.name.replace('.', '_')}_{argument}{size}"
    text = description or format_lazy(gettext_lazy("Run “{title}”…"), title=job_type.title)
    return admin.action(description=text)(run_with_rows)


def _opened(
    model_admin: Any,
    request: HttpRequest,
    queryset: QuerySet[Any],
    job_type: JobType[..., Any],
    argument: str,
    field: SelectionField,
    chunks: Chunks | None,
) -> HttpResponseBase | None:
    if model_admin.model is not field.model:
        raise JobTypeError(
            f"run_on_selection(): the argument {argument!r} of job type {job_type.name!r} takes rows of "
            f"{field.model._meta.label}, and this is the list of {model_admin.model._meta.label}."
        )
    site = model_admin.admin_site
    if not site.is_registered(Job):
        messages.error(request, _("This site has no pages of jobs."))
        return None
    job_admin = site.get_model_admin(Job)
    links.enter(request, site)
    with access.on_record(request):
        allowed = runnable(job_admin, request, job_type.name, ["POST"])
        if isinstance(allowed, HttpResponseBase):
            return allowed
        try:
            chosen = _chosen(request, queryset)
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
            return None
        filled = prefill.Filled(values={argument: chosen.text()})
        return RunPage(job_admin, request, job_type, filled, chunks).show()


def _chosen(request: HttpRequest, queryset: QuerySet[Any]) -> Choice:
    """Return the rows that were marked in a list; the filters of the list if all of its rows were selected.

    :raises django.core.exceptions.ValidationError: if they are in another database than a selection reads.
    """
    if request.POST.get("select_across") not in ("1", "true"):
        return Choice(keys_of(queryset.order_by("pk")))
    check_database(queryset)
    filters = request.GET.copy()
    for name in NO_FILTERS:
        filters.pop(name, None)
    return Choice(None, filters.urlencode(), queryset.count(), FREEZE)
