"""Settings of the example project in production. What differs from place to place comes from the environment.

EXAMPLE_SECRET_KEY and EXAMPLE_HOSTS must be set. EXAMPLE_MAIL_HOST takes mail. EXAMPLE_VAR is the folder for uploads:
all processes share it.
"""

from __future__ import annotations

import os

import django

from example_project.settings import *  # noqa: F403
from example_project.settings import BASE_DIR, MIDDLEWARE, QORWORKER, QUEUES

DEBUG = False
SECRET_KEY = os.environ["EXAMPLE_SECRET_KEY"]
ALLOWED_HOSTS = os.environ["EXAMPLE_HOSTS"].split(",")
CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in ALLOWED_HOSTS]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
ROOT_URLCONF = "example_project.deploy.urls"
if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": os.environ.get("EXAMPLE_MAIL_HOST", "localhost")},
        }
    }
else:
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    EMAIL_HOST = os.environ.get("EXAMPLE_MAIL_HOST", "localhost")
STATIC_ROOT = BASE_DIR / "static"  # made while the image is built
MIDDLEWARE = [MIDDLEWARE[0], "whitenoise.middleware.WhiteNoiseMiddleware", *MIDDLEWARE[1:]]
QORWORKER = {
    **QORWORKER,
    # Containers end with those who call: all jobs run in workers.
    "QUEUES": {name: QUEUES[name] for name in ("default", "reports")},
    "MIDDLEWARE": ["qorworker.contrib.logs.with_job", *QORWORKER["MIDDLEWARE"]],
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "qorworker.contrib.logs.JSONFormatter"}},
    "handlers": {"console": {"class": "qorworker.contrib.logs.ConsoleHandler", "formatter": "json"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
