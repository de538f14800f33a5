"""Which page of the documentation says more about what a check found. ``manage.py check``."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.checks import CheckMessage

from qorworker.text.documentation import see

PAGES = {
    "qorworker.E001": "reference/settings.md",
    "qorworker.E003": "reference/arguments.md#types",
    "qorworker.E004": "reference/arguments.md#types",
    "qorworker.E006": "howto/backends.md",
    "qorworker.E007": "reference/permissions.md",
    "qorworker.E008": "howto/secrets.md",
    "qorworker.E009": "howto/schedules.md",
    "qorworker.E012": "howto/code.md#middleware",
    "qorworker.E014": "howto/limits.md",
    "qorworker.E015": "howto/unique.md",
    "qorworker.E016": "howto/uploads.md",
    "qorworker.E017": "howto/databases.md#several-databases",
    "qorworker.W003": "howto/databases.md#sqlite",
    "qorworker.W007": "reference/permissions.md",
    "qorworker.W009": "howto/schedules.md",
    "qorworker.W010": "howto/backends.md",
    "qorworker.W016": "howto/uploads.md",
    "qorworker.W017": "howto/commands.md",
    "qorworker.W018": "howto/limits.md#jobs-that-wait-rise",
    "qorworker.W019": "howto/schedules.md",
    "qorworker.I001": "reference/permissions.md",
}
# The checks of places where jobs run are at home in one part of the page.
PAGES |= dict.fromkeys(
    (f"qorworker.{name}" for name in ("E030", "E031", "W030", "W031", "W032")), "howto/backends.md#cron"
)
PAGES |= dict.fromkeys((f"qorworker.W0{number}" for number in range(33, 37)), "howto/backends.md#cron")
PAGES["qorworker.W040"] = "howto/backends.md#celery"


def with_pages(messages: Iterable[CheckMessage]) -> list[CheckMessage]:
    """Add to each hint where the documentation says more."""
    found = list(messages)
    for message in found:
        if (page := PAGES.get(str(message.id))) is not None:
            message.hint = f"{(message.hint or '').rstrip('.')}. {see(page)}".removeprefix(". ")
    return found
