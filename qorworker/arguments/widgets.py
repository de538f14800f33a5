"""The select for rows of a model: the admin's search box if the model's admin can search. Web."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.widgets import AutocompleteMixin
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.urls import NoReverseMatch, reverse

URL_NAME = "admin:qorworker_job_autocomplete"  # arguments: the name of the job type, the name of the field


class _Source:
    """What the admin's widget expects of a model field; an argument has none."""

    def __init__(self, model: type[Model], name: str) -> None:
        self.model, self.name = model, name
        self.remote_field = self
        self.field_name = model._meta.pk.attname


class SearchableSelect(AutocompleteMixin):
    """A select that decides what it is when it is rendered: models register with the admin after jobs are imported."""

    def __init__(self, model: type[Model], job_type: str, name: str, **options: Any) -> None:
        self.job_type = job_type
        super().__init__(_Source(model, name), admin.site, **options)

    @property
    def searches(self) -> bool:
        try:
            model_admin = self.admin_site.get_model_admin(self.field.model)
        except NotRegistered:
            return False
        return bool(model_admin.search_fields) and bool(self.get_url())

    def get_url(self) -> str:
        try:
            return reverse(URL_NAME, args=(self.job_type, self.field.name), current_app=self.admin_site.name)
        except NoReverseMatch:
            return ""  # a project without the admin's pages: a plain list must do

    def build_attrs(self, base_attrs: Any, extra_attrs: Any = None) -> Any:
        if self.searches:
            return super().build_attrs(base_attrs, extra_attrs)
        return {**base_attrs, **(extra_attrs or {})}

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        if self.searches:
            return super().optgroups(name, list(filter(self._is_key, value)), attr)
        return super(AutocompleteMixin, self).optgroups(name, value, attr)  # type: ignore[misc]

    def _is_key(self, value: Any) -> bool:
        """Return whether *value* can be the key of a row. Posted values may be anything, and the database would refuse
        some.
        """
        try:
            self.field.model._meta.pk.clean(value, None)
        except ValidationError:
            return False
        return True

    @property
    def media(self) -> forms.Media:
        return super().media if self.searches else forms.Media()


class ModelSelect(SearchableSelect, forms.Select):
    pass


class ModelSelectMultiple(SearchableSelect, forms.SelectMultiple):
    pass
