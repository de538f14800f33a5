"""Every page of ours under the themes that projects give their admin. Each theme in a process of its own."""

from __future__ import annotations

from importlib.util import find_spec

# Theme -> what is installed before Django's admin, and the package to install.
THEMES: dict[str, tuple[list[str], str]] = {
    "stock": ([], ""),
    "unfold": (["unfold"], "django-unfold"),
    "jazzmin": (["jazzmin"], "django-jazzmin"),
    "grappelli": (["grappelli"], "django-grappelli"),
}


def missing_themes() -> str:
    """Why not every theme can be tried; empty if each can."""
    missing = sorted({package for apps, package in THEMES.values() if any(find_spec(app) is None for app in apps)})
    return f"not installed: {', '.join(missing)}; pip install --group themes" if missing else ""
