"""The test settings with the theme that QORWORKER_TEST_THEME names, and a database of its own."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, INSTALLED_APPS, MIDDLEWARE, SCRATCH, TEMPLATES
from tests.themes import THEMES

THEME = os.environ["QORWORKER_TEST_THEME"]
DATABASES["default"]["NAME"] = str(SCRATCH / f"theme-{THEME}.sqlite3")
INSTALLED_APPS = [*THEMES[THEME][0], *INSTALLED_APPS]
TEMPLATES[0]["OPTIONS"]["context_processors"].append("django.template.context_processors.static")
ROOT_URLCONF = "tests.themes.urls"
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
if THEME != "stock":  # the others have scripts inline
    MIDDLEWARE = [name for name in MIDDLEWARE if "csp" not in name]
JAZZMIN_SETTINGS = {"use_google_fonts_cdn": False}
