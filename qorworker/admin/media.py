"""The style and script of all pages, and what each page has on top of them. Web."""

from __future__ import annotations

from typing import Any

from django.forms import Media, Script


def _script(name: str) -> Any:
    return Script(f"qorworker/{name}.js", defer=True)


def _own(name: str) -> Media:
    return Media(css={"all": [f"qorworker/{name}.css"]}, js=[_script(name)])


MEDIA = _own("qorworker")
# The admin's date and time shortcuts call functions of this file, which a ModelAdmin brings along and a form does not.
FORM_MEDIA = Media(js=["admin/js/core.js"])
CATALOGUE_MEDIA = MEDIA + _own("catalogue")
LIST_MEDIA = MEDIA + _own("list")
DETAIL_MEDIA = MEDIA + _own("detail")
WORKERS_MEDIA = MEDIA + _own("workers")
SCHEDULE_MEDIA = MEDIA + _own("schedule")
RUN_MEDIA = FORM_MEDIA + MEDIA + _own("run")
