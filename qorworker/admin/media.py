"""The one style sheet and the one script of all pages. Web."""

from __future__ import annotations

from typing import Any

from django.forms import Media, Script

_script: Any = Script("qorworker/qorworker.js", defer=True)
MEDIA = Media(css={"all": ["qorworker/qorworker.css"]}, js=[_script])
# The admin's date and time shortcuts call functions of this file, which a ModelAdmin brings along and a form does not.
FORM_MEDIA = Media(js=["admin/js/core.js"]) + MEDIA
