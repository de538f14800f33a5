"""Tests that drive a real browser: Chromium, where it and its driver are installed."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

CHROMIUM = ("QORWORKER_CHROMIUM", "chromium", "chromium-browser", "google-chrome")
DRIVER = ("QORWORKER_CHROMEDRIVER", "chromedriver")


def program(variable: str, *names: str) -> str | None:
    """The path that *variable* gives, or of the first of *names* that is there."""
    if path := os.environ.get(variable):
        return path
    return next((path for name in names if (path := shutil.which(name))), None)


def missing_browser() -> str:
    """Why there can be no browser tests; empty if there can."""
    if find_spec("selenium") is None:
        return "selenium is not installed: pip install -e '.[test]'"
    if not program(*CHROMIUM):
        return "no Chromium is installed"
    if not program(*DRIVER):
        return "no chromedriver is installed"
    return ""
