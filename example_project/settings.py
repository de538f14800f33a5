"""Settings of the example project. Everything it writes goes to ``var/``.

The database is SQLite. EXAMPLE_DATABASE=postgresql or mariadb chooses a server instead; EXAMPLE_DATABASE_NAME, _HOST,
_PORT, _USER and _PASSWORD say where it is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent
VAR = Path(os.environ.get("EXAMPLE_VAR", BASE_DIR / "var"))
VAR.mkdir(parents=True, exist_ok=True)


def server(engine: str, port: int, user: str) -> dict[str, Any]:
    return {
        "ENGINE": f"django.db.backends.{engine}",
        "NAME": os.environ.get("EXAMPLE_DATABASE_NAME", "qorworker_example"),
        "HOST": os.environ.get("EXAMPLE_DATABASE_HOST", "127.0.0.1"),
        "PORT": os.environ.get("EXAMPLE_DATABASE_PORT", port),
        "USER": os.environ.get("EXAMPLE_DATABASE_USER", user),
        "PASSWORD": os.environ.get("EXAMPLE_DATABASE_PASSWORD", ""),
    }


DATABASES = {
    "default": {
        "sqlite": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("EXAMPLE_DATABASE_NAME", VAR / "example.sqlite3"),
            # What SQLite needs when several processes write: a log beside the file, and locks that wait.
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                "timeout": 20,
            },
        },
        "postgresql": server("postgresql", 5432, "postgres"),
        "mariadb": server("mysql", 3306, "root"),
    }[os.environ.get("EXAMPLE_DATABASE", "sqlite")]
}

DEBUG = True
SECRET_KEY = "an example key: a real project keeps its own out of the repository"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "example_project.urls"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
STATIC_URL = "static/"
MEDIA_ROOT = VAR / "media"
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = VAR / "mail"
DEFAULT_FROM_EMAIL = "news@example.com"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "qorworker",
    "example_project.newsletter",
    "example_project.shop",
    "example_project.reports",
    "example_project.demo",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# The job "Send newsletter" asks for this password before it writes to anybody.
NEWSLETTER_PASSWORD = os.environ.get("EXAMPLE_NEWSLETTER_PASSWORD", "letters")
