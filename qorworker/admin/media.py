"""The style and script of all pages, and the additions of each page. Web."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.forms import Media, Script

# Apps that give the admin another look, for which there is a sheet.
THEMES = ("unfold", "jazzmin", "grappelli", "djangocms_simple_admin_style")


def _script(name: str) -> Any:
    return Script(f"qorworker/{name}.js", defer=True)


def _sheets() -> list[str]:
    themes = [f"themes/{name}" for name in THEMES if apps.is_installed(name)]
    return [f"qorworker/{name}.css" for name in ("base", *themes, "qorworker", "controls")]


def _with(sheets: Sequence[str] = (), scripts: Sequence[str] = ()) -> Media:
    """Return the media of all pages, followed by these *sheets* and *scripts*: the order is always the same."""
    own = [f"qorworker/{name}.css" for name in sheets]
    return Media(css={"all": _sheets() + own}, js=[_script(name) for name in ("qorworker", *scripts)])


def without_boxes(media: Any) -> Media:
    """Return *media* without Django's script for the boxes of a list, which themes replace by their own.

    The rest is needed by Django's own pages, as the one that asks before it deletes.
    """
    return Media(css=media._css, js=[script for script in media._js if script != "admin/js/actions.js"])


MEDIA = _with()
# The admin's date and time shortcuts call functions of this file, which a ModelAdmin brings along and a form does not.
FORM_MEDIA = Media(js=["admin/js/core.js"])
CATALOGUE_MEDIA = _with(["catalogue"], ["catalogue"])
LIST_MEDIA = _with(["list"], ["bulk", "live", "list"])
DASHBOARD_MEDIA = _with(["charts", "dashboard"], ["live"])
BATCH_MEDIA = _with(["detail", "flow"], ["live"])
DETAIL_MEDIA = _with(["charts", "detail", "flow"], ["live", "detail"])
WORKERS_MEDIA = _with(["workers"], ["live"])
QUEUES_MEDIA = _with(["workers", "schedule"], ["live"])
SCHEDULE_MEDIA = _with(["charts", "schedule"])
CALENDAR_MEDIA = _with(["schedule"], ["calendar"])
SCHEDULE_FORM_MEDIA = FORM_MEDIA + _with(["schedule"], ["live", "schedule"])
CALENDARS_MEDIA = _with(["schedule"])
SCHEDULES_MEDIA = _with(["schedule"], ["bulk"])
RUN_MEDIA = FORM_MEDIA + _with(["charts", "run"], ["run"])
