"""The pytest plugin: it provides the fixtures if pytest-django is used. Test processes only."""

from __future__ import annotations

from typing import Any


def pytest_configure(config: Any) -> None:
    if config.pluginmanager.has_plugin("django"):
        config.pluginmanager.import_plugin("qorworker.testing.fixtures")
