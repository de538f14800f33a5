"""The pages of the app in an admin site: their URLs, and what is around each of their views. Web."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, JsonResponse
from django.urls import URLPattern, path
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from qorworker import permissions
from qorworker.admin import access, links

READING = ("GET", "HEAD")
View = Callable[..., HttpResponseBase]


class Pages:
    """A base for a ``ModelAdmin`` that has more pages than those of Django."""

    admin_site: Any
    opts: Any
    has_view_permission: Callable[..., bool]

    def page(
        self,
        route: str,
        name: str,
        view: View,
        *given: Any,
        methods: Sequence[str] = (),
        viewers_only: bool = False,
        for_scripts: bool = False,
    ) -> URLPattern:
        """Return the URL pattern named ``qorworker_<model>_<name>``.

        It calls *view* with this ``ModelAdmin``, the request, *given* and the values in the URL. Methods that are not
        among *methods* are answered with 405, and with *viewers_only* a user who may see no rows of the model with 403;
        without them that is up to the view. A page *for_scripts* answers with a status where others answer with a page.
        """

        @sensitive_variables()  # the arguments of a job may be secrets, also in the report of an error
        def answer(request: HttpRequest, **named: Any) -> HttpResponseBase:
            if methods and request.method not in methods:
                return HttpResponseNotAllowed(methods)
            if viewers_only and not self.has_view_permission(request):
                return JsonResponse({}, status=403) if for_scripts else access.deny(self, request, "view")
            with access.on_record(request):
                return view(self, request, *given, **named)

        wrapped: View = self.admin_site.admin_view(wraps(view)(answer))
        if for_scripts:
            wrapped = _for_scripts(self.admin_site, wrapped)
        return path(route, wrapped, name=f"qorworker_{self.opts.model_name}_{name}")

    def in_site(self, patterns: list[Any]) -> list[Any]:
        """Make the pages of *patterns* know their site and answer a refusal with a page that has a way back.

        What was posted to them is in no report of an error.
        """
        for pattern in patterns:
            pattern.callback = self._in_site(pattern.callback)
        return patterns

    def _in_site(self, view: View) -> View:
        @sensitive_post_parameters()  # before anything, such as the look for the user, can fail
        @never_cache  # Django says so of what its views return, and a refusal is raised
        @wraps(view)
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            links.enter(request, self.admin_site)
            try:
                return view(request, *args, **kwargs)
            except PermissionDenied:
                return access.deny(self, request, "")

        return answer


class ReadOnlyPages(Pages):
    """The same for rows that code makes: users who may see any job see the pages, and no form changes a row."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return permissions.can_view_any(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return permissions.can_view_any(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _for_scripts(site: Any, view: View) -> View:
    """Answer with a status where other pages show the page to sign in."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if site.has_permission(request):
            return view(request, *args, **kwargs)
        status = 403 if request.user.is_authenticated else 401
        return JsonResponse({}, status=status, headers={"Cache-Control": "no-store"})

    return answer
