"""Rows of a model as an argument: the admin's search box where the model's admin can search. Web."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.contrib.admin.widgets import AutocompleteMixin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest
from django.urls import NoReverseMatch, reverse

URL_NAME = "admin:qorworker_job_autocomplete"  # arguments: the name of the job type, the name of the field


class _Source:
    """What the admin's widget asks of the model field it was made for; an argument has none."""

    def __init__(self, model: type[Model], name: str) -> None:
        self.model, self.name = model, name
        self.remote_field = self
        self.field_name = model._meta.pk.attname


class _Searching(AutocompleteMixin):
    """Decides when it is rendered, because models register with the admin after jobs were imported."""

    def __init__(self, model: type[Model], job_type: str, name: str, **options: Any) -> None:
        self.job_type = job_type
        super().__init__(_Source(model, name), admin.site, **options)

    @property
    def searches(self) -> bool:
        try:
            found = admin.site.get_model_admin(self.field.model)
        except NotRegistered:
            return False
        return bool(found.search_fields) and bool(self.get_url())

    def get_url(self) -> str:
        try:
            return reverse(URL_NAME, args=(self.job_type, self.field.name))
        except NoReverseMatch:
            return ""  # a project without the admin's pages: a plain list has to do

    def build_attrs(self, base_attrs: Any, extra_attrs: Any = None) -> Any:
        if self.searches:
            return super().build_attrs(base_attrs, extra_attrs)
        return {**base_attrs, **(extra_attrs or {})}

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        if self.searches:
            return super().optgroups(name, list(filter(self._is_key, value)), attr)
        return super(AutocompleteMixin, self).optgroups(name, value, attr)  # type: ignore[misc]

    def _is_key(self, value: Any) -> bool:
        """Whether it can be the key of a row: what was posted may be anything, and the database would refuse it."""
        try:
            self.field.model._meta.pk.clean(value, None)
        except ValidationError:
            return False
        return True

    @property
    def media(self) -> forms.Media:
        return super().media if self.searches else forms.Media()


class ModelSelect(_Searching, forms.Select):
    pass


class ModelSelectMultiple(_Searching, forms.SelectMultiple):
    pass


def limit_rows(form: forms.BaseForm, request: HttpRequest, site: admin.AdminSite) -> None:
    """Leave those rows as choices that the admin shows to this person: no other is named, and none taken."""
    for field in form.fields.values():
        if not isinstance(field, forms.ModelChoiceField) or field.queryset is None:
            continue
        try:
            model_admin = site.get_model_admin(field.queryset.model)
        except NotRegistered:
            continue
        if getattr(field.widget, "searches", False) and not model_admin.has_view_permission(request):
            field.queryset = field.queryset.none()
        elif (seen := model_admin.get_queryset(request)).query.where:
            field.queryset = field.queryset.filter(pk__in=seen.values("pk"))


class JobAutocompleteView(AutocompleteJsonView):
    """Answers the search box: for those who may run the job and may see the model's rows in the admin.

    Mounted at ``job/autocomplete/<type>/<field>/`` with ``admin_site`` set.
    """

    def process_request(self, request: HttpRequest) -> Any:
        from qorworker.permissions import can
        from qorworker.registry import registry

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
        rows = self.model_admin.get_queryset(self.request)
        if self.rows.query.where:
            rows = rows.filter(pk__in=self.rows.values("pk"))
        rows, may_repeat = self.model_admin.get_search_results(self.request, rows, self.term)
        rows = rows.distinct() if may_repeat else rows
        return rows if rows.ordered else rows.order_by("pk")  # pages of rows without an order would overlap
