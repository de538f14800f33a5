"""The addresses of pages in the admin site of the current page: a project may have several sites. Web."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin import site as default_site
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse


def enter(request: HttpRequest, site: AdminSite) -> None:
    """Make all links in the answer to *request* lead to pages of *site*, also those in templates."""
    request.current_app = site.name
    request._qorworker_site = site  # type: ignore[attr-defined]


def site_of(request: HttpRequest) -> AdminSite:
    """Return the admin site to which the page belongs."""
    return getattr(request, "_qorworker_site", default_site)


def url_in(site: AdminSite, name: str, *args: Any) -> str:
    """Return the address of a page in *site*. Raises ``NoReverseMatch`` if the site does not have it."""
    return reverse(f"admin:{name}", args=args, current_app=site.name)


def url(request: HttpRequest, name: str, *args: Any) -> str:
    """Return the address of a page in the site of *request*. Raises ``NoReverseMatch`` if the site does not have it."""
    return url_in(site_of(request), name, *args)


def url_if_there(request: HttpRequest, name: str, *args: Any) -> str:
    """Return the address of a page in the site of *request*; empty if the site does not have that page."""
    try:
        return url(request, name, *args)
    except NoReverseMatch:
        return ""
