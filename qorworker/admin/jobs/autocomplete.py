"""The rows of a model as an argument: a search box of the admin, where the model's admin can search. Web."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.sites import all_sites
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest

from qorworker.admin import links
from qorworker.arguments.selection_field import Chooser, SelectionField
from qorworker.arguments.widgets import SearchableSelect
from qorworker.definitions.registry import registry
from qorworker.permissions import can


def limit_rows(form: forms.BaseForm, request: HttpRequest, site: admin.AdminSite) -> None:
    """Leave only those rows as choices that the pages of *site* show to this user; others are not accepted.

    For a model that is registered with other sites only, the user needs Django's permission to view it. A model that
    is registered with no site has no rule here: its rows are up to the form.
    """
    for field in form.fields.values():
        if isinstance(field, SelectionField):
            field.chooser = _chooser(field.model, request, site)
        if not isinstance(field, forms.ModelChoiceField) or field.queryset is None:
            continue
        if isinstance(field.widget, SearchableSelect):
            field.widget.admin_site = site
        field.queryset = _shown_rows(field.queryset, request, site)


def _chooser(model: type[Model], request: HttpRequest, site: admin.AdminSite) -> Chooser:
    rows = model._default_manager.all()
    has_list = any(each.is_registered(model) for each in all_sites)
    rows = _shown_rows(rows, request, site) if has_list else rows.none()
    address = ""
    if site.is_registered(model) and site.get_model_admin(model).has_view_or_change_permission(request):
        address = links.url_in(site, f"{model._meta.app_label}_{model._meta.model_name}_changelist")
    return Chooser(site.name, str(request.user.pk), rows, address)


def _shown_rows(rows: QuerySet[Any], request: HttpRequest, site: admin.AdminSite) -> QuerySet[Any]:
    try:
        model_admin = site.get_model_admin(rows.model)
    except NotRegistered:
        is_guarded = any(other.is_registered(rows.model) for other in all_sites)
        return rows.none() if is_guarded and not _may_view(request.user, rows.model) else rows
    if not model_admin.has_view_permission(request):
        return rows.none()
    seen = model_admin.get_queryset(request)
    return rows.filter(pk__in=seen.values("pk")) if seen.query.where else rows


def _may_view(user: Any, model: type[Model]) -> bool:
    codenames = (get_permission_codename(action, model._meta) for action in ("view", "change"))
    return any(user.has_perm(f"{model._meta.app_label}.{codename}") for codename in codenames)


class JobAutocompleteView(AutocompleteJsonView):
    """The answer to the search box, for users who may run the job and see the model's rows in the admin.

    Mounted at ``job/autocomplete/<type>/<field>/`` with ``admin_site`` set.
    """

    def process_request(self, request: HttpRequest) -> Any:
        """Return the search term, the model's admin and the field to match.

        Raises ``PermissionDenied`` or ``Http404`` if the user may not run the job or the rows cannot be searched.
        """
        job_type = registry.find(self.kwargs["job_type"])
        if job_type is None or not can(request.user, "run", job_type):
            raise PermissionDenied
        field = job_type.arguments.fields.get(self.kwargs["field"])
        if not isinstance(field, forms.ModelChoiceField) or field.queryset is None or self.admin_site is None:
            raise Http404
        self.rows: QuerySet[Model] = field.queryset
        try:
            model_admin = self.admin_site.get_model_admin(self.rows.model)
        except NotRegistered:
            raise PermissionDenied from None
        if not model_admin.get_search_fields(request):
            raise Http404
        term = request.GET.get("term", "").replace("\x00", "")  # which no database takes
        return term, model_admin, None, self.rows.model._meta.pk.attname

    def get_queryset(self) -> Any:
        """Return the rows that the model's admin finds, only those among the choices of the field."""
        rows = self.model_admin.get_queryset(self.request)
        if self.rows.query.where:
            rows = rows.filter(pk__in=self.rows.values("pk"))
        rows, may_repeat = self.model_admin.get_search_results(self.request, rows, self.term)
        rows = rows.distinct() if may_repeat else rows
        return rows if rows.ordered else rows.order_by("pk")  # pages of rows without an order would overlap
