"""The context of templates: that of every page, and that of pages with forms. Web."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django.contrib.admin.helpers import AdminForm, Fieldset
from django.forms import BaseForm
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.views.decorators.debug import sensitive_variables

from qorworker.admin import links


class Page(TemplateResponse):
    """A page that keeps its values out of the report of an error: it is rendered after its view has returned."""

    @property
    @sensitive_variables()  # a field that is shown again has the secret that was sent for it
    def rendered_content(self) -> str:
        return super().rendered_content


def page(
    request: HttpRequest, template: str, opts: Any, *, title: Any, media: Any, status: int = 200, **context: Any
) -> Page:
    """Return the page that *template* makes of *context*, in the admin site to which *request* belongs.

    *opts* are those of the model below which the page stands.
    """
    shown = {**links.site_of(request).each_context(request), "title": title, "opts": opts, "media": media, **context}
    return Page(request, f"admin/qorworker/{template}", shown, status=status)


def fieldset(
    model_admin: Any,
    form: BaseForm,
    title: str,
    names: Sequence[str] | None = None,
    *,
    classes: Sequence[str] = (),
    description: str = "",
) -> Fieldset:
    """Return the fields *names* of *form*, or all, as a fieldset of the admin: each theme shows it in its own way."""
    options: Any = {"fields": list(names or form.fields), "classes": list(classes), "description": description}
    (own,) = AdminForm(cast(Any, form), [(title, options)], {}, (), model_admin)
    return own
