"""The error for a library that is not installed: it names the extra that brings it. Pure."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured


def missing(module: str, extra: str, error: ImportError) -> ImproperlyConfigured:
    """Return the error for *module*, a part of this package, whose library comes with *extra*."""
    library = error.name or "a library"
    return ImproperlyConfigured(
        f"{module} needs {library}, which is not installed: python -m pip install 'qorworker[{extra}]'"
    )
